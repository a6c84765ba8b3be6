"""Sentences of the sampling study: what its tables show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastvi.estimators.calibration import LOW_K
from fastvi.studies.common.result import Finding, Table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import counted, percent, rounded, unit
from fastvi.studies.sampling.important import FACTOR, key, median_datum, worst_datum
from fastvi.studies.sampling.proposals import LEARNED, PRIOR, UNIFORM


def findings(tables: Mapping[str, Table], subject: Subject, settings: Settings) -> tuple[Finding, ...]:
    """Return the findings of those tables that there are."""
    found: list[str] = []
    if "by_samples" in tables:
        found += [
            *_definitions(tables["by_samples"]),
            *_errors(tables["by_samples"], subject),
            *_states(tables["states"], subject),
            *_variances(tables, subject),
            *_claims(tables["by_samples"]),
        ]
    if "ais_log_partition" in tables:
        found.append(_annealing(tables["ais_log_partition"], settings.ais_num_repeats))
    return tuple(Finding(text) for text in found)


def proposals_of(table: Table) -> list[str]:
    """Names of the proposals in their order."""
    return list(dict.fromkeys(table["proposal"]))


def pick(table: Table, proposal: str, name: str, value: int, column: str) -> Any:
    """One number: that of a proposal in the row where column ``name`` is ``value``."""
    row = list(zip(table["proposal"], table[name], strict=True)).index((proposal, value))
    return table[column][row]


def spoken_wide(names: list[str]) -> str:
    """What the mixtures are mixed with, in words."""
    return "of the prior" if names[-1].endswith(PRIOR) else "of uniform draws"


def _definitions(table: Table) -> list[str]:
    names = proposals_of(table)
    found = []
    if LEARNED in names:
        wide = names[-1].rpartition(" + ")[2]
        mixture = f"nine tenths of it and a tenth {spoken_wide(names)}"
        found.append(
            f"learned q: independent latents, smallest KL(q || p(z|x)); {LEARNED} + {wide}: {mixture}; "
            f"{names[-1]}: the same with the exact posterior means in place of q"
        )
    found.append(
        "ESS, the effective sample size (sum w)^2 / sum w^2 of weights w = p(x,z) / q(z), is the number of "
        "equal weights that are worth as much (Kong 1992)"
    )
    return found


def _errors(table: Table, subject: Subject) -> list[str]:
    counts, num_latents = sorted(set(table["num_samples"])), table["num_latents"][0]
    nearest = min(counts, key=lambda count: abs(math.log(count) - num_latents * math.log(2)))
    parts = ", ".join(
        f"{rounded(pick(table, name, 'num_samples', nearest, 'rms_error'))} ({name})"
        for name in proposals_of(table)
    )
    states = f"2^{num_latents} = {1 << num_latents:,}"
    return [
        f"{counted(subject)}: error (root mean square) of log p(x) from K = {nearest:,} draws, nats: "
        f"{parts}; the exact sum has {states} terms and no error"
    ]


def _states(table: Table, subject: Subject) -> list[str]:
    needed = np.array(table["states_for_99_percent"])
    text = (
        f"99 % of p(x) is in {needed[median_datum(dict(table))]:,} of {table['num_states'][0]:,} states for "
        f"the median {unit(subject)}, at most in {needed.max():,}"
    )
    drawn = {
        name: float(np.median(table[f"drawn_by_{key(name)}"]))
        for name in (UNIFORM, LEARNED)
        if f"drawn_by_{key(name)}" in table
    }
    parts = " and ".join(f"{percent(share)} of draws ({name})" for name, share in drawn.items())
    return [f"{text}; these are met by {parts}"]


def _variances(tables: Mapping[str, Table], subject: Subject) -> list[str]:
    table = tables.get("by_latents", tables["by_samples"])
    sizes = sorted(set(table["num_latents"]))
    texts = []
    for size in sorted({sizes[0], sizes[-1]}):
        parts = ", ".join(
            f"{rounded(pick(table, name, 'num_latents', size, 'one_weight_median'))} ({name})"
            for name in proposals_of(table)
        )
        texts.append(f"d = {size}: {parts}")
    text = (
        f"variance of one weight over p(x)^2, all states summed, median {unit(subject)}: {'; '.join(texts)}"
    )
    return [text, *_left_out(tables["states"], subject)]


def _left_out(table: Table, subject: Subject) -> list[str]:
    """Why the weights of a learned q vary: what it leaves out."""
    if "left_out" not in table:
        return []
    worst = worst_datum(dict(table))
    variance, share, q, p, part = (
        table[name][worst]
        for name in (
            f"one_weight_{key(LEARNED)}", "left_out", "worst_state_q", "worst_state_posterior",
            "worst_state_share",
        )
    )  # fmt: skip
    rule = f"a state is left out by the learned q where it gives less than a {FACTOR}th of p(z|x)"
    median = percent(float(np.median(table["left_out"])))
    outside = (
        f"such states have {median} of p(z|x) for the median {unit(subject)}, {percent(share)} for the worst"
    )
    text = f"{rule}; {outside}, where the variance of one weight is {variance:.2g}"
    if share > 0:
        text += f", {percent(part)} of it from one state of p(z|x) = {p:.2g} and q(z) = {q:.2g}"
    return [text]


def _claims(table: Table) -> list[str]:
    most = max(table["num_samples"])
    names = proposals_of(table)
    held = ", ".join(
        f"{percent(pick(table, name, 'num_samples', most, 'coverage'))} ({name})" for name in names
    )
    found = [f"at K = {most:,} the stated 95 % intervals hold the truth in {held}"]
    parts = [
        f"{percent(pick(table, name, 'num_samples', most, 'low_k_coverage'))} of {percent(share)} ({name})"
        for name in names
        if (share := pick(table, name, "num_samples", most, "low_k_share")) > 0
    ]
    if parts:
        found.append(
            f"the same among estimates with k-hat < {LOW_K}, of the share of all that these are: "
            f"{', '.join(parts)}; k-hat tells how heavy the tail of the weights is, and above 0.7 an "
            "estimate is not to be trusted (Vehtari et al. 2024)"
        )
    return found


def _annealing(table: Table, num_repeats: int) -> str:
    first, last = (
        f"{rounded(table['rms_error'][i])} nats with {table['num_temperatures'][i]:,} "
        f"temperature{'s' if table['num_temperatures'][i] > 1 else ''}"
        for i in (0, -1)
    )
    return (
        f"root mean square error of log Z over {num_repeats} runs of annealed importance sampling (Neal "
        f"2001) with {table['num_chains'][0]} chains: {first}, {last}"
    )
