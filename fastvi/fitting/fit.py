"""The result of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastvi.distributions.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Fit:
    """What was fitted, and how it went.

    Attributes
    ----------
    q
        Of :func:`~fastvi.fit_posterior`: the fitted distribution, of parameters (N, d). Else None.
    encoder
        The fitted encoder, where there is one.
    model
        Of :func:`~fastvi.fit_model`: the fitted model. Else None.
    objective : ndarray
        In nats: (N,) of each datum where q was fitted datum by datum (the ELBO for reverse KL, KL(p || q) for
        forward KL, the bound of sampled fits); of a model or an encoder a scalar, the best of ``history``.
    history : ndarray
        Mean objective over the data after each sweep of the best start of each datum, (sweeps,), or at each
        step of a sampled fit; of a model or an encoder its score before the first and after each epoch,
        (epochs + 1,).
    converged : ndarray of bool
        Whether the fit has stopped moving. (N,) where q was fitted datum by datum: whether the last sweep
        moved no probability by more than the tolerance; of a normal q found by climbing, whether no
        derivative is above 1e-6 or the tolerance; True of formulas; False of sampled fits, which take all
        their steps and do not judge the last. Of a model or an encoder a scalar: True where ``patience``
        epochs went by without a better score, or where the last epoch of expectation maximisation moved the
        score by no more than 1e-8 max(1, abs(score)). Epochs that ran out are no convergence (of gradients
        the rate falls to 0 with them, so that the last ones hardly move whatever the score would still do),
        nor is an interruption.
    interrupted : bool
        Whether Ctrl-C ended training, of :func:`~fastvi.fit_model` and :func:`~fastvi.fit_encoder`.
    best_epoch : int or None
        The epoch whose parameters are kept.
    amortization_gap : ndarray, (N,), or None
        Of :func:`~fastvi.fit_encoder` where asked for: what the ELBO of each datum loses, in nats.
    """

    q: Any
    objective: np.ndarray
    history: np.ndarray
    converged: np.ndarray
    interrupted: bool = False
    encoder: Encoder | None = None
    model: Any = None
    best_epoch: int | None = None
    amortization_gap: np.ndarray | None = None

    def __repr__(self) -> str:
        if self.best_epoch is not None:
            what = repr(self.model if self.model is not None else self.encoder)
            best = f"{self.best_epoch} of {self.history.size - 1}"
            return f"Fit({what}, objective={float(self.objective):.6g}, best_epoch={best})"
        num = self.objective.size
        mean = f", mean objective={self.objective.mean():.6g}" if num else ""
        converged = int(self.converged.sum())
        return f"Fit(num_data={num}, converged={converged} of {num}{mean}, sweeps={self.history.size})"
