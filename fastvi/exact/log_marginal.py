"""Exact log p(x)."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.accuracy import reported, working_on
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import Device, DType, Method
from fastvi.core.registry import rules_of
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.progress import Progress
from fastvi.inputs.data import on_device_of
from fastvi.inputs.memory import Asked
from fastvi.inputs.method import rules_by
from fastvi.inputs.options import Options
from fastvi.inputs.question import ask
from fastvi.models.base import Model
from fastvi.rules.base import NO_DATA, log_marginal_of, log_probabilities
from fastvi.rules.joint_table import JointTableRules
from fastvi.rules.questions import LOG_MARGINAL


@reported
def log_marginal(
    model: Model,
    x: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    normalized: bool = True,
    method: Method = "auto",
    device: Device = "cpu",
    dtype: DType = "float64",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> Any:
    r"""Exact log p(x), summed over all latent states.

    .. math:: \log p(x_n) = \log \sum_{z \in \{0,1\}^d} p(x_n, z)

    The sum over 2^d states is cut into tiles in which the D pixels cost one addition and one multiplication
    a state, and each datum one multiply-add a state; see ``fastvi/docs/theory/tiles.md``. The result has the
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
        "auto" takes NaN, and what a masked array hides, as not seen.
    normalized
        False leaves out - log Z of a Boltzmann machine or a restricted one, for when Z is out of reach; other
        models are normalised as they stand.
    method
        Of a Boltzmann machine the way by which states are summed, those of log Z too: "enumeration",
        "independent_set", "elimination", or "auto", the cheapest by what is coupled and observed; see
        :func:`~fastvi.log_partition`. Other models take "auto" or "enumeration". On a GPU states are
        enumerated. By elimination a task of an ``executor``, and a step of a ``checkpoint``, is all data.
    device
        "cpu"; "cuda" for a GPU (the extra ``cuda``), which sums networks of one layer of latents, Boltzmann
        machines, sparse coding and scalar log joints; "auto" picks a GPU where there is one that can, and
        logs why it picks what. What takes no sum over states is computed on the CPU. Data on a GPU (CuPy,
        CUDA tensors, Numba device arrays) are read where they lie; the result is then a device array. Where
        the environment has FASTVI_CUBLAS=1 and CuPy, cuBLAS multiplies in float64.
    dtype
        "float64", or "float32": the products over pixels are then rounded to float32, which moves log p(x)
        by at most 3 (D + 1) 2^-24 nats (1.4e-4 at D = 784; the sums over states stay in float64). A decoder
        of binary pixels then takes its last layer and the products with data in float32, half the time. That
        moves log p(x) by at most 2 (H + 8) 2^-24 (S + D) nats, H the last layer's inputs, S as in the Notes;
        as roundings have either sign it was 1e-4 at 16-200-784. Tables, decoders of real pixels and what the
        Notes call large are always summed in float64.
    executor
        A :class:`concurrent.futures.Executor`, or a client of Dask, whose workers take one wave of states
        each.
    checkpoint
        A file that keeps what is finished, every few seconds and when the run ends or is interrupted: the
        same call goes on from it, with the same bits. A file of another model, data or options is refused and
        left as it was.
    progress
        True for a line on standard error, or a function of (states done, states in all).
    memory_limit
        Bytes; a run predicted to need more beyond its arguments, results included, is refused before it
        begins (:func:`~fastvi.plan` says how much that is). Workers of an ``executor`` take theirs beside it.
    max_states
        Most states, or terms of an elimination, to be gone through; the default, 2^40, is weeks of work.

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

    Warns
    -----
    AccuracyWarning
        Where log p(x) is an integral (:class:`~fastvi.NeuralDecoder` with a Normal prior) that did not come
        to rest for some data: it says which, and how far they still moved. Their values are the best found.

    Notes
    -----
    In float64 the error is at most (D + d + 40) 2^-52 (S + D + d) nats, where S is the sum of all |weights|,
    |bias| and |prior_logits|, for a decoder that of the largest |logits| and |prior_logits|: log p(x, z) is
    made of parts that large, linear ones too, which cancel. Roundings have either sign, so that a thousandth
    of it is usual. Under binary pixels this is for S up to 256 (D + 1024). Beyond that (the logger "fastvi"
    says so at level INFO) each pixel adds its own log probability, which takes longer, and the error is at
    most (D + d + 40) 2^-52 max(1, |log p(x)|); a decoder of several layers must leave each logit right to
    1e-6 there, absolutely or relatively, and is refused where it does not. Of a Boltzmann machine, restricted
    or not, S is at most 1e8, which leaves 1e-6 nats. log p(x) of binary data is never above 0.

    Under real pixels the error is that of a sum of squared residuals, however small the noise is: squares
    are kept in two words each, or made of distances in coordinates that a rotation leaves small.

    Terms dropped for underflow are below 2^-53 of the sum, which is checked for each datum, and a datum that
    fails is summed in log space. Peak memory does not grow with 2^d: about 100 MB beyond the arguments at
    N >= 16384.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> fastvi.log_marginal(model, [[1, 0], [1, 1]]).round(6)
    array([-0.998273, -1.133567])
    >>> fastvi.log_marginal(model, [[1, 0]], observed=[True, False]).round(6)
    array([-0.370486])
    """
    rules = rules_by(rules_of(model, tables=True), method, LOG_MARGINAL, device, x=x)
    normalized = validation.flag(normalized, "normalized")
    options = Options(device, dtype, executor, checkpoint, progress, memory_limit, max_states)
    if isinstance(rules, JointTableRules):
        limits = options.checked_for_table()
        rows = rules.rows(x, observed)
        # rows, their checks and what is returned
        limits.check(0, 8 * 4 * len(rows), f"{len(rows)} data")
        return rules.log_sums(rows)
    asked = Asked("log_marginal", dtype, normalized=normalized)
    question = ask(rules, x, observed, options, rules.is_closed, asked, cuda=True)
    partition = rules.kept_partition_form() if normalized else None
    log_z_states = 0 if partition is None else partition.num_states
    run = question.run("log_marginal", question.states() + log_z_states, normalized)
    result = np.empty(question.num_data)
    for group in question.groups:
        working_on(group.members)
        result[group.members] = log_marginal_of(rules, group.x, group.observed, run, dtype=dtype)
    if partition is not None:
        result = log_probabilities(result - log_sums(partition, NO_DATA, run))
    elif rules.constant:  # of a model that was not to be normalised
        result += rules.constant
    return on_device_of(result, question.groups)
