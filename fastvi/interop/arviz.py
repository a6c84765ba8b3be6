"""ArviZ's statistics with fastvi's kernels: ``rcParams["stats.module"] = fastvi.interop.arviz.engine``.

Everything but ``psislw`` and ``loo`` is inherited from arviz-stats, so that each answer has ArviZ's own
words, shapes and conventions. ArviZ rounds the length M of a tail down and lets r_eff enter it; so does the
engine, which asks ArviZ for M.

Examples
--------
>>> import arviz_base, arviz_stats, numpy
>>> import fastvi
>>> rng = numpy.random.default_rng(0)
>>> log_likelihood = rng.normal(size=(4, 250, 20))  # of 20 data under 4 chains of 250 draws
>>> groups = {"posterior": {"mean": log_likelihood[..., 0]}, "log_likelihood": {"y": log_likelihood}}
>>> data = arviz_base.from_dict(groups)
>>> with arviz_base.rc_context({"stats.module": fastvi.interop.arviz.engine}):
...     loo = arviz_stats.loo(data)
>>> round(float(loo.elpd), 2)
-9.88
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.core.extras import how_to_install
from fastvi.kernels.cpu.weights.log_weights import weight_sums
from fastvi.kernels.cpu.weights.pareto import smooth_rows
from fastvi.weights.log_weights import map_rows

try:
    from arviz_stats.base import array as of_arrays
    from arviz_stats.base import dataarray as of_data_arrays
    from xarray import apply_ufunc
except ImportError as error:
    raise ImportError(
        f"fastvi.interop.arviz needs ArviZ: {how_to_install('arviz')} ({' '.join(str(error).split())})"
    ) from error

# without types, whether the package is installed where types are checked or not
_Arrays: Any = of_arrays.BaseArray
_DataArrays: Any = of_data_arrays.BaseDataArray
_axes_last: Any = of_arrays.process_ary_axes

_FARTHEST = 700.0  # nats below the largest weight; further down exponentials lose digits, and ArviZ decides


class Arrays(_Arrays):
    """arviz-stats' functions of arrays, with ``psislw`` and ``loo`` by fastvi's kernels."""

    def psislw(self, ary: Any, r_eff: Any = 1, axis: Any = -1) -> tuple[NDArray[Any], NDArray[Any]]:
        """Pareto smoothed importance sampling of negative log ratios, as ``arviz_stats`` has it.

        Parameters
        ----------
        ary : array_like
            Negative log weights in nats: the log likelihood of each datum for leave-one-out.
        r_eff : float
            Relative efficiency of the draws; it enters the length of the tail.
        axis : int, sequence of int or None
            The axes of the draws; None for all.

        Returns
        -------
        log_weights : ndarray
            Smoothed and normalised log weights, the axes of the draws last.
        khat : ndarray
            k-hat, of the shape of the other axes.

        Raises
        ------
        ValueError
            As ArviZ: for fewer than 5 draws in a tail, and for a tail of equal values.

        Notes
        -----
        Rows with a tie at the end of the tail, with entries that are not finite or with more than 700 nats
        between the ends of the tail are left to ArviZ's own loop, one by one.
        """
        array, axes = _axes_last(np.asarray(ary), axis)
        whole, shape = array.shape, array.shape[: array.ndim - len(axes)]
        num = int(np.prod(whole[len(shape) :]))
        tail = int(self._get_ps_tails(num, r_eff, tail="right")) if num and np.ndim(r_eff) == 0 else 0
        if not 5 <= tail < num or array.dtype.kind != "f" or 0 in shape:
            return super().psislw(ary, r_eff=r_eff, axis=axis)
        rows = array.reshape(-1, num)
        log_weights, khat = np.empty(rows.shape), np.empty(len(rows))

        def task(part: NDArray[Any], where: slice) -> None:
            smoothed, k = np.negative(part, out=log_weights[where]), khat[where]
            regular = _smooth(smoothed, tail, k)
            for n in np.flatnonzero(~regular):
                smoothed[n], k[n] = self._psislw(part[n], r_eff)
            smoothed -= np.where(regular, _log_sums(smoothed), 0.0)[:, None]  # ArviZ's own are normalised

        map_rows(task, rows, float32=False)
        return log_weights.reshape(whole), khat.reshape(shape)[()]

    def pointwise_loo(self, ary: Any, log_weights: Any, log_jacobian: Any = 0.0) -> tuple[Any, Any]:
        """Log predictive densities and effective numbers of parameters of all data at once.

        Parameters
        ----------
        ary : array_like
            Log likelihood (..., chain, draw) in nats.
        log_weights : array_like
            Of the same shape, normalised.
        log_jacobian : array_like
            Added to each density, of the shape of the leading axes.

        Returns
        -------
        elpd_i, p_loo_i : ndarray
        """
        array = np.asarray(ary)
        shape, num = array.shape[:-2], array.shape[-2] * array.shape[-1]
        rows, weights = array.reshape(-1, num), np.asarray(log_weights).reshape(-1, num)
        density, spread = np.empty(len(rows)), np.empty(len(rows))

        def task(part: NDArray[Any], where: slice) -> None:
            spread[where] = _log_sums(part) - np.log(num)
            density[where] = _log_sums(part + weights[where])

        map_rows(task, rows, float32=False)
        elpd, lppd = density.reshape(shape), spread.reshape(shape)
        return elpd + log_jacobian, lppd - elpd


class DataArrays(_DataArrays):
    """arviz-stats' functions of data arrays on :class:`Arrays`."""

    def __init__(self) -> None:
        self.array_stats = Arrays()  # where ArviZ looks for its functions of arrays
        super().__init__(array_class=self.array_stats)

    def loo(
        self,
        da: Any,
        sample_dims: Any = None,
        r_eff: float = 1.0,
        log_weights: Any = None,
        pareto_k: Any = None,
        log_jacobian: Any = None,
    ) -> Any:
        """Pointwise leave-one-out densities, all data at once where ArviZ goes from one to the next.

        Parameters and results are those of ``arviz_stats``: a tuple (elpd_i, pareto_k, p_loo_i).
        """
        dims = ["chain", "draw"] if sample_dims is None else sample_dims
        if isinstance(dims, str) or len(dims) != 2 or (log_weights is None) != (pareto_k is None):
            return super().loo(da, sample_dims, r_eff, log_weights, pareto_k, log_jacobian)
        if log_weights is None:
            log_weights, pareto_k = self.psislw(da, r_eff=r_eff, dim=dims)
        jacobian = 0.0 if log_jacobian is None else log_jacobian
        elpd_i, p_loo_i = apply_ufunc(
            self._pointwise,
            da,
            log_weights,
            jacobian,
            input_core_dims=[dims, dims, []],
            output_core_dims=[[], []],
            join="left",
        )
        return elpd_i, pareto_k, p_loo_i

    def _pointwise(self, ary: Any, log_weights: Any, log_jacobian: Any) -> Any:
        """``pointwise_loo`` of arrays that broadcast."""
        ary, log_weights = np.broadcast_arrays(ary, log_weights)
        return self.array_class.pointwise_loo(ary, log_weights, log_jacobian)


def _smooth(log_w: NDArray[np.float64], tail: int, k: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Smooth the ``tail`` largest entries of each row in place, k-hat to ``k``; where that is ArviZ's answer.

    The kernel derives the length of a tail from that of a row, ceil(min(K / 5, 3 sqrt(K))). So it is given
    the tail and its cutoff alone, in a row of the length that has such a tail, filled up with weights of 0.
    """
    kept = np.argpartition(log_w, -tail - 1, axis=1)[:, -tail - 1 :]
    entries = np.take_along_axis(log_w, kept, axis=1)
    padded = np.full((len(log_w), max(5 * tail if tail <= 45 else tail * tail // 9, tail + 1)), -np.inf)
    padded[:, : tail + 1] = entries
    rows = padded.view()
    rows.flags.writeable = False  # one compiled kernel for this and for psis
    smooth_rows(rows, padded, k)
    lowest, largest = entries.min(axis=1, keepdims=True), entries.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        regular = (largest - lowest)[:, 0] < _FARTHEST  # not of entries that are NaN or infinite
    regular &= (entries == lowest).sum(axis=1) == 1
    regular &= np.isfinite(k) & np.isfinite(log_w.sum(axis=1))
    np.put_along_axis(log_w, kept, padded[:, : tail + 1], axis=1)
    return np.asarray(regular)


def _log_sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the sum of the exponentials of each row; NaN where an entry is NaN or inf."""
    largest, total, squares = (np.empty(len(rows)) for _ in range(3))
    clean = rows.view()
    clean.flags.writeable = False  # one compiled kernel for arrays that are writeable and those that are not
    weight_sums(clean, largest, total, squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(largest + np.log(total))


#: All statistics of ArviZ, with ``psislw`` and ``loo`` by fastvi's kernels. k-hat and the weights are ArviZ's
#: to about 1e-12; all data are worked on at once, in threads. Set it by
#: ``arviz_base.rcParams["stats.module"] = fastvi.interop.arviz.engine``.
engine = DataArrays()
