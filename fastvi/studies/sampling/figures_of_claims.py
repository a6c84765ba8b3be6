"""Pictures of what an estimate says about itself, beside what it is."""

from __future__ import annotations

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import BLACK, GREY, dress, new_figure
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import counted, percent, rounded, unit
from fastvi.studies.sampling.findings import proposals_of
from fastvi.studies.sampling.lines import color_of, explain, lines, series, spoken
from fastvi.studies.sampling.proposals import LEARNED

_TINY = 1e-12  # a logarithmic axis shows no spread of 0


def claims(result: StudyResult, subject: Subject) -> Picture:
    """Claimed against actual: a point for each datum, proposal and number of samples. And the bias."""
    table, images = result.table("by_samples"), result.table("images")
    counts = sorted(set(table["num_samples"]))
    figure = new_figure(13.5, 5.2)
    left, right = figure.subplots(1, 2)
    numbers = {name: np.array(images[name]) for name in ("std", "std_error")}
    names = np.array(images["proposal"])
    good = np.isfinite(numbers["std"]) & np.isfinite(numbers["std_error"])
    good &= (numbers["std"] > _TINY) & (numbers["std_error"] > _TINY)
    left.set_xscale("log")
    left.set_yscale("log")
    for proposal in proposals_of(table):
        own = good & (names == proposal)
        points = numbers["std"][own], numbers["std_error"][own]
        left.plot(*points, ".", color=color_of(proposal), markersize=3, alpha=0.6)
    title = "No estimate varies over repeats"
    if good.any():
        ends = [float(f(numbers["std"][good])) for f in (np.min, np.max)]
        left.plot(ends, ends, color=BLACK, linewidth=1)
        below = float((numbers["std_error"][good] < 0.5 * numbers["std"][good]).mean())
        title = f"The claimed error is less than half of the true spread\nat {percent(below)} of the points"
    dress(
        left,
        title,
        "true spread: standard deviation over repeats, nats",
        f"claimed standard error, nats\n(a point: one {unit(subject)}, proposal and K; line: equal)",
    )
    right.set_xscale("log")
    right.set_yscale("symlog", linthresh=1e-3)
    right.axhline(0.0, color=GREY, linewidth=1)
    worst = min(proposals_of(table), key=lambda name: series(table, name, "num_samples", "bias")[0][1])
    low = series(table, worst, "num_samples", "bias")[0][1]
    dress(
        right,
        (
            f"The log of a mean is too low on average (Jensen):\nby {rounded(-low)} nats for {worst} draws "
            "at "
            f"K = {counts[0]:,}"
        )
        if low < 0
        else f"No estimate is too low on average at K = {counts[0]:,}",
        "draws K",
        f"mean error of log p(x), nats\n({counted(subject)})",
    )
    finite = [abs(v) for v in table["bias"] if np.isfinite(v)]
    top = max([v for v in table["bias"] if np.isfinite(v)] + [1e-3])
    right.set_ylim(-3.0 * max([1e-3, *finite]), 3.0 * top)  # set before the labels are placed
    lines(right, table, "num_samples", "bias")
    explain(figure, proposals_of(table))
    bias = spoken(table, "num_samples", counts[0], "bias")
    caption = (
        f"Left: the standard error that estimates for {counted(subject)} claim against their spread over "
        f"independent repeats; right: their mean error against the number of draws, the colours of both. "
        f"{title.replace(chr(10), ' ')}."
    )
    right_panel = f"mean errors at K = {counts[0]:,}, in nats: {bias}"
    alt = f"Left: a cloud of points about the diagonal. Right: {right_panel}."
    return Picture(figure, caption, alt)


def intervals(result: StudyResult, subject: Subject) -> Picture:
    """Coverage of intervals, and the estimates of which k-hat warns."""
    table = result.table("by_samples")
    names, counts = proposals_of(table), sorted(set(table["num_samples"]))
    most = counts[-1]
    figure = new_figure(13.5, 5.2)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_ylim(-3, 113)  # space for labels of lines that end near 100
    left.axhline(95.0, color=GREY, linewidth=1, linestyle="--")
    left.set_yticks([0, 20, 40, 60, 80, 95])
    right.set_yticks([0, 20, 40, 60, 80, 100])
    name = LEARNED if LEARNED in names else names[-1]
    held = series(table, name, "num_samples", "coverage")[-1][1]
    dress(
        left,
        f"Intervals that promise 95 % hold the truth in {percent(held)}\nof estimates from K = {most:,} "
        f"draws from {name}",
        "draws K",
        f"95 % intervals that hold log p(x), %\n({counted(subject)}; dashed: the promise)",
    )
    lines(left, table, "num_samples", "coverage", scale=100.0)
    flagged = series(table, name, "num_samples", "high_k_share")[-1][1]
    dress(
        right,
        f"Pareto k-hat (Vehtari et al. 2024) warns of {percent(flagged)} of these:\ntheir weights have too "
        "heavy a tail",
        "draws K",
        "estimates with k-hat above\nmin(1 - 1/log10 K, 0.7), or without a fit, %",
    )
    lines(right, table, "num_samples", "high_k_share", scale=100.0)
    explain(figure, names)
    caption = (
        f"Left: share of 95 % intervals that hold the exact log p(x) of {counted(subject)}; right: share of "
        f"estimates of which k-hat, the shape of the weights' tail, warns. With {most:,} draws from {name} "
        f"{percent(held)} hold it, and {percent(flagged)} are warned of."
    )
    alt = (
        f"Lines against the number of draws. Intervals that hold, at K = {most:,}, %: "
        f"{spoken(table, 'num_samples', most, 'coverage', 100.0)}. Warned of, %: "
        f"{spoken(table, 'num_samples', most, 'high_k_share', 100.0)}."
    )
    return Picture(figure, caption, alt)
