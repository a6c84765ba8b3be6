"""Pictures of the learning study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import StudyResult, array_name
from fastvi.studies.common.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    dress,
    label_ends,
    new_figure,
    show_image,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT, OWN, ENCODER = "exact", "ELBO, own q", "ELBO, encoder"
WEIGHTED, SLEEP, REWEIGHTED = "importance-weighted", "wake-sleep", "reweighted wake-sleep"
_COLORS = {EXACT: BLACK, OWN: BLUE, ENCODER: SKY, WEIGHTED: GREEN, SLEEP: ORANGE, REWEIGHTED: RED}
_SIDE = 8


def figures(result: StudyResult) -> dict[str, Figure]:
    """``curves``: held-out log p(x) by epoch; ``gaps``: the two of the ELBO; ``samples``; ``completions``."""
    return {
        "curves": _curves(result),
        "gaps": _gaps(result),
        "samples": _images(result, "samples", "Samples: pixel probabilities given a z from the prior"),
        "completions": _images(result, "completions", "The upper half given the lower: exact means"),
    }


def _curves(result: StudyResult) -> Figure:
    table = result.table("history")
    latents = np.array(table["num_latents"])
    way, value = np.array(table["way"]), np.array(table["log_marginal"])
    sizes = sorted(set(latents.tolist()))
    figure = new_figure(5.2 * len(sizes), 4.4)
    for axes, size in zip(np.atleast_1d(figure.subplots(1, len(sizes))), sizes, strict=True):
        ends = []
        for name, color in _COLORS.items():
            own = value[(latents == size) & (way == name)]
            if own.size:
                axes.plot(np.arange(own.size), own, color=color, linewidth=1.8)
                ends.append((own.size - 1.0, float(own[-1]), name, color))
        last = value[latents == size]
        middle = np.sort(last)[last.size // 4]
        axes.set_ylim(float(middle) - 0.5, float(last.max()) + 0.4)
        axes.set_xlim(0, ends[0][0] * 1.55)
        dress(axes, f"{size} latents", "epoch", "held-out log p(x), nats an image, exact")
        label_ends(axes, ends)
    return figure


def _gaps(result: StudyResult) -> Figure:
    table = result.table("learning")
    names = [f"{way}, d = {d}" for d, way in zip(table["num_latents"], table["way"], strict=True)][::-1]
    place = np.arange(len(names))
    approximation, amortization = (
        np.array(table[f"{word}_gap"][::-1]) for word in ("approximation", "amortization")
    )
    figure = new_figure(9.0, 1.4 + 0.34 * len(names))
    axes = figure.subplots()
    text = "approximation gap: log p(x) less the best factorised q's ELBO"
    axes.barh(place, approximation, color=BLUE, label=text)
    text = "amortisation gap: what the encoder loses beside it"
    axes.barh(place, amortization, left=approximation, color=PURPLE, label=text)
    axes.set_yticks(place, names, fontsize=9)
    dress(axes, "How far the encoder's ELBO is below log p(x), held-out images", "nats an image", "")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.09), fontsize=9)
    return figure


def _images(result: StudyResult, kind: str, title: str) -> Figure:
    arrays: Any = result.arrays["pictures"]
    words = {name: f"{kind}_{array_name(name)}" for name in _COLORS}
    rows = [(name, arrays[word]) for name, word in words.items() if word in arrays]
    if kind == "completions":
        rows.append(("true image", arrays["x"]))
    columns = len(rows[0][1])
    figure = new_figure(2.6 + 0.8 * columns, 0.6 + 0.8 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images) in zip(grid, rows, strict=True):
        for axes, image in zip(line, images, strict=True):
            show_image(axes, np.reshape(image, (_SIDE, _SIDE)))
            if kind == "completions":
                axes.axhline(3.5, color=GREY, linewidth=1)
        color = _COLORS.get(name, BLACK)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9.5, color=color)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", color=BLACK)
    return figure
