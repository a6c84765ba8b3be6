"""Trainers of models: each climbs one objective in the model's parameters, and in those of an encoder."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.functions import sigmoid
from fastvi.core.registry import rules_of
from fastvi.distributions.encoder import Encoder
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.engine.expectation.q_moments import q_moments
from fastvi.engine.linalg.products import matmul
from fastvi.engine.mean_field import mean_field
from fastvi.fitting.encoder_network import EncoderNetwork
from fastvi.fitting.free_parameters import FreeParameters
from fastvi.fitting.model_access import Gradient, check_states, exact_gradient, exact_log_marginal, tiled_form
from fastvi.fitting.sampled_bound import SampledBound, draws_of, joint_of, sampled_bound, step_seed
from fastvi.fitting.training import GradientTrainer
from fastvi.fitting.training_data import TrainingData

_SWEEPS = 20  # of a batch's own q at each step
_PREFIX = "encoder_"
_DRAWS, _DREAMS, _SCORE = 0, 1, 2  # purposes of the random numbers of a step


class _ModelTrainer(GradientTrainer):
    """A model, and an encoder where one is trained with it.

    Scored by exact log p(x), or where ``by_bound`` by its own sampled bound, with the same draws each time.
    """

    exactly = False  # whether log p(x) is climbed, not a bound

    def __init__(
        self, model: Any, encoder: Encoder | None, data: TrainingData, judged: TrainingData,
        num_samples: int = 0, seed: int = 0, *, estimator: str = "", by_bound: bool = False,
        dtype: str = "float64",
    ) -> None:  # fmt: skip
        self.parameters = FreeParameters(model, exactly=self.exactly)
        self.network = None if encoder is None else EncoderNetwork(encoder)
        values = dict(self.parameters.values)
        if self.network is not None:
            values |= {_PREFIX + name: value for name, value in self.network.values.items()}
        super().__init__(values)
        if not by_bound:
            check_states(model, len(judged.x), "log_marginal", judged.observed, learned=True)
        if self.exactly:
            check_states(model, len(data.x), "gradient", data.observed, learned=True)
        self._data, self._judged, self._by_bound = data, judged, by_bound
        self._num_samples, self._seed, self._estimator, self._dtype = num_samples, seed, estimator, dtype

    def model(self) -> Any:
        """The model with the present values."""
        return self.parameters.model()

    def score(self) -> float:
        if not self._by_bound:
            found = exact_log_marginal(self.model(), self._judged.x, self._judged.observed)
            return self._judged.mean(found)
        assert self.network is not None
        x = self._judged.x
        outputs, numbers = self.network.forward(x)[-1], np.arange(len(x))
        seed = step_seed(self._seed, 0, _SCORE)
        return self._judged.mean(self._bound(self.model(), x, outputs, numbers, seed).value)

    def _bound(
        self, model: Any, x: np.ndarray, outputs: np.ndarray, numbers: np.ndarray, seed: int,
        *, weights: np.ndarray | None = None, with_model: bool = False,
    ) -> SampledBound:  # fmt: skip
        """Sampled bound of each datum, of which the score is the mean."""
        raise NotImplementedError

    def gradient(self, batch: np.ndarray, step: int) -> Gradient:
        x = self._data.x[batch]
        of_model, of_encoder = self._gradients(self.model(), x, batch, step)
        found = {name: value / len(x) for name, value in self.parameters.free(of_model).items()}
        return found | {_PREFIX + name: value / len(x) for name, value in of_encoder.items()}

    def _gradients(
        self, model: Any, x: np.ndarray, numbers: np.ndarray, step: int
    ) -> tuple[Gradient, Gradient]:
        """Weighted sums over the data ``x``: in the model's parameters, in the encoder's.

        Weights have a mean of 1 over all data, so that the gradient of a batch is right on average.
        """
        raise NotImplementedError


class ExactLikelihood(_ModelTrainer):
    """Mean exact log p(x)."""

    exactly = True

    def gradient(self, batch: np.ndarray, step: int) -> Gradient:
        shares = self._data.weights_of(batch) / len(batch)
        seen = self._data.observed_of(batch)
        return self.parameters.free(exact_gradient(self.model(), self._data.x[batch], shares, seen))


class ExactElbo(_ModelTrainer):
    """The exact ELBO of a factorised network, with an encoder's q or without one each datum's own optimum."""

    def _gradients(
        self, model: Any, x: np.ndarray, numbers: np.ndarray, step: int
    ) -> tuple[Gradient, Gradient]:
        form, weights = tiled_form(model), self._data.weights_of(numbers)
        if self.network is None:
            start = np.broadcast_to(model.prior_logits, (len(x), model.num_latents))
            logits = mean_field.fit(form, x, [start], _SWEEPS, 1e-4).logits
            return _of_q(model, form, x, logits, weights), {}
        inputs = self.network.forward(x)
        logits, mean = inputs[-1], sigmoid(inputs[-1])
        slope = expected_log_joint(form, x, logits).slope - mean * (1.0 - mean) * logits
        slope *= weights[:, None]
        return _of_q(model, form, x, logits, weights), self.network.backward(inputs, slope)


class SampledElbo(_ModelTrainer):
    """E_q[log w], sampled."""

    importance_weighted = False

    def _bound(
        self, model: Any, x: np.ndarray, outputs: np.ndarray, numbers: np.ndarray, seed: int,
        *, weights: np.ndarray | None = None, with_model: bool = False,
    ) -> SampledBound:  # fmt: skip
        return sampled_bound(
            model, x, outputs, num_samples=self._num_samples, seed=seed, numbers=numbers,
            importance_weighted=self.importance_weighted, estimator=self._estimator, data_weights=weights,
            with_model=with_model, dtype=self._dtype,
        )  # fmt: skip

    def _gradients(
        self, model: Any, x: np.ndarray, numbers: np.ndarray, step: int
    ) -> tuple[Gradient, Gradient]:
        assert self.network is not None
        inputs, seed = self.network.forward(x), step_seed(self._seed, step, _DRAWS)
        weights = self._data.weights_of(numbers)
        found = self._bound(model, x, inputs[-1], numbers, seed, weights=weights, with_model=True)
        return found.of_model, self.network.backward(inputs, found.slope)


class ImportanceWeighted(SampledElbo):
    """E[log 1/K sum_k w_k], sampled.

    Where the estimator is ``REWEIGHTED`` the encoder learns from the same samples as data weighted by w_k /
    sum w: the wake phases of reweighted wake-sleep.
    """

    importance_weighted = True


class WakeSleep(ImportanceWeighted):
    """Wake: the model learns from the encoder's samples; sleep: the encoder from the model's."""

    def _gradients(
        self, model: Any, x: np.ndarray, numbers: np.ndarray, step: int
    ) -> tuple[Gradient, Gradient]:
        assert self.network is not None
        q = draws_of(
            model, self.network.forward(x)[-1], numbers, self._num_samples,
            step_seed(self._seed, step, _DRAWS),
        )  # fmt: skip
        weights = self._data.weights_of(numbers)
        share = np.broadcast_to(weights[:, None] / self._num_samples, q.z.shape[:2])
        of_model = joint_of(model, x, q.z, self._dtype).of_parameters(np.ascontiguousarray(share))
        dreamt_z, dreamt_x = model.sample(len(x), step_seed(self._seed, step, _DREAMS))
        inputs = self.network.forward(dreamt_x)
        return of_model, self.network.backward(inputs, _score_function(model, inputs[-1], dreamt_z))


def _score_function(model: Any, outputs: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Gradient of log q(z_n) in q's parameters (N, P)."""
    if not rules_of(model).real_latents:
        return z - sigmoid(outputs)
    mean, log_std = np.split(outputs, 2, axis=1)
    noise = (z - mean) * np.exp(-log_std)
    return np.concatenate([noise * np.exp(-log_std), np.square(noise) - 1.0], axis=1)


def _of_q(model: Any, form: Any, x: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> Gradient:
    """Gradient of sum_n weights_n E_q[log p(x_n, z)]."""
    found = q_moments(form, logits, weights)
    mean = found.mean * weights[:, None]
    means = matmul(np.ascontiguousarray(x.T, dtype=np.float64), mean)
    return {
        "weights": means - found.values[:, :-1],
        "bias": (x * weights[:, None]).sum(axis=0) - found.values[:, -1],
        "prior_logits": mean.sum(axis=0) - weights.sum() * sigmoid(model.prior_logits),
    }
