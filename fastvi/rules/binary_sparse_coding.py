"""Rules of BinarySparseCoding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.core import validation
from fastvi.core.functions import sigmoid
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine.run.runs import Run
from fastvi.engine.states.pair_form import sparse_coding_form, sparse_coding_parts
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.rules.base import EMoments, Gradient, Rules
from fastvi.rules.questions import (
    BY_SAMPLES,
    ENUMERATED,
    EXACTLY_FITTED,
    FIT_MODEL_EM,
    LEARNED,
    LOG_MARGINAL_BOUNDS,
    MISSING,
    ON_GPU,
    UPPER_BOUND,
)

if TYPE_CHECKING:
    from fastvi.engine.annealing.chains import Schedule
    from fastvi.engine.mean_field.mean_field import MeanFieldFit


class BinarySparseCodingRules(Rules):
    """Rules of :class:`~fastvi.BinarySparseCoding`."""

    model: BinarySparseCoding
    questions = ENUMERATED | MISSING | BY_SAMPLES | LEARNED | EXACTLY_FITTED | ON_GPU
    questions |= {FIT_MODEL_EM, UPPER_BOUND, LOG_MARGINAL_BOUNDS}
    pixel_bytes = 8
    closed_expectations = True
    reads_device_data = True
    samples_open_subcubes = True

    def check_data(self, x: Any, observed: Any, name: str = "x") -> tuple[np.ndarray, np.ndarray | None]:
        return validation.observed_real_data(x, observed, self.num_pixels, name)

    def form(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        return sparse_coding_form(
            self.model.weights[observed],
            self.model.bias[observed],
            self.model.noise_std,
            self.model.prior_logits,
        )

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        from fastvi.engine.memory.pairs import PairMemory

        return PairMemory.of(self.num_latents, int(observed.sum()), 8)

    def subcube_form(self, observed: np.ndarray) -> Any:
        from fastvi.engine.subcubes.quadratic_subcubes import QuadraticSubcubes

        return QuadraticSubcubes.of(self.parts(observed))

    def gradient_bytes(self, num_data: int, observed: np.ndarray) -> int:
        # residuals, these weighted, predictions, and what is left, once more weighted; means in two orders
        return 8 * num_data * (5 * int(observed.sum()) + 3 * self.num_latents)

    def sampling_target(self, observed: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        from fastvi.engine.importance.coding_target import CodingTarget

        return CodingTarget(self.parts(observed, with_prior=with_prior))

    def sampled_joint(self, x: np.ndarray, z: np.ndarray) -> Any:
        from fastvi.engine.expectation.sampled_joint import BernoulliPrior, SampledJoint

        prior, layers = BernoulliPrior(self.model.prior_logits), [(self.model.weights, self.model.bias)]
        return SampledJoint(layers, "relu", self.model.noise_std, prior, [("weights", "bias")], x, z)

    def mean_field(
        self, x: np.ndarray, starts: list[np.ndarray], max_sweeps: int, tolerance: float
    ) -> MeanFieldFit:
        from fastvi.engine.mean_field import pair_mean_field
        from fastvi.engine.mean_field.mean_field import best

        parts = self.parts(np.ones(self.num_pixels, bool))
        return best(pair_mean_field.ascend(parts, x, start, max_sweeps, tolerance) for start in starts)

    def annealed_log_weights(
        self, x: np.ndarray, initial: np.ndarray, schedule: Schedule, num_leapfrog: int
    ) -> np.ndarray:
        from fastvi.engine.annealing.coding import sparse_coding_log_weights

        m = self.model
        parameters = m.weights, m.bias, m.noise_std, m.prior_logits
        return sparse_coding_log_weights(*parameters, x, initial, schedule)

    def parts(self, observed: np.ndarray, *, with_prior: bool = True) -> Any:
        """What is linear and quadratic in z. Without the prior, p(z) = 2^-d is divided out again."""
        prior = self.model.prior_logits if with_prior else np.zeros(self.num_latents)
        parts: Any = sparse_coding_parts(
            self.model.weights[observed], self.model.bias[observed], self.model.noise_std, prior
        )
        if with_prior:
            return parts
        return parts._replace(data=parts.data._replace(constant=(0.0, 0.0)))

    def expected_joint(self, x: np.ndarray, observed: np.ndarray, logits: np.ndarray) -> np.ndarray:
        from fastvi.engine.expectation.elbo_gradient import expected_log_joint

        return expected_log_joint(self.parts(observed), x, logits).value

    def reconstruction(self, x: np.ndarray, observed: np.ndarray, q: Any) -> np.ndarray:
        mean, weights = np.atleast_2d(q.mean), self.model.weights[observed] / self.model.noise_std
        with np.errstate(over="ignore"):  # data so far away that the value is -inf
            residual = (x - self.model.bias[observed]) / self.model.noise_std - np.einsum(
                "ni,ji->nj", mean, weights
            )
            square = np.square(residual).sum(axis=1)
        spread = (np.square(weights).sum(axis=0) * (mean * sigmoid(-np.atleast_2d(q.logits)))).sum(axis=1)
        constant = len(weights) * (math.log(self.model.noise_std) + 0.5 * math.log(2.0 * math.pi))
        return -0.5 * (square + spread) - constant

    def prior(self) -> Bernoulli:
        return self.model.prior

    prior_proposal = prior

    def em_moments(self, x: np.ndarray) -> EMoments:
        from fastvi.engine.posterior.coding_moments import coding_moments

        found = coding_moments(self.kept_form(np.ones(self.num_pixels, bool)), x, np.ones(len(x)), Run())
        return EMoments(*found[:3])

    def zero_gradient(self) -> Gradient:
        return {name: np.zeros_like(array) for name, array in self.model.arrays().items()}

    @property
    def pass_numbers(self) -> int:
        return self.num_latents + 2

    def first_pass(self, x: np.ndarray, observed: np.ndarray, run: Run) -> tuple[np.ndarray, np.ndarray]:
        from fastvi.engine.posterior.state_moments import first_pass

        found = first_pass(self.kept_form(observed), x, run)
        return found.evidence, found.packed(self.num_latents)

    def pixel_gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        from fastvi.engine.linalg.products import matmul

        found = self.first_pass(x, observed, run)[1] if first is None else first
        mean = np.ascontiguousarray(found[:, 2:])
        weights, std = self.model.weights[observed], self.model.noise_std
        means = matmul(mean, np.ascontiguousarray(weights.T), self.model.bias[observed])
        return data_weights[:, None] * ((means - x) / std / std)

    def gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> Gradient:  # fmt: skip
        from fastvi.engine.posterior.coding_moments import coding_moments
        from fastvi.engine.posterior.state_moments import FirstPass

        passed = None if first is None else FirstPass.unpacked(first, self.num_latents)
        found = coding_moments(self.kept_form(observed), x, data_weights, run, passed)
        out, weights, std, mean = (
            self.zero_gradient(),
            self.model.weights[observed],
            self.model.noise_std,
            found.mean,
        )
        weighted = data_weights[:, None] * (
            x - self.model.bias[observed] - np.einsum("ni,ji->nj", mean, weights)
        )
        cross = np.einsum("nj,ni->ji", weighted, mean)
        # divided twice: the square of 1 / s may leave the range
        out["weights"][observed] = (cross - np.einsum("ji,ik->jk", weights, found.spread)) / std / std
        out["bias"][observed] = weighted.sum(axis=0) / std / std
        total = data_weights.sum()
        out["noise_std"] = np.asarray((found.square - total * observed.sum()) / std)
        out["prior_logits"] = (data_weights[:, None] * mean).sum(axis=0) - total * sigmoid(
            self.model.prior_logits
        )
        return out


make_rules = BinarySparseCodingRules
