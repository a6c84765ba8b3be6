"""Pictures of the missing study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common import style
from fastvi.studies.common.completion import BASELINE, the
from fastvi.studies.common.result import Picture, StudyResult, array_name
from fastvi.studies.common.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    RED,
    dress,
    headline,
    legend_below,
    new_figure,
    show_image,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEWEST, _SHOWN, _SHOWN_SAMPLES = 6, 10, 3  # columns that there is space for, images, samples of each


def figures(result: StudyResult) -> dict[str, Picture]:
    """``completions``: what was seen, means, samples. ``log_prob``, ``lower_half``: numbers by image."""
    return {
        "completions": _completions(result),
        "log_prob": _log_prob(result),
        "lower_half": _lower_half(result),
    }


def _colors(result: StudyResult) -> dict[str, str]:
    """Color of each model; the baseline, which comes last, is grey."""
    names = result.table("means")["model"]
    return dict(zip(names, (*(BLUE, ORANGE)[: len(names) - 1], GREY), strict=True))


def _upper(result: StudyResult) -> str:
    arrays: Any = result.arrays["completions"]
    rows, width = (int(part) for part in arrays["shape"])
    hidden = int((~arrays["seen"]).sum()) // width
    return "half" if 2 * hidden == rows else f"{hidden} of {rows} rows"


def _rows(result: StudyResult) -> list[tuple[str, str, np.ndarray]]:
    """Text, colour and images (N, D) of each row of the picture."""
    arrays: Any = result.arrays["completions"]
    x, seen = np.asarray(arrays["x"], dtype=np.float64), arrays["seen"]
    rows = [("seen", BLACK, np.where(seen, x, np.nan))]
    for name, color in _colors(result).items():
        word = array_name(name)
        mean = "mean" if name == BASELINE else "exact mean"
        rows.append((f"{name}:\n{mean}", color, arrays[f"mean_{word}"]))
        samples = arrays.get(f"samples_{word}", np.empty((len(x), 0, x.shape[1])))
        for k in range(min(samples.shape[1], _SHOWN_SAMPLES)):
            rows.append((f"exact sample {k + 1}", color, samples[:, k]))
    rows.append(("true image", BLACK, x))
    return rows


def _completions(result: StudyResult) -> Picture:
    arrays: Any = result.arrays["completions"]
    rows, shape = _rows(result), tuple(arrays["shape"])
    num_unseen = int((~np.asarray(arrays["seen"])).sum()) // shape[1]
    shown = min(len(arrays["x"]), _SHOWN)
    num_columns = max(shown, _FEWEST)
    figure = new_figure(max(7.5, 1.9 + 0.77 * num_columns), 1.0 + 0.77 * len(rows))
    grid = figure.subplots(len(rows), num_columns, squeeze=False)
    for axes in grid[:, shown:].ravel():
        axes.set_axis_off()
    for line, (text, color, images) in zip(grid, rows, strict=True):
        for axes, image in zip(line[:shown], images[:shown], strict=True):
            show_image(axes, np.reshape(image, shape))
            axes.axhline(num_unseen - 0.5, color=color, linewidth=1.2)
            if np.isnan(image).any():
                _hatch(axes, num_unseen, shape[1])
        line[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9.5, color=color, labelpad=6)
    means = result.table("means")
    first, error, upper = means["model"][0], means["mean_abs_error"], _upper(result)
    states = means["num_states"][0]
    title = (
        f"The upper {upper} given the rest, summed over 2^{states.bit_length() - 1} = {states:,} states an "
        f"image: {the(first)} is off by {error[0]:.2f} a pixel, {BASELINE} by {error[-1]:.2f}"
    )
    headline(figure, title)
    caption = (
        f"Each column is an image of which the upper {upper} was hidden; below it stand each model's "
        "chances of ink given the rest, and images drawn with exactly these chances. A pixel is off by the "
        "difference between its chance of ink and what was there."
    )
    alt = (
        f"{shown} columns of small images, black ink on white. Rows: "
        + "; ".join(text.replace("\n", " ") for text, _, _ in rows)
        + ". Hidden pixels are hatched in the first row. Mean errors a pixel: "
        + ", ".join(f"{name} {value:.2f}" for name, value in zip(means["model"], error, strict=True))
        + "."
    )
    return Picture(figure, caption, alt)


def _hatch(axes: Axes, num_unseen: int, width: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (-0.5, -0.5), width, num_unseen, facecolor="#E4E4E4", edgecolor="#AAAAAA", hatch="////",
            linewidth=0,
        )
    )  # fmt: skip


def _line_an_image(result: StudyResult, order: np.ndarray) -> tuple[Figure, Axes]:
    """Axes with an image at each height, from below in that order."""
    arrays: Any = result.arrays["completions"]
    figure = new_figure(10.5, 1.6 + 0.36 * max(len(order), 6))
    axes = figure.subplots()
    for height, n in enumerate(order):
        image = arrays["x"][n].reshape(arrays["shape"])
        style.add_thumbnail(axes, height, image)
    return figure, axes


def _dress_lines(axes: Axes, title: str, x_label: str) -> None:
    dress(axes, wrapped(title, 9.8), x_label, "")
    axes.grid(False, axis="y")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    legend_below(axes, 3)


def _log_prob(result: StudyResult) -> Picture:
    """A line an image, in the order of the first model's gain over independent pixels."""
    table, colors = result.table("images"), _colors(result)
    model = np.array(table["model"])
    values = {name: np.array(table["log_prob"])[model == name] for name in colors}
    first = next(iter(values))
    order = np.argsort(values[first] - values[BASELINE], kind="stable")
    figure, axes = _line_an_image(result, order)
    for height, n in enumerate(order):
        ends = [found[n] for found in values.values()]
        axes.plot([min(ends), max(ends)], [height, height], color="#CCCCCC", linewidth=2, zorder=1)
    for name, found in values.items():
        marker = "D" if name == BASELINE else "o"
        text = f"{name}: {found.mean():.1f} on average"
        axes.plot(
            found[order],
            np.arange(len(order)),
            marker,
            color=colors[name],
            markersize=6.5,
            zorder=3,
            label=text,
        )
    axes.set_ylim(-0.7, len(order) - 0.3)
    gap = float((values[first] - values[BASELINE]).mean())
    side = "ahead of" if gap >= 0 else "behind"
    upper, name = _upper(result), the(first)
    _dress_lines(
        axes,
        f"{name[0].upper()}{name[1:]} is {abs(gap):.1f} nats an image {side} {BASELINE} on the upper {upper}",
        f"log p(true upper {upper} | rest of the image), nats, exact",
    )
    caption = (
        "A line for each image: the exact logarithm of the probability that each model gives to the true "
        f"upper {upper} when it has seen the rest. Further right is better, and on average {name} is "
        f"{abs(gap):.1f} nats {side} {BASELINE}, for which no pixel says anything about another."
    )
    alt = (
        f"{len(order)} lines with a point for each model. Means over the images: "
        + ", ".join(f"{name} {found.mean():.1f} nats" for name, found in values.items())
        + "."
    )
    return Picture(figure, caption, alt)


def _lower_half(result: StudyResult) -> Picture:
    """A line an image, in the order of log p(lower)."""
    table, arrays = result.table("lower_half"), result.arrays["completions"]
    seen, true, best = (np.array(table[name]) for name in ("log_seen", "log_true", "log_best_drawn"))
    order = np.argsort(seen, kind="stable")
    figure, axes = _line_an_image(result, order)
    drawn, place = np.asarray(arrays["log_prob_drawn"])[order], np.arange(len(order))
    rows = np.broadcast_to(place[:, None], drawn.shape)
    count = table["num_drawn"][0]
    shown = np.isfinite(drawn)
    axes.plot(
        drawn[shown], rows[shown], "|", color="#AAAAAA", markersize=9, zorder=1,
        label=f"one way to fill it in: {count:,} draws an image",
    )  # fmt: skip
    axes.plot(true[order], place, "D", color=RED, markersize=6, zorder=3, label="the true way")
    axes.plot(
        seen[order],
        place,
        "o",
        color=BLACK,
        markersize=7,
        zorder=3,
        label="all ways together: log p(seen part)",
    )
    axes.set_ylim(-0.7, len(order) - 0.3)
    upper, below, share = _upper(result), float((seen - best).mean()), float(np.mean(table["share_drawn"]))
    title = (
        f"log p(seen part) sums over all ways to fill in the upper {upper}: the best of {count:,} that were "
        f"drawn is {below:.1f} nats below the sum, all of those together are {100 * share:.2g} % of it"
    )
    unit = "nats, exact; log Z is not taken off" if arrays["plus_log_z"] else "nats, exact"
    _dress_lines(axes, title, f"log p(image with its upper {upper} filled in), {unit}")
    caption = (
        f"A line for each image: grey, log p of the image with its upper {upper} filled in in one way that "
        "was drawn; black, the logarithm of the exact sum over all ways there are. The true one of these "
        f"ways is {float((seen - true).mean()):.1f} nats below the sum on average."
    )
    alt = (
        f"{len(order)} lines. On each a black point at the right, log p of the seen part, grey ticks to its "
        f"left for single ways to fill in the rest, the best {below:.1f} nats away on average, and a red "
        f"diamond for the true image, {float((seen - true).mean()):.1f} nats away."
    )
    return Picture(figure, caption, alt)
