"""Networks of binary latents and large logits as the engine sums them: pixel by pixel, in log space.

log p(x, z) is a sum of log probabilities, none above 0, so that its relative error is that of a sum of D + d
numbers of one sign, however large they are. A state costs a datum 2 D multiply-adds, where a form with a
linear part takes one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.bits import bits_of
from fastvi.core.functions import bernoulli_log_prob, log_sigmoid
from fastvi.engine.decoder.block_form import BlockForm, latent_order
from fastvi.engine.decoder.direct_network import DirectNetwork
from fastvi.engine.decoder.large_logits import LargeLogits, are_large
from fastvi.engine.decoder.layers import Pairs, of_latents, of_pixels
from fastvi.engine.states.data_terms import PixelData
from fastvi.engine.states.numbered_form import block_tiling
from fastvi.engine.states.softplus_form import prior_table

_LOG = logging.getLogger("fastvi")

# log p(z | x) is a difference of numbers of this size, each rounded about D times: 1e-6 nats at D = 784
_LEAST_EVIDENCE = -1e7


@dataclass(frozen=True, eq=False)
class DirectForm(BlockForm):
    """A network whose features are the log probabilities of pixels."""

    log_prior: Array | None  # (2^d,) of a prior that is a model, at the number of each state

    def minus_log_prior(self, first: int, out: Array) -> None:
        if self.log_prior is not None:
            np.negative(self.log_prior[first : first + out.size], out=out)
            return
        numbers = np.arange(first, first + out.size)
        out[...] = 0.0
        for i, latent in enumerate(self.latents):
            logit = self.prior_logits[latent]
            out -= np.where((numbers >> i) & 1, log_sigmoid(logit), log_sigmoid(-logit))

    def check_posterior(self, evidence: Array) -> None:
        least = float(evidence.min(initial=0.0))
        if not least >= _LEAST_EVIDENCE:
            raise ValueError(
                f"x must have log p(x) >= {_LEAST_EVIDENCE:g} for its posterior to be right to 1e-6 under "
                f"weights as large as the model's, got {least:.6g}"
            )

    def log_joint(self, x: Array, z: Array) -> Array:
        out = np.empty(z.shape[:-1])
        for n in range(len(x)):
            states = z[n].reshape(-1, self.num_latents)
            if self.log_prior is None:
                prior = bernoulli_log_prob(states, self.prior_logits).sum(axis=-1)
            else:
                bits = states[:, self.latents].astype(np.int64)
                prior = self.log_prior[bits @ (1 << np.arange(self.num_latents))]
            eta = self.network.logits(states.astype(np.float64))
            out[n] = (bernoulli_log_prob(x[n], eta).sum(axis=-1) + prior).reshape(out[n].shape)
        return out

    def states(self) -> Array:
        """All states (2^d, d) uint8 at their numbers, latents in the model's order."""
        return bits_of(np.arange(1 << self.num_latents), self.order[self.latents])


def direct_form(
    layers: Pairs, activation: str, activate: Any, prior_logits: Array, pixels: Array,
    log_prior: Callable[[Array], Array] | None = None,
) -> DirectForm | None:  # fmt: skip
    """Bernoulli pixels that were seen under a network of large logits; None where these are not large.

    ``log_prior`` takes states (2^d, d) of a prior that is a model to their log p(z), in place of
    ``prior_logits``, which are then 0.
    """
    seen = of_pixels(layers, pixels)
    if not are_large(seen, activation, prior_logits):
        return None
    _LOG.info("weights are large: the log probability of each pixel is summed by itself")
    num_latents = prior_logits.size
    order = latent_order(seen[0][0])
    seen = of_latents(seen, order)
    data: Any = PixelData()
    net = DirectNetwork(num_latents, LargeLogits(seen, activation))
    form = DirectForm(
        block_tiling(num_latents), order, np.zeros(num_latents), data, net, prior_logits[order], seen,
        activate, None, None,
    )  # fmt: skip
    if log_prior is None:
        return form
    return replace(form, log_prior=prior_table(order[form.latents], log_prior))
