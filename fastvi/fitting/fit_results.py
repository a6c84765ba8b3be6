"""Results of fits: of a q for each datum, of an encoder, of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from fastvi.core.results import PerDatum

if TYPE_CHECKING:
    from fastvi.distributions.bernoulli import Bernoulli
    from fastvi.distributions.categorical import Categorical
    from fastvi.distributions.encoder import Encoder
    from fastvi.distributions.normal import Normal

M = TypeVar("M")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Fit:
    """Result of a fit: a :class:`PosteriorFit`, an :class:`EncoderFit` or a :class:`ModelFit`.

    Attributes
    ----------
    objective : ndarray
        Objective in nats, of each datum (N,) or a scalar.
    history : ndarray
        Objective on the way.
    converged : ndarray of bool
        Whether the fit has stopped moving, in the shape of ``objective``.
    interrupted : bool
        Whether Ctrl-C ended it.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> fit = fastvi.fit_posterior(model, [[1, 0], [1, 1]])
    >>> isinstance(fit, fastvi.Fit)
    True
    >>> fit.objective.round(3), fit.converged, fit.interrupted
    (array([-0.998, -1.134]), array([ True,  True]), False)
    >>> bool(abs(fit.history[-1] - fit.objective.mean()) < 1e-6)
    True
    """

    objective: np.ndarray
    history: np.ndarray
    converged: np.ndarray
    interrupted: bool = False


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PosteriorFit(PerDatum, Fit):
    """Result of :func:`~fastvi.fit_posterior`: a distribution of the latents for each datum.

    ``fit[2:5]`` and ``fit[mask]`` are the fits of some data, ``fit[3]`` that of one; ``history`` stays that
    of all.

    Attributes
    ----------
    q : Bernoulli, Normal or Categorical
        Fitted distributions, with parameters (N, d); of a table (N, num_z).
    objective : ndarray, (N,)
        ELBO for reverse KL, ``KL(p || q)`` for forward KL, the bound of sampled fits; nats.
    history : ndarray, (steps,)
        Mean objective over the data after each sweep of the best start of each datum, or at each step of a
        sampled fit.
    converged : ndarray of bool, (N,)
        Whether the last sweep moved no probability by more than the tolerance; of a normal q found by
        climbing, whether no derivative is above 1e-6 or the tolerance. True of formulas. False of sampled
        fits, which take all their steps and do not judge the last.
    interrupted : bool
        False: Ctrl-C ends such a fit without a result.

    Examples
    --------
    One latent: q is the posterior, and the ELBO is log p(x).

    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> fit = fastvi.fit_posterior(model, [[1, 0], [1, 1]])
    >>> fit.q.mean.round(3)
    array([[0.744],
           [0.517]])
    >>> fit.objective.round(3), fastvi.log_marginal(model, [[1, 0], [1, 1]]).round(3)
    (array([-0.998, -1.134]), array([-0.998, -1.134]))
    >>> fit.converged, fit.history.ndim, fit.interrupted
    (array([ True,  True]), 1, False)
    """

    q: Bernoulli | Normal | Categorical

    _axes: ClassVar = {
        "mean": ("latent",),
        "logits": ("latent",),
        "std": ("latent",),
        "probabilities": ("category",),
    }

    def _columns(self) -> dict[str, Any]:
        own = self.q.arrays()
        if "num_categories" in vars(self.q):
            own = {"probabilities": self.q.mean}
        return {"objective": self.objective, "converged": self.converged, **own}

    def _some(self, which: Any) -> Self:
        arrays = {name: array[which] for name, array in self.q.arrays().items()}
        return replace(
            self,
            q=type(self.q).from_arrays(arrays),
            objective=self.objective[which],
            converged=self.converged[which],
        )

    def __repr__(self) -> str:
        num = self.objective.size
        mean = f", mean objective={self.objective.mean():.6g}" if num else ""
        converged = f"converged={int(self.converged.sum())} of {num}"
        return f"PosteriorFit(num_data={num}, {converged}{mean}, steps={self.history.size})"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class _TrainedFit(Fit):
    """Result of training: the best epoch is kept."""

    best_epoch: int

    def _shown(self, what: object) -> str:
        epochs = f"best_epoch={self.best_epoch} of {self.history.size - 1}"
        ended = ", interrupted" if self.interrupted else ""
        return f"{type(self).__name__}({what!r}, objective={float(self.objective):.6g}, {epochs}{ended})"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class EncoderFit(_TrainedFit):
    """Result of :func:`~fastvi.fit_encoder`: an encoder, trained for all data.

    Attributes
    ----------
    encoder : Encoder
        Fitted encoder, of the best epoch.
    q : Bernoulli or Normal
        Its distributions of the data, with parameters (N, d).
    objective : ndarray, scalar
        Best score of ``history``, nats.
    history : ndarray, (epochs + 1,)
        Score before the first and after each epoch.
    converged : ndarray of bool, scalar
        Whether ``patience`` epochs went by without a better score. Epochs that ran out are no convergence,
        nor is an interruption.
    interrupted : bool
        Whether Ctrl-C ended training.
    best_epoch : int
        Epoch whose parameters are kept.
    amortization_gap : ndarray, (N,), or None
        What the ELBO of each datum loses, in nats, where it was asked for.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> x = model.sample(200, seed=1).x
    >>> start = fastvi.Encoder.random(2, 4, 1, seed=0)
    >>> fit = fastvi.fit_encoder(model, x, start, num_epochs=20, learning_rate=0.1, amortization_gap=True)
    >>> bool(fit.objective == fit.history.max()), fit.history.shape, fit.best_epoch <= 20
    (True, (21,), True)
    >>> bool(abs(fit.encoder(x).mean - fit.q.mean).max() < 1e-12)
    True
    >>> bool(fit.amortization_gap.mean() < 0.01)  # two pixels leave an encoder little to get wrong
    True
    >>> bool(fit.converged), fit.interrupted
    (False, False)
    """

    encoder: Encoder
    q: Bernoulli | Normal
    amortization_gap: np.ndarray | None = None

    def __repr__(self) -> str:
        return self._shown(self.encoder)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ModelFit(_TrainedFit, Generic[M]):
    """Result of :func:`~fastvi.fit_model`: a model learned from data.

    Attributes
    ----------
    model
        Fitted model, of the kind of the start and of the best epoch.
    encoder : Encoder or None
        Encoder that was trained with it, where there was one.
    objective : ndarray, scalar
        Best score of ``history``, nats.
    history : ndarray, (epochs + 1,)
        Score before the first and after each epoch.
    converged : ndarray of bool, scalar
        Whether ``patience`` epochs went by without a better score, or the last epoch of expectation
        maximisation moved the score by no more than 1e-8 max(1, abs(score)). Epochs that ran out are no
        convergence: the rate of gradients falls to 0 with them, so that the last ones hardly move whatever
        the score would still do. Nor is an interruption.
    interrupted : bool
        Whether Ctrl-C ended training.
    best_epoch : int
        Epoch whose parameters are kept.

    Examples
    --------
    >>> import fastvi
    >>> x = fastvi.SigmoidBeliefNetwork([[4.0], [-4.0]], [-2.0, 2.0], [0.0]).sample(500, seed=1).x
    >>> start = fastvi.SigmoidBeliefNetwork([[0.1], [-0.1]], [0.0, 0.0], [0.0])
    >>> fit = fastvi.fit_model(start, x, num_epochs=60, learning_rate=0.2)
    >>> bool(abs(fit.objective - fastvi.log_marginal(fit.model, x).mean()) < 1e-9)
    True
    >>> fit.history.shape, fit.best_epoch > 0, bool(fit.history[fit.best_epoch] == fit.objective)
    ((61,), True, True)
    >>> fit.encoder is None, fit.interrupted, bool(fit.converged)
    (True, False, False)
    """

    model: M
    encoder: Encoder | None = None

    def __repr__(self) -> str:
        return self._shown(self.model)
