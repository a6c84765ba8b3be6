"""The result of a fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastvi.distributions.bernoulli import Bernoulli


@dataclass(frozen=True, eq=False)
class Fit:
    """What was fitted, and how it went.

    Attributes
    ----------
    q
        The fitted distribution, a :class:`~fastvi.Bernoulli` with logits (N, d).
    objective : ndarray, (N,)
        Its objective in nats (the ELBO for reverse KL).
    history : ndarray, (number of sweeps,)
        Mean objective over the data after each sweep of the best start of each datum.
    converged : ndarray of bool, (N,)
        Whether the last sweep moved no probability by more than the tolerance.
    """

    q: Bernoulli
    objective: np.ndarray
    history: np.ndarray
    converged: np.ndarray

    def __repr__(self) -> str:
        num = self.objective.size
        mean = f", mean objective={self.objective.mean():.6g}" if num else ""
        converged = int(self.converged.sum())
        return f"Fit(num_data={num}, converged={converged} of {num}{mean}, sweeps={self.history.size})"
