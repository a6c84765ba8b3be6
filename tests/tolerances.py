"""Tolerances that several files derive, each with its argument."""

from __future__ import annotations

import math

import mpmath
import numpy as np

import fastvi

EPS = 2.0**-52
_PARAMETERS = "weights", "couplings", "bias", "visible_bias", "hidden_bias", "prior_logits"


def rounding(model):
    """A bound on the rounding of log p(x) and log Z of a model, without its prior if that is another model.

    A log joint has a term for each parameter, pixel and latent, and each term is rounded a few times,
    relative to its size or to that of the sum so far. A logarithm of a sum of exponentials errs by no more
    than the largest error of its terms.
    """
    arrays = [array for name in _PARAMETERS if (array := getattr(model, name, None)) is not None]
    largest = sum(np.abs(array[np.isfinite(array)]).sum() for array in arrays)
    return 16 * EPS * (largest + model.num_pixels + model.num_latents)


def posterior_rounding(model, x):
    """A bound on the rounding of log p(z | x): of a log joint, of log p(x), and of what is made of both.

    That of a deep network has its prior's beside its own. A square of real pixels is as large as the
    distance that the data and the model's means can have.
    """
    if not isinstance(model, fastvi.BinarySparseCoding):
        inner = posterior_rounding(model.prior, x) if getattr(model, "is_deep", False) else 0.0
        return 8 * rounding(model) + inner
    reach = np.abs(np.nan_to_num(x)).max(initial=0) + np.abs(model.weights).sum(axis=1) + np.abs(model.bias)
    largest = ((reach / model.noise_std) ** 2).sum() + np.abs(model.prior_logits).sum()
    return 64 * EPS * (largest + model.num_pixels + model.num_latents)


def share_error(probabilities, num):
    """The standard error of the share of ``num`` independent draws in which an event of each probability is.

    Tests at a fixed seed allow four and a half or five of them: a right program fails with a probability of
    7e-6 or 6e-7 a number.
    """
    probabilities = np.asarray(probabilities)
    return np.sqrt(np.maximum(probabilities * (1 - probabilities), 0.0) / num)


def assert_frequencies(counts, probabilities, num):
    """Counts of disjoint events within five standard errors, and none where the probability is 0."""
    error = 5 * num * share_error(probabilities, num)
    np.testing.assert_array_less(np.abs(counts - num * np.asarray(probabilities)), error + 1e-6)


def assert_moments(draws, mean, second_moment):
    """Means of bits (K, d), and of their products, within five standard errors."""
    bits, num = draws.astype(float), len(draws)
    for found, expected in (
        (bits.mean(axis=0), mean),
        (np.einsum("ki,kj->ij", bits, bits) / num, second_moment),
    ):
        # sums over states round to 1e-12 where a probability is 0 or 1
        assert (np.abs(found - expected) <= 5 * share_error(expected, num) + 1e-12).all()


def assert_close(found, expected, slack):
    """Within ``slack`` where finite, and -inf in the same places."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(expected))
    finite = np.isfinite(expected)
    assert np.abs(found[finite] - expected[finite]).max(initial=0) <= slack


def units(found, exact):
    """Error in units in the last place of the exact values, which mpmath holds."""
    with mpmath.workdps(40):
        return [
            float(abs(mpmath.mpf(float(value)) - true)) / math.ulp(float(true))
            for value, true in zip(found, exact, strict=True)
        ]
