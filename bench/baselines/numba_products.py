"""Exact log p(x) of a small network as one compiled loop: tables by doubling, products of eight factors.

What somebody writes by hand where a call has to take microseconds: no checks, one thread, weights so small
that eight factors of a pixel stay in the range of a double.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_FACTORS = 8


@numba.njit(fastmath={"contract"}, error_model="numpy")
def log_marginal(
    weights: np.ndarray, bias: np.ndarray, prior_logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """log p(x_n), shape (N,), of binary x (N, D) under weights (D, d), bias (D,), prior_logits (d,)."""
    num_pixels, num_latents = weights.shape
    num_states = 1 << num_latents
    shared, product, odds = np.zeros(num_states), np.ones(num_states), np.empty(num_states)
    for j in range(num_pixels):  # shared[s] = -sum_j softplus(eta_j)
        odds[0] = math.exp(bias[j])
        for k in range(num_latents):
            factor = math.exp(weights[j, k])
            for s in range(1 << k):
                odds[s + (1 << k)] = odds[s] * factor
        for s in range(num_states):
            product[s] *= 1.0 + odds[s]
        if j % _FACTORS == _FACTORS - 1 or j == num_pixels - 1:
            for s in range(num_states):
                shared[s] -= math.log(product[s])
                product[s] = 1.0
    out, terms, linear = np.empty(len(x)), np.empty(num_states), np.empty(num_latents)
    for n in range(len(x)):
        terms[0] = 0.0
        for k in range(num_latents):
            terms[0] -= max(prior_logits[k], 0.0) + math.log1p(math.exp(-abs(prior_logits[k])))
            linear[k] = prior_logits[k]
        for j in range(num_pixels):
            if x[n, j]:
                terms[0] += bias[j]
                for k in range(num_latents):
                    linear[k] += weights[j, k]
        for k in range(num_latents):
            for s in range(1 << k):
                terms[s + (1 << k)] = terms[s] + linear[k]
        largest = -math.inf
        for s in range(num_states):
            terms[s] += shared[s]
            largest = max(largest, terms[s])
        total = 0.0
        for s in range(num_states):
            total += math.exp(terms[s] - largest)
        out[n] = largest + math.log(total)
    return out
