"""Real pixels so far away that their density, or what a fit makes of it, leaves the range of doubles."""

from __future__ import annotations

import numpy as np
import pytest

import fastvi
from fastvi.fitting.adam import Adam

W, B, C = [[1.0, 0.5], [-0.5, 1.0], [0.25, -1.0]], [0.5, 0.0, -0.25], [0.5, -1.0]
LAYERS = [(W, B)]
CODING = fastvi.BinarySparseCoding(W, B, 0.5, C)
FINE = fastvi.BinarySparseCoding(W, B, 1e-3, C)
LINEAR = fastvi.LinearGaussian(W, B, 0.5)
DECODER = fastvi.NeuralDecoder(LAYERS, "tanh", fastvi.Bernoulli(C), "gaussian", noise_std=0.5)
NORMAL_DECODER = fastvi.NeuralDecoder(
    LAYERS, "tanh", fastvi.Normal([0.0] * 2, [1.0] * 2), "gaussian", noise_std=0.5
)
MODELS = {"coding": CODING, "small noise": FINE, "linear": LINEAR, "decoder": DECODER}
BITS, NORMAL = fastvi.Bernoulli(C), fastvi.Normal([0.0, 0.5], [1.0, 0.5])


def _q(model):
    return NORMAL if model is LINEAR else BITS


def _data(value):
    return np.array([[value, 0.5, 0.0], [0.5, -0.25, 1.0]])


@pytest.mark.parametrize("value", [1e155, -1e200, 1e308, -1.7e308])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "options",
    [{}, {"decomposition": "reconstruction"}, {"decomposition": "joint"}, {"decomposition": "log_ratio"},
     {"num_samples": 7}],
    ids=str,
)  # fmt: skip
def test_a_bound_is_minus_infinity_as_log_p_is(name, value, options):
    """(x / s)^2 is beyond the doubles for every z; the datum beside it has the bits that it has alone."""
    model = MODELS[name]
    if model is LINEAR and options.get("decomposition") == "log_ratio":
        return
    x = _data(value)
    found = fastvi.elbo(model, x, _q(model), **options)
    assert found.value[0] == -np.inf
    assert found.expected_log_joint[0] == -np.inf
    # sampled, a datum's draws are those of its place: a near one takes the first place
    near = fastvi.elbo(model, np.stack([x[1], x[1]]), _q(model), **options)
    assert found.value[1] == near.value[1]
    assert np.isfinite(found.value[1])


@pytest.mark.parametrize("value", [1e155, 1e308])
@pytest.mark.parametrize("name", MODELS)
def test_an_estimate_is_minus_infinity_too(name, value):
    model = MODELS[name]
    found = fastvi.estimate_log_marginal(model, _data(value), proposal=_q(model), num_samples=9)
    assert found.log_marginal[0] == -np.inf
    assert np.isfinite(found.log_marginal[1])


_FITS = {
    "a table of q": lambda m, x: fastvi.fit_posterior(m, x),
    "sampled": lambda m, x: fastvi.fit_posterior(m, x, num_samples=3, max_steps=3),
    "weighted": lambda m, x: fastvi.fit_posterior(
        m, x, objective="importance_weighted", num_samples=3, max_steps=3
    ),
    "forward, sampled": lambda m, x: fastvi.fit_posterior(
        m, x, objective="forward_kl", num_samples=3, max_steps=3
    ),
    "model": lambda m, x: fastvi.fit_model(m, x, num_epochs=1),
    "em": lambda m, x: fastvi.fit_model(m, x, objective="em", num_epochs=1),
    "wake-sleep": lambda m, x: fastvi.fit_model(
        m, x, objective="wake_sleep", encoder=_encoder(m), num_epochs=1
    ),
    "sampled bound": lambda m, x: fastvi.fit_model(
        m, x, objective="elbo", encoder=_encoder(m), num_samples=2, num_epochs=1
    ),
    "encoder": lambda m, x: fastvi.fit_encoder(m, x, _encoder(m), num_samples=2, num_epochs=1),
}


def _encoder(model):
    rows = 2 if model not in (LINEAR, NORMAL_DECODER) else 4
    return fastvi.Encoder(
        [(np.zeros((rows, 3)), np.zeros(rows))], "tanh", "bernoulli" if rows == 2 else "normal"
    )


@pytest.mark.parametrize("value", [1e100, 1e155, -1.7e308])
@pytest.mark.parametrize("name", [*MODELS, "normal decoder"])
@pytest.mark.parametrize("fit", _FITS)
def test_a_fit_refuses_them_before_it_begins(fit, name, value):
    model = MODELS.get(name, NORMAL_DECODER)
    if fit == "em" and model in (DECODER, NORMAL_DECODER):
        return  # has no such steps
    with pytest.raises(ValueError, match=r"^x must keep \|x\| / noise_std at most 2\^200 .*, got ") as caught:
        _FITS[fit](model, _data(value))
    assert "at index (0, 0)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["coding", "small noise", "decoder"])
def test_the_posterior_of_what_is_impossible_has_no_fit(name):
    with pytest.raises(ValueError, match=r"^x must have log p\(x\) > -inf in a fit, got -inf at index 0$"):
        fastvi.fit_posterior(MODELS[name], _data(1e200), objective="forward_kl")


def test_held_out_data_are_named():
    with pytest.raises(ValueError, match=r"^held_out must keep \|held_out\| / noise_std at most 2\^200"):
        fastvi.fit_model(CODING, _data(0.0), held_out=_data(1e100), num_epochs=1)


def test_what_is_far_but_not_too_far_is_fitted():
    """Up to the limit every step of Adam is finite."""
    for model in (CODING, LINEAR, DECODER):
        found = fastvi.fit_model(model, _data(2.0**199 * 0.5), num_epochs=2)
        arrays = [array for array in found.model.arrays().values() if array.dtype == np.float64]
        assert len(arrays) >= 3
        assert all(np.isfinite(array).all() for array in arrays)


@pytest.mark.parametrize("slope", [np.nan, np.inf, -(2.0**511)])
def test_steps_refuse_gradients_without_a_square(slope):
    """The state is then as it was."""
    adam = Adam({"bias": np.zeros(2), "weights": np.ones(2)})
    before = [array.copy() for array in adam.arrays]
    with pytest.raises(
        ValueError, match=r"^x and the model must keep the gradient in weights below 2\^511 .* at index 1$"
    ):
        adam.ascend({"bias": np.ones(2), "weights": np.array([0.0, slope])}, 0.1)
    for array, was in zip(adam.arrays, before, strict=True):
        np.testing.assert_array_equal(array, was)


def test_steps_take_the_largest_gradients():
    adam = Adam({"q": np.zeros(2)})
    for sign in (1.0, -1.0):
        adam.ascend({"q": sign * np.array([2.0**510, -(2.0**510)])}, 0.1)
    assert np.isfinite(adam.parameters["q"]).all()
