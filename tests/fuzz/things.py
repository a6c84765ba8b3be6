"""Small models, distributions and data that the calls are made with, one of each kind.

Entries are multiples of 1/8, which every floating-point type holds.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

import fastvi

_RNG = np.random.default_rng(2024)


def _eighths(*shape: int) -> np.ndarray:
    return _RNG.integers(-8, 9, shape) / 8


W, B, C = _eighths(4, 3), _eighths(4), _eighths(3)
X = np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
REAL_X = _eighths(2, 4)
Z = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
J = np.array(
    [[0.0, 0.5, -0.25, 1.0], [0.5, 0.0, 0.125, 0.0], [-0.25, 0.125, 0.0, -1.0], [1.0, 0.0, -1.0, 0.0]]
)
SEEN = np.array([[True, False, True, True], [True, True, True, False]])
LAYERS = [(_eighths(5, 3), _eighths(5)), (_eighths(4, 5), _eighths(4))]
NARROW = [(_eighths(5, 2), _eighths(5)), (_eighths(4, 5), _eighths(4))]
LOG_W = _eighths(2, 40)
LOGITS = _eighths(2, 3)
SEEN_ROWS = np.array([[True], [False]])
TABLE = np.array([[0.125, 0.25, 0.0], [0.375, 0.125, 0.125]])
ESTIMATORS = ("leave_one_out", "disarm", "vimco", "reparameterized")
COVARIANCE = np.array([[1.0, 0.25], [0.25, 0.5]])


@numba.njit
def scalar_log_joint(x: Any, z: Any) -> float:
    total = -math.log(8.0) - x.size * math.log(2.0)
    for j in range(x.size):
        total -= abs(x[j] - z[j % z.size]) - 0.5
    return total


def array_log_joint(x: Any, z: Any) -> Any:
    return -np.minimum(np.abs(x[:, :1].sum(axis=1, keepdims=True) / 2 - z.sum(axis=1)), 1e300)


network = fastvi.SigmoidBeliefNetwork(W, B, C)
deep = fastvi.SigmoidBeliefNetwork(
    W, B, prior=fastvi.SigmoidBeliefNetwork(_eighths(3, 2), _eighths(3), _eighths(2))
)
machine = fastvi.BoltzmannMachine(J, B)
restricted = fastvi.RestrictedBoltzmannMachine(W, B, C)
coding = fastvi.BinarySparseCoding(W, B, 0.5, C)
linear = fastvi.LinearGaussian(W[:, :2], B, 0.5)
decoder = fastvi.NeuralDecoder(LAYERS, "tanh", fastvi.Bernoulli(C))
gaussian = fastvi.NeuralDecoder(LAYERS, "relu", fastvi.Bernoulli(C), "gaussian", noise_std=0.5)
smooth = fastvi.NeuralDecoder(NARROW, "tanh", fastvi.Normal(C[:2], [1.0, 0.5]))
scalar = fastvi.LogJoint(scalar_log_joint, 3)
arrays = fastvi.LogJoint(array_log_joint, 3, vectorized=True)
table = fastvi.JointTable(TABLE)

bernoulli = fastvi.Bernoulli(LOGITS)
shared = fastvi.Bernoulli(C)
units = fastvi.Bernoulli(B)
uniform = fastvi.Uniform(3)
normal = fastvi.Normal(LOGITS[:, :2], np.abs(LOGITS[:, 1:]) + 0.125)
correlated = fastvi.MultivariateNormal(C[:2], COVARIANCE)
categorical = fastvi.Categorical(LOGITS)
encoder = fastvi.Encoder([(_eighths(3, 4), C)], "tanh")
normal_encoder = fastvi.Encoder([(_eighths(4, 4), B)], "tanh", "normal")
mixture = fastvi.Mixture([shared, "uniform"], [3.0, 1.0])
bounds = fastvi.log_marginal_bounds(network, X, max_bounds=1)

MODELS: dict[str, Any] = {
    "a network": network, "a deep network": deep, "a machine": machine, "a restricted machine": restricted,
    "sparse coding": coding, "a linear model": linear, "a decoder": decoder, "a Gaussian decoder": gaussian,
    "a decoder of normal latents": smooth, "a scalar log joint": scalar, "a log joint of arrays": arrays,
    "a table": table,
}  # fmt: skip
OTHER_MODELS: dict[str, Any] = {
    "a network of 5 pixels": fastvi.SigmoidBeliefNetwork(np.zeros((5, 3)), np.zeros(5), C),
    "a network of no pixels": fastvi.SigmoidBeliefNetwork(np.zeros((0, 3)), [], C),
    "a network of 1 latent": fastvi.SigmoidBeliefNetwork(W[:, :1], B, [0.5]),
    "a network of 50 latents": fastvi.SigmoidBeliefNetwork(np.zeros((4, 50)), B, np.zeros(50)),
    "a machine of 1 unit": fastvi.BoltzmannMachine([[0.0]], [0.5]),
    "a machine of impossible pairs": fastvi.BoltzmannMachine(np.where(J == 1.0, -np.inf, J), B),
    "a decoder of 5 normal latents": fastvi.NeuralDecoder(
        [(np.ones((4, 5)), B)], "tanh", fastvi.Normal(np.zeros(5), np.ones(5))
    ),
}
DISTRIBUTIONS: dict[str, Any] = {
    "a Bernoulli": bernoulli, "a shared Bernoulli": shared, "a Uniform": uniform, "a Normal": normal,
    "a MultivariateNormal": correlated, "a Categorical": categorical, "an Encoder": encoder,
    "a normal Encoder": normal_encoder, "a Mixture": mixture,
    "a Bernoulli of 4 latents": units,
    "a Bernoulli of 5 data": fastvi.Bernoulli(np.zeros((5, 3))),
    "a Bernoulli of no data": fastvi.Bernoulli(np.zeros((0, 3))),
    "a Bernoulli of point masses": fastvi.Bernoulli([np.inf, -np.inf, 0.0]),
    "a Normal of 2 latents": fastvi.Normal([0.0, 0.5], [1.0, 0.5]),
    "a Categorical of one": fastvi.Categorical([0.5]),
}  # fmt: skip
