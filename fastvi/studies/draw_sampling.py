"""Pictures of the sampling study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvi.studies.result import StudyResult, Table
from fastvi.studies.sampling import PROPOSALS
from fastvi.studies.style import BLUE, GREY, ORANGE, RED, dress, label_ends, label_line, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = dict(zip(PROPOSALS, (RED, ORANGE, BLUE), strict=True))


def figures(result: StudyResult) -> dict[str, Figure]:
    """``error``: against K and against d. ``diagnosis``: what an estimate says about itself, against K."""
    return {"error": _error(result), "diagnosis": _diagnosis(result)}


def _series(table: Table, proposal: str, x: str, y: str) -> list[tuple[float, float]]:
    columns = zip(table["proposal"], table[x], table[y], strict=True)
    return [(a, b) for name, a, b in columns if name == proposal]


def _lines(
    axes: Axes, table: Table, x: str, y: str, *, scale: float = 1.0, label_start: bool = False
) -> None:
    """One line a proposal, labelled at its end (with space for the labels) or at its start."""
    ends = []
    for proposal in PROPOSALS:
        points = [(a, scale * b) for a, b in _series(table, proposal, x, y)]
        color = _COLORS[proposal]
        axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=4.5, linewidth=2)
        if label_start:
            label_line(axes, *points[0], proposal, color, xytext=(-8, 0), ha="right")
        ends.append((*points[-1], proposal, color))
    low, high = min(table[x]), max(table[x])
    if label_start:
        axes.set_xlim(left=low * (low / high) ** 0.24)
        return
    if axes.get_xscale() == "log":
        axes.set_xlim(right=high * (high / low) ** 0.24)
    else:
        axes.set_xlim(right=high + 0.22 * max(high - low, 1))
    label_ends(axes, ends)


def _medians(axes: Axes, table: Table, x: str) -> None:
    """Thin dashed lines, where a median is above 0."""
    for proposal in PROPOSALS:
        points = [(a, b) for a, b in _series(table, proposal, x, "median_abs_error") if b > 0]
        if points:
            axes.plot(*zip(*points, strict=True), "--", color=_COLORS[proposal], linewidth=1)


def _mark_states(axes: Axes, num_latents: int) -> None:
    axes.axvline(2**num_latents, color=GREY, linewidth=1, linestyle=":")
    axes.annotate(
        f"2^{num_latents} = {2**num_latents:,}:\nthe exact sum has\nno more terms", (2**num_latents, 1.0),
        xycoords=("data", "axes fraction"), xytext=(4, -4), textcoords="offset points", va="top",
        fontsize=8.5, color=GREY,
    )  # fmt: skip


def _error(result: StudyResult) -> Figure:
    by_samples, by_latents = result.table("by_samples"), result.table("by_latents")
    figure = new_figure(13, 5)
    left, right = figure.subplots(1, 2)
    left.set_xscale("log")
    left.set_yscale("log")
    _medians(left, by_samples, "num_samples")
    dress(left, _first_samples(by_samples), "samples K", "error of log p(x), nats")
    _lines(left, by_samples, "num_samples", "mean_abs_error")
    _mark_states(left, by_samples["num_latents"][0])
    note = "solid: mean |error|\ndashed: median"
    left.text(0.02, 0.03, note, transform=left.transAxes, fontsize=8.5, color=GREY)

    right.set_yscale("log")
    _medians(right, by_latents, "num_latents")
    (few, low), *_, (many, high) = _series(by_latents, "uniform", "num_latents", "mean_abs_error")
    title = f"{by_latents['num_samples'][0]:,} uniform samples: {low:.2g} nats off at d = {few}"
    dress(right, f"{title}, {high:.2g} at d = {many}", "latents d", "error of log p(x), nats")
    right.set_xticks(sorted(set(by_latents["num_latents"])))
    _lines(right, by_latents, "num_latents", "mean_abs_error")
    # a median may be 0 but for rounding where d is small
    right.set_ylim(bottom=min(by_latents["mean_abs_error"]) / 5)
    return figure


def _first_samples(table: Table) -> str:
    """How many uniform samples do what the fewest samples from a learned q do."""
    fewest, error = _series(table, "learned q", "num_samples", "mean_abs_error")[0]
    enough = [k for k, e in _series(table, "uniform", "num_samples", "mean_abs_error") if e <= error]
    samples = f"{fewest} samples from a learned q err by {error:.2g} nats"
    if enough:
        return f"{samples}; uniform draws need {enough[0]:,}"
    return f"{samples}; {max(table['num_samples']):,} uniform ones by more"


def _diagnosis(result: StudyResult) -> Figure:
    table = result.table("by_samples")
    counts = sorted(set(table["num_samples"]))
    figure = new_figure(12, 8)
    (worth, bias), (coverage, tail) = figure.subplots(2, 2)
    for axes in (worth, bias, coverage, tail):
        axes.set_xscale("log")

    worth.set_yscale("log")
    worth.plot(counts, counts, ":", color=GREY)
    middle, text = counts[len(counts) // 2], "draws from\nthe posterior"
    label_line(worth, middle, middle, text, GREY, xytext=(-8, 8), ha="right", fontsize=8.5)
    size = _series(table, "uniform", "num_samples", "mean_ess")[-1][1]
    title = f"{counts[-1]:,} uniform samples are worth {size:,.2g}"
    dress(worth, title, "samples K", "effective sample size")
    _lines(worth, table, "num_samples", "mean_ess")

    bias.axhline(0.0, color=GREY, linewidth=1)
    dress(bias, "Too few samples: log p(x) comes out too low", "samples K", "mean error of log p(x), nats")
    _lines(bias, table, "num_samples", "bias", label_start=True)

    name = "share_within_2_std_errors"
    coverage.axhline(95.0, color=GREY, linewidth=1, linestyle=":")
    label_line(coverage, counts[0], 95.0, "95 %", GREY, xytext=(0, 7), fontsize=8.5)
    held = _series(table, "learned q", "num_samples", name)[-1][1]
    title = f"Stated errors hold for {held:.0%} of the estimates from a learned q"
    dress(coverage, title, "samples K", "truth within 2 standard errors, %")
    coverage.set_ylim(-3, 105)
    _lines(coverage, table, "num_samples", name, scale=100.0)

    dress(tail, "Estimates that Pareto k flags", "samples K", "k > 0.7 or too few samples to tell, %")
    tail.set_ylim(-3, 105)
    _lines(tail, table, "num_samples", "share_pareto_k_above_0.7", scale=100.0)
    return figure
