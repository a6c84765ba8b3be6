"""Pictures of the learning study."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult, array_name
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
    headline,
    legend_below,
    new_figure,
    show_image,
    wrapped,
)

EXACT, OWN, ENCODER = "exact", "ELBO, own q", "ELBO, encoder"
WEIGHTED, SLEEP, REWEIGHTED = "importance-weighted", "wake-sleep", "reweighted wake-sleep"
_COLORS = {EXACT: BLACK, OWN: BLUE, ENCODER: SKY, WEIGHTED: GREEN, SLEEP: ORANGE, REWEIGHTED: RED}
_TEXTS = {
    EXACT: "exact log p(x)",
    OWN: "ELBO, a best q for each image",
    ENCODER: "ELBO, q by an encoder",
    WEIGHTED: "importance-weighted bound (Burda et al. 2016)",
    SLEEP: "wake-sleep (Hinton et al. 1995)",
    REWEIGHTED: "reweighted wake-sleep (Bornschein and Bengio 2015)",
}


def figures(result: StudyResult) -> dict[str, Picture]:
    """``curves``: held-out log p(x) by epoch; ``gaps``: the two of the ELBO; ``samples``; ``completions``."""
    found = {"curves": _curves(result), "gaps": _gaps(result)}
    if "pictures" in result.arrays:
        found |= {"samples": _samples(result), "completions": _completions(result)}
    return found


def _of(result: StudyResult, size: int, way: str, column: str) -> float:
    """Entry of the table of results."""
    table = result.table("learning")
    row = list(zip(table["num_latents"], table["way"], strict=True)).index((size, way))
    return float(table[column][row])


def _last(result: StudyResult) -> int:
    return int(result.table("learning")["num_latents"][-1])


def _curves(result: StudyResult) -> Picture:
    table = result.table("history")
    latents = np.array(table["num_latents"])
    way, value = np.array(table["way"]), np.array(table["log_marginal"])
    sizes = sorted(set(latents.tolist()))
    figure = new_figure(max(9.0, 4.6 * len(sizes)), 5.2)
    panels = np.atleast_1d(figure.subplots(1, len(sizes)))
    texts = []
    for axes, size in zip(panels, sizes, strict=True):
        epochs = 0
        for name, color in _COLORS.items():
            own = value[(latents == size) & (way == name)]
            if own.size:
                axes.plot(np.arange(own.size), own, color=color, linewidth=1.8, label=_TEXTS[name])
                epochs = own.size - 1
        values = np.sort(value[latents == size])
        low, high = float(values[values.size // 4]), float(values[-1])
        axes.set_ylim(low - 0.1 * (high - low) - 0.02, high + 0.1 * (high - low) + 0.01)
        axes.set_xlim(0, epochs)
        axes.locator_params(axis="x", integer=True)
        behind = _of(result, size, ENCODER, "behind_exact")
        side = "behind" if behind >= 0 else "ahead of"
        texts.append(f"{size} latents: the encoder's ELBO is {abs(behind):.2f} nats {side} exact training")
        y_label = "mean exact log p(x) of held-out data, nats" if axes is panels[0] else ""
        dress(
            axes, wrapped(texts[-1], figure.get_figwidth() / len(sizes) - 1.0), "epochs of training", y_label
        )
    legend_below(panels[0], 3 if len(sizes) > 2 else 2)
    caption = (
        "Networks of the same start and the same number of steps, learned by the exact log p(x) or by a "
        "bound on it; what is drawn is the exact log p(x) of data that none has seen. Best epochs: "
        + "; ".join(texts) + "."
    )  # fmt: skip
    alt = f"{len(sizes)} panels with a rising curve for each way to learn. " + " ".join(
        f"{size} latents, best epoch: "
        + ", ".join(
            f"{name} {_of(result, size, name, 'log_marginal'):.2f}"
            for name in _COLORS
            if ((latents == size) & (way == name)).any()
        )
        + "."
        for size in sizes
    )
    return Picture(figure, caption, alt)


def _gaps(result: StudyResult) -> Picture:
    table = result.table("learning")
    names = [f"{way}, {d} latents" for d, way in zip(table["num_latents"], table["way"], strict=True)][::-1]
    place = np.arange(len(names))
    approximation, amortization = (
        np.array(table[f"{word}_gap"][::-1]) for word in ("approximation", "amortization")
    )
    figure = new_figure(10.0, 1.9 + 0.34 * len(names))
    axes = figure.subplots()
    text = "of which a best q of independent latents leaves (approximation gap)"
    axes.barh(place, approximation, color=BLUE, label=text)
    text = "of which the encoder adds, for it is no best q (amortisation gap)"
    axes.barh(place, amortization, left=approximation, color=PURPLE, label=text)
    axes.set_yticks(place, names, fontsize=9.5)
    size = _last(result)
    exact, bound = (_of(result, size, way, "approximation_gap") for way in (EXACT, ENCODER))
    title = (
        f"{size} latents: a best q of independent latents leaves {exact:.2f} nats of log p(x) after exact "
        f"training, {bound:.2f} after training by an encoder's ELBO"
    )
    dress(axes, wrapped(title, 7.6), "log p(x) - ELBO of the encoder, mean over held-out data, nats", "")
    axes.grid(False, axis="y")
    legend_below(axes, 1)
    caption = (
        "How far the encoder's ELBO is below the exact log p(x), in the two parts of Cremer, Li and "
        f"Duvenaud (2018), for networks learned in each way. At {size} latents {exact:.2f} nats are due to "
        f"independent latents after exact training, and {bound:.2f} after training by the encoder's ELBO."
    )
    alt = "A bar of two parts for each way to learn, nats: " + "; ".join(
        f"{name} {first:.2f} + {second:.2f}"
        for name, first, second in zip(names[::-1], approximation[::-1], amortization[::-1], strict=True)
    )
    return Picture(figure, caption, f"{alt}.")


def _shown(result: StudyResult, kind: str) -> list[tuple[str, np.ndarray]]:
    arrays: Any = result.arrays["pictures"]
    words = {name: f"{kind}_{array_name(name)}" for name in _COLORS}
    return [(name, arrays[word]) for name, word in words.items() if word in arrays]


def _samples(result: StudyResult) -> Picture:
    size = _last(result)
    exact, bound = (_of(result, size, way, "log_marginal") for way in (EXACT, ENCODER))
    rows = _shown(result, "samples")
    title = (
        f"Drawn from networks of {size} latents: chances of ink given a z from p(z). Exact training gives "
        f"held-out images {exact:.2f} nats, the encoder's ELBO {bound:.2f}"
    )
    caption = (
        "Each row belongs to a network learned in another way: a z is drawn from p(z), and the network's "
        f"chance of ink is shown for each pixel. Held-out images have {exact:.2f} nats after exact training "
        f"and {bound:.2f} after training by the encoder's ELBO."
    )
    return _images(result, rows, title, caption, line=None)


def _completions(result: StudyResult) -> Picture:
    arrays: Any = result.arrays["pictures"]
    rows = _shown(result, "completions")
    height, width = (int(part) for part in arrays["shape"])
    hidden = height // 2
    error = {name: float(np.abs(images - arrays["x"])[:, : hidden * width].mean()) for name, images in rows}
    size = _last(result)
    title = (
        f"The upper half given the lower, exact means, {size} latents: off by {error[EXACT]:.2f} a pixel "
        f"after exact training, by {error[ENCODER]:.2f} after training by the encoder's ELBO"
    )
    caption = (
        "Each row belongs to a network learned in another way: above the line its exact chance of ink "
        "given what is below. A pixel is off by the difference between its chance of ink and what was "
        "there: "
        + ", ".join(f"{value:.2f} ({name})" for name, value in error.items()) + "."
    )  # fmt: skip
    return _images(result, [*rows, ("true image", arrays["x"])], title, caption, line=hidden - 0.5)


def _images(
    result: StudyResult, rows: list[tuple[str, np.ndarray]], title: str, caption: str, line: float | None
) -> Picture:
    shape = tuple(result.arrays["pictures"]["shape"])
    columns = len(rows[0][1])
    figure = new_figure(2.6 + 0.8 * max(6, columns), 1.0 + 0.8 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for panels, (name, images) in zip(grid, rows, strict=True):
        for axes, image in zip(panels, images, strict=True):
            show_image(axes, np.reshape(image, shape))
            if line is not None:
                axes.axhline(line, color=GREY, linewidth=1)
        color = _COLORS.get(name, BLACK)
        panels[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9.5, color=color)
    headline(figure, title)
    alt = f"{columns} columns of small images, grey where the chance is between 0 and 1. Rows: " + "; ".join(
        name for name, _ in rows
    )
    return Picture(figure, caption, f"{alt}.")
