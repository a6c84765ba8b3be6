"""Summaries of log weights that arrive in chunks, in any number, on any number of workers."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.engine.cuda.arrays import on_device
from fastvi.engine.importance.weight_sums import WeightSums
from fastvi.weights.estimate import Estimate
from fastvi.weights.log_weights import log_weight_array, map_rows, row_sums, weight_rows
from fastvi.weights.summary import estimate_of_sums

_TAIL_SIZE = 3000  # 3 sqrt(10^6)
_FEWEST = 5  # entries in a tail that is fitted


class LogWeights:
    r"""Running summary of N streams of log weights; its size does not grow with their length.

    For each datum it holds the largest weight, the sums of w and w^2 relative to it and the M + 1 largest log
    weights. :meth:`update` takes chunks, :meth:`merge` another summary, and :meth:`estimate` gives the
    :class:`~fastvi.Estimate` of all weights at once:

    .. math::
        \log \frac{1}{K} \sum_k w_k, \quad \frac{(\sum_k w_k)^2}{\sum_k w_k^2}, \quad
        \frac{\max_k w_k}{\sum_k w_k}, \quad \hat k

    The largest weights, and with them pareto_k, are the same to the bit for any chunks and shards in any
    order. The sums depend on these by rounding, a relative error of about 2^-53 times the number of chunks
    and merges at most. The same chunks merged in the same order give the same bits, for any number of
    threads; a single update gives those of :func:`log_mean_exp`; ``a.merge(b)`` gives the estimate of
    ``b.merge(a)``.

    It can be pickled, so that workers summarise shards. Two threads must not update one summary at a time.

    Parameters
    ----------
    num_data
        N, at least 0; None takes it from the first update or merge.
    tail_size
        M, at least 5; None for 3000. pareto_k is exactly that of :func:`pareto_k` on all K weights as long as
        its tail, ceil(min(K / 5, 3 sqrt(K))), is at most M: to K = 10^6 for M = 3000, to 10^8 for 30000.
        Beyond, the distribution is fitted to the M largest weights alone. They are further out, where the
        limit distribution fits better, and fewer: k has a standard error of about (1 + k) / sqrt(M).

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    Notes
    -----
    Memory: 12 (M + 1) bytes a datum (36 KB for M = 3000) and less before K = 1.5 (M + 1). Time: that of
    :func:`log_mean_exp`, and a comparison for each weight.

    References
    ----------
    Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance, The American Statistician 37
    (sums that are merged). Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling,
    JMLR 25(72).

    Examples
    --------
    >>> import fastvi, numpy
    >>> summary = fastvi.LogWeights()
    >>> for seed in range(3):
    ...     summary.update(numpy.random.default_rng(seed).normal(size=(2, 1000)))
    >>> summary
    LogWeights(num_data=2, num_samples=3000, tail_size=3000)
    >>> summary.estimate().ess.shape
    (2,)
    """

    _sums: WeightSums

    def __init__(self, num_data: int | None = None, tail_size: int | None = None) -> None:
        self._tail_size = (
            _TAIL_SIZE if tail_size is None else validation.positive_int(tail_size, "tail_size", _FEWEST)
        )
        self._num_samples = 0
        self._num_data: int | None = None
        if num_data is not None:
            self._begin(validation.positive_int(num_data, "num_data", 0))

    def _begin(self, num_data: int) -> None:
        """Set N and make room for the sums."""
        self._num_data, self._sums = num_data, WeightSums(num_data, self._tail_size)

    @property
    def num_data(self) -> int | None:
        """Number N of data, or None before the first update.

        Examples
        --------
        >>> import fastvi
        >>> summary = fastvi.LogWeights()
        >>> summary.num_data is None
        True
        >>> summary.update([[0.0, 1.0], [2.0, 2.0]])
        >>> summary.num_data
        2
        """
        return self._num_data

    @property
    def num_samples(self) -> int:
        """Number K of weights per datum so far.

        Examples
        --------
        >>> import fastvi
        >>> summary = fastvi.LogWeights()
        >>> for chunk in ([[0.0, 1.0]], [[2.0]]):
        ...     summary.update(chunk)
        >>> summary.num_samples
        3
        """
        return self._num_samples

    @property
    def tail_size(self) -> int:
        """Size M of the largest tail that is fitted.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.LogWeights(tail_size=30000).tail_size
        30000
        """
        return self._tail_size

    def update(self, log_w: ArrayLike) -> None:
        """Take a chunk of log weights; they are not kept.

        Parameters
        ----------
        log_w : array_like
            (N, K) log weights in nats, finite or -inf; any K, also 0, and another one in each chunk.
            Contiguous arrays of float32 or float64 are read where they are, others copied 1 MiB at a time.
            Arrays of a GPU are summed there; of each row those that may be among the largest come to the
            host.

        Raises
        ------
        ValueError
            For NaN or +inf (the index of the first one is named, which begins with the datum), another number
            of axes or another N than before. The summary is then as it was.
        TypeError
            Where ``log_w`` is not an array of real numbers.

        Examples
        --------
        Chunks of any length, of the same data:

        >>> import fastvi
        >>> summary = fastvi.LogWeights()
        >>> summary.update([[0.0, 1.0], [2.0, 2.0]])
        >>> summary.update([[0.5], [2.0]])
        >>> summary.num_samples, summary.estimate().log_marginal.round(3)
        (3, array([0.582, 2.   ]))
        """
        if on_device(log_w):
            self._update_on_device(log_w)
            return
        array = log_weight_array(log_w, (2,))
        if self._num_data is not None:
            validation.check_shape(array, "log_w", 2, (self._num_data, None))
        if array.shape[1] == 0:
            if self._num_data is None:
                self._begin(array.shape[0])
            return
        largest, total, squares, num, _ = row_sums(array, -1)
        if self._num_data is None:
            self._begin(array.shape[0])
        sums = self._sums
        sums.make_room(num)
        lengths = np.full(array.shape[0], num)

        def collect(part: NDArray[Any], where: slice) -> None:
            sums.collect(part, lengths[where], largest[where], where)

        map_rows(collect, weight_rows(array)[0], float32=True)
        sums.add(largest, total, squares)
        self._num_samples += num
        if sums.alike.any():
            np.minimum(sums.smallest, array.min(axis=1).astype(np.float64), out=sums.smallest)

    def _update_on_device(self, log_w: Any) -> None:
        """Take a chunk that lies on a GPU."""
        from fastvi.engine.cuda.log_weights import checked_sums, collect, device_rows

        on, rows = device_rows(log_w, 2)
        if self._num_data not in (None, rows.shape[0]):
            raise ValueError(f"log_w must have shape ({self._num_data}, any), got shape {tuple(rows.shape)}")
        if self._num_data is None:
            self._begin(rows.shape[0])
        if not rows.shape[0] or not rows.shape[1]:
            return
        found, sums = checked_sums(on, rows), self._sums
        sums.make_room(rows.shape[1])
        collect(on, rows, found, sums)
        sums.add(found.largest, found.total, found.squares)
        self._num_samples += rows.shape[1]
        np.minimum(sums.smallest, found.smallest, out=sums.smallest)

    def merge(self, other: LogWeights) -> None:
        """Take all weights that another summary has taken; ``other`` is left as it is.

        Parameters
        ----------
        other
            A summary of the same data, in the same order, with the same ``tail_size``.

        Raises
        ------
        ValueError
            For another number of data or another ``tail_size``.
        TypeError
            Where ``other`` is not a LogWeights.

        Examples
        --------
        Two workers, each with half of the samples:

        >>> import fastvi
        >>> one, other = fastvi.LogWeights(), fastvi.LogWeights()
        >>> one.update([[0.0, 1.0], [2.0, 2.0]])
        >>> other.update([[0.5, 0.5], [2.0, 2.0]])
        >>> one.merge(other)
        >>> one.num_samples, one.estimate().ess.round(3)
        (4, array([3.56, 4.  ]))
        """
        validation.instance(other, "other", LogWeights)
        if other._tail_size != self._tail_size:
            raise ValueError(f"other must have tail_size {self._tail_size}, got {other._tail_size}")
        if other._num_data is None:
            return
        if self._num_data is None:
            self._begin(other._num_data)
        if other._num_data != self._num_data:
            raise ValueError(f"other must have num_data {self._num_data}, got {other._num_data}")
        num_more = other._num_samples  # other may be this very summary
        self._sums.merge(other._sums)
        self._num_samples += num_more

    def estimate(self) -> Estimate:
        """Estimate log p(x) and its error from the weights so far.

        Returns
        -------
        Estimate
            pareto_k is -inf where all weights are equal (to 1e-12 in their logarithms), inf where there is
            nothing to fit, nan where all weights are 0.

        Raises
        ------
        ValueError
            Before the first weights.

        Examples
        --------
        >>> import fastvi, numpy
        >>> log_w = numpy.random.default_rng(0).normal(size=(2, 1000))
        >>> summary = fastvi.LogWeights()
        >>> for start in range(0, 1000, 250):
        ...     summary.update(log_w[:, start : start + 250])
        >>> bool(abs(summary.estimate().log_marginal - fastvi.log_mean_exp(log_w)).max() < 1e-12)
        True
        """
        if self._num_data is None or self._num_samples == 0:
            raise ValueError("num_samples must be at least 1 for an estimate, got 0")
        return estimate_of_sums(self._sums, self._num_samples)

    def __getstate__(self) -> dict[str, Any]:
        """Return a state with sums of its own, so that copies share nothing."""
        state = dict(vars(self))
        if "_sums" in state:
            state["_sums"] = copy(state["_sums"])
        return state

    def __repr__(self) -> str:
        return (
            f"LogWeights(num_data={self._num_data}, num_samples={self._num_samples}, "
            f"tail_size={self._tail_size})"
        )
