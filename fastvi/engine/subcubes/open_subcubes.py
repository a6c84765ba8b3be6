"""States drawn from what a search left open: a subcube by its share, then coins by its tangent.

p(x) = C + sum over open subcubes s of S_s, C the sum that is known. A sample draws s with probability pi_s
and z in s from q_s, the product that p(x, z) is bounded by, p(x, z) <= exp(U_s) q_s(z). So with pi_s =
exp(U_s) / R, R the sum of all exp(U_s), the weight p(x, z) / (pi_s q_s(z)) is at most R, and C + weight has
the mean p(x).

Random numbers: u of a subcube is that of a mixture's component, bits are those of a Bernoulli proposal
(``kernels/cpu/random``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import log_probabilities
from fastvi.engine.importance.targets import BinaryTarget, Sampled, Target
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.subcubes.covers import Covers
from fastvi.engine.subcubes.form import TangentForm
from fastvi.kernels.cpu.importance.importance_sampling import pick_rows, sum_bits
from fastvi.kernels.cpu.random.component_draws import pick_components
from fastvi.kernels.cpu.random.draws import draw_states_each, split_seed, thresholds
from fastvi.kernels.cpu.subcubes.open_weights import weigh_open

_LEAST = 2.0**-30  # of all draws, as many from each subcube: none is left out
_GRID = 2.0**53  # of the numbers that pick a subcube
_CHUNK = 1 << 16  # samples whose subcubes are picked together
_TOGETHER = 1 << 20  # logits of data that are sampled together: 40 MiB with thresholds and log q


class OpenMixture(NamedTuple):
    """Subcubes of N data from which some samples are drawn.

    closed : (N,), logs of what was summed exactly
    first : (N + 1,), datum n has the subcubes first[n] ... first[n + 1] - 1
    cumulative : (m,), a sample is of the first of its datum's subcubes with u below this
    log_shares : (m,), log pi
    logits : (m, d), of q; infinite for fixed bits
    """

    closed: Array
    first: Array
    cumulative: Array
    log_shares: Array
    logits: Array

    def part(self, where: slice | Array) -> Self:
        """That of some of the data."""
        own = np.arange(len(self.closed))[where]
        rows = np.concatenate([np.empty(0, np.int64), *(np.arange(*self.first[n : n + 2]) for n in own)])
        first = np.concatenate([[0], np.cumsum(np.diff(self.first)[own])])
        cumulative, log_shares, logits = (array[rows] for array in self[2:])
        return self._replace(
            closed=self.closed[own], first=first, cumulative=cumulative, log_shares=log_shares, logits=logits
        )


def shares(bounds: Array) -> tuple[Array, Array]:
    """Return the cumulative probabilities (m,) of subcubes, multiples of 2^-53, and their logs pi (m,)."""
    finite = np.isfinite(bounds)
    # where a bound overflowed, the largest that did not
    mass = np.exp(np.minimum(bounds - bounds[finite].max(), 0.0)) if finite.any() else np.ones(bounds.size)
    mass = mass / mass.sum() + _LEAST / bounds.size
    sums = np.cumsum(mass)
    cumulative = np.floor(sums * (_GRID / sums[-1])) / _GRID
    cumulative[-1] = 1.0
    with np.errstate(divide="ignore"):
        return cumulative, np.log(np.diff(cumulative, prepend=0.0))


def _picked(cumulative: Array, number: int, seed: int, num_samples: int) -> Array:
    """Return which subcubes the samples 0 ... num_samples - 1 of a datum are drawn from."""
    seen = np.zeros(cumulative.size, bool)
    for part in slices(num_samples, _CHUNK):
        picks = np.empty(part.stop - part.start, np.int64)
        pick_components(cumulative, *split_seed(seed), number, part.start, picks)
        seen[picks] = True
        if seen.all():
            break
    return np.flatnonzero(seen)


def open_mixtures(
    form: TangentForm, terms: Terms, covers: Covers, numbers: Array, seed: int, num_samples: int
) -> Iterator[tuple[slice, OpenMixture]]:
    """Return what the data's samples are drawn from, for some of the data at a time.

    ``numbers`` (N,) are those of the data among all. Each datum has open subcubes of bounds above -inf.
    """
    size, num_data = form.num_latents, len(numbers)
    most = np.cumsum(np.minimum(np.diff(covers.first), num_samples) * size)
    begin = 0
    while begin < num_data:
        before = most[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(most, before + _TOGETHER, side="right")))
        yield slice(begin, end), _mixture(form, terms, covers, numbers, slice(begin, end), seed, num_samples)
        begin = end


def _mixture(
    form: TangentForm, terms: Terms, covers: Covers, numbers: Array, data: slice, seed: int, num_samples: int
) -> OpenMixture:
    def pick(n: int) -> tuple[Array, Array, Array]:
        cumulative, log_shares = shares(covers.bounds[covers.first[n] : covers.first[n + 1]])
        seen = _picked(cumulative, int(numbers[n]), seed, num_samples)
        return covers.states(n, form.num_latents)[seen], cumulative[seen], log_shares[seen]

    found = parallel_map(pick, range(data.start, data.stop), 30.0 * num_samples * (data.stop - data.start))
    states, cumulative, log_shares = (np.concatenate(each) for each in zip(*found, strict=True))
    first = np.concatenate([[0], np.cumsum([len(each[1]) for each in found])])
    members = np.repeat(np.arange(len(found)), np.diff(first))
    fields = form.tangents(terms.part(data), members, states).fields
    logits = np.empty_like(fields)
    logits[:, form.order] = fields
    return OpenMixture(covers.closed[data], first, cumulative, log_shares, logits)


class OpenTarget(Target):
    """log(C + p(x, z) / (pi_s q_s(z))) of states from open subcubes; ``build`` makes that of p(x, z)."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._joint: BinaryTarget = build()

    def bind(self, x: Array, numbers: Array, proposal: OpenMixture, seed: int, part: str) -> _OpenFiller:
        return _OpenFiller(self._joint, x, numbers, proposal, seed)


class _OpenFiller:
    def __init__(
        self, joint: BinaryTarget, x: Array, numbers: Array, mixture: OpenMixture, seed: int
    ) -> None:
        self._joint, self._numbers, self._mixture, self._key = joint, numbers, mixture, split_seed(seed)
        self._terms, self._rest = joint.split(x)
        self._high, self._low = thresholds(mixture.logits)
        self._log_zero, self._log_one = log_probabilities(mixture.logits)

    def fill(self, begin: int, first: int, log_w: Array) -> None:
        for m, row in enumerate(log_w):
            self._fill(begin + m, first, row)

    def _fill(self, n: int, first: int, log_w: Array) -> None:
        joint, mixture, number = self._joint, self._mixture, int(self._numbers[n])
        own, one = slice(mixture.first[n], mixture.first[n + 1]), slice(n, n + 1)
        picks = np.empty(log_w.size, np.int64)
        pick_components(mixture.cumulative[own], *self._key, number, first, picks)
        words = np.empty((1, -(-joint.num_latents // 32), log_w.size), np.int64)
        high, low = (part[own][picks] for part in (self._high, self._low))
        draw_states_each(high, low, *self._key, number, first, words[0])
        rows = np.empty((1, log_w.size * joint.groups.first_bit.size), np.int32)
        pick_rows(words, joint.groups, rows)
        sum_bits(
            rows, joint.groups, self._terms.constant[one], joint.prior_zero[None],
            self._terms.linear[one] + joint.prior_one, np.empty(joint.num_rows), log_w[None],
        )  # fmt: skip
        joint.add(self._rest, Sampled(n, words, rows[0]), log_w)
        weigh_open(
            words[0], picks, mixture.log_shares[own], self._log_zero[own], self._log_one[own],
            float(mixture.closed[n]), log_w,
        )  # fmt: skip


def where_open(covers: Covers) -> tuple[Covers, Array]:
    """Return the covers without subcubes whose sum is 0, and which data have others, (n,) bool."""
    kept = covers.bounds > -np.inf
    counts = np.concatenate([[0], np.cumsum(kept)])
    first = counts[covers.first]
    left = covers._replace(
        first=first, fixed=covers.fixed[kept], ones=covers.ones[kept], bounds=covers.bounds[kept]
    )
    return left, np.diff(first) > 0
