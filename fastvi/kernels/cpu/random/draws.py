"""Random bits and numbers for given data and samples, as pure functions of (seed, datum, sample).

The key of the generator is the seed (its low and high 32 bits), the counter (block, low 32 bits of the
sample, high 32 bits of the sample, datum): latent i takes word i % 4 of block i // 4. Hence a draw is the
same for any tiling, any split of data or samples, any number of threads, and on any device.

A bit is 1 when u < T, with u uniform on 0 ... 2^64 - 1 and T = p * 2^64 rounded down for p = sigmoid(logit)
<= 1/2, and 2^64 - (1 - p) * 2^64, the second term rounded down, above: probabilities are right to 2^-64, 0
is never and 1 always drawn. Only the high 32 bits of u are drawn. Where they tie with those of T (once in
2^32 draws) the low 32 bits decide: word i % 4 of block 2^31 + i // 4. (Two words a latent would cost twice
the generator's time.)

Limits: datum < 2^32, sample < 2^63, fewer than 2^33 latents.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.random.draw_bits import LANES, draw_bits, one_draw
from fastvi.kernels.jit import kernel
from fastvi.kernels.philox import WORD, philox

_SECOND_WORDS = 1 << 31  # or-ed into the block
_TWO_32 = 4294967296.0


@kernel
def bernoulli_thresholds(logits, high, low):
    """Set high * 2^32 + low to T for each logit of a flat array; (2^32, 0) stands for probability 1."""
    for i in range(logits.size):
        small = math.exp(-abs(logits[i]))  # p = small / (1 + small) is the smaller of the two probabilities
        scaled = small / (1.0 + small) * _TWO_32  # by a power of two: exact
        above = math.floor(scaled)
        below = math.floor((scaled - above) * _TWO_32)
        if logits[i] <= 0.0:
            high[i], low[i] = int(above), int(below)
        elif below > 0.0:
            high[i], low[i] = int(WORD - above), int(_TWO_32 - below)
        else:
            high[i], low[i] = int(_TWO_32 - above), 0


@kernel
def draw_states(high, low, key_low, key_high, datum, first_sample, words):
    """Draw the bits of ``num`` samples into ``words`` (num_words, num) int64.

    Bit i % 32 of words[i // 32, k] is latent i of sample first_sample + k.
    """
    num_latents, num = high.size, words.shape[1]
    for w in range(words.shape[0]):
        row = words[w]
        row[:] = 0
        last = min(num_latents, 32 * w + 32)
        for first in range(32 * w, last, 4):
            block, shift = first >> 2, first & 31
            # latents beyond the last have threshold 0, so they are never set
            h0, h1 = high[first], high[first + 1] if first + 1 < last else 0
            h2, h3 = high[first + 2] if first + 2 < last else 0, high[first + 3] if first + 3 < last else 0
            ties, whole = 0, num - num % LANES
            for k in range(0, whole, LANES):
                ties |= draw_bits(
                    row, k, first_sample + k, block, datum, key_low, key_high, h0, h1, h2, h3, shift
                )
            for k in range(whole, num):
                bits, tie = one_draw(first_sample + k, block, datum, key_low, key_high, h0, h1, h2, h3)
                row[k] |= bits << shift
                ties |= tie
            if ties != 0:
                _settle_ties(high, low, key_low, key_high, datum, first_sample, first, last, row)


@kernel
def draw_data(high, low, key_low, key_high, data, first_sample, words):
    """Draw the bits of several ``data`` (M,), by their numbers, into ``words`` (M, num_words, num).

    Thresholds are (M, d), or (1, d) for all data.
    """
    for m in range(data.size):
        own = m if len(high) > 1 else 0
        draw_states(high[own], low[own], key_low, key_high, int(data[m]), first_sample, words[m])


@kernel
def _settle_ties(high, low, key_low, key_high, datum, first_sample, first, last, row):
    """Draw latents first ... first + 3 again: where the high words tie, the low ones decide."""
    for k in range(row.size):
        sample = first_sample + k
        block = first >> 2
        words = philox(block, sample & WORD, sample >> 32, datum, key_low, key_high)
        for i in range(first, min(first + 4, last)):
            if words[i - first] == high[i]:
                seconds = philox(block | _SECOND_WORDS, sample & WORD, sample >> 32, datum, key_low, key_high)
                if seconds[i - first] < low[i]:
                    row[k] |= 1 << (i & 31)


@kernel
def draw_states_each(high, low, key_low, key_high, datum, first_sample, words):
    """Draw the bits of samples that have thresholds (num, d) of their own, laid out as by ``draw_states``."""
    num, num_latents = high.shape
    for w in range(words.shape[0]):
        for k in range(num):
            words[w, k] = 0
    for k in range(num):
        sample = first_sample + k
        for first in range(0, num_latents, 4):
            block = first >> 2
            drawn = philox(block, sample & WORD, sample >> 32, datum, key_low, key_high)
            for i in range(first, min(first + 4, num_latents)):
                on = drawn[i - first] < high[k, i]
                if drawn[i - first] == high[k, i]:
                    seconds = philox(
                        block | _SECOND_WORDS, sample & WORD, sample >> 32, datum, key_low, key_high
                    )
                    on = seconds[i - first] < low[k, i]
                if on:
                    words[i >> 5, k] |= 1 << (i & 31)


@kernel
def unpack(words, num_latents, out):
    """Write the bits of ``words`` (num_words, num) to ``out`` (num, num_latents)."""
    for k in range(words.shape[1]):
        for i in range(num_latents):
            out[k, i] = (words[i >> 5, k] >> (i & 31)) & 1


@kernel
def fill_uniforms(key_low, key_high, datum, first_sample, out):
    """Set out[k] to a multiple of 2^-53 in [0, 1): the high 53 bits of words 0 and 1 of block 0."""
    for k in range(out.size):
        sample = first_sample + k
        w0, w1, _, _ = philox(0, sample & WORD, sample >> 32, datum, key_low, key_high)
        out[k] = ((w0 << 21) | (w1 >> 11)) * (1.0 / 9007199254740992.0)


def split_seed(seed: int) -> tuple[int, int]:
    """Return the low and the high 32 bits of a seed, the generator's key."""
    return seed & WORD, seed >> 32


def thresholds(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the high and the low 32 bits of T for each logit, int64 of the shape of ``logits``."""
    flat = np.ascontiguousarray(logits, dtype=np.float64).reshape(-1)
    high, low = np.empty(flat.size, np.int64), np.empty(flat.size, np.int64)
    bernoulli_thresholds(flat, high, low)
    return high.reshape(logits.shape), low.reshape(logits.shape)


def bernoulli_draws(
    logits: np.ndarray, num: int, seed: int, first_datum: int = 0, first_sample: int = 0
) -> np.ndarray:
    """Draw (num, N, d) bits as uint8 for logits (N, d) float64.

    They depend on (seed, datum, sample) and the logits alone.

    Row n of ``logits`` is datum first_datum + n, draw k is sample first_sample + k.
    """
    num_data, num_latents = logits.shape
    high, low = thresholds(logits)
    words = np.empty((-(-num_latents // 32), num), np.int64)
    draws = np.empty((num, num_data, num_latents), np.uint8)
    key_low, key_high = split_seed(seed)
    for n in range(num_data):
        draw_states(high[n], low[n], key_low, key_high, first_datum + n, first_sample, words)
        unpack(words, num_latents, draws[:, n])
    return draws
