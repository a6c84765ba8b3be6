"""Bounds from both sides of the whole cube under A(z) = sum_j softplus((W z + b)_j), on all threads."""

from __future__ import annotations

import math

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.linalg.products import packed_columns
from fastvi.engine.run.slices import data_slices, slices
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.subcubes.softplus_lower import lower_roots
from fastvi.kernels.cpu.subcubes.softplus_roots import NUM_NUMBERS, NUM_VECTORS, bound_roots
from fastvi.kernels.host import COLUMNS

_GAP = 1e-4  # nats that a bound may be from the best tangent's
_TOGETHER = 16  # data under way in a thread
_LONGEST_PART = 128
_MILD = 8.0  # length of a row of W that needs no temperature above 1
_HOTTEST = 1e6  # weights that are larger make the same kinks


def softplus_roots(weights: Array, bias: Array, linear: Array, constant: Array) -> tuple[Array, Array]:
    """Return upper bounds of log sum_z exp(c + <t, z> - A(z)) and the logits of their tangent points.

    Parameters
    ----------
    weights, bias : (D, f) and (D,)
        W and b.
    linear, constant : (N, f) and (N,)
        t(x) and c(x).

    Returns
    -------
    upper : (N,)
        Within 1e-4 nats of the best tangent's bound where weights are below 10; of larger ones as near as
        some hundred rounds come. Inf where numbers overflow. Rounding is not counted.
    logits : (N, f)
    """
    num_data, num_bits = linear.shape
    upper, logits = np.empty(num_data), np.empty((num_data, num_bits))
    to_pixels, to_bits = packed_columns(weights.T), packed_columns(weights)
    zeros = np.zeros(-(-max(weights.shape) // COLUMNS) * COLUMNS)
    with np.errstate(over="ignore"):
        longest = math.sqrt(float(np.square(weights).sum(axis=1).max(initial=0.0)))
    temperature = min(max(1.0, longest / _MILD), _HOTTEST)

    def task(part: slice) -> None:
        rows = min(_TOGETHER, part.stop - part.start)
        bound_roots(
            to_pixels, to_bits, zeros, bias, linear[part], constant[part], temperature, _GAP,
            np.empty((rows, NUM_VECTORS, num_bits)), np.empty((rows, NUM_NUMBERS)),
            np.empty((rows, bias.size)), upper[part], logits[part],
        )  # fmt: skip

    parallel_map(task, _parts(num_data), 100.0 * num_data * weights.size)
    return upper, logits


def _parts(num_data: int) -> list[slice]:
    """Data of a task, which Ctrl-C waits for: many for each place in ``_TOGETHER``, few for the waiting."""
    return [
        slice(part.start + some.start, part.start + some.stop)
        for part in data_slices(num_data)
        for some in slices(part.stop - part.start, _LONGEST_PART)
    ]


def softplus_lower(weights: Array, bias: Array, linear: Array, constant: Array, logits: Array) -> Array:
    """Return lower bounds (N,) of log sum_z exp(c + <t, z> - A(z)): the ELBO of a factorised q, or less.

    ``logits`` (N, f) are those of the q to begin with; the other arguments are those of ``softplus_roots``.
    """
    lower, rows = np.empty(len(constant)), np.ascontiguousarray(weights.T)

    def task(part: slice) -> None:
        lower_roots(rows, bias, linear[part], constant[part], logits[part], lower[part])

    parallel_map(task, _parts(len(constant)), 20.0 * len(constant) * weights.size)
    return lower
