"""Adam: steps of stochastic gradient ascent, each parameter scaled by the size of its own gradients."""

from __future__ import annotations

import math

import numpy as np

from fastvi.core import validation

_LARGEST = 2.0**511  # of a gradient: its square is in the range, and so is the difference of two squares
_DECAY_MEAN, _DECAY_SQUARE, _TINY = 0.9, 0.999, 1e-8  # those of Kingma and Ba (2015)


class Adam:
    """Moments of the gradients of ``parameters``, which are changed in place.

    Every array is one that a checkpoint can fill: ``arrays`` are all that the next step depends on.

    References
    ----------
    D. P. Kingma, J. Ba (2015), Adam: a method for stochastic optimization, ICLR, algorithm 1.
    """

    def __init__(self, parameters: dict[str, np.ndarray]) -> None:
        self.parameters = parameters
        self._means = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._squares = {name: np.zeros_like(value) for name, value in parameters.items()}
        self._steps = np.zeros(1, np.int64)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        parts = (self.parameters, self._means, self._squares)
        return (self._steps, *(part[name] for part in parts for name in sorted(part)))

    @property
    def num_steps(self) -> int:
        """Steps taken."""
        return int(self._steps[0])

    def ascend(self, gradient: dict[str, np.ndarray], rate: float) -> None:
        """One step of length about ``rate`` in each parameter, uphill."""
        self._check(gradient)
        self._steps += 1
        step = self.num_steps
        for name, theta in self.parameters.items():
            mean, square, g = self._means[name], self._squares[name], gradient[name]
            mean += (1.0 - _DECAY_MEAN) * (g - mean)
            square += (1.0 - _DECAY_SQUARE) * (g * g - square)
            root = np.sqrt(square / (1.0 - _DECAY_SQUARE**step)) + _TINY
            theta += rate * (mean / (1.0 - _DECAY_MEAN**step)) / root

    def _check(self, gradient: dict[str, np.ndarray]) -> None:
        """Refuse what has no square in the range, before anything has moved."""
        for name in self.parameters:
            size = np.abs(gradient[name])
            validation.require(
                size, size < _LARGEST, f"x and the model must keep the gradient in {name} below 2^511 in size"
            )


def cosine(rate: float, step: int, num_steps: int) -> float:
    """The rate of ``step`` of ``num_steps``: it falls to 0 along half a cosine."""
    return rate * 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
