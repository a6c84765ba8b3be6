"""Estimate of log p(x) with its error and diagnostics."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.core import validation

UNRELIABLE_K = (
    0.7  # Vehtari et al. (2024), section 3.2.4: above, the error is not described by the standard error
)
_FEW = 10.0  # an effective sample size below which a normal interval means little


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimates per datum, each (N,) in nats where it is a logarithm.

    Attributes
    ----------
    log_marginal
        log of the mean weight: its exponential is unbiased for p(x), itself it is too small on average.
    std_error
        Standard error of log_marginal by the delta method, sqrt((sum w^2 / (sum w)^2 - 1 / K) K / (K - 1)):
        0 for equal weights, inf for one sample and where only one of the weights is not 0, nan where all
        are 0.
    ess
        Kish's effective sample size (sum w)^2 / sum w^2; 0 where all weights are 0.
    pareto_k
        Shape of the generalised Pareto distribution of the largest weights; above 0.7 the rest is not to be
        trusted. inf or nan where the tail is too short to be fitted.
    max_weight_share
        Largest weight over the sum of all; nan where all are 0.
    num_samples
        Weights per datum: an int, or an int64 array (N,) where sampling stopped at a target.

    References
    ----------
    Owen (2013), Monte Carlo theory, methods and examples, chapter 9 (std_error, ess). Vehtari, Simpson,
    Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, JMLR 25(72) (pareto_k).

    Examples
    --------
    >>> import fastvi, numpy
    >>> estimate = fastvi.diagnose(numpy.random.default_rng(0).normal(size=(2, 1000)))
    >>> estimate.log_marginal.round(3), estimate.std_error.round(3)
    (array([0.422, 0.497]), array([0.038, 0.038]))
    """

    log_marginal: NDArray[np.float64]
    std_error: NDArray[np.float64]
    ess: NDArray[np.float64]
    pareto_k: NDArray[np.float64]
    max_weight_share: NDArray[np.float64]
    num_samples: int | NDArray[np.int64]

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Normal interval for log p(x): log_marginal -+ quantile * std_error.

        Parameters
        ----------
        level
            Coverage, 0 < level < 1.

        Returns
        -------
        low, high : ndarray, (N,), float64, in nats

        Raises
        ------
        ValueError, TypeError
            Where ``level`` is not a number with 0 < level < 1.

        Examples
        --------
        >>> import fastvi, numpy
        >>> low, high = fastvi.diagnose(numpy.random.default_rng(0).normal(size=(1, 1000))).interval()
        >>> low.round(3), high.round(3)
        (array([0.348]), array([0.496]))
        """
        share = validation.real_number(level, "level", "a number with 0 < level < 1")
        if not 0.0 < share < 1.0:
            raise ValueError(f"level must satisfy 0 < level < 1, got {share}")
        from scipy.special import ndtri

        half = float(ndtri(0.5 + share / 2)) * self.std_error
        return self.log_marginal - half, self.log_marginal + half

    def some(self, which: NDArray[Any]) -> Estimate:
        """Return the estimates of some data."""
        per_datum = (getattr(self, field.name) for field in fields(self))
        return Estimate(*(value[which] if isinstance(value, np.ndarray) else value for value in per_datum))

    def __repr__(self) -> str:
        num, samples = self.log_marginal.size, self.num_samples
        if isinstance(samples, np.ndarray):
            spent = f"{samples.min()} ... {samples.max()}" if num else "none"
        else:
            spent = str(samples)
        if num == 0:
            return f"Estimate(num_data=0, num_samples={spent})"
        error = np.nanmax([*self.std_error, 0.0])
        text = (
            f"Estimate(num_data={num}, num_samples={spent}, "
            f"mean log_marginal={self.log_marginal.mean():.6g}, largest std_error={error:.3g}, "
            f"smallest ess={self.ess.min():.1f}"
        )
        wide, few = int((~(self.pareto_k <= UNRELIABLE_K)).sum()), int((self.ess < _FEW).sum())
        if wide:
            text += f"; WARNING: pareto_k > {UNRELIABLE_K} for {wide} of {num}"
        if few:
            text += f"; WARNING: ess < {_FEW:g} for {few} of {num}"
        return text + ")"
