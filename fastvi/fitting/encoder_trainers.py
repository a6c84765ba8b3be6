"""Trainers of encoders: by exact gradients where there are some, by those of sampled bounds else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastvi.bounds.kl_divergence import kl_divergence
from fastvi.core.functions import sigmoid
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.engine.expectation.elbo_gradient import expected_log_joint
from fastvi.engine.expectation.expected_joint import expected_joint
from fastvi.engine.linalg.products import matmul
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.fitting.encoder_network import EncoderNetwork
from fastvi.fitting.model_access import check_states, expected_log_likelihood, tiled_form
from fastvi.fitting.sampled_bound import REWEIGHTED, sampled_bound, step_seed
from fastvi.fitting.training import GradientTrainer
from fastvi.models.linear_gaussian import LinearGaussian

_LOG_TWO_PI = math.log(2.0 * math.pi)


class EncoderTrainer(GradientTrainer):
    """An encoder's network, and the data that it learns from and is scored by."""

    def __init__(self, model: Any, encoder: Encoder, data: np.ndarray, judged: np.ndarray) -> None:
        self.network = EncoderNetwork(encoder)
        super().__init__(self.network.values)
        self._model, self._data, self._judged = model, data, judged

    def gradient(self, batch: np.ndarray, step: int) -> dict[str, np.ndarray]:
        inputs = self.network.forward(self._data[batch])
        slope = self._slope(batch, inputs[-1], step)
        return self.network.backward(inputs, slope / len(batch))

    def _slope(self, batch: np.ndarray, outputs: np.ndarray, step: int) -> np.ndarray:
        """Gradient of the objective of each datum of ``batch`` in the network's outputs (M, P)."""
        raise NotImplementedError


class ReverseKL(EncoderTrainer):
    """Mean exact ELBO of binary latents."""

    def __init__(self, model: Any, encoder: Encoder, data: np.ndarray, judged: np.ndarray) -> None:
        super().__init__(model, encoder, data, judged)
        check_states(model, 1, "states")  # refused here, not after the first scores
        self._form = tiled_form(model)

    def _slope(self, batch: np.ndarray, outputs: np.ndarray, step: int) -> np.ndarray:
        mean = sigmoid(outputs)
        slope = expected_log_joint(self._form, self._data[batch], outputs).slope
        return slope - mean * (1.0 - mean) * outputs

    def score(self) -> float:
        logits = self.network.forward(self._judged)[-1]
        value = expected_joint(self._form, self._judged, logits)  # its slope would take as long again
        return float((value + Bernoulli(logits).entropy()).mean())


class ForwardKL(EncoderTrainer):
    """Mean of E_p(z|x)[log q(z|x)] = sum_i m_i log q_i + (1 - m_i) log(1 - q_i), m the posterior's means."""

    def __init__(self, model: Any, encoder: Encoder, data: np.ndarray, judged: np.ndarray) -> None:
        super().__init__(model, encoder, data, judged)
        self._means = exact_posterior(model, data).mean
        self._judged_means = self._means if judged is data else exact_posterior(model, judged).mean

    def _slope(self, batch: np.ndarray, outputs: np.ndarray, step: int) -> np.ndarray:
        return self._means[batch] - sigmoid(outputs)

    def score(self) -> float:
        logits, means = self.network.forward(self._judged)[-1], self._judged_means
        log_q = means * logits - np.logaddexp(0.0, logits)
        return float(log_q.sum(axis=1).mean())


class NormalForwardKL(EncoderTrainer):
    """Mean of E_p(z|x)[log q(z|x)] of a normal q, from the posterior's means and variances."""

    def __init__(self, model: Any, encoder: Encoder, data: np.ndarray, judged: np.ndarray) -> None:
        super().__init__(model, encoder, data, judged)
        self._moments = self._posterior(data)
        self._judged_moments = self._moments if judged is data else self._posterior(judged)

    def _posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std, _ = rules_of(self._model).posterior_moments(x)
        return mean, np.square(std)

    def _slope(self, batch: np.ndarray, outputs: np.ndarray, step: int) -> np.ndarray:
        mean, log_std = np.split(outputs, 2, axis=1)
        own, variance = self._moments
        away, precision = own[batch] - mean, np.exp(-2.0 * log_std)
        of_log_std = (np.square(away) + variance[batch]) * precision - 1.0
        return np.concatenate([away * precision, of_log_std], axis=1)

    def score(self) -> float:
        mean, log_std = np.split(self.network.forward(self._judged)[-1], 2, axis=1)
        own, variance = self._judged_moments
        squares = (np.square(own - mean) + variance) * np.exp(-2.0 * log_std)
        return float((-0.5 * (squares + _LOG_TWO_PI) - log_std).sum(axis=1).mean())


class LinearReverseKL(EncoderTrainer):
    """Mean exact ELBO of a linear Gaussian model: no sum, no draw."""

    _model: LinearGaussian

    def _slope(self, batch: np.ndarray, outputs: np.ndarray, step: int) -> np.ndarray:
        mean, log_std = np.split(outputs, 2, axis=1)
        model = self._model
        weights = model.weights / model.noise_std
        predicted = matmul(mean, np.ascontiguousarray(weights.T))
        residual = (self._data[batch] - model.bias) / model.noise_std - predicted
        precision = 1.0 + np.square(weights).sum(axis=0)
        pull = matmul(residual, weights) - mean
        return np.concatenate([pull, 1.0 - np.exp(2.0 * log_std) * precision], axis=1)

    def score(self) -> float:
        q = self.network.encoder()(self._judged)
        value = expected_log_likelihood(self._model, self._judged, q) - kl_divergence(
            q, rules_of(self._model).prior()
        )
        return float(value.mean())


class Sampled(EncoderTrainer):
    """A bound of ``num_samples`` draws for each datum and step; scores take the same draws each time."""

    def __init__(
        self, model: Any, encoder: Encoder, data: np.ndarray, judged: np.ndarray, *,
        num_samples: int, seed: int, importance_weighted: bool, estimator: str, dtype: str,
    ) -> None:  # fmt: skip
        super().__init__(model, encoder, data, judged)
        self._seed, self._estimator = seed, estimator
        weighted = importance_weighted or estimator == REWEIGHTED  # scored by the K-sample bound
        self._options: dict[str, Any] = {
            "num_samples": num_samples, "importance_weighted": weighted, "dtype": dtype,
        }  # fmt: skip

    def _slope(self, batch: np.ndarray, outputs: np.ndarray, step: int) -> np.ndarray:
        return sampled_bound(
            self._model, self._data[batch], outputs, seed=step_seed(self._seed, step), numbers=batch,
            estimator=self._estimator, **self._options,
        ).slope  # fmt: skip

    def score(self) -> float:
        outputs = self.network.forward(self._judged)[-1]
        found = sampled_bound(
            self._model, self._judged, outputs, seed=step_seed(self._seed, 0, 1), estimator=self._estimator,
            **self._options,
        )  # fmt: skip
        return float(found.value.mean())
