"""The form of a decoder: by features of states, or pixel by pixel where its logits are large."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.decoder.block_form import BlockForm, latent_order
from fastvi.engine.decoder.direct_form import direct_form
from fastvi.engine.decoder.layers import Pairs, of_latents, of_pixels
from fastvi.engine.decoder.network import network
from fastvi.engine.states.numbered_form import block_tiling


def block_form(
    layers: Pairs, activation: str, activate: Any, noise_std: float | None,
    prior_logits: Array, pixels: Array, dtype: str = "float64",
) -> BlockForm:  # fmt: skip
    """A decoder of the pixels that were seen, in tiles of its states."""
    if noise_std is None:
        large = direct_form(layers, activation, activate, prior_logits, pixels)
        if large is not None:
            return large
    num_latents = prior_logits.size
    tiling, order = block_tiling(num_latents), latent_order(layers[0][0])
    layers = of_latents(layers, order)
    net, data = network(layers, activation, noise_std, pixels, dtype=dtype)
    seen = of_pixels(layers, pixels)
    return BlockForm(
        tiling, order, np.zeros(num_latents), data, net, prior_logits[order], seen, activate, noise_std
    )
