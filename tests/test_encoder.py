"""Encoders: outputs against pure Python, families, storage, wrong input."""

from __future__ import annotations

import pickle
from itertools import pairwise

import naive_distributions
import numpy as np
import pytest

import fastvi


def random_layers(*sizes, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (scale * rng.normal(size=(out, into)), scale * rng.normal(size=out)) for into, out in pairwise(sizes)
    ]


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "softplus"])
@pytest.mark.parametrize("sizes", [(1, 1), (5, 3), (7, 4, 2), (33, 20, 17, 6)])
def test_parameters_are_those_of_the_network(activation, sizes):
    layers = random_layers(*sizes)
    x = np.random.default_rng(1).normal(size=(9, sizes[0]))
    plain = [(weight.tolist(), bias.tolist()) for weight, bias in layers]
    expected = np.array([naive_distributions.forward(plain, activation, row) for row in x.tolist()])
    # a few dozen roundings of sums of at most 33 terms, carried through the layers
    slack = 1e-12 * max(1.0, np.abs(expected).max())
    found = fastvi.Encoder(layers, activation)(x)
    assert isinstance(found, fastvi.Bernoulli)
    assert np.abs(found.logits - expected).max() <= slack
    if sizes[-1] % 2 == 0:
        d = sizes[-1] // 2
        found = fastvi.Encoder(layers, activation, "normal")(x)
        assert isinstance(found, fastvi.Normal)
        assert np.abs(found.mean - expected[:, :d]).max() <= slack
        assert np.abs(np.log(found.std) - expected[:, d:]).max() <= slack


def test_shapes_and_repr():
    encoder = fastvi.Encoder(random_layers(6, 5, 4), "tanh", "normal")
    assert (encoder.num_pixels, encoder.num_latents) == (6, 2)
    assert repr(encoder) == (
        "Encoder(num_pixels=6, num_latents=2, widths=(5,), activation='tanh', family='normal')"
    )
    assert encoder(np.empty((0, 6))).mean.shape == (0, 2)
    assert encoder(np.zeros((1, 6))).mean.shape == (1, 2)


def test_same_bits_in_any_batch_and_for_any_threads(set_threads):
    encoder = fastvi.Encoder(random_layers(50, 30, 7), "softplus")
    x = np.random.default_rng(2).normal(size=(600, 50))
    seen = set()
    for threads in ("1", "3"):
        set_threads(threads)
        seen.add(encoder(x).logits.tobytes())
    assert len(seen) == 1
    whole = encoder(x).logits
    for n in (0, 17, 599):
        assert np.array_equal(encoder(x[n : n + 1]).logits[0], whole[n])


@pytest.mark.parametrize("family", ["bernoulli", "normal"])
def test_storage(tmp_path, family):
    encoder = fastvi.Encoder(random_layers(5, 3, 4), "relu", family)
    encoder.save(tmp_path / "encoder.npz")
    x = np.random.default_rng(3).normal(size=(2, 5))
    for other in (fastvi.load(tmp_path / "encoder.npz"), pickle.loads(pickle.dumps(encoder))):
        assert repr(other) == repr(encoder)
        assert np.array_equal(other(x).mean, encoder(x).mean)
    with pytest.raises(AttributeError, match="immutable"):
        encoder.family = "normal"
    with pytest.raises(TypeError, match="unexpected array"):
        fastvi.Encoder._from_arrays({**encoder._arrays(), "other": np.zeros(1)})


@pytest.mark.parametrize(
    ("layers", "activation", "family", "text"),
    [
        ([], "tanh", "bernoulli", "layers must be a sequence of at least one pair"),
        (random_layers(3, 2), "step", "bernoulli", "activation must be"),
        (random_layers(3, 2), "tanh", "gamma", "family must be"),
        (random_layers(3, 3), "tanh", "normal", "layers must end in an even number of outputs"),
        ([(np.zeros((0, 3)), np.zeros(0))], "tanh", "bernoulli", "layers must end in at least 1 latent"),
        (random_layers(3, 2) + random_layers(3, 2), "tanh", "bernoulli", r"layers\[1\]\[0\] must have shape"),
        ([(np.full((1, 2), 1e308), np.zeros(1))], "tanh", "bernoulli", "must keep every unit finite"),
    ],
)
def test_wrong_parameters(layers, activation, family, text):
    with pytest.raises((ValueError, TypeError), match=text):
        fastvi.Encoder(layers, activation, family)


def test_wrong_data():
    encoder = fastvi.Encoder([(np.full((2, 2), 1e300), np.zeros(2))], "tanh", "normal")
    with pytest.raises(ValueError, match=r"x must"):
        encoder(np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"x must"):
        encoder([[np.nan, 0.0]])
    for x in ([[1e10, 1e10]], [[1e-290, 1e-290]]):  # the network overflows; the exponential does
        with pytest.raises(ValueError, match="x must keep the encoder's outputs finite"):
            encoder(x)
