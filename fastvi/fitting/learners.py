"""What a sigmoid belief network can be learned by in place of the exact likelihood: bounds and wake-sleep.

Each gives the gradient of its objective over a batch, in the model's parameters and in those of the encoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.distributions.bernoulli import Bernoulli, sigmoid
from fastvi.distributions.encoder import Encoder
from fastvi.engine import mean_field
from fastvi.engine.elbo_gradient import expected_log_joint
from fastvi.engine.matmul import matmul
from fastvi.engine.q_moments import q_moments
from fastvi.exact.log_marginal import log_marginal
from fastvi.fitting.adam import Adam
from fastvi.fitting.encoder_network import EncoderNetwork
from fastvi.fitting.parameters import Parameters
from fastvi.fitting.score_gradients import vimco
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

Gradient = dict[str, np.ndarray]

_SWEEPS = 20  # of a batch's own q at each step
_PREFIX = "encoder_"


class _Learner:
    """A model, and an encoder where one is trained with it, scored by exact log p(x)."""

    def __init__(
        self, model: SigmoidBeliefNetwork, encoder: Encoder | None, data: np.ndarray, judged: np.ndarray,
        num_samples: int, seed: int,
    ) -> None:  # fmt: skip
        self.parameters = Parameters(model)
        self.network = None if encoder is None else EncoderNetwork(encoder)
        values = dict(self.parameters.values)
        if self.network is not None:
            values |= {_PREFIX + name: value for name, value in self.network.values.items()}
        self.adam = Adam(values)
        self._data, self._judged = data, judged
        self._num_samples, self._seed = num_samples, seed

    def score(self) -> float:
        return float(log_marginal(self.parameters.model(), self._judged).mean())

    def gradient(self, batch: np.ndarray, step: int) -> Gradient:
        x = self._data[batch]
        found, of_encoder = self._gradients(self.parameters.model(), x, step)
        found = {name: value / len(x) for name, value in found.items()}
        return found | {_PREFIX + name: value / len(x) for name, value in of_encoder.items()}

    def _gradients(self, model: SigmoidBeliefNetwork, x: np.ndarray, step: int) -> tuple[Gradient, Gradient]:
        """Sums over the data ``x``: in the model's parameters, in the encoder's."""
        raise NotImplementedError

    def _seed_of(self, step: int, purpose: int) -> int:
        return int(np.random.SeedSequence([self._seed, step, purpose]).generate_state(1, np.uint64)[0])

    def _back(self, inputs: list[np.ndarray], slope: np.ndarray) -> Gradient:
        assert self.network is not None
        return self.network.backward(inputs, slope)


class ExactElbo(_Learner):
    """The exact ELBO, with an encoder's q or, without one, each datum's own optimum."""

    def _gradients(self, model: SigmoidBeliefNetwork, x: np.ndarray, step: int) -> tuple[Gradient, Gradient]:
        form: Any = model._form(np.ones(model.num_pixels, bool), "float64")
        if self.network is None:
            start = np.broadcast_to(model.prior_logits, (len(x), model.num_latents))
            logits = mean_field.fit(form, x, [start], _SWEEPS, 1e-4).logits
            return _of_q(model, form, x, logits), {}
        inputs = self.network.forward(x)
        logits, mean = inputs[-1], sigmoid(inputs[-1])
        slope = expected_log_joint(form, x, logits).slope - mean * (1.0 - mean) * logits
        return _of_q(model, form, x, logits), self._back(inputs, slope)


class ImportanceWeighted(_Learner):
    """E[log 1/K sum_k w_k], sampled: its own gradient in the model, VIMCO's in the encoder."""

    def _gradients(self, model: SigmoidBeliefNetwork, x: np.ndarray, step: int) -> tuple[Gradient, Gradient]:
        assert self.network is not None
        inputs = self.network.forward(x)
        q = Bernoulli(inputs[-1])
        z = q.sample(self._num_samples, self._seed_of(step, 0)).transpose(1, 0, 2).astype(np.float64)
        log_p, eta = _log_joint(model, x, z)
        log_w = log_p - q.log_prob(z.transpose(1, 0, 2)).T
        share = np.exp(log_w - log_w.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        return _of_samples(model, x, z, eta, share), self._back(inputs, vimco(log_w, z, q.mean))


class WakeSleep(_Learner):
    """Wake: the model learns from the encoder's samples; sleep: the encoder from the model's."""

    def _gradients(self, model: SigmoidBeliefNetwork, x: np.ndarray, step: int) -> tuple[Gradient, Gradient]:
        assert self.network is not None
        q = Bernoulli(self.network.forward(x)[-1])
        z = q.sample(self._num_samples, self._seed_of(step, 0)).transpose(1, 0, 2).astype(np.float64)
        share = np.full(z.shape[:2], 1.0 / self._num_samples)
        of_model = _of_samples(model, x, z, _logits(model, z), share)
        dreamt_z, dreamt_x = model.sample(len(x), self._seed_of(step, 1))
        inputs = self.network.forward(dreamt_x)
        return of_model, self._back(inputs, dreamt_z - sigmoid(inputs[-1]))


def _of_q(model: SigmoidBeliefNetwork, form: Any, x: np.ndarray, logits: np.ndarray) -> Gradient:
    """Gradient of sum_n E_q[log p(x_n, z)]."""
    found = q_moments(form, logits, np.ones(len(x)))
    means = matmul(np.ascontiguousarray(x.T, dtype=np.float64), found.mean)
    return {
        "weights": means - found.values[:, :-1],
        "bias": x.sum(axis=0) - found.values[:, -1],
        "prior_logits": found.mean.sum(axis=0) - len(x) * sigmoid(model.prior_logits),
    }


def _logits(model: SigmoidBeliefNetwork, z: np.ndarray) -> np.ndarray:
    """eta (N, K, D) of states z (N, K, d)."""
    flat = matmul(z.reshape(-1, z.shape[2]), np.ascontiguousarray(model.weights.T), model.bias)
    return flat.reshape(*z.shape[:2], -1)


def _log_joint(model: SigmoidBeliefNetwork, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(x_n, z_nk) (N, K), and eta."""
    eta = _logits(model, z)
    log_likelihood = (x[:, None] * eta - np.logaddexp(0.0, eta)).sum(axis=2)
    return log_likelihood + model.prior.log_prob(z), eta


def _of_samples(
    model: SigmoidBeliefNetwork, x: np.ndarray, z: np.ndarray, eta: np.ndarray, share: np.ndarray
) -> Gradient:
    """Gradient of sum_nk share_nk log p(x_n, z_nk)."""
    residual = (share[:, :, None] * (x[:, None] - sigmoid(eta))).reshape(-1, eta.shape[2])
    prior = (share[:, :, None] * (z - sigmoid(model.prior_logits))).sum(axis=(0, 1))
    return {
        "weights": matmul(np.ascontiguousarray(residual.T), z.reshape(-1, z.shape[2])),
        "bias": residual.sum(axis=0),
        "prior_logits": prior,
    }
