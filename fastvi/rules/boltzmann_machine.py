"""Rules of BoltzmannMachine."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import num_chunks
from fastvi.engine.states.pair_form import boltzmann_form, boltzmann_parts
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.rules.base import NO_DATA, Gradient
from fastvi.rules.pairwise import SMALL, PairwiseRules
from fastvi.rules.questions import (
    BY_SAMPLES,
    ENUMERATED,
    LOG_MARGINAL_BOUNDS,
    MISSING,
    ON_GPU,
    UNNORMALISED,
)
from fastvi.rules.ways import ENUMERATION, WITH_MOMENTS, Way

if TYPE_CHECKING:
    from fastvi.engine.annealing.chains import Schedule
    from fastvi.engine.posterior.state_moments import FirstPass


class BoltzmannMachineRules(PairwiseRules):
    """Rules of :class:`~fastvi.BoltzmannMachine`."""

    model: BoltzmannMachine
    questions = ENUMERATED | MISSING | BY_SAMPLES | UNNORMALISED | ON_GPU | {LOG_MARGINAL_BOUNDS}
    closed_expectations = True
    data_optional = True
    reads_device_data = True
    samples_open_subcubes = True

    @property
    def constant(self) -> float:  # type: ignore[override]
        return self.model.constant

    def check_data(self, x: Any, observed: Any, name: str = "x") -> tuple[np.ndarray, np.ndarray | None]:
        if x is None:
            if observed is not None:
                raise TypeError(f"{name} must be an array of 0 and 1 where observed is given, got None")
            return np.zeros((1, self.num_latents), np.uint8), np.zeros(self.num_latents, bool)
        return super().check_data(x, observed, name)

    def free_latents(self, observed: np.ndarray) -> np.ndarray:
        return np.flatnonzero(~observed)

    @cached_property
    def graph(self) -> np.ndarray:
        return self.model.couplings != 0.0

    def form(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        return self._form(self.way(observed), observed)

    def _form(self, way: Way, observed: np.ndarray, states: np.ndarray | None = None) -> Any:
        if way.plan is not None:
            from fastvi.engine.elimination.form import eliminated_machine

            return eliminated_machine(self.model.couplings, self.model.bias, observed, way.plan)
        if way.closed is not None:
            from fastvi.engine.states.independent_set_form import independent_set_form

            return independent_set_form(self.model.couplings, self.model.bias, observed, way.closed, states)
        return boltzmann_form(self.model.couplings, self.model.bias, observed)

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        return self._memory(self.way(observed), observed)

    def _memory(self, way: Way, observed: np.ndarray) -> Any:
        seen = int(observed.sum())
        if way.plan is not None:
            from fastvi.engine.memory.elimination import EliminationMemory

            pairs = int(np.count_nonzero(self.graph[~observed][:, ~observed])) // 2
            return EliminationMemory(way.plan, pairs, seen)
        if way.closed is not None:
            from fastvi.engine.memory.tiles import IndependentSetMemory

            closed = int(way.closed.sum())
            return IndependentSetMemory.of(self.num_latents - seen - closed, closed, seen)
        from fastvi.engine.memory.pairs import PairMemory

        return PairMemory.of(self.num_latents - seen, seen, 1)

    def sampling_target(self, observed: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        from fastvi.engine.importance.pair_target import PairTarget

        return PairTarget(boltzmann_parts(self.model.couplings, self.model.bias, observed))

    def subcube_form(self, observed: np.ndarray) -> Any:
        from fastvi.engine.subcubes.quadratic_subcubes import QuadraticSubcubes

        return QuadraticSubcubes.of(boltzmann_parts(self.model.couplings, self.model.bias, observed))

    def subcube_partition_form(self) -> Any:
        return self.subcube_form(np.zeros(self.num_latents, bool))

    def expected_joint(self, x: np.ndarray, observed: np.ndarray, logits: np.ndarray) -> np.ndarray:
        from fastvi.engine.expectation.elbo_gradient import expected_log_joint

        return expected_log_joint(
            boltzmann_parts(self.model.couplings, self.model.bias, observed), x, logits
        ).value

    def is_closed(self, observed: np.ndarray) -> bool:
        return bool(observed.all())

    has_closed_gradient = is_closed

    def closed_form(self, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
        return np.asarray(self.kept_form(observed).data.terms(x).constant)

    def partition_form(self) -> Any:
        return self._form(self.partition_way, self._nothing)

    def partition_memory(self) -> Any:
        return self._memory(self.partition_way, self._nothing)

    def closed_bytes(self, num_data: int, observed: np.ndarray) -> int:
        form = self.memory(observed)
        return form.making + 2 * form.terms(num_data)

    def gradient_bytes(self, num_data: int, observed: np.ndarray) -> int:
        # means of all units, of those that are free in two orders, weighted; of those that are seen, weighted
        return 8 * num_data * (4 * self.num_latents + int(observed.sum()))

    @property
    def pass_numbers(self) -> int:
        return self.num_latents + 2

    def first_pass(
        self, x: np.ndarray, observed: np.ndarray, run: Run
    ) -> tuple[np.ndarray, np.ndarray] | None:
        from fastvi.engine.posterior.state_moments import first_pass

        if observed.all():
            return None
        found = first_pass(self.kept_form(observed), x, run)
        return found.evidence, found.packed(self.num_latents)

    def zero_gradient(self) -> Gradient:
        return {"couplings": np.zeros_like(self.model.couplings), "bias": np.zeros_like(self.model.bias)}

    def gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> Gradient:  # fmt: skip
        from fastvi.engine.posterior.state_moments import FirstPass, state_moments

        free = ~observed
        moments = np.zeros((self.num_latents, self.num_latents))
        means = np.empty((len(x), self.num_latents))
        means[:, observed] = x
        if free.any():
            passed = None if first is None else FirstPass.unpacked(first, int(free.sum()))
            found = state_moments(self.kept_form(observed), x, data_weights, run, passed)
            means[:, free] = found.mean
            moments[np.ix_(free, free)] = found.values
        else:  # what is impossible has no gradient
            means[np.isneginf(self.model.log_joint(None, x)) & (data_weights != 0.0)] = np.nan
        seen = means[:, observed] * data_weights[:, None]
        moments[observed] = np.einsum("ni,nj->ij", seen, means)
        moments[:, observed] = moments[observed].T
        np.fill_diagonal(moments, 0.0)
        # E[z_i z_j] and E[z_j z_i] are added in other orders; couplings that climb it have to stay symmetric
        moments = 0.5 * (moments + moments.T)
        # exp(z^T J z / 2): an entry of J stands for half of its pair
        return {"couplings": 0.5 * moments, "bias": (means * data_weights[:, None]).sum(axis=0)}

    def check_reversed(self, states: np.ndarray) -> None:
        possible = ~np.isneginf(self.model.log_joint(None, states))
        if not possible.all():
            raise ValueError(f"latents must have p(z) > 0, got 0 for chain {int(np.argmin(possible))}")

    def annealed_log_z(self, schedule: Schedule) -> np.ndarray:
        from fastvi.engine.annealing.machines import pair_log_weights

        independent = np.logaddexp(0.0, self.model.bias).sum()
        log_w = pair_log_weights(self.model.couplings, self.model.bias, schedule)
        return log_w + independent if schedule.states is None else log_w - independent

    def sums(self, x: np.ndarray, observed: np.ndarray, run: Run, *, dtype: str = "float64") -> np.ndarray:
        patterns = self._patterns(x, observed)
        if patterns is None:
            return super().sums(x, observed, run, dtype=dtype)
        from fastvi.engine.posterior.log_sum import log_sums

        way, out = self.way(observed), np.empty(len(x))
        for members in patterns:
            states = np.zeros(self.num_latents, np.uint8)
            states[observed] = x[members[0]]
            out[members] = log_sums(self._form(way, observed, states), x[members], run)
        return out

    def num_states(self, x: np.ndarray, observed: np.ndarray) -> int:
        patterns = self._patterns(x, observed)
        if patterns is None:
            return num_chunks(len(x)) * self.way(observed).num_states
        return sum(num_chunks(len(members)) for members in patterns) * self.way(observed).num_states

    def _patterns(self, x: np.ndarray, observed: np.ndarray) -> list[np.ndarray] | None:
        """Data that share a form, where units summed in closed form are coupled with observed ones."""
        if self.methods == (ENUMERATION,):
            return None
        closed = self.way(observed).closed
        if closed is None:
            return None
        deciding = self.graph[closed][:, observed].any(axis=0)
        if not deciding.any():
            return None
        _, pattern = np.unique(x[:, deciding], axis=0, return_inverse=True)
        pattern = pattern.reshape(-1)
        return [np.flatnonzero(pattern == number) for number in range(int(pattern.max(initial=-1)) + 1)]

    def _with_moments(self) -> BoltzmannMachineRules:
        """Rules by which log Z can be differentiated."""
        if self.num_latents <= SMALL:
            return self
        methods = tuple(way for way in self.partition_methods if way in WITH_MOMENTS) or (ENUMERATION,)
        return self.among(methods, methods)

    @property
    def draw_bits(self) -> int:
        return self._with_moments().partition_way.bits

    def sample_partition(self, num: int, seed: int) -> np.ndarray:
        from fastvi.engine.posterior.samples import sample_form

        return sample_form(self._with_moments().kept_partition_form(), num, seed)

    @cached_property
    def partition_pass(self) -> FirstPass:
        from fastvi.engine.posterior.state_moments import first_pass

        return first_pass(self._with_moments().kept_partition_form(), NO_DATA, Run())

    def partition_gradient(self, run: Run, first: FirstPass | None = None) -> Gradient:
        passed = None if first is None else first.packed(self.num_latents)
        return self._with_moments().gradient(NO_DATA, np.ones(1), self._nothing, run, passed)


make_rules = BoltzmannMachineRules
