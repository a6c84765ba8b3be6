"""Amortised inference: one q(z | x) for all data."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.elbo import elbo
from fastvi.core import validation
from fastvi.core.registry import rules_of
from fastvi.distributions.encoder import Encoder
from fastvi.engine.run.progress import Progress
from fastvi.fitting import encoder_learners as learners
from fastvi.fitting.data import training_data
from fastvi.fitting.fit import Fit
from fastvi.fitting.fit_posterior import TILED, fit_posterior
from fastvi.fitting.made import made_by
from fastvi.fitting.sampled_bound import REWEIGHTED, check_has_prior, checked_estimator
from fastvi.fitting.training import Schedule, opened, train
from fastvi.models.base import LatentVariableModel
from fastvi.models.linear_gaussian import LinearGaussian

OBJECTIVES = ("reverse_kl", "forward_kl", "importance_weighted")


def fit_encoder(
    model: LatentVariableModel,
    x: ArrayLike,
    encoder: Encoder,
    *,
    objective: str = "reverse_kl",
    num_samples: int | None = None,
    estimator: str | None = None,
    held_out: ArrayLike | None = None,
    num_epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 0.01,
    patience: int | None = None,
    amortization_gap: bool = False,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
) -> Fit:
    r"""Train an encoder q(z | x) for a model that stays as it is, by exact gradients or by sampling.

    .. math::
        \max \frac{1}{N} \sum_n \mathrm{ELBO}(q(z|x_n)), \qquad
        \max \frac{1}{N} \sum_n E_{p(z|x_n)}[\log q(z|x_n)] \qquad \text{or} \qquad
        \max \frac{1}{N} \sum_n E_q\Big[\log \frac{1}{K} \sum_k \frac{p(x_n, z_k)}{q(z_k|x_n)}\Big]

    "reverse_kl" climbs the ELBO, of which the derivative in a logit l of mean m is Cov_q(log p(x, z), z_i) -
    m (1 - m) l, summed over all states; "forward_kl" the log probability of the exact posterior's draws,
    of which it is the posterior's mean less m; "importance_weighted" the bound of ``num_samples`` weights.
    Adam on mini-batches, as in :func:`~fastvi.fit_model`.

    Parameters
    ----------
    model
        Any model of latents with a prior: exact gradients of "reverse_kl" for
        :class:`~fastvi.SigmoidBeliefNetwork` (also a deep one), :class:`~fastvi.BinarySparseCoding` and
        :class:`~fastvi.LinearGaussian`; of "forward_kl" wherever :func:`~fastvi.fit_posterior` has it.
    x : array_like
        (N, D) data, N >= 1.
    encoder
        Where to start, from D pixels to the model's d latents; of family "bernoulli" for binary latents,
        "normal" for real ones.
    objective
        "reverse_kl", "forward_kl" or "importance_weighted".
    num_samples
        None is exact. A number K draws so many states from q for each datum and step, and climbs an unbiased
        estimate of the gradient; for "forward_kl" the wake phase of reweighted wake-sleep, whose bias falls
        as 1 / K.
    estimator
        Of the sampled gradient: "leave_one_out" (the default for the ELBO) or "disarm" (pairs of opposite
        draws), "vimco" for the K-sample bound; "reparameterized" for real latents.
    held_out
        Data that are not trained on, by which the encoder is scored after each epoch; without them by ``x``.
        Sampled objectives are scored by the bound itself (that of K samples for "forward_kl"), with the same
        draws after each epoch.
    num_epochs, batch_size, learning_rate, patience, seed, checkpoint, progress
        As in :func:`~fastvi.fit_model`.
    amortization_gap
        Whether to fit each datum of ``x`` its own q beside it (:func:`~fastvi.fit_posterior`), which takes
        about 50 times :func:`~fastvi.log_marginal`.

    Returns
    -------
    Fit
        ``encoder``; ``q`` its distributions of the data, of logits (N, d); ``history`` the score (mean ELBO,
        or mean E_p[log q]) before the first and after each epoch; with ``amortization_gap`` the ELBO of each
        datum's own optimum less that of the encoder's q, (N,). It is at least 0 up to the fit's tolerance,
        unless the fit of a datum ended in a worse optimum than the encoder found.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    References
    ----------
    C. Cremer, X. Li, D. Duvenaud (2018), Inference suboptimality in variational autoencoders, ICML (the gap).
    """
    rules_of(model)
    check_has_prior(model)
    check_encoder(encoder, model)
    objective = validation.choice(objective, "objective", OBJECTIVES)
    schedule = Schedule.checked(num_epochs, batch_size, learning_rate, patience, seed)
    make = _learner(model, objective, num_samples, estimator, schedule.seed)
    wanted = validation.flag(amortization_gap, "amortization_gap")
    if not callable(progress):
        progress = validation.flag(progress, "progress")
    data = training_data(model, x, "x")
    judged = data if held_out is None else training_data(model, held_out, "held_out")
    if wanted:
        fit_posterior(model, data[:0])  # refused here, not after training
    identity = (
        "fit_encoder", objective, num_samples, estimator, rules_of(model).digest(), encoder.arrays(), data,
        judged,
    )  # fmt: skip
    kept = opened(checkpoint, identity, schedule)
    learner = make(model, encoder, data, judged)
    trained = train(learner, len(data), schedule, kept, progress)
    found = learner.network.encoder().made_by(made_by("fit_encoder", objective, schedule, trained, data))
    q = found(data)
    gap = None
    if wanted:
        own = fit_posterior(model, data, seed=seed)
        gap = own.objective - elbo(model, data, q).value
    best = trained.history[trained.best_epoch]
    return Fit(
        q, np.asarray(best), trained.history, np.asarray(trained.converged), trained.interrupted,
        encoder=found, best_epoch=trained.best_epoch, amortization_gap=gap,
    )  # fmt: skip


def _learner(
    model: LatentVariableModel, objective: str, num_samples: Any, estimator: Any, seed: int
) -> Callable[..., learners.EncoderLearner]:
    """What makes the learner of (model, encoder, data, judged)."""
    if num_samples is not None:
        num_samples = validation.positive_int(num_samples, "num_samples")
        weighted = objective == "importance_weighted"
        if objective == "forward_kl":
            if estimator is not None:
                came = validation.shown(estimator)
                raise TypeError(f"estimator must be None for objective='forward_kl', got {came}")
            estimator = REWEIGHTED
        else:
            estimator = checked_estimator(model, weighted, estimator, num_samples)
        return partial(
            learners.Sampled, num_samples=num_samples, seed=seed, importance_weighted=weighted,
            estimator=estimator,
        )  # fmt: skip
    if estimator is not None:
        raise TypeError(f"estimator must be None without num_samples, got {validation.shown(estimator)}")
    if objective == "importance_weighted":
        raise TypeError("num_samples must be a number for objective='importance_weighted', got None")
    if objective == "forward_kl":
        return learners.NormalForwardKL if rules_of(model).real_latents else learners.ForwardKL
    if isinstance(model, LinearGaussian):
        return learners.LinearReverseKL
    if not isinstance(model, TILED):
        raise TypeError(
            "num_samples must be a number for a model whose ELBO has no exact gradient here, got None for "
            f"{model!r}"
        )
    return learners.ReverseKL


def check_encoder(encoder: Any, model: LatentVariableModel) -> None:
    """Refuse what is no encoder for the latents of ``model``."""
    validation.instance(encoder, "encoder", Encoder)
    family, kind = ("normal", "real") if rules_of(model).real_latents else ("bernoulli", "binary")
    if encoder.family != family:
        raise TypeError(
            f"encoder must be of family {family!r} for a model of {kind} latents, got {encoder!r} for "
            f"{model!r}"
        )
    if (encoder.num_pixels, encoder.num_latents) != (model.num_pixels, model.num_latents):
        raise ValueError(
            f"encoder must go from {model.num_pixels} pixels to {model.num_latents} latents, got {encoder!r}"
        )
