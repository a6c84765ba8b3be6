"""How far a search over subcubes comes, told by a short one on this machine."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from fastvi.core.limits import MAX_BOUNDS, TOLERANCE
from fastvi.engine.subcubes.form import SubcubeForm
from fastvi.engine.subcubes.intervals import TOGETHER
from fastvi.engine.subcubes.search import grow, start
from fastvi.rules.base import NO_DATA, Rules

_BOUNDS = 1000  # of the short search


class SearchPlan(NamedTuple):
    """Of one datum.

    first_gap, gap : nats between both ends at first, and at the end of the short search
    num_bounds : subcubes that were bounded or summed
    seconds : that it took
    num_latents : which are free
    """

    first_gap: float
    gap: float
    num_bounds: int
    seconds: float
    num_latents: int

    @property
    def predicted_seconds(self) -> float:
        """Return the seconds of a datum; inf where the short search did not close."""
        return self.seconds if self.gap <= TOLERANCE else math.inf

    def bytes(self, num_data: int) -> int:
        """Return what open subcubes may take at most, those under way and those in the result."""
        most, size = MAX_BOUNDS // 2, self.num_latents
        return min(num_data, TOGETHER) * most * (5 * size + 8) + num_data * (most * (size // 4 + 10) + 25)

    @staticmethod
    def tasks(num_data: int) -> int:
        """Return how many tasks an executor gets."""
        return -(-num_data // TOGETHER)


def plan_search(rules: Rules, observed: np.ndarray) -> SearchPlan:
    """Search for a datum that the model draws, or for log Z of a model that has one."""
    form = rules.subcube_partition_form()
    if form is not None:
        return _searched(form, NO_DATA)
    x, _ = rules.check_data(rules.model.sample(1, 0).x, None)
    return _searched(rules.subcube_form(observed), np.ascontiguousarray(x[:, observed]))


def _searched(form: SubcubeForm, x: np.ndarray) -> SearchPlan:
    terms = form.terms(x)
    grow(form, terms, start(form, terms, TOLERANCE, 8))  # compiled, and tables made
    begin = time.perf_counter()
    trees = start(form, terms, TOLERANCE, _BOUNDS)
    first = trees[0].ceiling - trees[0].floor
    grow(form, terms, trees)
    gap = trees[0].ceiling - max(trees[0].floor, trees[0].closed)
    return SearchPlan(first, gap, trees[0].num_bounds, time.perf_counter() - begin, form.num_latents)
