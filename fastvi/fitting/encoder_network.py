"""An encoder's layers as an optimiser sees them: forward with what backpropagation needs, and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastvi.distributions.encoder import Encoder
from fastvi.distributions.layers import ACTIVATIONS
from fastvi.engine.linalg.products import layer_inputs, matmul

# derivative of an activation from its value
_SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda h: (h > 0.0).astype(np.float64),
    "tanh": lambda h: 1.0 - h * h,
    "sigmoid": lambda h: h * (1.0 - h),
    "softplus": lambda h: -np.expm1(-h),
}


class EncoderNetwork:
    """Weights and biases by name, changed in place; :meth:`encoder` is the encoder that has them."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.values: dict[str, np.ndarray] = {}
        for i, (weight, bias) in enumerate(encoder.layers):
            self.values[f"layer_{i}_weight"], self.values[f"layer_{i}_bias"] = weight.copy(), bias.copy()

    @property
    def _layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        count = len(self._encoder.layers)
        return [(self.values[f"layer_{i}_weight"], self.values[f"layer_{i}_bias"]) for i in range(count)]

    def encoder(self) -> Encoder:
        """The encoder with the present values."""
        return Encoder(self._layers, self._encoder.activation, self._encoder.family)

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """Inputs of each layer (N, in), and the outputs (N, out) last."""
        return layer_inputs(self._layers, ACTIVATIONS[self._encoder.activation], x)

    def backward(self, inputs: list[np.ndarray], slope: np.ndarray) -> dict[str, np.ndarray]:
        """Gradient of sum_n f(outputs_n) from ``slope`` (N, out), that of f in the outputs."""
        gradient = {}
        for i in reversed(range(len(self._layers))):
            weight, _ = self._layers[i]
            gradient[f"layer_{i}_weight"] = matmul(np.ascontiguousarray(slope.T), inputs[i])
            gradient[f"layer_{i}_bias"] = slope.sum(axis=0)
            if i:
                slope = matmul(slope, weight) * _SLOPES[self._encoder.activation](inputs[i])
        return gradient
