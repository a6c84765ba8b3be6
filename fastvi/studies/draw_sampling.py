"""Pictures of the sampling study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvi.studies.result import StudyResult, Table
from fastvi.studies.sampling import PROPOSALS
from fastvi.studies.style import BLUE, GREY, ORANGE, RED, dress, label_line, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = dict(zip(PROPOSALS, (RED, ORANGE, BLUE), strict=True))


def figures(result: StudyResult) -> dict[str, Figure]:
    """``error``: against K and against d. ``diagnosis``: effective sample size and Pareto k."""
    return {"error": _error(result), "diagnosis": _diagnosis(result)}


def _lines(axes: Axes, table: Table, x: str, y: str, scale: float = 1.0) -> None:
    """One line a proposal, labelled at its end."""
    for proposal in PROPOSALS:
        points = [
            (a, scale * b)
            for name, a, b in zip(table["proposal"], table[x], table[y], strict=True)
            if name == proposal
        ]
        axes.plot(*zip(*points, strict=True), "o-", color=_COLORS[proposal], markersize=4.5, linewidth=2)
        label_line(axes, *points[-1], proposal, _COLORS[proposal])


def _room(axes: Axes, table: Table, x: str) -> None:
    """Space at the right for the labels of the lines."""
    low, high = min(table[x]), max(table[x])
    if axes.get_xscale() == "log":
        axes.set_xlim(right=high * (high / low) ** 0.22)
    else:
        axes.set_xlim(right=high + 0.22 * max(high - low, 1))


def _mark_states(axes: Axes, table: Table) -> None:
    states = 2 ** table["num_latents"][0]
    axes.axvline(states, color=GREY, linewidth=1, linestyle="--")
    axes.annotate(
        f"2^{table['num_latents'][0]} = {states:,}:\nthe exact sum\ncosts no more", (states, 1.0),
        xycoords=("data", "axes fraction"), xytext=(4, -4), textcoords="offset points", va="top",
        fontsize=8.5, color=GREY,
    )  # fmt: skip


def _error(result: StudyResult) -> Figure:
    by_samples, by_latents = result.table("by_samples"), result.table("by_latents")
    figure = new_figure(12, 4.8)
    left, right = figure.subplots(1, 2)
    left.set_xscale("log")
    left.set_yscale("log")
    _lines(left, by_samples, "num_samples", "mean_abs_error")
    _mark_states(left, by_samples)
    need = _samples_for(by_samples, "uniform"), _samples_for(by_samples, "learned q")
    title = "A learned q needs far fewer samples than the prior or uniform draws"
    if None not in need:
        title = f"Within 0.1 nats: {need[1]:,} samples from a learned q, {need[0]:,} from uniform draws"
    dress(left, title, "samples K", "mean |error| of log p(x), nats")
    _room(left, by_samples, "num_samples")

    right.set_yscale("log")
    _lines(right, by_latents, "num_latents", "mean_abs_error")
    num_samples = by_latents["num_samples"][0]
    last = [e for p, e in zip(by_latents["proposal"], by_latents["mean_abs_error"], strict=True) if p == "uniform"]
    title = f"K = {num_samples:,}: uniform draws err by {last[0]:.2g} nats at d = {by_latents['num_latents'][0]}"
    dress(
        right,
        f"{title}, by {last[-1]:.2g} at d = {by_latents['num_latents'][-1]}",
        "latents d",
        "mean |error| of log p(x), nats",
    )
    right.set_xticks(sorted(set(by_latents["num_latents"])))
    _room(right, by_latents, "num_latents")
    return figure


def _samples_for(table: Table, proposal: str) -> int | None:
    """The fewest samples, of those tried, with a mean error of at most 0.1 nats."""
    for name, num, error in zip(table["proposal"], table["num_samples"], table["mean_abs_error"], strict=True):
        if name == proposal and error <= 0.1:
            return int(num)
    return None


def _diagnosis(result: StudyResult) -> Figure:
    table = result.table("by_samples")
    figure = new_figure(12, 4.4)
    axes = figure.subplots(1, 3)
    for part in axes:
        part.set_xscale("log")
    axes[0].set_yscale("log")
    _lines(axes[0], table, "num_samples", "mean_ess")
    axes[0].plot(table["num_samples"], table["num_samples"], ":", color=GREY)
    middle = sorted(set(table["num_samples"]))[len(set(table["num_samples"])) // 2]
    label_line(axes[0], middle, middle, "independent draws\nfrom the posterior", GREY, xytext=(-6, 8), ha="right", fontsize=8.5)
    dress(axes[0], "Few uniform samples count", "samples K", "effective sample size")
    _lines(axes[1], table, "num_samples", "bias")
    axes[1].axhline(0.0, color=GREY, linewidth=1)
    dress(axes[1], "Too few samples: too low, never too high", "samples K", "mean error of log p(x), nats")
    _lines(axes[2], table, "num_samples", "share_pareto_k_above_0.7", scale=100.0)
    axes[2].set_ylim(-3, 103)
    dress(axes[2], "Pareto k tells which estimates not to trust", "samples K", "estimates with k > 0.7, %")
    for part in axes:
        _room(part, table, "num_samples")
    return figure
