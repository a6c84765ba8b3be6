"""Random small problems: a model of fastvi's, data, and log p(x, z) of every state by the oracles.

Numbers go to the oracles as Python floats; nothing of fastvi's enters what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import naive
import naive_models
import numpy as np

import fastvi

Parameters = dict[str, Any]  # name -> nested lists


@dataclass
class Problem:
    """``joint(parameters, x, z, observed)`` is log p(x, z), not normalised where there is a ``log_z``."""

    kind: str
    model: Any
    parameters: Parameters
    joint: Callable[[Parameters, Any, Any, Any], float]
    log_z: Callable[[Parameters], float] | None
    x: np.ndarray
    observed: np.ndarray | None
    num_latents: int
    size: float  # bounds the sum of the absolute values of what a log joint is summed from

    @property
    def num_data(self) -> int:
        return len(self.x)

    def mask(self, n: int) -> list[bool] | None:
        if self.observed is None:
            return None
        return (self.observed if self.observed.ndim == 1 else self.observed[n]).tolist()

    def table(self, n: int, parameters: Parameters | None = None) -> list[float]:
        """log p(x_n, z) of all states of z, as they are summed: log Z is not taken away."""
        values = self.parameters if parameters is None else parameters
        x, mask = self.x[n].tolist(), self.mask(n)
        return [self.joint(values, x, z, mask) for z in naive.states(self.num_latents)]

    def log_marginal(self, n: int, parameters: Parameters | None = None) -> float:
        values = self.parameters if parameters is None else parameters
        return naive.log_sum_exp(self.table(n, parameters)) - (self.log_z(values) if self.log_z else 0.0)

    @property
    def tolerance(self) -> float:
        """Of a log joint and of sums over states.

        A log joint is a sum of at most about 2 (D + d)^2 terms, of absolute sum ``size``: each addition of
        float64 rounds by 2^-53 of that at most, whatever the order; a sum over 2^d states, its exponentials
        and its logarithm add a few units more. 64 such roundings are far from what these sizes (D, d <= 6)
        reach, and far below what a wrong term does.
        """
        return 64 * 2.0**-53 * (self.size + 16.0)


def _lists(parameters: dict[str, Any]) -> Parameters:
    return {name: np.asarray(value).tolist() for name, value in parameters.items()}


def _size(parameters: Parameters, x: Any) -> float:
    total = sum(float(np.abs(np.asarray(value, dtype=float)).sum()) for value in parameters.values())
    return total + float(np.abs(x).sum()) if np.size(x) else total


def _scale(rng: np.random.Generator) -> float:
    """Of parameters: none at all, ordinary ones, saturated ones."""
    return float(rng.choice([0.0, 0.1, 1.0, 1.0, 1.0, 4.0, 20.0]))


def _binary(rng: np.random.Generator, num: int, width: int) -> np.ndarray:
    return rng.integers(0, 2, (num, width)).astype(np.uint8)


def _mask(rng: np.random.Generator, num: int, width: int) -> np.ndarray | None:
    shape = [None, None, (width,), (num, width)][rng.integers(4)]
    return None if shape is None else rng.random(shape) < 0.6


def _network(rng: np.random.Generator, d: int, num_pixels: int, num: int) -> Problem:
    s = _scale(rng)
    p = {"weights": s * rng.normal(size=(num_pixels, d)), "bias": s * rng.normal(size=num_pixels),
         "prior_logits": s * rng.normal(size=d)}  # fmt: skip
    model = fastvi.SigmoidBeliefNetwork(**p)

    def joint(v: Parameters, x: Any, z: Any, observed: Any) -> float:
        return naive.sbn_log_joint(v["weights"], v["bias"], v["prior_logits"], x, z, observed)

    x = _binary(rng, num, num_pixels)
    return Problem("network", model, _lists(p), joint, None, x, _mask(rng, num, num_pixels), d, _size(p, 0))


def _deep(rng: np.random.Generator, d: int, num_pixels: int, num: int) -> Problem:
    s, top = _scale(rng), int(rng.integers(1, 4))
    p = {"weights": s * rng.normal(size=(num_pixels, d)), "bias": s * rng.normal(size=num_pixels),
         "prior_weights": s * rng.normal(size=(d, top)), "prior_bias": s * rng.normal(size=d),
         "prior_prior_logits": s * rng.normal(size=top)}  # fmt: skip
    upper = fastvi.SigmoidBeliefNetwork(p["prior_weights"], p["prior_bias"], p["prior_prior_logits"])
    model = fastvi.SigmoidBeliefNetwork(p["weights"], p["bias"], prior=upper)

    def joint(v: Parameters, x: Any, z: Any, observed: Any) -> float:
        prior = naive.sbn_log_marginal(v["prior_weights"], v["prior_bias"], v["prior_prior_logits"], z)
        return naive.sbn_log_likelihood(v["weights"], v["bias"], x, z, observed) + prior

    x = _binary(rng, num, num_pixels)
    return Problem(
        "deep network", model, _lists(p), joint, None, x, _mask(rng, num, num_pixels), d, _size(p, 0)
    )


def _machine(rng: np.random.Generator, d: int, num_pixels: int, num: int) -> Problem:
    s = _scale(rng)
    half = np.triu(s * rng.normal(size=(d, d)), 1)
    p = {"couplings": half + half.T, "bias": s * rng.normal(size=d)}
    model = fastvi.BoltzmannMachine(**p)

    def joint(v: Parameters, x: Any, z: Any, observed: Any) -> float:
        same = naive.agrees(z, x, observed)
        return naive.bm_log_joint(v["couplings"], v["bias"], z) if same else -math.inf

    def log_z(v: Parameters) -> float:
        return naive.bm_log_partition(v["couplings"], v["bias"])

    x = _binary(rng, num, d)
    return Problem("machine", model, _lists(p), joint, log_z, x, _mask(rng, num, d), d, _size(p, 0))


def _restricted(rng: np.random.Generator, d: int, num_pixels: int, num: int) -> Problem:
    s, width = _scale(rng), max(num_pixels, 1)
    p = {"weights": s * rng.normal(size=(width, d)), "visible_bias": s * rng.normal(size=width),
         "hidden_bias": s * rng.normal(size=d)}  # fmt: skip
    model = fastvi.RestrictedBoltzmannMachine(**p)

    def joint(v: Parameters, x: Any, z: Any, observed: Any) -> float:
        own = v["weights"], v["visible_bias"], v["hidden_bias"]
        return naive.log_sum_exp(
            naive.rbm_log_joint(*own, pixels, z)
            for pixels in naive.states(width)
            if naive.agrees(pixels, x, observed)
        )

    def log_z(v: Parameters) -> float:
        return naive.rbm_log_partition(v["weights"], v["visible_bias"], v["hidden_bias"])

    x = _binary(rng, num, width)
    return Problem(
        "restricted machine", model, _lists(p), joint, log_z, x, _mask(rng, num, width), d, _size(p, 0)
    )


def _noise(rng: np.random.Generator) -> float:
    return float(rng.choice([0.3, 1.0, 3.0]))


def _squares(p: Parameters, x: np.ndarray, std: float) -> float:
    """Bounds the sum of the squares that a log density is made of, opened: (|x| + |eta|)^2 / s^2."""
    reach = _size({name: value for name, value in p.items() if name != "noise_std"}, 0)
    top = float(np.abs(x).max(initial=0.0))
    return max(x.shape[1], 1) * ((top + reach) / std) ** 2


def _coding(rng: np.random.Generator, d: int, num_pixels: int, num: int) -> Problem:
    s, std = min(_scale(rng), 4.0), _noise(rng)
    p = {"weights": s * rng.normal(size=(num_pixels, d)), "bias": s * rng.normal(size=num_pixels),
         "noise_std": std, "prior_logits": s * rng.normal(size=d)}  # fmt: skip
    model = fastvi.BinarySparseCoding(**p)

    def joint(v: Parameters, x: Any, z: Any, observed: Any) -> float:
        return naive.bsc_log_joint(v["weights"], v["bias"], v["noise_std"], v["prior_logits"], x, z, observed)

    x = 2.0 * rng.normal(size=(num, num_pixels))
    size = _size(p, 0) + _squares(p, x, std)
    return Problem("sparse coding", model, _lists(p), joint, None, x, _mask(rng, num, num_pixels), d, size)


def _decoder(rng: np.random.Generator, d: int, num_pixels: int, num: int) -> Problem:
    s, hidden = min(_scale(rng), 4.0), int(rng.integers(1, 4))
    activation = str(rng.choice(list(naive_models.ACTIVATIONS)))
    std = _noise(rng) if rng.random() < 0.5 else None
    p = {"layer_0_weight": s * rng.normal(size=(hidden, d)), "layer_0_bias": s * rng.normal(size=hidden),
         "layer_1_weight": s * rng.normal(size=(num_pixels, hidden)),
         "layer_1_bias": s * rng.normal(size=num_pixels),
         "prior_logits": s * rng.normal(size=d), **({} if std is None else {"noise_std": std})}  # fmt: skip
    layers = [(p["layer_0_weight"], p["layer_0_bias"]), (p["layer_1_weight"], p["layer_1_bias"])]
    prior = fastvi.Bernoulli(p["prior_logits"])
    model = fastvi.NeuralDecoder(
        layers, activation, prior, "bernoulli" if std is None else "gaussian", noise_std=std
    )

    def joint(v: Parameters, x: Any, z: Any, observed: Any) -> float:
        network = [(v["layer_0_weight"], v["layer_0_bias"]), (v["layer_1_weight"], v["layer_1_bias"])]
        likelihood = naive_models.decoder_log_likelihood(
            network, activation, x, z, v.get("noise_std"), observed
        )
        return likelihood + naive.bernoulli_log_prob(z, v["prior_logits"])

    x = _binary(rng, num, num_pixels) if std is None else 2.0 * rng.normal(size=(num, num_pixels))
    # a unit of the second layer is at most a product of the first's sums with its weights
    reach = (_size(p, 0) + 1.0) ** 2
    size = (
        reach
        if std is None
        else max(num_pixels, 1) * ((float(np.abs(x).max(initial=0.0)) + reach) / std) ** 2
    )
    return Problem("decoder", model, _lists(p), joint, None, x, _mask(rng, num, num_pixels), d, size)


def _user(rng: np.random.Generator, d: int, num_pixels: int, num: int) -> Problem:
    """A log joint of arrays: a bilinear form, some states impossible."""
    width = max(num_pixels, 1)
    w, s = rng.normal(size=(width, d)), _scale(rng)
    never = int(rng.integers(1 << d)) if d > 1 else -1

    def table(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        value = s * np.einsum("nj,ji,si->ns", x, w, z) - 1.0
        number = z @ (1 << np.arange(d))
        return np.where(number[None] == never, -np.inf, value)

    def joint(v: Parameters, x: Any, z: Any, observed: Any) -> float:
        if sum(bit << i for i, bit in enumerate(z)) == never:
            return -math.inf
        terms = [s * a * v["w"][j][i] * z[i] for j, a in enumerate(x) for i in range(d)]
        return math.fsum([*terms, -1.0])

    x = rng.normal(size=(num, width))
    model = fastvi.LogJoint(table, d, vectorized=True)
    size = s * float(np.abs(x).sum() * np.abs(w).sum()) + 1.0
    return Problem("user's log joint", model, _lists({"w": w}), joint, None, x, None, d, size)


_KINDS = (_network, _network, _deep, _machine, _restricted, _coding, _decoder, _decoder, _user)


def random_problem(rng: np.random.Generator) -> Problem:
    """Any model, d in 1 ... 4, D in 0 ... 5, N in 0 ... 3."""
    make = _KINDS[rng.integers(len(_KINDS))]
    return make(rng, int(rng.integers(1, 5)), int(rng.integers(0, 6)), int(rng.integers(0, 4)))
