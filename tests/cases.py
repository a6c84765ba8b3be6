"""Models, data, distributions and states that tests build: one function of each.

``seed`` is an int, or a generator that the next numbers are drawn from. Sizes come as pixels, then latents.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

import fastvi
from fastvi.core.registry import rules_of

NEVER = -math.inf


# ---- numbers ---------------------------------------------------------------------------------------------


def states(num_latents):
    """All states of binary latents (2^d, d), the first latent changing fastest."""
    return ((np.arange(1 << num_latents)[:, None] >> np.arange(num_latents)) & 1).astype(np.uint8)


def random_bits(num_data, num_units, seed=1):
    """Flips of a fair coin."""
    return (np.random.default_rng(seed).random((num_data, num_units)) < 0.5).astype(np.uint8)


def symmetric(upper):
    """The matrix with the part of ``upper`` above the diagonal on both sides; infinities may lie below."""
    upper = np.where(np.tri(len(upper), dtype=bool), 0.0, upper)
    return upper + upper.T


def couplings(num_units, seed=0, scale=1.0):
    """Normal couplings of a Boltzmann machine."""
    return symmetric(scale * np.random.default_rng(seed).normal(size=(num_units, num_units)))


def layers(*sizes, seed=0, scale=1.0, bias_scale=1.0, divided=False):
    """Weights and biases from the first size to the last; ``divided`` by the roots of layers' widths."""
    rng = np.random.default_rng(seed)
    return [
        (
            scale * rng.normal(size=(out, into)) / (math.sqrt(max(1, into)) if divided else 1.0),
            bias_scale * rng.normal(size=out),
        )
        for into, out in itertools.pairwise(sizes)
    ]


def parameters_of(model):
    """Arrays of a model as Python's own lists and numbers, in their order."""
    return [array.tolist() for array in model.arrays().values()]


# ---- models ----------------------------------------------------------------------------------------------


def network(
    num_pixels, num_latents, seed=0, scale=1.0, bias=0.0, bias_scale=None, prior_scale=1.0, prior=None
):
    """A sigmoid belief network with a factorised prior, or under the ``prior`` that is given.

    Biases lie around ``bias``, at the scale of the weights unless ``bias_scale`` is given.
    """
    rng = np.random.default_rng(seed)
    weights = scale * rng.normal(size=(num_pixels, num_latents))
    bias = bias + (scale if bias_scale is None else bias_scale) * rng.normal(size=num_pixels)
    logits = prior_scale * rng.normal(size=num_latents) if prior is None else None
    return fastvi.SigmoidBeliefNetwork(weights, bias, logits, prior=prior)


def deep_network(*sizes, seed=0, scale=1.0):
    """Networks of the given sizes above each other, pixels first, drawn from the top down."""
    rng = np.random.default_rng(seed)
    model = None
    for below, above in reversed(list(itertools.pairwise(sizes))):
        model = network(below, above, rng, scale, prior_scale=scale, prior=model)
    return model


def machine(num_units, seed=0, scale=1.0, exclusive=0.0, bias_scale=None):
    """A Boltzmann machine in which each pair excludes each other with probability ``exclusive``."""
    rng = np.random.default_rng(seed)
    upper = scale * rng.normal(size=(num_units, num_units))
    upper[rng.random(upper.shape) < exclusive] = NEVER
    bias = (scale if bias_scale is None else bias_scale) * rng.normal(size=num_units)
    return fastvi.BoltzmannMachine(symmetric(upper), bias)


def restricted(num_pixels, num_latents, seed=0, scale=1.0, bias_scale=None):
    """A restricted Boltzmann machine; biases at the scale of the weights unless another is given."""
    rng = np.random.default_rng(seed)
    sizes = (num_pixels, num_latents), num_pixels, num_latents
    scales = scale, *(2 * [scale if bias_scale is None else bias_scale])
    return fastvi.RestrictedBoltzmannMachine(
        *(each * rng.normal(size=size) for each, size in zip(scales, sizes, strict=True))
    )


def sparse_coding(num_pixels, num_latents, seed=0, noise_std=0.7, scale=1.0):
    """Binary sparse coding of real pixels; ``scale`` is that of the weights."""
    rng = np.random.default_rng(seed)
    weights, bias = scale * rng.normal(size=(num_pixels, num_latents)), rng.normal(size=num_pixels)
    return fastvi.BinarySparseCoding(weights, bias, noise_std, rng.normal(size=num_latents))


def linear_gaussian(num_pixels, num_latents, seed=0, noise_std=0.7):
    """A model of real latents with a closed form."""
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(size=(num_pixels, num_latents)), rng.normal(size=num_pixels)
    return fastvi.LinearGaussian(weights, bias, noise_std)


def bernoulli(*shape, seed=0, scale=1.0):
    """A factorised distribution of bits with normal logits."""
    return fastvi.Bernoulli(scale * np.random.default_rng(seed).normal(size=shape))


def normal(*shape, seed=0):
    """A factorised normal distribution with standard deviations of 0.5 to 2."""
    rng = np.random.default_rng(seed)
    return fastvi.Normal(rng.normal(size=shape), rng.uniform(0.5, 2.0, shape))


def standard_normal(num_latents):
    """The prior N(0, I)."""
    return fastvi.Normal(np.zeros(num_latents), np.ones(num_latents))


def decoder(sizes, activation="tanh", prior=None, noise_std=None, seed=0, **of_layers):
    """A decoder of layers from the latents to the pixels, which are real where there is noise.

    Its prior is a Bernoulli distribution, drawn after the layers, unless another one is given.
    """
    rng = np.random.default_rng(seed)
    own = layers(*sizes, seed=rng, **of_layers)
    prior = bernoulli(sizes[0], seed=rng) if prior is None else prior
    likelihood = "bernoulli" if noise_std is None else "gaussian"
    return fastvi.NeuralDecoder(own, activation, prior, likelihood, noise_std)


def encoder(*sizes, activation="tanh", family="bernoulli", seed=0, **of_layers):
    """An encoder of layers from the pixels to the parameters of q."""
    return fastvi.Encoder(layers(*sizes, seed=seed, **of_layers), activation, family)


def quiet(count):
    """No progress."""


# ---- every model -----------------------------------------------------------------------------------------


def coin(x_n, z):
    """A log joint of one datum and one state, in which neighbours interact."""
    total = -3.0
    for i in range(z.size):
        total += z[i] * (0.3 + i) * x_n[0] - 0.2 * z[i] * z[i - 1]
    return total


def coins(x, z):
    """A log joint of arrays."""
    return x[:, :1] * (z * (0.3 + np.arange(z.shape[1]))).sum(axis=1) - 3.0


def _every_model():
    rng = np.random.default_rng(0)
    small = network(6, 4, rng)
    return {
        "network": small,
        "wide network": network(40, 37, rng, 1 / 3, bias_scale=1.0),
        "deep network": network(5, 6, rng, prior=small),
        "sparse coding": sparse_coding(7, 5, rng, 0.8),
        "wide sparse coding": sparse_coding(7, 35, rng, 2.5),
        "decoder": decoder((5, 9, 7, 11), seed=rng),
        "relu decoder": decoder((3, 40, 6), "relu", noise_std=0.7, seed=rng),
        "normal decoder": decoder((2, 9, 11), "softplus", fastvi.Normal([0.3, -1.0], [1.5, 0.5]), seed=rng),
        "normal gaussian decoder": decoder((1, 4, 3), "sigmoid", fastvi.Normal([0.3], [1.5]), 0.5, rng),
        "linear": linear_gaussian(9, 3, rng, 0.6),
        "log joint": fastvi.LogJoint(coin, 4),
        "log joint of arrays": fastvi.LogJoint(coins, 4, vectorized=True),
    }


MODELS = _every_model()
BINARY = [name for name, model in MODELS.items() if not rules_of(model).real_latents and "wide" not in name]
REAL = [name for name, model in MODELS.items() if rules_of(model).real_latents]


def data_of(model, num=3, seed=1):
    """Draws of the model, or normal numbers for a log joint that the caller wrote."""
    if isinstance(model, fastvi.LogJoint):
        return np.random.default_rng(seed).normal(size=(num, 2))
    return model.sample(num, seed)[1]


def random_data(model, num_data, seed=1):
    """Coin flips where any data are possible, else draws of the model."""
    if isinstance(model, fastvi.SigmoidBeliefNetwork | fastvi.RestrictedBoltzmannMachine):
        return random_bits(num_data, model.num_pixels, seed)
    return model.sample(num_data, seed)[1]


def proposal_of(model, num=None, seed=2):
    """A q for each of ``num`` data, or one for all."""
    shape = (model.num_latents,) if num is None else (num, model.num_latents)
    return (normal if rules_of(model).real_latents else bernoulli)(*shape, seed=seed)


def masks_of(model, num_data):
    """Masks by name: none, one for all data, one of each."""
    shared = np.arange(model.num_pixels) % 3 > 0
    return {"none": None, "shared": shared, "each": random_bits(num_data, model.num_pixels, 11).astype(bool)}


# ---- data whose products underflow: (model, x, observed) ---------------------------------------------------


def strongly_clamped(num_units=10):
    """Clamped units that say the opposite of what the free ones want."""
    upper = np.full((num_units, num_units), 20.0)
    upper[:3, :3], upper[:3, 3:] = 0.0, -900.0
    bias = np.concatenate([np.zeros(3), np.full(num_units - 3, 900.0)])
    model = fastvi.BoltzmannMachine(symmetric(upper), bias)
    return model, random_bits(8, num_units), np.arange(num_units) < 3


def strong_network(num_latents=9):
    """Weights in the hundreds."""
    return network(30, num_latents, scale=150.0), random_bits(5, 30), None


def strong_deep_network():
    """The same under a machine with exclusions."""
    prior = machine(9, exclusive=0.2)
    return network(30, 9, scale=150.0, prior=prior), random_bits(5, 30), None


def strong_restricted():
    """Half of the visible units are seen."""
    return restricted(12, 9, scale=150.0), random_bits(6, 12), np.arange(12) < 6


def far_off_data():
    """Real data far from anything that the model makes."""
    model = sparse_coding(6, 9, noise_std=0.05, scale=3.0)
    return model, 40 * np.random.default_rng(3).normal(size=(4, 6)), None


# ---- comparisons -----------------------------------------------------------------------------------------


def bits(*results):
    """Bytes of every number in results: of arrays, numbers and what holds them."""
    return b"".join(piece for result in results for piece in _pieces(result))


def _pieces(result):
    if isinstance(result, bytes):
        yield result
    elif result is None or isinstance(result, str):
        yield repr(result).encode()
    elif isinstance(result, np.ndarray | np.generic | float | int):
        array = np.asarray(result)
        yield f"{array.dtype.str}{array.shape}".encode() + array.tobytes()
    elif isinstance(result, dict):
        yield from _pieces([*result.items()])
    elif isinstance(result, list | tuple):
        for each in result:
            yield from _pieces(each)
    elif dataclasses.is_dataclass(result):
        yield from _pieces([getattr(result, field.name) for field in dataclasses.fields(result)])
    else:
        yield from _pieces(result.arrays())


def assert_same(found, expected):
    """Equal types, texts and arrays, dtypes and shapes included."""
    assert type(found) is type(expected)
    assert repr(found) == repr(expected)
    if isinstance(found, fastvi.Mixture):
        np.testing.assert_array_equal(found.weights, expected.weights, strict=True)
        for ours, theirs in zip(found.components, expected.components, strict=True):
            assert_same(ours, theirs)
    elif not isinstance(found, str):
        ours, theirs = found.arrays(), expected.arrays()
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], strict=True, err_msg=name)
