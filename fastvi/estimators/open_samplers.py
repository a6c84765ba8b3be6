"""Samplers of what ``log_marginal_bounds`` left open."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.engine.importance.jobs import Sampler, Source
from fastvi.engine.subcubes.form import TangentForm
from fastvi.engine.subcubes.open_subcubes import OpenTarget, open_mixtures, where_open
from fastvi.estimators.sampling_run import Part, certain
from fastvi.exact.bounds import Bounds, OpenSubcubes, marks_of
from fastvi.inputs.data import Group, groups_of, read_data
from fastvi.rules.base import Rules, log_probabilities
from fastvi.rules.questions import LOG_MARGINAL_BOUNDS

_ROUNDING = 1e-8  # relative, of numbers by which data are known again, on whatever machine


def open_samplers(
    rules: Rules, x: Any, observed: Any, bounds: Bounds, seed: int, num_samples: int, dtype: str
) -> tuple[int, Iterator[Sampler], list[Part]]:
    """Return the number of data, samplers of those that have open subcubes, and the others' log p(x)."""
    if LOG_MARGINAL_BOUNDS not in rules.questions:
        rules.subcube_form(rules.everything)  # which says why not
    if not rules.samples_open_subcubes:
        raise TypeError(
            "proposal must be a distribution where model is no network, sparse coding or Boltzmann machine, "
            f"got {validation.shown(bounds)} of a {type(rules.model).__name__}"
        )
    data, mask = read_data(rules, x, observed)
    if len(bounds.lower) != len(data):
        raise ValueError(f"proposal must be bounds of as many data as x has, {len(data)}, got {bounds!r}")
    left = {group.observed.tobytes(): group for group in bounds._open}  # noqa: SLF001 (no public name)
    samplers: list[Iterator[Sampler]] = []
    closed: list[Part] = []

    def add(members: np.ndarray, values: np.ndarray) -> None:
        known = log_probabilities(values) if rules.is_probability else values
        closed.append(certain(members, known, num_samples))

    for group in groups_of(rules, data, mask):
        if group.free.size == 0 or rules.is_closed(group.observed):
            add(group.members, rules.closed_form(group.x, group.observed))
            continue
        form: Any = rules.subcube_form(group.observed)  # a TangentForm
        own = _own(form, group, left.get(group.observed.tobytes()), bounds)
        covers, is_open = where_open(own.covers)
        known = np.flatnonzero(~is_open)
        add(group.members[known], own.covers.closed[known])
        some = np.flatnonzero(is_open)
        if some.size:
            part = group._replace(members=group.members[some], x=np.ascontiguousarray(group.x[some]))
            samplers.append(_samplers(rules, form, part, covers.take(some), seed, num_samples, dtype))
    return len(data), (sampler for each in samplers for sampler in each), closed


def _own(form: TangentForm, group: Group, left: OpenSubcubes | None, bounds: Bounds) -> OpenSubcubes:
    """Return what was left open of a group's data, in their order."""
    if left is not None:
        order = np.argsort(left.members, kind="stable")
        left = left._replace(
            members=left.members[order], marks=left.marks[order], covers=left.covers.take(order)
        )
        same = np.array_equal(left.members, group.members) and np.array_equal(
            left.latents, group.free[form.order]
        )
        if same and np.allclose(
            left.marks, marks_of(form.terms(group.x)), _ROUNDING, _ROUNDING, equal_nan=True
        ):
            return left
    raise ValueError(
        f"proposal must be bounds of this model and of these data (x, observed), got {bounds!r} of others"
    )


def _samplers(
    rules: Rules, form: TangentForm, group: Group, covers: Any, seed: int, num_samples: int, dtype: str
) -> Iterator[Sampler]:
    build = partial(rules.kept_target, group.observed, num_samples * group.num_data, dtype=dtype)
    source = Source(partial(OpenTarget, build))
    terms = form.terms(group.x)
    for some, mixture in open_mixtures(form, terms, covers, group.members, seed, num_samples):
        yield Sampler(source, group.x[some], group.members[some], mixture, seed)
