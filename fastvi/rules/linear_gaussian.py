"""Rules of LinearGaussian: everything has a formula."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.distributions.multivariate_normal import moments_of
from fastvi.engine.run.runs import Run
from fastvi.models.linear_gaussian import FARTHEST, LinearGaussian
from fastvi.rules.base import EMoments, Gradient, NormalPosterior
from fastvi.rules.questions import (
    BY_SAMPLES,
    ELBO,
    EXACTLY_FITTED,
    FIT_ENCODER_FORWARD,
    FIT_MODEL,
    FIT_MODEL_EM,
    FIT_POSTERIOR_FORWARD,
    KL_FROM_POSTERIOR,
    KL_TO_POSTERIOR,
    LEARNED,
    LOG_MARGINAL,
    LOG_MARGINAL_GRADIENT,
    MISSING,
    PLAN,
)
from fastvi.rules.real_latents import RealLatentsRules

_LOG_TWO_PI = math.log(2.0 * math.pi)


class Solved(NamedTuple):
    """Posterior of data in units of the noise, on the pixels that are seen."""

    scaled: np.ndarray  # A = W / s
    factor: np.ndarray  # R, upper triangular, R^T R = I + A^T A, the inverse of the posterior's covariance
    mean: np.ndarray  # m_n = (I + A^T A)^-1 A^T (x_n - b) / s
    residual: np.ndarray  # (x_n - b) / s - A m_n


class LinearGaussianRules(RealLatentsRules):
    """Rules of :class:`~fastvi.LinearGaussian`."""

    model: LinearGaussian
    questions = (
        BY_SAMPLES | MISSING | LEARNED | EXACTLY_FITTED
        | {LOG_MARGINAL, PLAN, LOG_MARGINAL_GRADIENT, ELBO, KL_TO_POSTERIOR, KL_FROM_POSTERIOR}
        | {FIT_POSTERIOR_FORWARD, FIT_ENCODER_FORWARD, FIT_MODEL, FIT_MODEL_EM}
    )  # fmt: skip
    pixel_bytes = 8
    activation = "relu"  # of hidden layers, of which there are none
    parameter_names = [("weights", "bias")]  # noqa: RUF012
    has_normal_posterior = True
    _refusal = (
        "model must have binary latents for its states to be enumerated, got a LinearGaussian: its "
        "latents are continuous, and log_marginal has a closed form"
    )

    def __init__(self, model: LinearGaussian) -> None:
        super().__init__(model)
        self.layers, self.noise_std = ((model.weights, model.bias),), model.noise_std

    def check_data(self, x: Any, observed: Any, name: str = "x") -> tuple[np.ndarray, np.ndarray | None]:
        return validation.observed_real_data(x, observed, self.num_pixels, name)

    def gradient_bytes(self, num_data: int, observed: np.ndarray) -> int:
        # data in their places, in units of the noise, residuals, these weighted, transposed; means likewise
        return 8 * num_data * (5 * self.num_pixels + 4 * self.num_latents)

    def closed_bytes(self, num_data: int, observed: np.ndarray) -> int:
        # data in their places and in units of the noise, their fit, residuals; means as they are solved for
        return 8 * num_data * (4 * self.num_pixels + 4 * self.num_latents)

    def reconstruction(self, x: np.ndarray, observed: np.ndarray, q: Any) -> np.ndarray:
        from fastvi.engine.linalg.products import matmul

        mean, scale = moments_of(q, len(x))
        columns = np.ascontiguousarray((self.model.weights[observed] / self.model.noise_std).T)
        with np.errstate(over="ignore"):  # data so far away that the value is -inf
            residual = (x - self.model.bias[observed]) / self.model.noise_std - matmul(mean, columns)
            square = np.square(residual).sum(axis=1)
        # rows of W L_n, transposed
        spread = matmul(scale.swapaxes(1, 2).reshape(-1, self.num_latents), columns)
        spread = np.square(spread).reshape(len(x), columns.size).sum(axis=1)
        constant = columns.shape[1] * (0.5 * _LOG_TWO_PI + math.log(self.model.noise_std))
        return -0.5 * (square + spread) - constant

    def has_closed_gradient(self, observed: np.ndarray) -> bool:
        return True

    def closed_form(self, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
        return self.log_marginal(self._spread(x, observed), observed)

    def zero_gradient(self) -> Gradient:
        return {name: np.zeros_like(array) for name, array in self.model.arrays().items()}

    def _spread(self, x: np.ndarray, observed: np.ndarray | None) -> np.ndarray:
        """Data (N, D), those of the seen pixels in their places."""
        if observed is None or x.shape[1] == self.num_pixels:
            return x
        out = np.zeros((len(x), self.num_pixels))
        out[:, observed] = x
        return out

    def solved(self, x: np.ndarray, observed: np.ndarray | None = None) -> Solved:
        """Return what the posterior of data is made of; ``x`` (N, D), of which the seen pixels are read."""
        from fastvi.engine.linalg.products import matmul
        from fastvi.engine.linalg.triangular import solve_rows, solve_transposed_rows, upper_triangle

        kept = slice(None) if observed is None else observed
        scaled = self.model.weights[kept] / self.model.noise_std
        with np.errstate(over="ignore"):
            # columns picked by a mask lie one after the other, and sums over rows of that have last bits that
            # depend on the number of data
            centred = (np.ascontiguousarray(x[:, kept]) - self.model.bias[kept]) / self.model.noise_std
        validation.require(centred, np.abs(centred) < FARTHEST, "(x - bias) / noise_std must be below 1e150")
        factor = upper_triangle(scaled)
        mean = solve_rows(factor, solve_transposed_rows(factor, matmul(centred, scaled)))
        return Solved(scaled, factor, mean, centred - matmul(mean, np.ascontiguousarray(scaled.T)))

    def log_marginal(self, x: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
        """Log p(x_n), (N,), of the pixels that ``observed`` keeps (None: all).

        By the matrix determinant lemma the covariance's determinant is s^(2 D) |I + A^T A|, A = W / s. In
        place of Woodbury's difference of two squares, which cancels where x is close to the span of W, the
        quadratic form is the minimum over m of |(x - b) / s - A m|^2 + |m|^2, to which an error of m adds
        its square only.
        """
        scaled, factor, mean, residual = self.solved(x, observed)
        log_determinant = 2.0 * np.log(np.diagonal(factor)).sum()
        constant = len(scaled) * (_LOG_TWO_PI + 2.0 * math.log(self.model.noise_std)) + log_determinant
        return -0.5 * (np.square(residual).sum(axis=1) + np.square(mean).sum(axis=1) + constant)

    def normal_posterior(self, x: np.ndarray, observed: np.ndarray) -> NormalPosterior:
        from fastvi.engine.linalg.triangular import upper_triangle

        found = self.solved(self._spread(x, observed), observed)
        # with the latents in reverse order the factor of I + A^T A is upper triangular: R^T R
        root = upper_triangle(found.scaled[:, ::-1])[::-1, ::-1]
        return NormalPosterior(found.mean, root)

    def em_moments(self, x: np.ndarray) -> EMoments:
        from fastvi.engine.linalg.triangular import solve_transposed_rows

        found = self.solved(x)
        root = solve_transposed_rows(found.factor, np.eye(self.num_latents))  # the covariance is R^-1 R^-T
        spread = len(x) * np.einsum("ik,jk->ij", root, root)
        return EMoments(self.log_marginal(x), found.mean, spread)

    def posterior_moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        from fastvi.engine.linalg.triangular import solve_transposed_rows

        _, factor, mean, _ = self.solved(x, None)
        inverse = solve_transposed_rows(
            factor, np.eye(self.num_latents)
        )  # R^-1, and the covariance is R^-1 R^-T
        entropy = 0.5 * self.num_latents * (1.0 + _LOG_TWO_PI) - np.log(np.diagonal(factor)).sum()
        std = np.sqrt(np.square(inverse).sum(axis=1))
        return mean, np.broadcast_to(std, mean.shape), np.full(len(x), entropy)

    def pixel_gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        residual = self.solved(self._spread(x, observed), observed).residual
        return -data_weights[:, None] * residual / self.model.noise_std

    def gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> Gradient:  # fmt: skip
        """Return the gradient in weights, bias and noise_std (0 axes).

        With m_n and S the posterior's means and covariance, g_n = (x_n - b - W m_n) / s^2:

            d/db = g_n,    d/dW = g_n m_n^T - W S / s^2,
            d/ds = [|x_n - b - W m_n|^2 / s^2 + tr(W S W^T) / s^2 - D] / s.

        Rows of pixels that are not kept are 0.
        """
        from fastvi.engine.linalg.triangular import solve_rows, solve_transposed_rows

        kept = slice(None) if observed is None else observed
        scaled, factor, mean, residual = self.solved(self._spread(x, observed), observed)
        total = data_weights.sum()
        spread = solve_transposed_rows(factor, scaled)  # A R^-1: its rows' squares sum to tr(A S A^T)
        weights, bias = np.zeros_like(self.model.weights), np.zeros_like(self.model.bias)
        pull = data_weights[:, None] * residual
        bias[kept] = pull.sum(axis=0) / self.model.noise_std
        fitted = np.einsum("jn,kn->jk", pull.T.copy(), mean.T.copy()) - total * solve_rows(factor, spread)
        weights[kept] = fitted / self.model.noise_std
        squares = np.square(residual).sum(axis=1) + (np.square(spread).sum() - len(scaled))
        noise_std = (data_weights * squares).sum() / self.model.noise_std
        return {"weights": weights, "bias": bias, "noise_std": np.asarray(noise_std)}


make_rules = LinearGaussianRules
