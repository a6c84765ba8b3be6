"""Random draws: the generator against published vectors, bits against the definition, frequencies."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import share_error

import fastvi
from fastvi.kernels.cpu.random import draws
from fastvi.kernels.jit import kernel
from fastvi.kernels.philox import philox

WORDS = st.integers(0, 2**32 - 1)


@kernel
def run_philox(c0, c1, c2, c3, k0, k1):
    return philox(c0, c1, c2, c3, k0, k1)


# kat_vectors of the Random123 distribution (D. E. Shaw Research), philox4x32 with 10 rounds
PUBLISHED = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_published_vectors(counter, key, expected):
    assert naive.philox(counter, key) == expected
    assert tuple(int(word) for word in run_philox(*counter, *key)) == expected


@given(st.tuples(WORDS, WORDS, WORDS, WORDS), st.tuples(WORDS, WORDS))
def test_any_counter_and_key(counter, key):
    assert tuple(int(word) for word in run_philox(*counter, *key)) == naive.philox(counter, key)


@given(
    st.lists(st.floats(-50, 50) | st.sampled_from([-math.inf, math.inf, 0.0]), min_size=1, max_size=40),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 3),
    st.integers(0, 2**40),
)
def test_bits_are_those_of_the_definition(logits, seed, datum, sample):
    table = np.array([logits, logits[::-1]])
    found = draws.bernoulli_draws(table, 19, seed, datum, sample)
    for n, row in enumerate(table.tolist()):
        for k in (0, 1, 15, 16, 18):
            assert found[k, n].tolist() == naive.bernoulli_draw(row, seed, datum + n, sample + k)


def test_ties_are_settled_by_the_low_words():
    """A tie comes once in 2^32 draws: thresholds are set to the very words that will be drawn."""
    seed, num = 12345, 21
    words = np.empty((1, num), np.int64)
    for sample in range(num):
        for i in range(4):
            high = naive.philox((0, sample, 0, 7), (seed, 0))[i]
            low = naive.philox((1 << 31, sample, 0, 7), (seed, 0))[i]
            for offset in (0, 1):  # u < T is false for T = u, true for T = u + 1
                threshold = (high << 32) + low + offset
                thresholds = np.zeros((2, 4), np.int64)
                thresholds[:, i] = threshold >> 32, threshold & (2**32 - 1)
                draws.draw_states(*thresholds, seed, 0, 7, 0, words)
                assert (words[0, sample] >> i) & 1 == offset


def test_a_draw_depends_on_seed_datum_and_sample_alone():
    logits = np.random.default_rng(0).normal(size=(5, 37))
    whole = draws.bernoulli_draws(logits, 23, 9)
    assert np.array_equal(draws.bernoulli_draws(logits[2:4], 23, 9, first_datum=2), whole[:, 2:4])
    assert np.array_equal(draws.bernoulli_draws(logits, 5, 9, first_sample=17), whole[17:22])
    assert not np.array_equal(draws.bernoulli_draws(logits, 23, 10), whole)
    assert np.array_equal(fastvi.Bernoulli(logits).sample(23, 9), whole)


@pytest.mark.slow_without_jit
def test_frequencies():
    probabilities = np.array([0.0, 1e-3, 0.25, 0.5, 0.9, 1.0])
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities) - np.log1p(-probabilities)
    num = 20000
    mean = draws.bernoulli_draws(logits[None], num, 1)[:, 0].mean(axis=0)
    assert (np.abs(mean - probabilities) <= 4.5 * share_error(probabilities, num)).all()


def test_uniforms():
    out = np.empty(2000)
    draws.fill_uniforms(3, 0, 5, 0, out)
    w0, w1, _, _ = naive.philox((0, 17, 0, 5), (3, 0))
    assert out[17] == ((w0 << 21) | (w1 >> 11)) / 2**53
    assert 0 <= out.min() < 0.01
    assert 0.99 < out.max() < 1
    assert abs(out.mean() - 0.5) < 4.5 / math.sqrt(12 * 2000)
