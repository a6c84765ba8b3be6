"""An encoder's layers as an optimiser sees them: forward with what backpropagation needs, and back."""

from __future__ import annotations

import numpy as np

from fastvi.distributions.encoder import Encoder
from fastvi.distributions.layers import layer_arrays, take_layers
from fastvi.engine.decoder.layers import Layers


class EncoderNetwork:
    """Weights and biases by name, changed in place; :meth:`encoder` is the encoder that has them."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.values = {name: array.copy() for name, array in layer_arrays(encoder.layers).items()}

    @property
    def _layers(self) -> Layers:
        return Layers(take_layers(dict(self.values)), self._encoder.activation)

    def encoder(self) -> Encoder:
        """The encoder with the present values."""
        return Encoder(take_layers(dict(self.values)), self._encoder.activation, self._encoder.family)

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """Return what enters each layer (N, in), and the outputs (N, out) last."""
        return self._layers.inputs(x)

    def backward(self, inputs: list[np.ndarray], slope: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of sum_n f(outputs_n) from ``slope`` (N, out), that of f in the outputs."""
        return layer_arrays(self._layers.of_parameters(inputs[:-1], slope))
