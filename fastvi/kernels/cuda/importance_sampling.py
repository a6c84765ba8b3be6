"""Log importance weights of sampled states, from tables of rows in shared memory.

As on the CPU (``kernels/cpu/importance/importance_sampling.py``), exp(eta) of a pixel is a product of
entries of tables, one for each group of bits of z, and sum_j softplus(eta_j) the logarithm of
prod_j (1 + exp(eta_j)).
A lane of a warp is a pixel, so that the lanes read one row side by side; a warp takes SAMPLES samples,
whose running products are in registers; the tables of PIXELS pixels pass through shared memory, for all
samples of the block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.kernels.bits import power_of_two, split_exponent
from fastvi.kernels.cuda.target import FLOAT64, INT32, INT64, UINT32, array, cuda, kernel
from fastvi.kernels.scalar import LOG_TWO, log_fast, softplus

THREADS = 256
PIXELS = 32  # lanes of a warp
SAMPLES = 8  # of a warp: products and terms in registers
BLOCK_SAMPLES = SAMPLES * THREADS // PIXELS
GROUP_BITS = 4
WORD_ROWS = 32 // GROUP_BITS << GROUP_BITS  # of 32 latents: 32 KiB of shared memory
_TABLE = WORD_ROWS * PIXELS

_VECTOR, _MATRIX, _TENSOR = array(FLOAT64, 1), array(FLOAT64, 2), array(FLOAT64, 3)


@kernel(array(INT64, 3), _MATRIX, _MATRIX, _VECTOR, _MATRIX, threads=THREADS)
def add_linear(words, if_zero, if_one, constant, log_w):
    """Set log_w[n, k] to constant[n] plus the terms of the sample's bits.

    Latent i adds if_one[n, i] where its bit is set, else if_zero[n, i].
    """
    n, k = cuda.blockIdx.y, cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k >= log_w.shape[1]:
        return
    total = constant[n]
    for i in range(if_one.shape[1]):
        on = (words[n, i >> 5, k] >> (i & 31)) & 1
        total += if_one[n, i] if on else if_zero[n, i]
    log_w[n, k] = total


def _softplus_sums(direct: bool) -> Any:
    """Return the kernel body, with softplus itself where ``direct``."""

    def softplus_sums(table, splits, num_latents, sign, words, log_w):
        """Add sign * sum over pixels of softplus(eta) to log_w[n, k].

        ``table`` (tiles, rows, PIXELS) holds exp(W_g z_g), with exp(bias) in the first group, where what
        pads the pixels is 0: 2^GROUP_BITS rows for each GROUP_BITS latents. ``splits`` says before which
        tiles the products' exponents are split off. Where ``direct`` it holds logits, -inf where it pads,
        and softplus is summed.
        """
        held = cuda.shared.array(_TABLE, FLOAT64)
        parts = cuda.shared.array(THREADS, FLOAT64)
        products = cuda.local.array(SAMPLES, FLOAT64)
        terms = cuda.local.array(SAMPLES, FLOAT64)
        powers = cuda.local.array(SAMPLES, INT32)
        bits = cuda.local.array(SAMPLES, UINT32)
        thread = np.uint64(cuda.threadIdx.x)
        lane, warp = thread % np.uint64(PIXELS), thread // np.uint64(PIXELS)
        n, num = cuda.blockIdx.y, log_w.shape[1]
        first = cuda.blockIdx.x * BLOCK_SAMPLES + SAMPLES * np.int64(warp)
        for s in range(SAMPLES):
            products[s] = 0.0 if direct else 1.0
            powers[s] = 0
        for t in range(table.shape[0]):
            if not direct and splits[t] != 0:
                for s in range(SAMPLES):
                    _, power = split_exponent(products[s])
                    products[s] *= power_of_two(-power)
                    powers[s] += power
            for s in range(SAMPLES):
                terms[s] = 0.0 if direct else 1.0
            for word in range(words.shape[1]):  # whose rows are what shared memory holds
                groups = (min(32, num_latents - 32 * word) + GROUP_BITS - 1) // GROUP_BITS
                cuda.syncthreads()
                begin, numbers = np.uint64(WORD_ROWS * word), np.uint64((groups << GROUP_BITS) * PIXELS)
                i = thread
                while i < numbers:
                    held[i] = table[t, begin + i // np.uint64(PIXELS), i % np.uint64(PIXELS)]
                    i += np.uint64(THREADS)
                cuda.syncthreads()
                for s in range(SAMPLES):
                    bits[s] = np.uint32(words[n, word, min(first + s, num - 1)])  # beyond the last: not kept
                at = lane
                for _ in range(groups):
                    for s in range(SAMPLES):
                        value = np.uint64(bits[s] & np.uint32((1 << GROUP_BITS) - 1))
                        entry = held[at + value * np.uint64(PIXELS)]
                        terms[s] = terms[s] + entry if direct else terms[s] * entry
                        bits[s] = bits[s] >> np.uint32(GROUP_BITS)
                    at += np.uint64(PIXELS << GROUP_BITS)
            for s in range(SAMPLES):
                products[s] = products[s] + softplus(terms[s]) if direct else products[s] * (1.0 + terms[s])
        # each lane's logarithm, added over the lanes in the order of a tree
        for s in range(SAMPLES):
            value = products[s]
            if not direct:
                part, power = split_exponent(value)
                value = log_fast(part) + float(power + powers[s]) * LOG_TWO
            cuda.syncthreads()
            parts[thread] = value
            cuda.syncthreads()
            half = np.uint64(PIXELS // 2)
            while half > np.uint64(0):
                if lane < half:
                    parts[thread] += parts[thread + half]
                cuda.syncthreads()
                half = half // np.uint64(2)
            if lane == np.uint64(0) and first + s < num:
                log_w[n, first + s] += sign * parts[thread]

    return softplus_sums


_SOFTPLUS_SUMS = (_TENSOR, array(INT32, 1), INT64, FLOAT64, array(INT64, 3), _MATRIX)
ADD_PRODUCTS, ADD_SOFTPLUS = (
    kernel(*_SOFTPLUS_SUMS, threads=THREADS, blocks=2, name=name)(_softplus_sums(direct))
    for name, direct in (("add_products", False), ("add_softplus", True))
)


@kernel(array(INT64, 3), _MATRIX, _MATRIX, threads=THREADS)
def add_pairs(words, couplings, log_w):
    """Add the sum over i < j of J_ij z_i z_j to log_w[n, k], over the pairs of bits that are set."""
    n, k = cuda.blockIdx.y, cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k >= log_w.shape[1]:
        return
    total = 0.0
    for i in range(couplings.shape[0]):
        if (words[n, i >> 5, k] >> (i & 31)) & 1:
            for j in range(i):
                if (words[n, j >> 5, k] >> (j & 31)) & 1:
                    total += couplings[i, j]
    log_w[n, k] += total
