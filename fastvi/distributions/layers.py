"""Layers of a feed-forward neural network as arguments and as arrays of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.core.functions import reach_after


def clean_layers(
    layers: Any, activation: str, num_inputs: int | None = None
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pairs (weight (out, in), bias (out,)) that fit; ``num_inputs`` None takes it from the first weight."""
    allowed = "layers must be a sequence of at least one pair (weight, bias)"
    if not isinstance(layers, list | tuple):
        raise TypeError(f"{allowed}, got {validation.shown(layers)}")
    if not layers:
        raise ValueError(f"{allowed}, got none")
    clean, width, reach = [], num_inputs, np.empty(0)
    for i, pair in enumerate(layers):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise TypeError(f"{allowed}, got {validation.shown(pair)} at index {i}")
        weight = validation.float_array(pair[0], f"layers[{i}][0]", ndim=2, shape=(None, width))
        if i == 0:
            reach = np.ones(weight.shape[1])  # largest size of each unit where all inputs are within +-1
        width = len(weight)
        bias = validation.float_array(pair[1], f"layers[{i}][1]", ndim=1, shape=(width,))
        with np.errstate(over="ignore"):
            reach = np.einsum("i,ji->j", reach, np.abs(weight)) + np.abs(bias)
        validation.require(reach, np.isfinite(reach), f"layers[{i}] must keep every unit finite")
        reach = reach_after(activation, reach)
        clean.append((validation.frozen_array(weight), validation.frozen_array(bias)))
    return tuple(clean)


def layer_arrays(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Weights and biases by the names that they have in a file."""
    return {
        f"layer_{i}_{name}": array
        for i, pair in enumerate(layers)
        for name, array in zip(("weight", "bias"), pair, strict=True)
    }


def take_layers(arrays: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The inverse; what is taken leaves ``arrays``."""
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    while f"layer_{len(layers)}_weight" in arrays:
        i = len(layers)
        layers.append((arrays.pop(f"layer_{i}_weight"), arrays.pop(f"layer_{i}_bias")))
    return layers
