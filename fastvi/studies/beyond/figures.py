"""Pictures of the study beyond enumeration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import StudyResult
from fastvi.studies.common.style import BLACK, BLUE, ORANGE, SKY, dress, new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4


def figures(result: StudyResult) -> dict[str, Figure]:
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


def _intervals(result: StudyResult, size: int) -> Figure:
    arrays = result.arrays["images"]
    lines = -(-len(arrays["index"]) // _COLUMNS)
    figure = new_figure(3.1 * _COLUMNS, 0.9 + 2.3 * lines)
    grid = figure.subplots(lines, _COLUMNS, squeeze=False)
    for axes in grid.ravel()[len(arrays["index"]) :]:
        axes.set_axis_off()
    for axes, index, image in zip(grid.ravel(), arrays["index"], arrays["x"], strict=False):
        _interval(axes, result, size, int(index))
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top + 0.5 * (top - bottom))  # space for the image
        show_image(axes.inset_axes((0.72, 0.68, 0.28, 0.32)), image)
    for axes in grid[-1]:
        axes.set_xlabel("seconds", color=BLACK)
    for axes in grid[:, 0]:
        axes.set_ylabel("nats", color=BLACK)
    figure.suptitle(
        f"{size} latents: log p(x) is certainly within the blue; orange: importance-weighted bounds and the "
        "ELBO (leftmost); black: the exact value",
        fontsize=11, x=0.01, ha="left", color=BLACK,
    )  # fmt: skip
    return figure


def _interval(axes: Axes, result: StudyResult, size: int, index: int) -> None:
    own = _rows(result, "intervals", size, index)
    seconds = _seconds(result, "search_seconds", size, index)
    axes.fill_between(seconds, own["lower"], own["upper"], color=SKY, alpha=0.5, linewidth=0)
    for name in ("lower", "upper"):
        axes.plot(seconds, own[name], color=BLUE, linewidth=1.4, marker=".", markersize=4)
    sampled = _rows(result, "estimates", size, index)
    spent = _seconds(result, "sampling_seconds", size, index)
    axes.plot(spent, sampled["weighted_bound"], color=ORANGE, linewidth=1.2, marker="o", markersize=3.5)
    exact = _rows(result, "exact", size, index)["log_marginal"]
    if exact.size:
        axes.axhline(float(exact[0]), color=BLACK, linewidth=0.9, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter("")  # on axes of less than a decade labels would lie upon each other
    dress(axes, f"image {index}", "", "")


def _gaps(result: StudyResult, sizes: list[int]) -> Figure:
    figure = new_figure(10.5, 0.4 + 3.4 * len(sizes))
    grid: Any = figure.subplots(len(sizes), 2, squeeze=False, sharey="row")
    for (left, right), size in zip(grid, sizes, strict=True):
        for index in result.arrays["images"]["index"]:
            own = _rows(result, "intervals", size, int(index))
            seconds = _seconds(result, "search_seconds", size, int(index))
            for axes, places in ((left, own["num_bounds"]), (right, seconds)):
                # below the tolerance the width says little
                axes.plot(places, np.maximum(own["gap"], 1e-4), color=BLUE, linewidth=1.1, alpha=0.7)
        for axes, label in ((left, "subcubes bounded or summed"), (right, "seconds")):
            axes.axhline(1e-3, color=BLACK, linewidth=0.9, linestyle=":")
            axes.set_xscale("log")
            axes.set_yscale("log")
            dress(axes, f"{size} latents: width of the interval", label, "nats" if axes is left else "")
        for row in zip(*_rows(result, "other_seconds", size).values(), strict=True):
            if row[1] != "fit":
                right.axvline(row[2], color=ORANGE, linewidth=1.4)
                right.annotate(
                    " enumeration", (row[2], 0.98), xycoords=("data", "axes fraction"), color=ORANGE,
                    fontsize=9.5, va="top", ha="right", rotation=90,
                )  # fmt: skip
    return figure
