"""Real pixels whose noise is small beside their means: cases, and how answers are judged."""

from __future__ import annotations

import naive_small_noise as naive
import numpy as np
from tolerances import EPS

import fastvi

NOISES = [10.0**power for power in range(-9, 2)]
# W, by name: scales, columns that differ little beside their size, and pixels of 0 ... 255
KINDS = [*range(-3, 6), "alike", "pixels"]


def weights_and_bias(kind, num_pixels, width, rng):
    """Parameters of one of ``KINDS``."""
    weights, bias = rng.normal(size=(num_pixels, width)), rng.normal(size=num_pixels)
    if kind == "alike":
        return 1000.0 + weights, bias
    if kind == "pixels":
        return 60.0 * np.abs(weights), 100.0 + bias
    return weights * 10.0**kind, bias * 10.0**kind


def coding_case(kind, noise_std, num_pixels=6, num_latents=3, num_data=3):
    """A model, its own data, data far from it, and logits of q."""
    rng = np.random.default_rng(7)
    weights, bias = weights_and_bias(kind, num_pixels, num_latents, rng)
    model = fastvi.BinarySparseCoding(weights, bias, noise_std, rng.normal(size=num_latents))
    near = model.sample(num_data, 3)[1]
    far = near + np.abs(weights).max() * rng.normal(size=near.shape)
    return model, near, far, 2.0 * rng.normal(size=(num_data, num_latents))


def error(found, truth):
    """The largest error of an array."""
    return float(np.abs(np.asarray(naive.to_mp(found) - truth, np.float64)).max())


def check(found, direct, truth):
    """Of an answer, its errors at most ten times those of a direct sum, or 32 units in the last place of its
    largest number, or of 1 (a mean is a sum of probabilities, and a gradient is made of such sums).

    These units are what rounding the parts of any formula takes, where a direct sum happens to be exact: some
    twenty numbers of that size are added for an ELBO or for a gradient of a layer, with contraction or not.
    """
    for name, value in found.items():
        of = name.split()[0]
        exact, off = truth[of], error(direct[of], truth[of])
        size = max(1.0, float(np.abs(np.asarray(exact, np.float64)).max()))
        if np.shape(value) == () != np.shape(exact):  # of all data together
            off = sum(error(a, b) for a, b in zip(direct[of], exact, strict=True))
            exact, size = exact.sum(), size * len(exact)
        elif of.startswith("layer_"):  # few numbers may happen to be exact: those of a layer are of one size
            layer = [key for key in direct if key.startswith(of[:8])]
            off = max(error(direct[key], truth[key]) for key in layer)
        assert error(value, exact) <= 10.0 * off + 32.0 * EPS * size, name
