"""Estimate of log p(x) with its error and diagnostics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.core.results import PerDatum, draws_dataset

_FEW = 10.0  # an effective sample size below which a normal interval means little


def reliable_k(num_samples: int | NDArray[np.int64]) -> float | NDArray[np.float64]:
    """Return min(1 - 1 / log10(K), 0.7): with k-hat above it, the standard error does not describe the error.

    Vehtari et al. (2024), section 3.2.4. ArviZ has the same, 0.7 for a single sample among it.
    """
    num = np.maximum(num_samples, 2)
    most = np.where(np.asarray(num_samples) > 1, np.minimum(1.0 - 1.0 / np.log10(num), 0.7), 0.7)
    return most if most.ndim else float(most)


@dataclass(frozen=True, eq=False)
class Estimate(PerDatum):
    """Estimates per datum, each (N,) in nats where it is a logarithm.

    ``len(estimate)`` is N; ``estimate[2:5]``, ``estimate[mask]`` and so on are the estimates of some data,
    ``estimate[3]`` that of one, with arrays (1,). Weights of more than two axes give arrays of more than one;
    then the first one is indexed.

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
        Shape of the generalised Pareto distribution of the largest weights; above min(1 - 1 / log10(K), 0.7)
        the rest is not to be trusted. inf or nan where the tail is too short to be fitted.
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
    >>> estimate.ess.round(1), estimate.max_weight_share.round(3)
    (array([411.6, 411.4]), array([0.014, 0.011]))
    >>> estimate.pareto_k.round(2), estimate.num_samples
    (array([0.38, 0.22]), 1000)
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

    def to_datatree(self, log_w: ArrayLike | None = None) -> Any:
        """Return an xarray ``DataTree``, as ArviZ keeps what it knows of a model.

        Parameters
        ----------
        log_w : array_like, (N, K), optional
            The log weights that the estimates were made of, in nats.

        Returns
        -------
        xarray.DataTree
            Group ``estimate``: the fields by datum. Where ``log_w`` is given, group ``sample_stats``:
            ``log_weight`` (chain, draw, datum), of one chain.

        Raises
        ------
        ImportError
            Without xarray.
        ValueError, TypeError
            Where ``log_w`` is not an array of real numbers of N rows.

        Examples
        --------
        >>> import fastvi, numpy
        >>> log_w = numpy.random.default_rng(0).normal(size=(2, 1000))
        >>> tree = fastvi.diagnose(log_w).to_datatree(log_w)  # doctest: +SKIP
        >>> tree["sample_stats"]["log_weight"].dims  # doctest: +SKIP
        ('chain', 'draw', 'datum')
        """
        if log_w is None:
            return self._tree({})
        weights = validation.number_array(log_w, "log_w", "an array of real numbers")
        validation.check_shape(weights, "log_w", 2, (len(self), None))
        return self._tree({"sample_stats": draws_dataset({"log_weight": weights.T})})

    def _num_data_axes(self) -> int:
        return self.log_marginal.ndim

    def _warnings(self) -> list[str]:
        num, most = self.log_marginal.size, reliable_k(self.num_samples)
        wide, few = int((~(self.pareto_k <= most)).sum()), int((self.ess < _FEW).sum())
        said = f"{most:.3g}" if isinstance(most, float) else "min(1 - 1 / log10(num_samples), 0.7)"
        found = [f"pareto_k > {said} for {wide} of {num}"] if wide else []
        return found + ([f"ess < {_FEW:g} for {few} of {num}"] if few else [])

    def __repr__(self) -> str:
        num, samples = self.log_marginal.size, self.num_samples
        if isinstance(samples, np.ndarray):
            spent = f"{samples.min()} ... {samples.max()}" if num else "none"
        else:
            spent = str(samples)
        if num == 0:
            return f"Estimate(num_data=0, num_samples={spent})"
        error = np.nanmax([*self.std_error.flat, 0.0])
        text = (
            f"Estimate(num_data={num}, num_samples={spent}, "
            f"mean log_marginal={self.log_marginal.mean():.6g}, largest std_error={error:.3g}, "
            f"smallest ess={self.ess.min():.1f}"
        )
        return "; WARNING: ".join([text, *self._warnings()]) + ")"
