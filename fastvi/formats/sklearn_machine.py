"""Restricted Boltzmann machines as scikit-learn keeps them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation

_ATTRIBUTES = ("components_", "intercept_visible_", "intercept_hidden_")


class MachineArrays(NamedTuple):
    """Parameters of a restricted Boltzmann machine."""

    weights: np.ndarray  # (D, d)
    visible_bias: np.ndarray  # (D,)
    hidden_bias: np.ndarray  # (d,)


def machine_arrays(rbm: Any) -> MachineArrays:
    """The parameters of ``rbm``, any object with a fitted ``BernoulliRBM``'s attributes, float64."""
    lacking = [name for name in _ATTRIBUTES if not hasattr(rbm, name)]
    if lacking:
        raise TypeError(
            f"rbm must be a fitted BernoulliRBM, with {', '.join(_ATTRIBUTES)}, got {validation.shown(rbm)} "
            f"without {', '.join(lacking)}"
        )
    components = validation.float_array(rbm.components_, "rbm.components_", ndim=2)
    num_latents, num_pixels = components.shape
    if num_latents < 1 or num_pixels < 1:
        raise ValueError(
            f"rbm.components_ must have shape (n_components >= 1, n_features >= 1), got {components.shape}"
        )
    sizes = zip(_ATTRIBUTES[1:], (num_pixels, num_latents), strict=True)
    visible, hidden = (
        validation.float_array(getattr(rbm, name), f"rbm.{name}", ndim=1, shape=(size,))
        for name, size in sizes
    )
    return MachineArrays(np.ascontiguousarray(components.T), visible, hidden)
