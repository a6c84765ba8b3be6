"""Rules of RestrictedBoltzmannMachine."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.core.blocks import BLOCK
from fastvi.core.functions import sigmoid
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.runs import Run
from fastvi.engine.states.data_terms import BinaryData
from fastvi.engine.states.softplus_form import softplus_sum_form
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine, free_energies
from fastvi.rules.base import NO_DATA, Gradient, Rules, relaxed_bits
from fastvi.rules.questions import BY_SAMPLES, ENUMERATED, LOG_MARGINAL_BOUNDS, MISSING, ON_GPU, UNNORMALISED

if TYPE_CHECKING:
    from fastvi.engine.annealing.chains import Schedule
    from fastvi.engine.posterior.state_moments import FirstPass


class RestrictedBoltzmannMachineRules(Rules):
    """Rules of :class:`~fastvi.RestrictedBoltzmannMachine`."""

    model: RestrictedBoltzmannMachine
    questions = ENUMERATED | MISSING | BY_SAMPLES | UNNORMALISED | ON_GPU | {LOG_MARGINAL_BOUNDS}
    reads_device_data = True
    samples_in_float32 = True
    anneals_in_float32 = True

    @property
    def _sums_hidden(self) -> bool:
        """Log Z sums over the smaller layer; the other one is analytic."""
        return self.num_latents <= self.num_pixels

    def form(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        return softplus_sum_form(
            self.model.weights[~observed], self.model.visible_bias[~observed], self.model.hidden_bias,
            self.model.weights[observed], self.model.visible_bias[observed], dtype=dtype,
        )  # fmt: skip

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        from fastvi.engine.memory.tiles import TileMemory

        seen = int(observed.sum())
        return TileMemory.of(self.num_latents, self.num_pixels - seen, seen, dtype)

    def sampling_target(
        self, observed: np.ndarray, num_states: int, *, with_prior: bool = True, dtype: str = "float64"
    ) -> Any:
        from fastvi.engine.importance.softplus_target import ProductTarget

        seen = np.ascontiguousarray(self.model.weights[observed])
        data = BinaryData(
            seen, np.ascontiguousarray(self.model.visible_bias[observed]), self.model.hidden_bias, 0.0
        )
        weights, bias = self.model.weights[~observed], self.model.visible_bias[~observed]
        return ProductTarget(weights, bias, 1.0, data, None, None, num_states, dtype)

    def subcube_form(self, observed: np.ndarray) -> Any:
        from fastvi.engine.subcubes.machine_subcubes import MachineSubcubes

        m = self.model
        seen = BinaryData(
            np.ascontiguousarray(m.weights[observed]), m.visible_bias[observed], m.hidden_bias, 0.0
        )
        return MachineSubcubes(np.ascontiguousarray(m.weights[~observed]), m.visible_bias[~observed], seen)

    def subcube_partition_form(self) -> Any:
        from fastvi.engine.subcubes.machine_subcubes import MachineSubcubes

        m = self.model
        if self._sums_hidden:
            return self.subcube_form(np.zeros(self.num_pixels, bool))
        nothing = BinaryData(np.empty((0, self.num_pixels)), np.empty(0), m.visible_bias, 0.0)
        return MachineSubcubes(np.ascontiguousarray(m.weights.T), m.hidden_bias, nothing)

    def is_closed(self, observed: np.ndarray) -> bool:
        # a sum over the unseen visible units costs each datum 2^unseen d terms, over the hidden ones 2^d
        unseen = int((~observed).sum())
        return unseen + math.log2(self.num_latents) <= min(self.num_latents, 40)

    def has_closed_gradient(self, observed: np.ndarray) -> bool:
        return bool(observed.all())

    def closed_form(self, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
        if observed.all():
            return -free_energies(self.model, x)
        # sum over v of exp(b . v + sum_k softplus(c_k + (W^T v)_k)), a form of its own for each datum
        none = np.empty((0, int((~observed).sum()))), np.empty(0)
        weights, bias = self.model.weights[~observed].T, self.model.visible_bias[~observed]
        out = np.empty(len(x))
        for n, v in enumerate(x):
            fields = self.model.hidden_bias + self.model.weights[observed][v == 1].sum(axis=0)
            form = softplus_sum_form(weights, fields, bias, *none)
            out[n] = log_sums(form, NO_DATA, Run())[0] + self.model.visible_bias[observed][v == 1].sum()
        return out

    def partition_form(self) -> Any:
        none = np.empty((0, min(self.model.weights.shape))), np.empty(0)
        if self._sums_hidden:
            return softplus_sum_form(
                self.model.weights, self.model.visible_bias, self.model.hidden_bias, *none
            )
        return softplus_sum_form(self.model.weights.T, self.model.hidden_bias, self.model.visible_bias, *none)

    def partition_memory(self) -> Any:
        from fastvi.engine.memory.tiles import TileMemory

        return TileMemory.of(min(self.model.weights.shape), max(self.model.weights.shape), 0)

    def closed_bytes(self, num_data: int, observed: np.ndarray) -> int:
        from fastvi.engine.memory.tiles import TileMemory

        if not observed.all():  # a form for each datum in turn
            form = TileMemory.of(int((~observed).sum()), self.num_latents, 0)
            return 8 * num_data + max(form.making, form.tables + form.sums(1))
        # of free_energy: energies and their negative; pixels, fields and what becomes of these of a block
        rows = min(num_data, max(1, BLOCK // max(self.num_pixels, self.num_latents)))
        return 16 * num_data + 8 * rows * (2 * self.num_pixels + 5 * self.num_latents)

    def gradient_bytes(self, num_data: int, observed: np.ndarray) -> int:
        whole = super().gradient_bytes(num_data, observed)
        if not observed.all():
            return whole
        rows = min(num_data, max(1, BLOCK // max(self.num_pixels, self.num_latents)))
        means = 8 * (num_data * self.num_latents + rows * (self.num_pixels + 5 * self.num_latents))
        return max(whole, means)

    def zero_gradient(self) -> Gradient:
        return {name: np.zeros_like(array) for name, array in self.model.arrays().items()}

    @property
    def pass_numbers(self) -> int:
        return self.num_latents + 2

    def first_pass(
        self, x: np.ndarray, observed: np.ndarray, run: Run
    ) -> tuple[np.ndarray, np.ndarray] | None:
        from fastvi.engine.posterior.state_moments import first_pass

        if observed.all() or self.is_closed(observed):
            return None
        found = first_pass(self.kept_form(observed), x, run)
        return found.evidence, found.packed(self.num_latents)

    def check_relaxed_data(
        self, x: Any, observed: Any, name: str = "x"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        # pixels that were not seen are summed out for each datum, by the bits of the others
        if observed is not None:
            return self.check_data(x, observed, name)
        return relaxed_bits(x, observed, self.num_pixels, name)

    def gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> Gradient:  # fmt: skip
        from fastvi.engine.linalg.weighted_sums import weighted_sums
        from fastvi.engine.posterior.state_moments import FirstPass, state_moments

        out = self.zero_gradient()
        if observed.all():  # the hidden units are independent given all visible ones
            mean = self._hidden_means(x)
        else:
            passed = None if first is None else FirstPass.unpacked(first, self.num_latents)
            found = state_moments(self.kept_form(observed), x, data_weights, run, passed)
            mean = found.mean
            out["weights"][~observed] = found.values[:, :-1]
            out["visible_bias"][~observed] = found.values[:, -1]
        out["weights"][observed], out["visible_bias"][observed] = weighted_sums(x, data_weights, mean)
        out["hidden_bias"] = (data_weights[:, None] * mean).sum(axis=0)
        return out

    def pixel_gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        from fastvi.engine.linalg.products import matmul
        from fastvi.engine.posterior.log_sum import log_sums_and_means

        if observed.all():
            mean = self._hidden_means(x)
        elif first is not None:
            mean = np.ascontiguousarray(first[:, 2:])
        else:
            form = self.kept_form(observed)
            mean = log_sums_and_means(form, x, run)[1][:, np.argsort(form.order)]
        weights, bias = self.model.weights[observed], self.model.visible_bias[observed]
        return data_weights[:, None] * matmul(mean, np.ascontiguousarray(weights.T), bias)

    def _hidden_means(self, x: np.ndarray) -> np.ndarray:
        """Means (N, d) of the hidden units given all visible ones."""
        mean = np.empty((len(x), self.num_latents))
        for rows in self.model.row_blocks(len(x)):
            mean[rows] = sigmoid(self._hidden_fields(x[rows]))
        return mean

    def _hidden_fields(self, x: np.ndarray) -> np.ndarray:
        """Logits (N, d) of the hidden units given all visible ones."""
        return np.einsum("nj,jk->nk", x.astype(np.float64), self.model.weights) + self.model.hidden_bias

    def has_factorised_posterior(self, observed: np.ndarray) -> bool:
        return bool(observed.all())

    def factorised_posterior(self, x: np.ndarray) -> Bernoulli:
        return Bernoulli(self._hidden_fields(x))

    def annealed_log_z(self, schedule: Schedule) -> np.ndarray:
        from fastvi.engine.annealing.machines import layer_log_weights

        m = self.model
        independent = np.logaddexp(0.0, m.visible_bias).sum() + m.num_latents * np.log(2.0)
        log_w = layer_log_weights(m.weights, m.visible_bias, m.hidden_bias, schedule)
        return log_w + independent if schedule.states is None else log_w - independent

    @cached_property
    def partition_pass(self) -> FirstPass:
        from fastvi.engine.posterior.state_moments import first_pass

        return first_pass(self.kept_partition_form(), NO_DATA, Run())

    def partition_gradient(self, run: Run, first: FirstPass | None = None) -> Gradient:
        from fastvi.engine.posterior.state_moments import state_moments

        found = state_moments(self.kept_partition_form(), NO_DATA, np.ones(1), run, first)
        weights, analytic, enumerated = found.values[:, :-1], found.values[:, -1], found.mean[0]
        if self._sums_hidden:
            return {"weights": weights, "visible_bias": analytic, "hidden_bias": enumerated}
        return {"weights": weights.T, "visible_bias": enumerated, "hidden_bias": analytic}


make_rules = RestrictedBoltzmannMachineRules
