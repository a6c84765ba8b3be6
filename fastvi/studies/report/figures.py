"""Pictures of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult, Table
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
    label_line,
    new_figure,
)
from fastvi.studies.report.findings import nats
from fastvi.studies.report.truth import CERTIFIED, EXACT
from fastvi.weights.estimate import reliable_k

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TINTS = (SKY, BLUE, GREEN, ORANGE, GREY)


def figures(result: StudyResult, how: str) -> dict[str, Picture]:
    """``gaps``: bounds by datum; ``weights``: k-hat and ESS; ``calibration``: errors; ``cost``: seconds."""
    data = result.table("data")
    found = {"gaps": _gaps(data, how), "weights": _weights(data)}
    if "calibration" in result.tables:
        found["calibration"] = _calibration(result.table("calibration"), result.table("calibration_data"))
    return {**found, "cost": _cost(result.table("seconds"))}


def _sizes(data: Table) -> list[int]:
    """K of the importance-weighted bounds."""
    names = [name.removeprefix("bound_") for name in data if name.startswith("bound_")]
    return [int(name) for name in names if name.isdecimal()]


def _gaps(data: Table, how: str) -> Picture:
    truth, elbo = np.array(data["log_marginal"]), np.array(data["elbo"])
    order = np.argsort(elbo - truth, kind="stable")
    place = np.arange(1, len(order) + 1)
    figure = new_figure(10.5, 5.0)
    axes = figure.subplots()
    size = 4.5 if len(order) <= 60 else 3.0
    low, high = (np.array(data[f"log_marginal_{end}"])[order] - truth[order] for end in ("low", "high"))
    line, bars = {
        EXACT: ("log p(x), exact", None),
        CERTIFIED: ("middle of the interval", "certified interval of log p(x)"),
    }.get(how, ("log p(x), estimated", "its 95 % interval"))
    axes.axhline(0.0, color=BLACK, linewidth=1.6, label=line)
    if bars is not None:
        axes.vlines(place, low, high, color=GREY, linewidth=3.0, alpha=0.6, label=bars)
    sizes = _sizes(data)
    for number, tint in zip(sizes[::-1], _TINTS[: len(sizes)][::-1], strict=False):
        values = np.array(data[f"bound_{number}"])[order] - truth[order]
        axes.plot(place, values, "D", color=tint, markersize=size, label=f"bound, K = {number:,}")
    if "best_elbo" in data:
        best = np.array(data["best_elbo"])[order] - truth[order]
        axes.plot(place, best, "s", color=PURPLE, markersize=size, label="ELBO of the best q")
    axes.plot(place, (elbo - truth)[order], "o", color=RED, markersize=size, label="ELBO")
    bound = np.array(data[f"bound_{sizes[-1]}"])
    gap, left = nats((truth - elbo).mean()), nats((truth - bound).mean())
    if how == CERTIFIED:
        ends = ("low", "high")
        gap = " to ".join(nats(float(np.mean(data[f"gap_{end}"]))) for end in ends)
        left = " to ".join(
            nats(max(0.0, float(np.mean(data[f"log_marginal_{end}"]) - bound.mean()))) for end in ends
        )
    title = f"The ELBO stops {gap} nats short of log p(x); {sizes[-1]:,} samples leave {left}"
    dress(axes, title, "data, widest gap first", "nats relative to the line")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, fontsize=9.5)
    _open_up(axes)
    zero = "the middle of each interval" if how == CERTIFIED else "log p(x)"
    caption = (
        f"Bounds of {len(order)} data relative to {zero}, the line at zero; those of K samples are "
        f"estimates, of which single ones may lie above. The ELBO lies {gap} nats below on "
        f"average, the bound of {sizes[-1]:,} samples {left}."
    )
    alt = (
        f"A column of points for each of {len(order)} data. The ELBO's gap runs from "
        f"{nats((truth - elbo).max())} to {nats((truth - elbo).min())} nats; importance-weighted bounds lie "
        "nearer to zero."
    )
    return Picture(figure, caption, alt)


def _weights(data: Table) -> Picture:
    largest = _sizes(data)[-1]
    ess, pareto_k = np.array(data["ess"]), np.array(data["pareto_k"])
    limit = float(reliable_k(largest))
    bad = ~(pareto_k <= limit)
    drawn = np.isfinite(pareto_k)
    figure = new_figure(8.5, 4.6)
    axes = figure.subplots()
    for which, color in ((drawn & ~bad, BLUE), (drawn & bad, RED)):
        axes.plot(ess[which], pareto_k[which], "o", color=color, markersize=5, alpha=0.75)
    axes.set_xscale("log")
    axes.set_xlim(0.8, 1.25 * largest)
    axes.axhline(limit, color=BLACK, linewidth=1.2, linestyle="--")
    label_line(axes, 1.25 * largest, limit, f"{limit:.2g}", BLACK)
    lost = int((bad & ~drawn).sum())
    title = f"k-hat is above {limit:.2g} for {int(bad.sum())} of {len(bad)} data"
    title += f", {lost} of them beyond the picture: infinite" if lost else ""
    dress(axes, title, f"effective sample size of {largest:,} weights", "k-hat of the largest weights")
    equal = int((~drawn & ~bad).sum())
    without = f" Of {equal} all weights are equal, so that they have none." if equal else ""
    caption = (
        f"Each point is a datum: how many of {largest:,} weighted samples count, and how heavy the tail of "
        f"the weights is. {int(bad.sum())} of {len(bad)} lie above the limit, where neither estimate nor "
        f"error can be trusted.{without}"
    )
    alt = (
        f"Scatter of k-hat against effective sample size. Sizes run from {ess.min():.3g} to {ess.max():.3g}; "
        f"{int(bad.sum())} of {len(bad)} points are above the line at {limit:.2g}."
    )
    return Picture(figure, caption, alt)


def _calibration(table: Table, by_datum: Table) -> Picture:
    sizes = table["num_samples"]
    figure = new_figure(10.5, 4.3)
    left, right = figure.subplots(1, 2)
    for axes, name, factor in ((left, "bias", 1.0), (right, "coverage", 100.0)):
        _each_datum(axes, by_datum, name, factor)
        axes.plot(sizes, factor * np.array(table[name]), "o-", color=BLUE, linewidth=2)
        axes.set_xscale("log")
    left.axhline(0.0, color=BLACK, linewidth=1)
    _open_up(left)
    right.axhline(95.0, color=BLACK, linewidth=1, linestyle="--")
    bias, coverage = table["bias"][-1], 100 * table["coverage"][-1]
    dress(
        left, f"{sizes[-1]:,} samples: {nats(bias)} nats of bias", "samples K",
        "mean error of log p(x), nats (grey: one datum)",
    )  # fmt: skip
    dress(
        right, f"95 % intervals hold the truth in {coverage:.0f} %", "samples K",
        "coverage, % (grey: one datum)",
    )  # fmt: skip
    right.set_ylim(min(80.0, right.get_ylim()[0]), 102.0)
    count = len(set(by_datum["index"]))
    caption = (
        f"Errors of estimates of log p(x) from q, over many repeats, for {count} data. With {sizes[-1]:,} "
        f"samples they are off by {nats(bias)} nats on average, and 95 % intervals hold the truth in "
        f"{coverage:.1f} %."
    )
    alt = (
        f"Two panels over the number of samples: the mean error, {nats(table['bias'][0])} nats at "
        f"{sizes[0]:,} and {nats(bias)} at {sizes[-1]:,}; and the coverage, "
        f"{100 * table['coverage'][0]:.0f} and {coverage:.0f} %."
    )
    return Picture(figure, caption, alt)


def _open_up(axes: Axes) -> None:
    """Do not blow up rounding where all differences are 0."""
    if max(map(abs, axes.get_ylim())) < 1e-6:
        axes.set_ylim(-1e-3, 1e-3)


def _each_datum(axes: Axes, table: Table, name: str, factor: float) -> None:
    """A grey line for each datum."""
    index, sizes, values = (np.array(table[column]) for column in ("index", "num_samples", name))
    for n in np.unique(index):
        axes.plot(sizes[index == n], factor * values[index == n], color="#CCCCCC", linewidth=0.8)


def _cost(table: Table) -> Picture:
    steps, seconds = table["step"][::-1], np.maximum(table["seconds"][::-1], 1e-4)
    figure = new_figure(9.0, 1.2 + 0.4 * len(steps))
    axes = figure.subplots()
    axes.barh(np.arange(len(steps)), seconds, color=BLUE, height=0.6)
    for height, value in enumerate(seconds):
        label_line(axes, value, height, f"{value:.2g} s", BLACK)
    axes.set_xscale("log")
    axes.set_xlim(min(1e-3, seconds.min()), 4 * seconds.max())
    axes.set_yticks(np.arange(len(steps)), steps)
    slowest = steps[int(np.argmax(seconds))]
    title = f"{slowest} takes longest: {seconds.max():.2g} of {seconds.sum():.2g} s"
    dress(axes, title, "seconds", "")
    axes.grid(False, axis="y")
    caption = (
        f"Seconds of each step of this report, with what had to be compiled. The longest is {slowest}, with "
        f"{seconds.max():.2g} of {seconds.sum():.2g} s."
    )
    listed = ", ".join(
        f"{step} {value:.2g} s" for step, value in zip(table["step"], seconds[::-1], strict=True)
    )
    return Picture(figure, caption, f"Bars: {listed}.", timed=True)
