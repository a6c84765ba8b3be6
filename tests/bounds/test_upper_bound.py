"""``upper_bound``: above log p(x), grouped by what is seen; its kernels are tested in ``tests/engine``."""

from __future__ import annotations

import large_weights
import numpy as np
import pytest

import fastvi

RNG = np.random.default_rng(0)
DEEP = fastvi.SigmoidBeliefNetwork(
    [[1.0], [0.5]], [0.0, 0.0], prior=fastvi.SigmoidBeliefNetwork([[1.0]], [0.0], [0.0])
)
MODEL = fastvi.SigmoidBeliefNetwork(
    RNG.normal(size=(12, 5)), RNG.normal(size=12) - 0.5, 0.3 * RNG.normal(size=5)
)
X = MODEL.sample(40, 1).x


def test_it_is_an_upper_bound():
    bound, truth = fastvi.upper_bound(MODEL, X), fastvi.log_marginal(MODEL, X)
    assert bound.shape == (40,)
    assert (truth <= bound).all()
    # a network of weights near 1 bends A by less than a nat over what is probable
    assert (bound - truth).max() < 1.5
    # a tenth of them bends it by a hundredth
    small = fastvi.SigmoidBeliefNetwork(0.1 * MODEL.weights, MODEL.bias, MODEL.prior_logits)
    assert (fastvi.upper_bound(small, X) - fastvi.log_marginal(small, X)).max() < 0.015


@pytest.mark.slow_without_jit
def test_missing_pixels_are_summed_out():
    seen = RNG.random(X.shape) < 0.6
    seen[0], seen[1] = False, True
    bound = fastvi.upper_bound(MODEL, X, observed=seen)
    assert (fastvi.log_marginal(MODEL, X, observed=seen) <= bound).all()
    assert bound[0] == 0.0  # nothing is seen
    for n in range(4):
        alone = fastvi.upper_bound(MODEL, X[n : n + 1], observed=seen[n])
        assert alone[0] == bound[n]
        part = fastvi.SigmoidBeliefNetwork(MODEL.weights[seen[n]], MODEL.bias[seen[n]], MODEL.prior_logits)
        assert fastvi.upper_bound(part, X[n : n + 1, seen[n]])[0] == bound[n]
    holes = np.where(seen, X, np.nan)
    np.testing.assert_array_equal(fastvi.upper_bound(MODEL, holes, observed="auto"), bound)


def test_no_data():
    assert fastvi.upper_bound(MODEL, np.empty((0, 12))).shape == (0,)
    empty = np.empty((0, 12), bool)
    assert fastvi.upper_bound(MODEL, np.empty((0, 12)), observed=empty).shape == (0,)


@pytest.mark.slow_without_jit
def test_weights_of_any_size():
    """Beyond either end of the range: log p(x) <= 0 is then all that is known of some."""
    for model in (large_weights.CANCELLING, large_weights.network([[1e-300, 700.0]], [-700.0])):
        x = large_weights.all_data(model.num_pixels)
        bound = fastvi.upper_bound(model, x)
        assert (large_weights.truth(model, x) <= bound).all()
        assert (bound <= 0.0).all()


def test_an_impossible_datum():
    model = fastvi.SigmoidBeliefNetwork([[1e3]], [-2e3], [0.0])
    np.testing.assert_allclose(fastvi.upper_bound(model, [[1]]), fastvi.log_marginal(model, [[1]]), rtol=1e-9)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (DEEP, [[0, 1]]),
        (fastvi.BoltzmannMachine([[0.0, 1.0], [1.0, 0.0]], [0.0, 0.0]), [[0, 1]]),
        (fastvi.RestrictedBoltzmannMachine([[1.0], [0.5]], [0.0, 0.0], [0.0]), [[0, 1]]),
        (fastvi.LinearGaussian([[1.0], [0.5]], [0.0, 0.0], 1.0), [[0.5, 1.0]]),
        (fastvi.JointTable([[0.5, 0.25], [0.25, 0.0]]), [0]),
        ("a network", [[0, 1]]),
    ],
)  # fmt: skip
def test_models_that_it_does_not_know_are_refused(model, x):
    with pytest.raises(TypeError, match=r"^model must .*, got ") as caught:
        fastvi.upper_bound(model, x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "more", "words"),
    [
        ([[0, 2, *[0] * 10]], {}, "^x must .* 0 and 1"),
        ([[0, 1]], {}, "^x must have shape"),
        (None, {}, "^x must be an array"),
        ([[np.nan, *[0] * 11]], {}, "^x must .*observed='?\"?auto"),
        (X, {"observed": [True]}, "^observed must"),
    ],
)
def test_wrong_input(x, more, words):
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        fastvi.upper_bound(MODEL, x, **more)
    assert "\n" not in str(caught.value)
