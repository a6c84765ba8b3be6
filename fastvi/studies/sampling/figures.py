"""Pictures of the sampling study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvi.studies.common.result import StudyResult, Table
from fastvi.studies.common.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    dress,
    label_ends,
    label_line,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# learned q: the factorised one of smallest KL(q || posterior); defensive q: a mixture of it and the prior;
# covering q: a mixture of the prior and the factorised one of smallest KL(posterior || q), of exact means
PROPOSALS = ("uniform", "prior", "learned q", "defensive q", "covering q")
_COLORS = dict(zip(PROPOSALS, (RED, ORANGE, BLUE, GREEN, PURPLE), strict=True))
_TINY = 1e-12  # a logarithmic axis shows no error of 0


def figures(result: StudyResult) -> dict[str, Figure]:
    """Three pictures.

    ``error``: against K, and the relative variance of one weight against d. ``diagnosis``: what an estimate
    says about itself. ``log_partition``: annealed importance sampling against the number of temperatures.
    """
    return {
        "error": _error(result),
        "diagnosis": _diagnosis(result),
        "log_partition": _log_partition(result.table("ais_log_partition")),
    }


def _series(table: Table, proposal: str, x: str, y: str) -> list[tuple[float, float]]:
    columns = zip(table["proposal"], table[x], table[y], strict=True)
    return [(a, b) for name, a, b in columns if name == proposal]


def _lines(
    axes: Axes,
    table: Table,
    x: str,
    y: str,
    *,
    scale: float = 1.0,
    style: str = "o-",
    label_start: bool = False,
) -> None:
    """One line a proposal, labelled at its end, with space for the labels."""
    ends = []
    for proposal in PROPOSALS:
        points = [(a, scale * b) for a, b in _series(table, proposal, x, y) if np.isfinite(b)]
        if axes.get_yscale() == "log":
            points = [(a, max(b, _TINY)) for a, b in points]
        if not points:
            continue
        color = _COLORS[proposal]
        axes.plot(*zip(*points, strict=True), style, color=color, markersize=4.5, linewidth=2)
        ends.append((*points[-1], proposal, color))
    low, high = min(table[x]), max(table[x])
    if axes.get_xscale() == "log":
        axes.set_xlim(right=high * (high / low) ** 0.27)
    else:
        axes.set_xlim(right=high + 0.25 * max(high - low, 1))
    label_ends(axes, ends)


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
    dress(left, _first_samples(by_samples), "samples K", "root mean square error of log p(x), nats")
    _lines(left, by_samples, "num_samples", "rms_error")
    _mark_states(left, by_samples["num_latents"][0])

    right.set_yscale("log")
    (few, low), *_, (many, high) = _series(by_latents, "uniform", "num_latents", "one_weight_median")
    *_, (_, covering) = _series(by_latents, "covering q", "num_latents", "one_weight_median")
    title = f"Uniform: {low:.2g} at d = {few}, {high:,.3g} at d = {many}; covering q: {covering:.2g}"
    dress(right, title, "latents d", "relative variance of one weight, all states summed")
    for proposal in PROPOSALS:
        points = [
            (a, b) for a, b in _series(by_latents, proposal, "num_latents", "one_weight_largest") if b > 0
        ]
        if points:
            right.plot(*zip(*points, strict=True), ":", color=_COLORS[proposal], linewidth=1.2)
    right.set_xticks(sorted(set(by_latents["num_latents"])))
    _lines(right, by_latents, "num_latents", "one_weight_median")
    note = "solid: median image\ndotted: worst image"
    right.text(0.02, 0.97, note, transform=right.transAxes, fontsize=8.5, color=GREY, va="top")
    return figure


def _first_samples(table: Table) -> str:
    """Text of how many uniform samples do what the fewest samples from a learned q do."""
    fewest, error = _series(table, "learned q", "num_samples", "rms_error")[0]
    enough = [k for k, e in _series(table, "uniform", "num_samples", "rms_error") if e <= error]
    samples = f"{fewest} samples from a learned q err by {error:.2g} nats"
    if enough:
        return f"{samples}; uniform draws need {enough[0]:,}"
    return f"{samples}; {max(table['num_samples']):,} uniform ones by more"


def _diagnosis(result: StudyResult) -> Figure:
    table, images = result.table("by_samples"), result.table("images")
    counts = sorted(set(table["num_samples"]))
    figure = new_figure(12, 8)
    (claims, bias), (coverage, tail) = figure.subplots(2, 2)
    for axes in (bias, coverage, tail):
        axes.set_xscale("log")

    _claims(claims, images)

    bias.axhline(0.0, color=GREY, linewidth=1)
    bias.set_yscale("symlog", linthresh=1e-3)
    ends = ", ".join(f"{_series(table, p, 'num_samples', 'bias')[0][1]:.2g} ({p})" for p in PROPOSALS[:3])
    dress(bias, f"Bias at K = {counts[0]:,}: {ends}", "samples K", "mean error of log p(x), nats")
    # set before the labels are placed; the first tick beyond the largest bias
    bias.set_ylim(-3.0 * max(1e-3, *(abs(v) for v in table["bias"] if np.isfinite(v)), 0.0), 0.3)
    _lines(bias, table, "num_samples", "bias")

    coverage.axhline(95.0, color=GREY, linewidth=1, linestyle=":")
    label_line(coverage, counts[0], 95.0, "95 %", GREY, xytext=(0, 7), fontsize=8.5)
    held = _series(table, "learned q", "num_samples", "coverage")[-1][1]
    title = f"95 % intervals from a learned q hold {held:.0%} at K = {counts[-1]:,}"
    dress(coverage, title, "samples K", "truth within the 95 % interval, %")
    coverage.set_ylim(-3, 118)
    _lines(coverage, table, "num_samples", "coverage", scale=100.0)

    dress(
        tail, "Estimates that Pareto k flags", "samples K", "k too high for K or too few samples to tell, %"
    )
    tail.set_ylim(-3, 118)
    _lines(tail, table, "num_samples", "high_k_share", scale=100.0)
    return figure


def _claims(axes: Axes, images: Table) -> None:
    """Claimed against actual: a point for each image and number of samples."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    numbers = {name: np.array(images[name]) for name in ("std", "std_error")}
    names = np.array(images["proposal"])
    good = np.isfinite(numbers["std"]) & np.isfinite(numbers["std_error"])
    good &= (numbers["std"] > _TINY) & (numbers["std_error"] > _TINY)
    for height, proposal in enumerate(PROPOSALS):
        own = good & (names == proposal)
        axes.plot(
            numbers["std"][own],
            numbers["std_error"][own],
            ".",
            color=_COLORS[proposal],
            markersize=3,
            alpha=0.6,
        )
        axes.text(
            0.03, 0.95 - 0.07 * height, proposal, transform=axes.transAxes, color=_COLORS[proposal], va="top"
        )
    title = "A point for each image, proposal and K"
    if good.any():
        ends = [float(f(numbers["std"][good])) for f in (np.min, np.max)]
        axes.plot(ends, ends, color=BLACK, linewidth=1)
        below = float((numbers["std_error"][good] < 0.5 * numbers["std"][good]).mean())
        title = f"The claim is less than half of the truth at {below:.0%} of the points"
    dress(
        axes,
        title,
        "standard deviation over repeats, nats (a point: image, proposal, K)",
        "mean standard error claimed, nats",
    )


def _log_partition(table: Table) -> Figure:
    columns = {name: np.array(values, dtype=np.float64) for name, values in table.items()}
    counts, exact = columns["num_temperatures"], columns["log_partition"][0]
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xscale("log")
    value, finite = columns["estimate"], np.isfinite(columns["low"])
    width = np.where(finite, value - np.where(finite, columns["low"], value), 0.0)
    left.axhline(exact, color=BLACK, linewidth=1)
    label_line(left, counts[0], exact, "exact", BLACK, xytext=(0, 8), ha="left")
    left.errorbar(counts, value, width, fmt="o", color=BLUE, capsize=3)
    held = int(((columns["low"] <= exact) & (exact <= columns["high"])).sum())
    chains = f"{table['num_chains'][0]:,} chains"
    dress(
        left,
        f"One run each: {held} of {len(counts)} intervals of 95 % hold log Z",
        f"temperatures ({chains})",
        "log Z, nats",
    )
    right.set_yscale("log")
    ends = []
    for name, text, color in (("rms_error", "error", RED), ("std_error", "claimed", BLUE)):
        shown = np.isfinite(columns[name])
        right.plot(counts[shown], np.maximum(columns[name][shown], _TINY), "o-", color=color, linewidth=2)
        if shown.any():
            ends.append((counts[shown][-1], columns[name][shown][-1], text, color))
    right.set_xlim(right=counts[-1] * (counts[-1] / counts[0]) ** 0.2)
    first, last = columns["rms_error"][0], columns["rms_error"][-1]
    dress(
        right,
        f"Root mean square error: {first:.2g} nats at {int(counts[0])}, {last:.2g} at {int(counts[-1]):,}",
        f"temperatures ({chains})",
        "error of log Z, nats",
    )
    label_ends(right, ends)
    return figure
