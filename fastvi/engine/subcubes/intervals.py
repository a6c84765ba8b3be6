"""Intervals of many data: searches in parts, by an executor, with a checkpoint, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import slices
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.subcubes.covers import Covers, covers_of, joined
from fastvi.engine.subcubes.form import SubcubeForm
from fastvi.engine.subcubes.search import Tree, grow, start

TOGETHER = 8  # data whose searches go on side by side; no result depends on it

Keep = Callable[..., None]


class _Search(NamedTuple):
    """What a part of the data is searched with."""

    form: SubcubeForm
    tolerance: float
    max_bounds: int


class StoppedError(Exception):
    """Ctrl-C came. What is certain of the part that was under way is at hand."""

    def __init__(self, found: Covers) -> None:
        super().__init__("stopped")
        self.found = found


class _Begun(NamedTuple):
    """Trees as arrays, for a checkpoint: numbers of each, and the open subcubes of all."""

    floors: Array
    closed: Array
    ceilings: Array
    counts: Array  # (n, 2): bounds taken, subcubes open
    states: Array
    upper: Array
    logits: Array


def _begun(trees: Sequence[Tree]) -> _Begun:
    return _Begun(
        np.array([tree.floor for tree in trees]),
        np.array([tree.closed for tree in trees]),
        np.array([tree.ceiling for tree in trees]),
        np.array([(tree.num_bounds, tree.upper.size) for tree in trees], np.int64),
        *(np.concatenate([getattr(tree, name) for tree in trees]) for name in ("states", "upper", "logits")),
    )


def _restored(begun: _Begun, search: _Search) -> list[Tree]:
    ends = np.cumsum(begun.counts[:, 1])
    return [
        Tree(
            n, search.tolerance, search.max_bounds, float(begun.floors[n]), float(begun.closed[n]),
            float(begun.ceilings[n]), int(count),
            *(array[end - size : end] for array in (begun.states, begun.upper, begun.logits)),
        )
        for n, ((count, size), end) in enumerate(zip(begun.counts, ends, strict=True))
    ]  # fmt: skip


def _searched(
    search: _Search, terms: Terms, begun: Sequence[Array] | None = None, keep: Keep | None = None
) -> Covers:
    """Search for a part of the data, from the beginning or on from what was ``begun``."""
    form, size = search.form, search.form.num_latents
    if begun is None:
        trees = start(form, terms, search.tolerance, search.max_bounds)
    else:
        trees = _restored(_Begun(*begun), search)
    try:
        grow(form, terms, trees, None if keep is None else lambda: keep(_begun(trees)))
    except KeyboardInterrupt:
        if keep is not None:
            keep(_begun(trees), True)
        raise StoppedError(covers_of(trees, size)) from None
    return covers_of(trees, size)


class Found(NamedTuple):
    """Intervals of data.

    lower, upper : (N,), roundings counted
    covers : of the data; not moved by roundings
    stopped : whether Ctrl-C came before the end; data that were not reached have their roots' bounds
    terms : t(x) and c(x) of the data
    """

    lower: Array
    upper: Array
    covers: Covers
    stopped: bool
    terms: Terms


def intervals(form: SubcubeForm, x: Any, tolerance: float, max_bounds: int, run: Run | None) -> Found:
    """Search for all data ``x``; without a run, which Ctrl-C has ended, their roots' bounds alone."""
    terms = form.terms(x)
    parts = list(slices(len(terms.constant), TOGETHER))
    work = partial(_searched, _Search(form, tolerance, max_bounds))
    found: list[Covers] = []
    stopped = run is None
    if run is not None:
        try:
            for part in run.each(Covers, [terms.part(each) for each in parts], work, _num_data):
                found.append(part)
        except (StoppedError, KeyboardInterrupt) as stop:
            stopped = True
            if isinstance(stop, StoppedError):
                found.append(stop.found)
    if stopped:
        rest = terms.part(slice(TOGETHER * len(found), None))
        found.append(covers_of(start(form, rest, tolerance, max_bounds), form.num_latents))
    covers = joined([covers_of([], form.num_latents), *found])
    # also of the sums over open subcubes: as many roundings as there are terms
    error = form.error(terms) + 2.0**-52 * (np.diff(covers.first) + 4.0)
    lower, upper = covers.lower - error, covers.upper + error
    lower[np.isnan(lower)], upper[np.isnan(upper)] = -np.inf, np.inf  # where the error overflows
    return Found(lower, upper, covers, stopped, terms)


def _num_data(terms: Terms) -> int:
    return len(terms.constant)
