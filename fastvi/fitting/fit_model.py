"""Learning a model from data."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.distributions.encoder import Encoder
from fastvi.engine.progress import Progress
from fastvi.exact.log_marginal import log_marginal
from fastvi.exact.log_marginal_gradient import log_marginal_gradient
from fastvi.fitting.adam import Adam
from fastvi.fitting.data import training_data
from fastvi.fitting.fit import Fit
from fastvi.fitting.fit_encoder import check_encoder
from fastvi.fitting.learners import ExactElbo, ImportanceWeighted, WakeSleep
from fastvi.fitting.parameters import Parameters
from fastvi.fitting.training import Schedule, train
from fastvi.models.enumerable import Enumerable, check_model
from fastvi.models.sigmoid_belief_network import factorised

OBJECTIVES = ("exact", "elbo", "importance_weighted", "wake_sleep")


def fit_model(
    model: Enumerable,
    x: ArrayLike,
    *,
    objective: str = "exact",
    encoder: Encoder | None = None,
    num_particles: int = 10,
    held_out: ArrayLike | None = None,
    num_epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 0.01,
    patience: int | None = None,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
) -> Fit:
    r"""Learn a model's parameters from data.

    .. math:: \hat\theta = \arg\max_\theta \frac{1}{N} \sum_n \log p_\theta(x_n)

    by Adam on the exact gradient (:func:`~fastvi.log_marginal_gradient`) of mini-batches, the learning rate
    falling to 0 along half a cosine; or, for comparison, by a bound on it. Two runs with the same arguments
    give the same bits, for any number of threads.

    Parameters
    ----------
    model
        Where to start: any model whose log p(x) has a gradient. Every parameter is moved but couplings of
        -inf; noise_std stays positive (its logarithm is moved). A start in which all latents are alike (all
        weights 0, say) keeps them alike.
    x : array_like
        (N, D) data, N >= 1, as for :func:`~fastvi.log_marginal`.
    objective
        "exact" maximum likelihood; the others are for a :class:`~fastvi.SigmoidBeliefNetwork` with a
        factorised prior. "elbo": the exact ELBO, with ``encoder`` or else each datum's own q, refitted at
        each step by up to 20 sweeps of coordinate ascent. "importance_weighted": the bound of
        ``num_particles`` samples of the encoder's q, whose gradient in the encoder is VIMCO's. "wake_sleep":
        the model learns from ``num_particles`` samples of the encoder, the encoder from the model's.
    encoder
        Where the encoder starts, of family "bernoulli"; trained with the model.
    num_particles
        Samples a datum and step; at least 2 for "importance_weighted".
    held_out
        Data that are not trained on. After each epoch the model is scored by their mean exact log p(x),
        whatever the objective, and the best one is kept; without them by that of ``x``.
    num_epochs
        Passes over the data, at least 0.
    batch_size
        Data a step, at least 1.
    learning_rate
        About how far a parameter moves in the first steps, > 0.
    patience
        Ends training after so many epochs without a better score; None never does.
    seed
        Of the order of the data.
    checkpoint
        A file that keeps what is done, and is gone on from; see :func:`~fastvi.log_marginal`. It belongs to
        these data, this start and these options.
    progress
        True for a line on standard error, or a function of (epochs done, epochs in all).

    Returns
    -------
    Fit
        ``model``, ``encoder``, ``history`` (the score before the first and after each epoch) and
        ``best_epoch``. Ctrl-C ends training; the best model so far is returned, a warning is logged, and
        ``converged`` is False.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    References
    ----------
    D. P. Kingma, J. Ba (2015), Adam: a method for stochastic optimization, ICLR. A. Mnih, D. Rezende (2016),
    Variational inference for Monte Carlo objectives, ICML. G. E. Hinton, P. Dayan, B. J. Frey, R. M. Neal
    (1995), The wake-sleep algorithm for unsupervised neural networks, Science 268.

    Examples
    --------
    >>> import fastvi, numpy
    >>> truth = fastvi.SigmoidBeliefNetwork([[4.0], [-4.0]], [-2.0, 2.0], [0.0])
    >>> x = truth.sample(500, seed=1)[1]
    >>> start = fastvi.SigmoidBeliefNetwork([[0.1], [-0.1]], [0.0, 0.0], [0.0])
    >>> fit = fastvi.fit_model(start, x, num_epochs=60, learning_rate=0.2)
    >>> bool(fastvi.log_marginal(fit.model, x).mean() >= fastvi.log_marginal(truth, x).mean())
    True
    """
    check_model(model)
    objective = validation.choice(objective, "objective", OBJECTIVES)
    num_particles = validation.positive_int(
        num_particles, "num_particles", 2 if objective == "importance_weighted" else 1
    )
    _check_encoder(objective, model, encoder)
    schedule = Schedule.checked(num_epochs, batch_size, learning_rate, patience, seed)
    if not callable(progress):
        progress = validation.flag(progress, "progress")
    data = training_data(model, x, "x")
    judged = data if held_out is None else training_data(model, held_out, "held_out")
    learner: Any
    if objective == "exact":
        learner = _ExactLikelihood(model, data, judged)
    else:
        learner = _LEARNERS[objective](factorised(model), encoder, data, judged, num_particles, schedule.seed)
    start = None if encoder is None else encoder._arrays()
    identity = ("fit_model", objective, model._digest(), start, num_particles, data, judged)
    trained = train(learner, len(data), schedule, identity, checkpoint, progress)
    best, finished = trained.history[trained.best_epoch], np.asarray(not trained.interrupted)
    return Fit(
        None, np.asarray(best), trained.history, finished, model=learner.parameters.model(),
        encoder=None if encoder is None else learner.network.encoder(), best_epoch=trained.best_epoch,
    )  # fmt: skip


def _check_encoder(objective: str, model: Enumerable, encoder: Any) -> None:
    if objective == "exact":
        if encoder is not None:
            raise TypeError(f"encoder must be None for objective='exact', got {validation.shown(encoder)}")
        return
    factorised(model)
    if encoder is None:
        if objective != "elbo":
            raise TypeError(f"encoder must be an Encoder for objective={objective!r}, got None")
        return
    check_encoder(encoder, model)


_LEARNERS = {"elbo": ExactElbo, "importance_weighted": ImportanceWeighted, "wake_sleep": WakeSleep}


class _ExactLikelihood:
    """Mean exact log p(x)."""

    def __init__(self, model: Enumerable, data: np.ndarray, judged: np.ndarray) -> None:
        self.parameters = Parameters(model)
        self.adam = Adam(self.parameters.values)
        self._data, self._judged = data, judged

    def gradient(self, batch: np.ndarray, step: int) -> dict[str, np.ndarray]:
        found = log_marginal_gradient(
            self.parameters.model(), self._data[batch], data_weights=np.full(len(batch), 1.0 / len(batch))
        )
        return self.parameters.free(found)

    def score(self) -> float:
        return float(log_marginal(self.parameters.model(), self._judged).mean())
