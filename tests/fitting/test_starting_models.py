"""Starts of fits: finite, a pure function of the seed, and as large on average as the data."""

from __future__ import annotations

import numpy as np
import pytest

import fastvi
from fastvi.fitting.starting_models import STARTS, Sizes, binary_pixels, starting_model

RNG = np.random.default_rng(11)
BITS = (RNG.random((30, 4)) < [0.1, 0.5, 0.9, 0.3]).astype(np.uint8)
BITS[:, 3] = 1  # a pixel that never varies
REALS = 50.0 + 3.0 * RNG.normal(size=(30, 4))
CASES = {
    **{name: (name, Sizes(3, (5, 2))) for name in STARTS},
    "NeuralDecoder, normal prior": ("NeuralDecoder", Sizes(3, (5,), "relu", "normal")),
    "NeuralDecoder, real pixels": ("NeuralDecoder", Sizes(3, (5,), "relu", "normal", "gaussian")),
}
all_cases = pytest.mark.parametrize("case", CASES)


def start(case, seed=0, observed=None, x=None):
    name, sizes = CASES[case]
    if x is None:
        x = BITS if binary_pixels(name, sizes) else REALS
    return starting_model(name, x, sizes, seed, observed)


def shares(x, seen):
    """Half a pixel each way."""
    return ((x * seen).sum(axis=0) + 0.5) / (seen.sum(axis=0) + 1.0)


def at_zero_weights(model):
    """Mean of each pixel where weights are left out, with what bits that are on half the time add."""
    if isinstance(model, fastvi.BinarySparseCoding):
        return model.bias + 0.5 * model.weights.sum(axis=1)
    if isinstance(model, fastvi.LinearGaussian):
        return model.bias
    if isinstance(model, fastvi.NeuralDecoder):
        bias = model.layers[-1][1]
        return bias if model.likelihood == "gaussian" else 1.0 / (1.0 + np.exp(-bias))
    bias = getattr(model, "visible_bias", None)
    return 1.0 / (1.0 + np.exp(-(model.bias if bias is None else bias)))


@all_cases
def test_finite_seeded_and_of_the_right_class(case):
    model, again, other = start(case), start(case), start(case, 1)
    name, sizes = CASES[case]
    assert type(model).__name__ == name
    assert model.num_pixels == 4
    assert model.num_latents == (4 if name == "BoltzmannMachine" else sizes.num_latents)
    arrays, twin = model.arrays(), again.arrays()
    for key, value in arrays.items():
        assert np.array_equal(value, twin[key])
        assert value.dtype.kind == "U" or np.isfinite(value).all()
    differs = any(not np.array_equal(value, other.arrays()[key]) for key, value in arrays.items())
    assert differs == (name != "BoltzmannMachine")


@all_cases
@pytest.mark.parametrize("masked", [False, True])
def test_pixels_are_as_large_as_those_that_were_seen(case, masked):
    binary = binary_pixels(*CASES[case])
    x = (BITS if binary else REALS).astype(float)
    seen = np.ones(x.shape, bool)
    if masked:
        seen = RNG.random(x.shape) < 0.7
        x[~seen] = np.nan
    model = start(case, observed=seen if masked else None, x=x)
    known = np.where(seen, x, 0.0)
    wanted = shares(known, seen) if binary else known.sum(axis=0) / seen.sum(axis=0)
    assert at_zero_weights(model) == pytest.approx(wanted, rel=1e-13)
    if not binary:
        assert model.noise_std == pytest.approx(np.sqrt(np.square(known - wanted)[seen].mean()), rel=1e-13)


@all_cases
def test_no_two_latents_are_alike(case):
    model = start(case)
    if not isinstance(model, fastvi.BoltzmannMachine):
        weights = model.layers[0][0] if isinstance(model, fastvi.NeuralDecoder) else model.weights
        assert len(np.unique(np.asarray(weights), axis=1).T) == 3


def test_data_that_give_no_start():
    with pytest.raises(ValueError, match=r"^x must have a variance about the means of its pixels .* got 0.0"):
        start("LinearGaussian", x=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^x must have a variance .* got (inf|nan)"):
        start("BinarySparseCoding", x=np.array([[1e200], [-1e200]]))
    with pytest.raises(ValueError, match=r"^x must .*0 and 1"):
        start("RestrictedBoltzmannMachine", x=np.full((3, 2), 7))
    with pytest.raises(ValueError, match=r"^name must be one of"):
        starting_model("JointTable", BITS, Sizes(), 0)
