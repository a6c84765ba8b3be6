"""log_marginal of decoders with dtype="float32": its stated error, its bits, and what stays in float64."""

from __future__ import annotations

import cases
import naive_models
import numpy as np
import pytest

import fastvi
from fastvi.kernels.host import COLUMNS


def decoder(sizes, activation="tanh", noise_std=None, **of_layers):
    return cases.decoder(
        sizes, activation, noise_std=noise_std, **({"bias_scale": 0.5, "divided": True} | of_layers)
    )


def stated_error(model):
    """2 (H + 8) 2^-24 (S + D): H inputs of the last layer, S the sum of all |logits| and |prior_logits|.

    Each of H products of a logit is rounded once for its weight, its input and its sum, and so is each of H
    of a datum's; both sums of |products| are at most S. A pixel's factor 1 + e^-|eta| is off by a few units.
    """
    reach = np.ones(model.num_latents)
    for i, (weight, bias) in enumerate(model.layers):
        if i:  # of "relu" and "tanh" no value is larger than that of the largest argument
            reach = np.minimum(reach, 1.0) if model.activation == "tanh" else reach
        reach = np.abs(weight) @ reach + np.abs(bias)
    size = reach.sum() + np.abs(model.prior.logits).sum()
    return 2 * (model.layers[-1][0].shape[1] + 8) * 2.0**-24 * (size + model.num_pixels)


def definition(model, x):
    layers = [(w.tolist(), b.tolist()) for w, b in model.layers]
    logits = model.prior.logits.tolist()
    return [naive_models.decoder_log_marginal(layers, model.activation, logits, row) for row in x.tolist()]


SIZES = [(1, 1), (1, 3), (2, 5), (3, 4, 0), (4, 6, 2 * COLUMNS + 1), (5, 3, 4, 2), (8, 20, 9)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_error_is_as_stated(sizes, activation):
    model = decoder(sizes, activation)
    x = model.sample(5, 0)[1]
    error = np.abs(fastvi.log_marginal(model, x, dtype="float32") - definition(model, x))
    assert (error <= stated_error(model)).all()


@pytest.mark.parametrize("scale", [10.0, 1e3])
def test_logits_far_out(scale):
    """Pixels that are sure, some of them wrongly."""
    model = decoder((4, 6, 8), scale=scale)
    x = np.random.default_rng(0).integers(0, 2, (6, 8))
    found = fastvi.log_marginal(model, x, dtype="float32")
    exact = fastvi.log_marginal(model, x)
    assert exact.min() < -scale
    assert (np.abs(found - exact) <= stated_error(model)).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("hidden", "activation"), [(200, "tanh"), (300, "relu")])
def test_networks_of_images(hidden, activation):
    """Several waves, several panels, and more units than are worked on at a time."""
    model = decoder((14, hidden, 300), activation, scale=2.0)
    x = model.sample(3 * COLUMNS, 0)[1]
    found, exact = fastvi.log_marginal(model, x, dtype="float32"), fastvi.log_marginal(model, x)
    error = np.abs(found - exact).max()
    # roundings of either sign: far below what they could come to
    assert 0 < error <= 0.01 * stated_error(model)


@pytest.mark.slow_without_jit
def test_the_same_bits_for_any_batch_and_threads(same_bits):
    model = decoder((11, 12, 40))
    x = model.sample(2 * COLUMNS + 3, 0)[1]
    found = same_bits(lambda: fastvi.log_marginal(model, x, dtype="float32"))
    for part in (slice(5, 6), slice(3, None)):
        np.testing.assert_array_equal(fastvi.log_marginal(model, x[part], dtype="float32"), found[part])
    turned = fastvi.log_marginal(model, x[::-1], dtype="float32")
    np.testing.assert_array_equal(turned[::-1], found)


def test_no_data_and_masks():
    model = decoder((3, 4, 6))
    assert fastvi.log_marginal(model, np.empty((0, 6)), dtype="float32").shape == (0,)
    x, seen = model.sample(4, 0)[1], np.array([True, False, True, True, False, False])
    layers = [(w.tolist(), b.tolist()) for w, b in model.layers]
    expected = [
        naive_models.decoder_log_marginal(
            layers, "tanh", model.prior.logits.tolist(), row, None, seen.tolist()
        )
        for row in x.tolist()
    ]
    found = fastvi.log_marginal(model, x, observed=seen, dtype="float32")
    np.testing.assert_allclose(found, expected, rtol=0, atol=stated_error(model))


@pytest.mark.parametrize("options", [{"noise_std": 0.4}, {"scale": 1e7}])
def test_what_stays_in_float64(options):
    """Real pixels, and logits so large that each pixel is summed by itself."""
    model = decoder((3, 4, 5), **options)
    x = model.sample(4, 0)[1]
    np.testing.assert_array_equal(
        fastvi.log_marginal(model, x, dtype="float32"), fastvi.log_marginal(model, x)
    )
