"""Exact expectation maximisation of models that are linear in their latents, with Gaussian noise."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.core.registry import rules_of
from fastvi.engine.linalg.products import matmul
from fastvi.engine.linalg.symmetric import solve_rows
from fastvi.fitting.model_access import check_states, exact_log_marginal
from fastvi.fitting.training import Schedule, Trainer
from fastvi.rules.base import EMoments
from fastvi.rules.questions import FIT_MODEL_EM

_LOG = logging.getLogger("fastvi")

# Log odds of a latent that is never, or always, on. At 36 the rarer side has a probability of 2^-52.
MAX_LOGIT = 36.0
# Directions of (z, 1) whose second moment is a smaller share of the largest are left alone: where latents are
# certain, what is computed of them is rounding.
LEAST_MOMENT = 1e-10
# noise_std stays above this share of the start's: where the model fits data without error their likelihood
# has no maximum.
LEAST_NOISE = 1e-4


class ExpectationMaximization(Trainer):
    r"""W, b, noise_std and the prior's logits by one E step and one M step an epoch.

    With z~ = (z, 1) and all expectations under the posteriors of the present parameters, the M step's maximum
    of sum_n E[log p(x_n, z)] is

    .. math::
        (W, b) = \sum_n x_n E[\tilde z]^T \left(\sum_n E[\tilde z \tilde z^T]\right)^{-1}, \quad
        s^2 = \frac{1}{N D} \sum_n E|x_n - W z - b|^2, \quad \sigma(c_i) = \frac{1}{N} \sum_n E[z_i].

    W and b are computed as a change, from the residuals x_n - E[W z + b]: no change where the gradient is 0,
    and the shortest one where the matrix is singular. A step cannot lower the likelihood; where it does, by
    rounding, it is taken back and is the last one.

    References
    ----------
    M. E. Tipping, C. M. Bishop (1999), Probabilistic principal component analysis, appendix B. M. Henniges,
    G. Puertas, J. Bornschein, J. Eggert, J. Lücke (2010), Binary sparse coding, section 3, here with all
    states.
    """

    judges_standstill = True

    def __init__(self, model: Any, data: np.ndarray, judged: np.ndarray) -> None:
        if FIT_MODEL_EM not in rules_of(model).questions:
            raise TypeError(
                "model must be a BinarySparseCoding, a LinearGaussian or a JointTable, which have an exact M "
                f"step, for objective='em', got {model!r}"
            )
        check_states(model, len(data), "log_marginal")
        self._start = model
        self.values = {name: np.array(value, np.float64) for name, value in model.arrays().items()}
        self.state = tuple(self.values.values())
        self._data, self._judged = data, judged
        self._least_noise = LEAST_NOISE * model.noise_std
        self._moments: EMoments | None = None  # of the present values
        self._settled = False

    def model(self) -> Any:
        """The model with the present values."""
        return type(self._start).from_arrays({name: value.copy() for name, value in self.values.items()})

    def score(self) -> float:
        """Mean exact log p(x): of the training data it comes with the next step's moments."""
        if self._judged is self._data:
            return float(self._expected().evidence.mean())
        return float(exact_log_marginal(self.model(), self._judged).mean())

    def run_epoch(self, epoch: int, num_data: int, schedule: Schedule) -> None:
        if self._settled:
            return
        before = self._expected()
        kept = {name: value.copy() for name, value in self.values.items()}
        self._maximize(before)
        self._moments = None
        if self._expected().evidence.mean() < before.evidence.mean():
            _LOG.info("expectation maximisation has settled: rounding keeps log p(x) from rising further")
            for name, value in kept.items():
                self.values[name][...] = value
            self._moments, self._settled = before, True

    def _maximize(self, moments: EMoments) -> None:
        weights, bias = _linear(self._data, moments, self.values["weights"], self.values["bias"])
        self.values["weights"][...], self.values["bias"][...] = weights, bias
        if self._data.shape[1]:
            noise = _noise(self._data, moments, weights, bias)
            if noise < self._least_noise < self.values["noise_std"]:
                _LOG.warning("noise_std is kept at %g, %g times the start's", self._least_noise, LEAST_NOISE)
            self.values["noise_std"][...] = max(noise, self._least_noise)
        if "prior_logits" in self.values:
            logits = self.values["prior_logits"]
            logits[...] = _logits(moments.mean.mean(axis=0), logits)

    def _expected(self) -> EMoments:
        if self._moments is None:
            model = self.model()
            found = rules_of(model).em_moments(self._data)
            validation.require(
                found.evidence,
                np.isfinite(found.evidence),
                "x must have a positive probability to be learned from",
            )
            self._moments = found
        return self._moments


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """sum_n left_n right_n^T."""
    return matmul(np.ascontiguousarray(left.T), right)


def _residual(x: np.ndarray, mean: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x - matmul(mean, np.ascontiguousarray(weights.T), bias)


def _linear(
    x: np.ndarray, moments: EMoments, weights: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """W and b of the M step."""
    mean, spread = moments.mean, moments.spread
    residual = _residual(x, mean, weights, bias)
    extended = np.concatenate([mean, np.ones((len(x), 1))], axis=1)
    right = _products(residual, extended)
    right[:, :-1] -= matmul(weights, spread)
    second = _products(extended, extended)
    second[:-1, :-1] += spread
    change = solve_rows(right, second, LEAST_MOMENT)
    return weights + change[:, :-1], bias + change[:, -1]


def _noise(x: np.ndarray, moments: EMoments, weights: np.ndarray, bias: np.ndarray) -> float:
    """S of the M step, from its W and b."""
    residual = _residual(x, moments.mean, weights, bias)
    squares = np.square(residual).sum() + (matmul(weights, moments.spread) * weights).sum()
    return float(np.sqrt(max(squares, 0.0) / x.size))


def _logits(share: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Log odds of how often each latent is on, within +-36, or what it was before where that is beyond."""
    with np.errstate(divide="ignore"):
        logits = np.log(share) - np.log1p(-share)
    return np.clip(logits, np.minimum(-MAX_LOGIT, before), np.maximum(MAX_LOGIT, before))
