"""Pictures of the study beyond enumeration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import (
    BLACK,
    BLUE,
    ORANGE,
    SKY,
    dress,
    headline,
    legend_below,
    new_figure,
    show_image,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_CLOSED = 1e-3  # nats
_SUBCUBE = "A subcube is all states that share the values of some latents"


def figures(result: StudyResult) -> dict[str, Picture]:
    """``intervals_d``: an image a panel, against seconds. ``gaps``: against subcubes and seconds."""
    sizes = list(dict.fromkeys(result.table("intervals")["num_latents"]))
    return {f"intervals_{size}": _intervals(result, size) for size in sizes} | {"gaps": _gaps(result, sizes)}


def _rows(result: StudyResult, name: str, size: int, index: int | None = None) -> dict[str, np.ndarray]:
    """Columns of a table, of one network and perhaps one image."""
    table = {key: np.array(column) for key, column in result.table(name).items()}
    wanted = table["num_latents"] == size
    if index is not None:
        wanted &= table["index"] == index
    return {key: column[wanted] for key, column in table.items()}


def _seconds(result: StudyResult, name: str, size: int, index: int) -> np.ndarray:
    """Seconds of growing work, without the scatter of short calls: no less than those of smaller work."""
    return np.maximum.accumulate(_rows(result, name, size, index)["seconds"])


def _ends(result: StudyResult, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Last width of each image's interval, and the seconds that it took."""
    index = result.arrays["images"]["index"]
    gaps = np.array([_rows(result, "intervals", size, int(n))["gap"][-1] for n in index])
    return gaps, np.array([_rows(result, "search_seconds", size, int(n))["seconds"][-1] for n in index])


def _intervals(result: StudyResult, size: int) -> Picture:
    arrays = result.arrays["images"]
    count = len(arrays["index"])
    columns = min(_COLUMNS, max(2, count))
    lines = -(-count // columns)
    figure = new_figure(3.3 * columns, 1.5 + 2.3 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.ravel()[count:]:
        axes.set_axis_off()
    for axes, index, image in zip(grid.ravel(), arrays["index"], arrays["x"], strict=False):
        _interval(axes, result, size, int(index), "image" if image.ndim == 2 else "datum")
        bottom, top = axes.get_ylim()
        if image.ndim == 2:
            axes.set_ylim(bottom, top + 0.5 * (top - bottom))  # space for the image
            show_image(axes.inset_axes((0.72, 0.68, 0.28, 0.32)), image)
    for axes in grid[-1]:
        axes.set_xlabel("seconds", color=BLACK)
    for axes in grid[:, 0]:
        axes.set_ylabel("log p(x), nats", color=BLACK)
    gaps, seconds = _ends(result, size)
    closed, middle = int((gaps <= _CLOSED).sum()), float(np.median(seconds))
    title = (
        f"{size} latents: log p(x) is certainly within the blue. After {middle:.2g} s in the median "
        f"{closed} of {count} intervals are closed to {_CLOSED:g} nats, the widest is {gaps.max():.2g}"
    )
    headline(figure, title)
    legend_below(grid[0, 0], 3 if columns > 2 else 1)
    caption = (
        "Blue: the interval that holds log p(x) for certain, closing as a search goes on; orange: bounds "
        f"by draws from an encoder's q, the leftmost by one draw (the ELBO in the mean). {closed} of "
        f"{count} intervals closed to {_CLOSED:g} nats, in {middle:.2g} s in the median."
    )
    alt = (
        f"{count} panels with a blue band that narrows to the right and an orange line that climbs towards "
        "it. "
        f"Widths at the end, nats: " + ", ".join(f"{gap:.2g}" for gap in gaps) + "."
    )
    return Picture(figure, caption, alt, timed=True)


def _interval(axes: Axes, result: StudyResult, size: int, index: int, what: str) -> None:
    own = _rows(result, "intervals", size, index)
    seconds = _seconds(result, "search_seconds", size, index)
    axes.fill_between(
        seconds, own["lower"], own["upper"], color=SKY, alpha=0.5, linewidth=0, label="interval, certain"
    )
    for name in ("lower", "upper"):
        axes.plot(seconds, own[name], color=BLUE, linewidth=1.4, marker=".", markersize=4)
    sampled = _rows(result, "estimates", size, index)
    spent = _seconds(result, "sampling_seconds", size, index)
    text = f"importance-weighted bounds, {sampled['num_samples'][0]} to {sampled['num_samples'][-1]:,} draws"
    axes.plot(
        spent, sampled["weighted_bound"], color=ORANGE, linewidth=1.2, marker="o", markersize=3.5, label=text
    )
    exact = _rows(result, "exact", size, index)["log_marginal"]
    if exact.size:
        axes.axhline(
            float(exact[0]), color=BLACK, linewidth=0.9, linestyle="--", label="log p(x), all states summed"
        )
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter("")  # on axes of less than a decade labels would lie upon each other
    dress(axes, f"{what} {index}", "", "")


def _gaps(result: StudyResult, sizes: list[int]) -> Picture:
    figure = new_figure(11.0, 1.2 + 3.6 * len(sizes))
    grid: Any = figure.subplots(len(sizes), 2, squeeze=False, sharey="row")
    texts = []
    for (left, right), size in zip(grid, sizes, strict=True):
        for number, index in enumerate(result.arrays["images"]["index"]):
            own = _rows(result, "intervals", size, int(index))
            seconds = _seconds(result, "search_seconds", size, int(index))
            for axes, places in ((left, own["num_bounds"]), (right, seconds)):
                # below the tolerance the width says little
                axes.plot(
                    places, np.maximum(own["gap"], 1e-4), color=BLUE, linewidth=1.1, alpha=0.7,
                    label=None if number else "one line for each x",
                )  # fmt: skip
        first = _rows(result, "closing", size)["median_gap"][0]
        ends, _ = _ends(result, size)
        bounds = [
            _rows(result, "intervals", size, int(n))["num_bounds"][-1]
            for n in result.arrays["images"]["index"]
        ]
        texts.append(
            f"{size} latents: from {first:.2g} to {np.median(ends):.2g} nats by {np.median(bounds):,.0f} "
            "subcubes"
        )
        title = f"{size} latents, in the median: {first:.2g} nats at first, {np.median(ends):.2g} at the end"
        for axes, label in ((left, "subcubes bounded or summed"), (right, "seconds")):
            axes.axhline(
                _CLOSED, color=BLACK, linewidth=0.9, linestyle=":", label=f"{_CLOSED:g} nats: closed"
            )
            axes.set_xscale("log")
            axes.set_yscale("log")
            y_label = "width of the interval, nats" if axes is left else ""
            dress(axes, wrapped(title, 5.0) if axes is left else "The same, by time", label, y_label)
        for row in zip(*_rows(result, "other_seconds", size).values(), strict=True):
            if row[1] != "fit":
                text = f"all 2^{size} states summed for one x: {row[2]:.2g} s"
                right.axvline(row[2], color=ORANGE, linewidth=1.4, label=text)
                right.set_title(f"The same, by time; orange: {text}", loc="left", fontsize=9.5, color=BLACK)
    legend_below(grid[0, 0], 2)
    caption = (
        f"Widths of the intervals that hold log p(x), by work and by time. {_SUBCUBE}; medians: "
        + "; ".join(texts) + "."
    )  # fmt: skip
    alt = (
        f"{len(sizes)} rows of two panels with falling lines on logarithmic axes, one for each x. Medians: "
        + "; ".join(texts) + "."
    )  # fmt: skip
    return Picture(figure, caption, alt, timed=True)
