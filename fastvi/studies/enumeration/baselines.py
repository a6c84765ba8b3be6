"""Ways of summing over all states that people write: what the enumeration study compares with.

The first three return log p(x_n), (N,), of binary x (N, D) under weights (D, d), bias (D,) and
prior_logits (d,). They share the sum over pixels among the data, as a careful author would. The last asks any
model of binary latents for log p(x, z).
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np

from fastvi.core.registry import rules_of
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.jit import kernel

CHUNK = 1024  # states; 1024 x 64 pixels in float64 are half a megabyte
_RANGES = 64  # of states, which the threads of the compiled loop take in turn


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def python_loop(weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Plain Python, no NumPy in the loops."""
    w, b, c = weights.tolist(), bias.tolist(), prior_logits.tolist()
    data = [[j for j, pixel in enumerate(datum) if pixel] for datum in x.tolist()]
    linear = [[sum(w[j][k] for j in on) for k in range(len(c))] for on in data]
    constant = [sum(b[j] for j in on) for on in data]
    log_joint: list[list[float]] = [[] for _ in data]
    log_prior_zero = -sum(_softplus(value) for value in c)
    for state in itertools.product((0, 1), repeat=len(c)):
        ones = [k for k, bit in enumerate(state) if bit]
        shared = log_prior_zero + sum(c[k] for k in ones)
        for row, offset in zip(w, b, strict=True):
            shared -= _softplus(offset + sum(row[k] for k in ones))
        for values, t, start in zip(log_joint, linear, constant, strict=True):
            values.append(start + shared + sum(t[k] for k in ones))
    out = []
    for values in log_joint:
        largest = max(values)
        out.append(largest + math.log(math.fsum(math.exp(value - largest) for value in values)))
    return np.array(out)


def numpy_chunks(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """NumPy, vectorised over chunks of states."""
    num_latents = len(prior_logits)
    bits = np.arange(num_latents)
    linear = x @ weights + prior_logits
    total = np.full(len(x), -np.inf)
    for start in range(0, 1 << num_latents, CHUNK):
        number = np.arange(start, min(start + CHUNK, 1 << num_latents))
        states = ((number[:, None] >> bits) & 1).astype(np.float64)
        softplus = np.logaddexp(0.0, states @ weights.T + bias).sum(axis=1)
        log_joint = linear @ states.T - softplus
        largest = log_joint.max(axis=1)
        part = largest + np.log(np.exp(log_joint - largest[:, None]).sum(axis=1))
        total = np.logaddexp(total, part)
    return np.asarray(total + x @ bias - np.logaddexp(0.0, prior_logits).sum())


@kernel
def _double_loop(weights, bias, prior_logits, linear, start, stop, largest, total):  # type: ignore[no-untyped-def]
    num_pixels, num_latents = weights.shape
    for number in range(start, stop):
        shared = 0.0
        for k in range(num_latents):
            shared += prior_logits[k] * ((number >> k) & 1)
        for j in range(num_pixels):
            eta = bias[j]
            for k in range(num_latents):
                eta += weights[j, k] * ((number >> k) & 1)
            shared -= max(eta, 0.0) + math.log1p(math.exp(-abs(eta)))
        for n in range(linear.shape[0]):
            value = shared
            for k in range(num_latents):
                value += linear[n, k] * ((number >> k) & 1)
            if value > largest[n]:
                total[n] = total[n] * math.exp(largest[n] - value) + 1.0
                largest[n] = value
            else:
                total[n] += math.exp(value - largest[n])


def compiled_loop(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """The definition's two loops under Numba, on as many threads as fastvi takes.

    Each thread sums ranges of states; the ranges' sums are merged in order, so that the bits do not depend on
    the number of threads.
    """
    linear = x @ weights
    num_states = 1 << len(prior_logits)
    ends = np.linspace(0, num_states, min(_RANGES, num_states) + 1).astype(np.int64)
    work = num_states * weights.shape[1] * (weights.shape[0] + len(x))
    one = partial(_range_sums, weights, bias, prior_logits, linear)
    parts = parallel_map(one, list(itertools.pairwise(ends)), float(work))
    total = np.logaddexp.reduce(parts, axis=0)
    return np.asarray(total + x @ bias - np.logaddexp(0.0, prior_logits).sum())


def _range_sums(
    weights: np.ndarray,
    bias: np.ndarray,
    prior_logits: np.ndarray,
    linear: np.ndarray,
    ends: tuple[int, int],
) -> np.ndarray:
    largest, total = np.full(len(linear), -np.inf), np.zeros(len(linear))
    _double_loop(weights, bias, prior_logits, linear, *ends, largest, total)
    return np.asarray(largest + np.log(total))


def numpy_log_joint(model: Any, x: np.ndarray) -> np.ndarray:
    """NumPy, from a model's own log p(x, z), vectorised over chunks of states."""
    num_latents = rules_of(model).num_latents
    bits = np.arange(num_latents)
    total = np.full(len(x), -np.inf)
    for start in range(0, 1 << num_latents, CHUNK):
        number = np.arange(start, min(start + CHUNK, 1 << num_latents))
        states = ((number[:, None, None] >> bits) & 1).astype(np.uint8)
        total = np.logaddexp(total, np.logaddexp.reduce(model.log_joint(x, states), axis=0))
    return total
