"""A model's parameters as an optimiser sees them: arrays without constraints, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.fitting.model_access import Gradient, parameter_names

_POSITIVE = "noise_std"  # kept by its logarithm


class FreeParameters:
    """Parameters of a model that can be learned; positive ones by their logarithms.

    ``exactly`` says that the gradient of log p(x) is wanted, not of a bound.

    Attributes
    ----------
    values : dict of float64 arrays
        Changed in place; :meth:`model` is the model that has them.
    """

    def __init__(self, model: Any, *, exactly: bool = False) -> None:
        # refused here where there is nothing to differentiate
        names = parameter_names(model, exactly=exactly)
        self._start, self._arrays = model, model.arrays()
        self.values: dict[str, np.ndarray] = {}
        for name in names:
            value = np.array(self._arrays[name], dtype=np.float64)
            self.values[name] = np.asarray(np.log(value)) if name.endswith(_POSITIVE) else value

    def model(self) -> Any:
        """The model with the present values."""
        found = {
            name: np.exp(value) if name.endswith(_POSITIVE) else value for name, value in self.values.items()
        }
        return type(self._start).from_arrays({**self._arrays, **found})

    def free(self, gradient: Gradient) -> Gradient:
        """A gradient in the model's parameters as one in ``values``."""
        return {
            name: gradient[name] * np.exp(value) if name.endswith(_POSITIVE) else gradient[name]
            for name, value in self.values.items()
        }
