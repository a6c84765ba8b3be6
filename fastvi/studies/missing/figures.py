"""Pictures of the missing study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common import style
from fastvi.studies.common.completion import BASELINE, MACHINE, NETWORK, SIDE
from fastvi.studies.common.result import StudyResult, array_name
from fastvi.studies.common.style import BLACK, BLUE, GREY, ORANGE, dress, label_line, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEWEST, _SHOWN, _SHOWN_SAMPLES = 6, 10, 3  # columns that there is space for, images, samples of each
_COLORS = {MACHINE: BLUE, NETWORK: ORANGE, BASELINE: GREY}


def figures(result: StudyResult) -> dict[str, Figure]:
    """``completions``: what was seen, means, samples. ``log_prob``: log p(upper | lower), by image."""
    return {"completions": _completions(result), "log_prob": _log_prob(result)}


def _rows(arrays: Any) -> list[tuple[str, str, np.ndarray]]:
    """Text, colour and images (N, 64) of each row of the picture."""
    x, seen = np.asarray(arrays["x"], dtype=np.float64), arrays["seen"]
    rows = [("seen", BLACK, np.where(seen, x, np.nan))]
    for name in (MACHINE, NETWORK):
        word, color = array_name(name), _COLORS[name]
        rows.append((f"{name}:\nexact mean", color, arrays[f"mean_{word}"]))
        samples = arrays[f"samples_{word}"]
        for k in range(min(samples.shape[1], _SHOWN_SAMPLES)):
            rows.append((f"exact sample {k + 1}", color, samples[:, k]))
    rows.append((f"{BASELINE}:\nmean", _COLORS[BASELINE], arrays[f"mean_{array_name(BASELINE)}"]))
    rows.append(("true image", BLACK, x))
    return rows


def _completions(result: StudyResult) -> Figure:
    arrays = result.arrays["completions"]
    rows = _rows(arrays)
    num_unseen = int((~np.asarray(arrays["seen"])).sum()) // SIDE
    shown = min(len(arrays["x"]), _SHOWN)
    num_columns = max(shown, _FEWEST)
    figure = new_figure(max(7.5, 1.9 + 0.77 * num_columns), 0.8 + 0.77 * len(rows))
    grid = figure.subplots(len(rows), num_columns, squeeze=False)
    for axes in grid[:, shown:].ravel():
        axes.set_axis_off()
    for line, (text, color, images) in zip(grid, rows, strict=True):
        for axes, image in zip(line[:shown], images[:shown], strict=True):
            show_image(axes, np.reshape(image, (SIDE, SIDE)))
            axes.axhline(num_unseen - 0.5, color=color, linewidth=1.2)
            if np.isnan(image).any():
                _hatch(axes, num_unseen)
        line[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9.5, color=color, labelpad=6)
    states = dict(zip(result.table("means")["model"], result.table("means")["num_states"], strict=True))
    num_free = states[MACHINE].bit_length() - 1
    figure.suptitle(
        f"The upper {num_unseen} rows given the others: 2^{num_free} = {states[MACHINE]:,} ways to fill "
        "them in, all of them summed",
        fontsize=11, x=0.01, ha="left", color=BLACK,
    )  # fmt: skip
    return figure


def _hatch(axes: Axes, num_unseen: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (-0.5, -0.5), SIDE, num_unseen, facecolor="#E4E4E4", edgecolor="#AAAAAA", hatch="////",
            linewidth=0,
        )
    )  # fmt: skip


def _log_prob(result: StudyResult) -> Figure:
    """A line an image, in the order of the Boltzmann machine's gain over independent pixels."""
    table = result.table("images")
    images = result.arrays["completions"]["x"]
    model = np.array(table["model"])
    values = {name: np.array(table["log_prob"])[model == name] for name in _COLORS}
    order = np.argsort(values[MACHINE] - values[BASELINE], kind="stable")
    figure = new_figure(10.5, 1.3 + 0.36 * max(len(order), 6))
    axes = figure.subplots()
    top = len(order) - 1
    for height, n in enumerate(order):
        style.add_thumbnail(axes, height, images[n].reshape(SIDE, SIDE))
        ends = [found[n] for found in values.values()]
        axes.plot([min(ends), max(ends)], [height, height], color="#CCCCCC", linewidth=2, zorder=1)
    for name, found in values.items():
        marker = "D" if name == BASELINE else "o"
        axes.plot(found[order], np.arange(len(order)), marker, color=_COLORS[name], markersize=6.5, zorder=3)
        mean = float(found.mean())
        axes.axvline(mean, color=_COLORS[name], linewidth=1, linestyle=":", zorder=0)
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    means = sorted((float(found.mean()), name) for name, found in values.items())
    for place, (mean, name) in enumerate(
        means
    ):  # the largest to the right of its line, the others to the left
        align = "left" if place == len(means) - 1 else "right"
        shift = (4 if align == "left" else -4, -13 * (place == 1))
        text = f"{name}: {mean:.1f}"
        label_line(axes, mean, top + 1.1, text, _COLORS[name], xytext=shift, ha=align, bbox=white)
    axes.set_ylim(-0.7, top + 1.5)
    gap = float((values[MACHINE] - values[BASELINE]).mean())
    side = "ahead of" if gap >= 0 else "behind"
    dress(
        axes,
        f"The Boltzmann machine is {abs(gap):.1f} nats an image {side} independent pixels on the upper part",
        "log p(upper | lower) of the true image, nats, exact. Dotted: means over the images",
        "",
    )
    axes.grid(False, axis="y")
    axes.set_yticks([])
    axes.tick_params(axis="y", pad=24)
    axes.spines["left"].set_visible(False)
    return figure
