"""A machine that is summed by elimination, as questions ask a form: one wave, whose states are not visited.

A datum enters by its fields alone, so that evidence, means, entropy, mode, draws and second moments are those
of ``machine.py``. A task of an executor, and a step of a checkpoint, is all data of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.elimination.machine import EliminationForm
from fastvi.engine.elimination.order import EliminationPlan
from fastvi.engine.posterior.posteriors import Details
from fastvi.engine.posterior.state_moments import Total, Weights, second_wave, zero_total
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import chunks, slices
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form
from fastvi.engine.states.pair_form import boltzmann_parts, log_joint_of_pairs
from fastvi.engine.states.sums import Moments, Sums
from fastvi.engine.states.tiling import Tiling

PAIR_DATA = 64  # whose second moments are there at a time


class EliminatedDetails(NamedTuple):
    """``Details`` of some data: the most probable state alone, as bits in the form's order."""

    mean: Array  # (N, d)
    pairs: Array  # (N, d, d) or (0, d, d)
    entropy: Array  # (N,)
    log_probs: Array  # (N, 1)
    states: Array  # (N, 1, d) uint8

    @classmethod
    def zero(cls, num_data: int, num_latents: int, *, pairwise: bool) -> EliminatedDetails:
        d = num_latents
        return cls(
            np.zeros((num_data, d)), np.zeros((num_data if pairwise else 0, d, d)), np.zeros(num_data),
            np.zeros((num_data, 1)), np.zeros((num_data, 1, d), np.uint8),
        )  # fmt: skip

    def merge(self, part: EliminatedDetails) -> None:
        for mine, other in zip(self, part, strict=True):
            mine += other


@dataclass(frozen=True, eq=False)
class EliminatedForm(Form):
    """Couplings of the free units, in the model's order; what is linear in them comes with the data."""

    machine: EliminationForm

    tells_masses = True  # draws do not go through all states

    @property
    def num_states(self) -> int:
        return self.machine.plan.num_terms

    @property
    def operations(self) -> int:
        return 2

    @property
    def flush_exponent(self) -> int:
        return -(1 << 20)  # nothing is dropped

    def wave_starts(self) -> range:
        return range(1)

    filled_starts = wave_starts

    def wave_states(self, first: int) -> int:
        return self.num_states

    filled_states = wave_states

    def batch(self, terms: Terms) -> EliminatedBatch:
        return EliminatedBatch(self, terms)

    def log_space_wave(self, terms: Terms, negligible: Array, first: int) -> Sums:
        return self.batch(terms).sums(first)

    def visit_states(
        self, kernel: Any, terms: Terms, shift: Array, first: int, sums: tuple[Array, ...], *,
        most: int | None = None,
    ) -> None:  # fmt: skip
        raise TypeError("no state is visited where units are eliminated")

    def log_joint(self, x: Array, z: Array) -> Array:
        return log_joint_of_pairs(self.machine.couplings, self.centre, self.data.terms(x), z)

    def details(self, x: Array, evidence: Array, top_k: int, run: Run, *, pairwise: bool) -> Details:
        parts = []
        for data in chunks(len(x)):
            terms = self.data.terms(x[data])
            zero = EliminatedDetails.zero(len(terms.constant), self.num_latents, pairwise=pairwise)
            work = partial(_details_wave, self, terms, evidence[data], pairwise)
            parts.append(run.reduce(zero, self.wave_starts(), work, self.wave_states))
        if not parts:
            parts = [EliminatedDetails.zero(0, self.num_latents, pairwise=pairwise)]
        return Details(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def samples(self, x: Array, numbers: Array, num: int, seed: int) -> Array:
        fields = self.data.terms(x).linear
        out = np.empty((len(x), num, self.num_latents), np.uint8)
        for n in range(len(x)):
            out[n] = self.machine.samples(fields[n : n + 1], num, seed, int(numbers[n]))[:, 0]
        return out


def _details_wave(
    form: EliminatedForm, terms: Terms, evidence: Array, pairwise: bool, first: int
) -> EliminatedDetails:
    fields, machine = terms.linear, form.machine
    found, (states, log_weights) = machine.moments(fields), machine.modes(fields)
    pairs = machine.all_pairs(fields) if pairwise else np.zeros((0, *[form.num_latents] * 2))
    with np.errstate(invalid="ignore"):  # of data that are impossible
        log_probs = log_weights + terms.constant - evidence
    return EliminatedDetails(found.mean, pairs, found.entropy, log_probs[:, None], states[:, None])


class EliminatedBatch(Batch):
    """Data of one chunk."""

    def sums(self, first: int) -> Sums:
        return self._sums(self.form.machine.log_sums(self.terms.linear))

    def _sums(self, log_sums: Array) -> Sums:
        value = log_sums + self.terms.constant
        return Sums(value, (value > -np.inf).astype(np.float64), np.full(len(value), -np.inf))

    def moments(self, first: int) -> Moments:
        found = self.form.machine.moments(self.terms.linear)
        value, total, _ = self._sums(found.log_sums)
        return Moments(value, total, value.copy(), found.mean)


@second_wave.register
def pairs_wave(batch: EliminatedBatch, weights: Weights, first: int) -> Total:
    """Second moments of all pairs, weighted."""
    found = zero_total(batch.form)
    for data in slices(batch.num_data, PAIR_DATA):
        pairs = batch.form.machine.all_pairs(batch.terms.linear[data])
        found.values[...] += np.einsum("n,nij->ij", weights.in_products[data], pairs)
    return found


@zero_total.register
def _(form: EliminatedForm) -> Total:
    return Total(np.zeros((form.num_latents, form.num_latents)), np.zeros(0))


def eliminated_machine(
    couplings: Array, bias: Array, observed: Array, plan: EliminationPlan
) -> EliminatedForm:
    """Boltzmann machine: sums over the units that are not ``observed`` (d,), by a plan of theirs."""
    parts = boltzmann_parts(couplings, bias, observed)
    back = np.argsort(parts.order)
    inside = np.ascontiguousarray(parts.couplings[np.ix_(back, back)])
    data = parts.data._replace(
        weights=np.ascontiguousarray(parts.data.weights[:, back]), offset=bias[~observed].copy()
    )
    tiling = Tiling(0, 0, 0, 0)
    return EliminatedForm(
        tiling, np.arange(len(back)), np.zeros(len(back)), data, EliminationForm(inside, plan)
    )
