"""Networks whose weights are so large that sums of products round away what log p(x) is made of.

Forms with a linear part, c(x) + <t(x), z> - A(z), subtract numbers of the size of the sum of all |logits|, S:
what is left is off by some S 2^-53. Up to ``largest_reach`` that is next to nothing, and fast. Beyond it each
pixel adds its own log sigmoid of +-eta, which is never positive and in which nothing cancels; what is left to
round is eta itself. The logits of a first layer of bits are summed exactly; those of the layers above carry
a bound on their error.
"""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import TURNS, log_sigmoid, reach_after
from fastvi.engine.decoder.layers import ExactFirstLayer, PackedLayers, Pairs
from fastvi.engine.linalg.products import Packed

_UNIT = 2.0**-53
_DIGITS = 1e-6  # to which a logit must be known where its own size is at most 1, else relative to its size


def largest_reach(num_pixels: int) -> float:
    """S up to which sums with a linear part are used.

    The bound on the error, (D + d + 40) S 2^-52, is 3e-9 nats at D = 10. Roundings have either sign: measured
    at this S, 1e-11 at D = 4 and 5e-11 at D = 784.
    """
    return 256.0 * (1024 + num_pixels)


def reach(layers: Pairs, activation: str, prior_logits: Array) -> float:
    """S: the largest sizes of all logits, summed, for inputs within +-1, and those of the prior."""
    units = np.ones(layers[0][0].shape[1])
    with np.errstate(over="ignore"):
        for i, (weight, bias) in enumerate(layers):
            units = reach_after(activation, units) if i else units
            units = np.einsum("i,ji->j", units, np.abs(weight)) + np.abs(bias)
        return float(units.sum() + np.abs(prior_logits).sum())


def are_large(layers: Pairs, activation: str, prior_logits: Array) -> bool:
    """Whether the logits of these pixels and the prior's have to be looked at one by one."""
    return reach(layers, activation, prior_logits) > largest_reach(len(layers[-1][1]))


def log_sigmoids(eta: Array) -> Array:
    """(S, 2 D): the log probabilities of pixels that are 1, and of pixels that are 0."""
    return np.concatenate([log_sigmoid(eta), log_sigmoid(-eta)], axis=1)


class LargeLogits:
    """Logits of rows of latents under layers (weight (out, in), bias (out,)).

    ``bits`` False is for real latents, which are rounded themselves: a logit of theirs need not be exact.
    """

    def __init__(self, layers: Pairs, activation: str, *, bits: bool = True) -> None:
        self.layers, self._bits = (ExactFirstLayer if bits else PackedLayers)(layers, activation), bits
        self._sizes = [Packed(np.abs(weight).T, np.abs(bias)) for weight, bias in layers[1:]]
        self._growth = [Packed(np.abs(weight).T) for weight, _ in layers[1:]]
        self.num_pixels, self.widest = len(layers[-1][1]), max(layer.depth for layer in self.layers.forward)
        self.operations = sum(60.0 * weight.size + 20.0 * len(bias) for weight, bias in layers)  # of a row

    def __call__(self, z: Array) -> Array:
        """Eta (S, D) of z (S, d) float64."""
        return self.inputs(z)[-1]

    def inputs(self, z: Array) -> list[Array]:
        """Inputs of each layer, z first, and eta last; ValueError where an eta is not known well enough."""
        if not self._bits:
            return self.layers.inputs(z)
        found, value = [z], self.layers.product(0, z)
        error = _UNIT * np.abs(value)
        with np.errstate(over="ignore", invalid="ignore"):
            for layer, sizes, growth in zip(self.layers.forward[1:], self._sizes, self._growth, strict=True):
                hidden, error = self._activated(value, error)
                found.append(hidden)
                value = layer.product(hidden)
                rounding = (hidden.shape[1] + 2) * _UNIT * sizes.product(np.abs(hidden))
                error = growth.product(error) + rounding
            known = error <= _DIGITS * np.maximum(np.abs(value), 1.0)
        if not known.all():
            at = np.unravel_index(int(np.argmin(known)), known.shape)
            raise ValueError(
                f"layers must leave every logit right to {_DIGITS:g}, or to {_DIGITS:g} of its size where "
                f"that is above 1, got a logit of {value[at]:.6g} that is right to {error[at]:.2g}"
            )
        return [*found, value]

    def _activated(self, value: Array, error: Array) -> tuple[Array, Array]:
        """Activations of ``value``, which is overwritten, and bounds on their errors from those of ``value``.

        Activations are right to a few units in the last place, that of "gelu" as if its argument were off by
        one. So the error is that of the least and the largest f within the bounds. Where f rises these are
        at the ends. One that falls and then rises has its least value at its turning point, or at the end
        that is nearest to it.
        """
        turn = TURNS.get(self.layers.activation)
        if turn is not None:
            error = error + 2 * _UNIT * np.abs(value)
        ends = [value - error, value + error]
        if turn is not None:
            ends.append(np.clip(turn, *ends))
        hidden, low, high, *turned = (self.layers.activated(t) for t in (value, *ends))
        least, largest = (turned[0], np.maximum(low, high)) if turned else (low, high)
        return hidden, np.maximum(largest - hidden, hidden - least) + 8 * _UNIT * np.abs(hidden)
