"""Best-first search over subcubes: an interval around log p(x) that is certain at any moment.

The states of a datum are covered by open subcubes, each with an upper bound of its sum, and by closed ones,
whose sums are known. So

    log closed <= log p(x) <= log (closed + sum of the bounds of open ones).

A round takes the open subcubes of the largest bounds. Small ones are summed exactly and closed; others are
split into halves, whose bounds take their place. How many a round takes depends on the datum's own tree
alone, so that its bits are those of any number of threads and of any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.subcubes.form import FREE, SubcubeForm

# subcubes of a round: at least, and one in so many of the open ones
_FEWEST, _SHARE = 32, 8


@dataclass
class Tree:
    """A search of one datum, under way.

    member : which datum
    tolerance : nats between both ends at which it has converged
    max_bounds : subcubes that may be bounded or summed
    floor : ELBO, a lower bound that needs no subcube
    closed : log sum of the states that were summed exactly, -inf of none
    ceiling : the least upper bound that was found
    num_bounds : subcubes that were bounded or summed
    states : (m, f) int8, the open subcubes
    upper : (m,), bounds of their log sums
    logits : (m, f) float32, of their tangent points
    """

    member: int
    tolerance: float
    max_bounds: int
    floor: float
    closed: float
    ceiling: float
    num_bounds: int
    states: Array
    upper: Array
    logits: Array

    def choose(self) -> Array:
        """Indices of the open subcubes of the next round, of the largest bounds first; none at the end."""
        left = self.max_bounds - self.num_bounds
        if self.ceiling == -np.inf or left < 2 or not self.upper.size:
            return np.empty(0, np.int64)
        if self.ceiling - max(self.floor, self.closed) <= self.tolerance:
            return np.empty(0, np.int64)
        order = np.argsort(-self.upper, kind="stable")
        # what is so small that all of it may stay open is not looked at again: the closed sum only grows
        with np.errstate(invalid="ignore"):  # inf - inf, where numbers overflow
            mass = np.exp(np.fmin(self.upper[order] - self.ceiling, 0.0))
        small = np.cumsum(mass[::-1])[::-1] <= 0.5 * self.tolerance * np.exp(self.closed - self.ceiling)
        head = int(np.argmax(small)) if small[-1] else order.size
        return order[: max(1, min(head, max(_FEWEST, order.size // _SHARE), left // 2))]

    def replace(self, gone: Array, states: Array, upper: Array, logits: Array, closed: Array) -> None:
        """Put the children ``states`` and the sums ``closed`` in the place of the subcubes ``gone``."""
        kept = np.ones(self.upper.size, bool)
        kept[gone] = False
        upper = np.where(np.isnan(upper), np.inf, upper)  # where numbers overflow
        possible = upper > -np.inf
        bounds = np.concatenate([self.upper[kept], upper[possible]])
        total = _log_sum([self.closed, *closed])
        # in one step, so that Ctrl-C leaves a tree whole
        vars(self).update(
            states=np.concatenate([self.states[kept], states[possible]]),
            upper=bounds,
            logits=np.concatenate([self.logits[kept], logits[possible].astype(np.float32)]),
            closed=total,
            ceiling=min(self.ceiling, _log_sum([total, *bounds])),
            num_bounds=self.num_bounds + upper.size + closed.size,
        )


def _log_sum(values: Sequence[float]) -> float:
    """Log of the sum of exp, -inf of none."""
    array = np.asarray(values, float)
    largest = float(array.max(initial=-np.inf))
    return largest if not np.isfinite(largest) else largest + float(np.log(np.exp(array - largest).sum()))


def start(form: SubcubeForm, terms: Terms, tolerance: float, max_bounds: int) -> list[Tree]:
    """Trees of the whole cube."""
    roots, size = form.roots(terms), form.num_latents
    return [
        Tree(
            n, tolerance, max_bounds, float(roots.lower[n]), -np.inf, float(roots.upper[n]), 1,
            np.full((1, size), FREE, np.int8), roots.upper[n : n + 1],
            roots.logits[n : n + 1].astype(np.float32),
        )
        for n in range(len(terms.constant))
    ]  # fmt: skip


def grow(
    form: SubcubeForm, terms: Terms, trees: Sequence[Tree], after_round: Callable[[], None] | None = None
) -> None:
    """Search on in ``trees`` until each has converged or has used up its bounds.

    Ctrl-C leaves each tree whole, after one of its rounds.
    """
    while True:
        chosen = [(tree, tree.choose()) for tree in trees]
        chosen = [(tree, which) for tree, which in chosen if which.size]
        if not chosen:
            return
        _round(form, terms, chosen)
        if after_round is not None:
            after_round()


def _round(form: SubcubeForm, terms: Terms, chosen: Sequence[tuple[Tree, Array]]) -> None:
    members = np.concatenate([np.full(which.size, tree.member) for tree, which in chosen])
    states = np.concatenate([tree.states[which] for tree, which in chosen])
    logits = np.concatenate([tree.logits[which] for tree, which in chosen]).astype(float)
    leaf = (states == FREE).sum(axis=1) <= form.leaf_bits
    sums = form.leaves(terms, members[leaf], states[leaf])
    split, below = states[~leaf], form.expand(terms, members[~leaf], states[~leaf], logits[~leaf])
    halves = np.repeat(split[:, None], 2, axis=1)
    rows = np.arange(len(split))
    for value in (0, 1):
        halves[rows, value, below.bit] = value
    num_sums = num_split = 0
    for tree, which in chosen:
        mine = leaf[num_sums + num_split : num_sums + num_split + which.size]
        a, b = num_sums + int(mine.sum()), num_split + int((~mine).sum())
        part = slice(num_split, b)
        # a half has no larger sum than the whole; its own bound may be worse than the whole's
        upper = np.minimum(below.upper[part], tree.upper[which[~mine]][:, None])
        tree.replace(
            which, halves[part].reshape(-1, form.num_latents), upper.ravel(),
            below.logits[part].reshape(-1, form.num_latents), sums[num_sums:a],
        )  # fmt: skip
        num_sums, num_split = a, b
