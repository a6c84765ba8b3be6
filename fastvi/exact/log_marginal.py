"""Exact log p(x)."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.engine import requests
from fastvi.engine.cuda.arrays import like_data
from fastvi.engine.log_sum import log_sums
from fastvi.engine.progress import Progress
from fastvi.exact.question import Options, ask, partition_form
from fastvi.models.enumerable import NO_DATA, Enumerable, check_model, log_marginal_of
from fastvi.models.joint_table import JointTable


def log_marginal(
    model: Enumerable | JointTable,
    x: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    normalized: bool = True,
    device: str = "cpu",
    dtype: str = "float64",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    memory_limit: int | None = None,
    max_states: int = requests.MAX_STATES,
) -> Any:
    r"""Exact log p(x), summed over all latent states.

    .. math:: \log p(x_n) = \log \sum_{z \in \{0,1\}^d} p(x_n, z)

    The sum over 2^d states is cut into tiles in which the D pixels cost one addition and one multiplication
    a state, and each datum one multiply-add a state; see ``fastvi/ARCHITECTURE.md``. The result has the
    same bits for any number of threads or workers, and for a datum in any batch.

    Parameters
    ----------
    model
        Any model of this package, or a :class:`~fastvi.JointTable`.
    x : array_like
        (N, D): 0 and 1, or real numbers where the model's pixels are real. For a table (N,) integers, or None
        for every value of x in order. For a Boltzmann machine (N, d), or None where nothing was observed.
    observed : array_like of bool, optional
        (D,) or (N, D), True where a pixel was seen; the others are summed out and may hold anything. Data
        are grouped by distinct mask, and each mask costs an enumeration of its own. For a table D is 1.
    normalized
        False leaves out - log Z of a Boltzmann machine or a restricted one, for when Z is out of reach; other
        models are normalised as they stand.
    device
        "cpu"; "cuda" for a GPU (the extra ``cuda``), which sums networks of one layer of latents, Boltzmann
        machines, sparse coding and scalar log joints; "auto" picks a GPU where there is one that can, and
        logs why it picks what. What takes no sum over states is computed on the CPU. Data on a GPU (CuPy,
        CUDA tensors, Numba device arrays) are read where they lie; the result is then a device array. Where
        the environment has FASTVI_CUBLAS=1 and CuPy, cuBLAS multiplies in float64.
    dtype
        "float64", or "float32": the products over pixels are then rounded to float32, which moves log p(x)
        by at most 3 (D + 1) 2^-24 nats (1.4e-4 at D = 784; the sums over states stay in float64). Tables
        are always summed in float64.
    executor
        A :class:`concurrent.futures.Executor` whose workers take one wave of states each.
    checkpoint
        A file that keeps what is finished, every few seconds and when the run ends or is interrupted: the
        same call goes on from it, with the same bits. A file of another model, data or options is refused and
        left as it was.
    progress
        True for a line on standard error, or a function of (states done, states in all).
    memory_limit
        Bytes; a run predicted to need more beyond its arguments is refused.
    max_states
        Largest 2^d to be enumerated; the default, 2^40, is weeks of work.

    Returns
    -------
    ndarray, (N,), float64
        log p(x_n) in nats; of a table declared unnormalized, the log of the sum of its row.

    Raises
    ------
    ValueError, TypeError
        For wrong input; the text names the argument, what is allowed and what came.
    RuntimeError
        For ``device="cuda"`` where no GPU can be used, with the driver's words, or with a model that only
        the CPU can sum.
    MemoryError
        Where a GPU has no room; the text says what was asked for.

    Notes
    -----
    In float64 the rounding error is a few units in the last place of the largest of |c(x)|, |t(x)|_1 and
    A(z), of real pixels that of a sum of squared residuals, however small the noise is; terms dropped for
    underflow are below 2^-53 of the sum, which is checked for each datum, and a datum that fails is summed in
    log space. Peak memory does not grow with 2^d: about 100 MB beyond the
    arguments at N >= 16384.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> fastvi.log_marginal(model, [[1, 0], [1, 1]]).round(6)
    array([-0.998273, -1.133567])
    >>> fastvi.log_marginal(model, [[1, 0]], observed=[True, False]).round(6)
    array([-0.370486])
    """
    check_model(model, JointTable)
    normalized = validation.flag(normalized, "normalized")
    options = Options(device, dtype, executor, checkpoint, progress, memory_limit, max_states)
    if isinstance(model, JointTable):
        options.checked()
        return _table_log_marginal(model, x, observed)
    question = ask(model, x, observed, options, type(model)._is_closed, cuda=True)
    partition = partition_form(model, options) if normalized else None
    log_z_states = 0 if partition is None else 1 << partition.num_latents
    run = question.run("log_marginal", question.states() + log_z_states, normalized)
    result = np.empty(question.num_data)
    for group in question.groups:
        result[group.members] = log_marginal_of(model, group.x, group.pixels, run, dtype=dtype)
    if partition is not None:
        result -= log_sums(partition, NO_DATA, run)
    return like_data(result, [group.x for group in question.groups])


def _table_log_marginal(model: JointTable, x: ArrayLike | None, observed: ArrayLike | None) -> np.ndarray:
    """log of the sums of rows; of the total where x was not seen."""
    rows = np.arange(model.num_x) if x is None else validation.index_vector(x, "x", model.num_x)
    mask = validation.observed_mask(observed, len(rows), 1)
    with np.errstate(divide="ignore"):
        result = np.log(model.probabilities.sum(axis=1))[rows]
    if mask is not None:
        result = np.where(mask.reshape(-1), result, np.log(model.total))
    return result
