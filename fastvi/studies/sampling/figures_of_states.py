"""Pictures of the states that carry p(x), and of those that a learned q leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import BLACK, BLUE, GREY, PURPLE, RED, dress, new_figure, whole_ticks
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import counted, percent, rounded, unit
from fastvi.studies.sampling.important import FACTOR, key, median_datum, worst_datum
from fastvi.studies.sampling.lines import color_of, explain
from fastvi.studies.sampling.proposals import LEARNED, PRIOR, UNIFORM

_LEAST = 1e-12  # of p(z | x): smaller ones are not drawn


def important_states(result: StudyResult, subject: Subject) -> Picture:
    """Where draws fall on the scale of log p(x, z), of the median datum; and how many states matter."""
    states, table = result.table("states"), result.table("log_joint")
    n = median_datum(dict(states))
    needed, total = states["states_for_99_percent"], states["num_states"][0]
    truth = float(states["log_marginal"][n])
    figure = new_figure(13.5, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1.0))
    edges = np.array([*table["low"], table["high"][-1]])
    peaks = []
    for name in (UNIFORM, PRIOR, LEARNED):
        if key(name) in table:
            shares = 100.0 * np.array(table[key(name)])
            left.stairs(shares, edges, color=color_of(name), linewidth=1.8, fill=False)
            left.stairs(shares, edges, color=color_of(name), alpha=0.15, fill=True)
            peak = int(shares.argmax())
            peaks.append((name, float(edges[peak : peak + 2].mean()), float(shares[peak])))
    left.axvline(truth, color=BLACK, linewidth=1.5)
    left.set_yscale("log")
    left.set_ylim(0.03, 300.0)
    left.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    span = max(edges[-1], truth) - edges[0]
    left.set_xlim(edges[0] - 0.03 * span, max(edges[-1], truth) + 0.05 * span)
    for name, place, height in peaks:
        side = place > edges[0] + 0.75 * span
        left.annotate(
            name, (place, height), xytext=(-6 if side else 0, 4), textcoords="offset points",
            ha="right" if side else "center", va="bottom", color=color_of(name), fontsize=10,
        )  # fmt: skip
    left.annotate(
        "log p(x)", (truth, 1.0), xycoords=("data", "axes fraction"), xytext=(-5, -4),
        textcoords="offset points", ha="right", va="top", fontsize=10, color=BLACK,
    )  # fmt: skip
    uniform = states[f"drawn_by_{key(UNIFORM)}"][n]
    met = percent(uniform)
    title = f"99 % of p(x) is in {needed[n]:,} of {total:,} states (median {unit(subject)}):"
    told = f"{met} of uniform draws meet one{_told(states, n)}"
    dress(
        left,
        f"{title}\n{told}",
        "log p(x, z) of a drawn state z, nats (first bin: and lower)",
        "draws, % (logarithmic)",
    )
    counts = np.sort(needed)
    right.plot(np.arange(1, len(counts) + 1), counts, "o-", color=BLUE, markersize=4)
    right.set_yscale("log")
    right.set_ylim(0.8, 1.3 * total)
    right.axhline(total, color=GREY, linewidth=1)
    right.annotate(
        f"all {total:,}", (1.0, total), xycoords=("axes fraction", "data"), xytext=(5, 0),
        textcoords="offset points", va="center", fontsize=9.5, color=GREY,
    )  # fmt: skip
    dress(
        right,
        f"{counts[0]:,} to {counts[-1]:,} of {total:,} states\nhave 99 % of p(x)",
        f"{counted(subject)}, sorted",
        "fewest states with 99 % of p(x)",
    )
    caption = (
        "Left: how often draws of z under each distribution reach a log p(x, z), in the limit of many "
        f"draws; right: the fewest states that have 99 % of p(x), for each of {counted(subject)}. {title} "
        f"{told}."
    )
    alt = (
        f"Left: histograms, those of {', '.join(name for name, *_ in peaks)} peaking at "
        f"{', '.join(f'{place:.0f}' for _, place, _ in peaks)} nats, and a line at log p(x) = {truth:.1f}. "
        f"Right: points that rise from {counts[0]:,} to {counts[-1]:,} of {total:,} states."
    )
    return Picture(figure, caption, alt)


def _told(states: Any, n: int) -> str:
    column = f"drawn_by_{key(LEARNED)}"
    return f", {percent(states[column][n])} of learned q's" if column in states else ""


def left_out(result: StudyResult, subject: Subject) -> Picture:
    """Each state's posterior probability against its proposal's, of the datum of the largest variance."""
    states, arrays = dict(result.table("states")), result.arrays["left_out"]
    n = worst_datum(states)
    figure = new_figure(13.5, 5.6)
    panels = figure.subplots(1, 2, sharey=True)
    share, part = states["left_out"][n], states["worst_state_share"][n]
    p, q = states["worst_state_posterior"][n], states["worst_state_q"][n]
    mixture = str(arrays["mixture"])
    log_p = np.asarray(arrays["log_posterior"])
    shown = log_p > np.log(_LEAST)
    floor = max(float(log_p.min()), np.log(_LEAST)) / np.log(10)
    low = min(float(np.asarray(arrays[name])[shown].min()) for name in ("log_learned_q", "log_mixture"))
    for axes, name, color in zip(panels, ("log_learned_q", "log_mixture"), (BLUE, PURPLE), strict=True):
        log_q = np.asarray(arrays[name])
        # exponents, as the smallest probabilities may lie below the range of floats
        axes.plot(
            log_p[shown] / np.log(10), log_q[shown] / np.log(10), ".", color=color, markersize=5, alpha=0.6
        )
        axes.plot([floor, 0], [floor, 0], color=BLACK, linewidth=1)
        axes.set_ylim(1.2 * min(low / np.log(10), floor), 0.5)
        for axis in (axes.xaxis, axes.yaxis):
            whole_ticks(axis)
            axis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
    first, second = panels
    variance, other = (states[f"one_weight_{key(name)}"][n] for name in (LEARNED, mixture))
    one = unit(subject)
    dress(
        first,
        f"{_what_is_left_out(share)}:\nthe relative variance of a weight is {rounded(variance)}",
        f"posterior probability p(z|x) of a state (worst {one}; line: equal)",
        "q(z) of the same state",
    )
    if share > 0:
        place = (
            log_p[states["worst_state"][n]] / np.log(10),
            arrays["log_learned_q"][states["worst_state"][n]] / np.log(10),
        )
        first.plot(*place, "o", color=RED, markersize=8, fillstyle="none")
        first.annotate(
            f"this state alone makes\n{percent(part)} of the variance", place, xytext=(0.98, 0.03),
            textcoords="axes fraction", ha="right", va="bottom", color=RED, fontsize=9.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2.0},
            arrowprops={"arrowstyle": "-", "color": RED, "linewidth": 0.8, "shrinkB": 5},
        )  # fmt: skip
    dress(
        second,
        f"{mixture}:\nthe relative variance of a weight is {rounded(other)}",
        f"posterior probability p(z|x) of a state (the same {one})",
        "",
    )
    explain(figure, [LEARNED, mixture])
    caption = (
        f"Probability of each state z of the worst {one} under the exact posterior and under what is drawn "
        f"from: left the learned q, right {mixture}. To states with {percent(share)} of p(z|x) the learned q "
        f"gives less than a {FACTOR}th of it, and one weight has the relative variance {rounded(variance)} "
        f"against {rounded(other)}."
    )
    alt = (
        "Two clouds of points about a diagonal, one point a state; those below it are drawn too seldom. The "
        f"marked point at the left has p(z|x) = {p:.2g} and q(z) = {q:.2g}."
    )
    return Picture(figure, caption, alt)


def _what_is_left_out(share: float) -> str:
    if share == 0:
        return f"Learned q gives every state more than a {FACTOR}th of p(z|x)"
    return f"Learned q gives states with {percent(share)} of p(z|x) less than a {FACTOR}th of it"
