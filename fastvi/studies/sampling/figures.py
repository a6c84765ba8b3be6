"""Pictures of the sampling study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult, Table
from fastvi.studies.common.style import dress, label_ends, new_figure, whole_ticks
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import counted, rounded, unit
from fastvi.studies.sampling.figure_of_log_partition import log_partition
from fastvi.studies.sampling.figures_of_claims import claims, intervals
from fastvi.studies.sampling.figures_of_states import important_states, left_out
from fastvi.studies.sampling.findings import proposals_of
from fastvi.studies.sampling.important import key
from fastvi.studies.sampling.lines import color_of, explain, lines, series, spoken
from fastvi.studies.sampling.proposals import LEARNED, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figures(result: StudyResult, subject: Subject) -> dict[str, Picture]:
    """Pictures of those tables that there are.

    ``error``: error against K, and the variance of one weight. ``important_states``: what few states matter,
    and who draws them. ``left_out``: why a learned q has a large variance. ``claims`` and ``intervals``: what
    an estimate says about itself. ``log_partition``: annealed importance sampling of log Z.
    """
    found = {}
    if "by_samples" in result.tables:
        found["error"] = _error(result, subject)
        found["important_states"] = important_states(result, subject)
        if "left_out" in result.arrays:
            found["left_out"] = left_out(result, subject)
        found["claims"] = claims(result, subject)
        found["intervals"] = intervals(result, subject)
    if "ais_log_partition" in result.tables:
        found["log_partition"] = log_partition(result.table("ais_log_partition"), subject)
    return found


def _error(result: StudyResult, subject: Subject) -> Picture:
    by_samples = result.table("by_samples")
    figure = new_figure(13.5, 5.2)
    left, right = figure.subplots(1, 2)
    left.set_xscale("log")
    left.set_yscale("log")
    num_latents, counts = by_samples["num_latents"][0], sorted(set(by_samples["num_samples"]))
    said = _first_samples(by_samples)
    dress(
        left,
        said,
        f"draws K of a state z, for d = {num_latents} latents (2^{num_latents} = {2**num_latents:,} states)",
        f"error of log p(x), nats\n(root mean square, {counted(subject)})",
    )
    lines(left, by_samples, "num_samples", "rms_error")
    label = "variance of one weight p(x,z)/q(z)\nover p(x)^2 (Owen 2013), all states summed"
    if "by_latents" in result.tables:
        variance = _by_latents(right, result.table("by_latents"), label, subject)
    else:
        variance = _by_datum(right, result.table("states"), proposals_of(by_samples), label, subject)
    explain(figure, proposals_of(by_samples))
    caption = (
        f"Left: error of sampled log p(x) for {counted(subject)} against the number of draws, on logarithmic "
        f"scales; right: how much a single weight varies. {_sentence(said)}."
    )
    at = spoken(by_samples, "num_samples", counts[-1], "rms_error")
    alt = f"Left: lines of error against draws; at K = {counts[-1]:,}, in nats: {at}. Right: {variance}."
    return Picture(figure, caption, alt)


def _sentence(title: str) -> str:
    return title.replace("\n", " ")


def _by_latents(axes: Axes, table: Table, label: str, subject: Subject) -> str:
    """Solid lines of the median, dotted ones of the worst; returns the values in words."""
    axes.set_yscale("log")
    many = max(table["num_latents"])
    *_, (_, uniform) = series(table, UNIFORM, "num_latents", "one_weight_median")
    *_, (_, learned) = series(table, LEARNED, "num_latents", "one_weight_median")
    if learned > uniform:
        title = f"At d = {many} a weight of learned q varies more than a uniform one,\n"
        title += f"{rounded(learned)} against {rounded(uniform)}: q leaves states out"
    else:
        title = f"At d = {many} one weight has the variance {rounded(learned)} under learned q,\n"
        title += f"{rounded(uniform)} under uniform draws"
    below = f"latents d (solid: median {unit(subject)}; dotted: worst {unit(subject)})"
    dress(axes, title, below, label)
    for proposal in proposals_of(table):
        points = series(table, proposal, "num_latents", "one_weight_largest")
        points = [(a, b) for a, b in points if b > 0]
        if points:
            axes.plot(*zip(*points, strict=True), ":", color=color_of(proposal), linewidth=1.2)
    axes.set_xticks(sorted(set(table["num_latents"])))
    lines(axes, table, "num_latents", "one_weight_median")
    return f"variance of one weight at d = {many}: {spoken(table, 'num_latents', many, 'one_weight_median')}"


def _by_datum(axes: Axes, table: Table, names: list[str], label: str, subject: Subject) -> str:
    """A line a proposal over all data, each sorted by itself."""
    axes.set_yscale("log")
    whole_ticks(axes.xaxis)
    ends: list[tuple[float, float, str, str]] = []
    medians: dict[str, float] = {}
    for name in names:
        values = np.maximum(np.sort(table[f"one_weight_{key(name)}"]), 1e-12)
        medians[name] = float(np.median(values))
        axes.plot(np.arange(1, len(values) + 1), values, "o-", color=color_of(name), markersize=3.5)
        ends.append((len(values), float(values[-1]), name, color_of(name)))
    least = min(medians, key=lambda name: medians[name])
    title = f"A weight varies least under {least}:\n{rounded(medians[least])} for the median {unit(subject)}"
    dress(axes, title, f"{counted(subject)}, from the least to the most variance", label)
    label_ends(axes, ends)
    return "variance of one weight, median: " + ", ".join(f"{n} {rounded(v)}" for n, v in medians.items())


def _first_samples(table: Table) -> str:
    """Text of how many uniform samples do what the fewest samples from a learned q do."""
    names = proposals_of(table)
    name = LEARNED if LEARNED in names else names[-1]
    fewest, error = series(table, name, "num_samples", "rms_error")[0]
    enough = [k for k, e in series(table, UNIFORM, "num_samples", "rms_error") if e <= error]
    samples = f"{fewest} draws from {name} err by {rounded(error)} nats,"
    if enough:
        return f"{samples}\nuniform draws as little only with K = {enough[0]:,}"
    return f"{samples}\n{max(table['num_samples']):,} uniform ones by more"
