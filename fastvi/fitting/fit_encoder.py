"""Amortised inference: one q(z | x) for all data."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.bounds.elbo import elbo
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.engine.elbo_gradient import expected_log_joint
from fastvi.engine.expected_joint import expected_joint
from fastvi.engine.progress import Progress
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.exact.question import Options, always_summed, ask
from fastvi.fitting.adam import Adam
from fastvi.fitting.data import training_data
from fastvi.fitting.encoder_network import EncoderNetwork
from fastvi.fitting.fit import Fit
from fastvi.fitting.fit_posterior import TILED, fit_posterior
from fastvi.fitting.training import Schedule, train
from fastvi.models.enumerable import Enumerable, check_model

OBJECTIVES = ("reverse_kl", "forward_kl")


def fit_encoder(
    model: Enumerable,
    x: ArrayLike,
    encoder: Encoder,
    *,
    objective: str = "reverse_kl",
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
    r"""Train an encoder q(z | x) for a model that stays as it is, by exact gradients.

    .. math::
        \max \frac{1}{N} \sum_n \mathrm{ELBO}(q(z|x_n)) \quad \text{or} \quad
        \max \frac{1}{N} \sum_n E_{p(z|x_n)}[\log q(z|x_n)]

    "reverse_kl" climbs the exact ELBO, of which the derivative in a logit l of mean m is Cov_q(log p(x, z),
    z_i) - m (1 - m) l; "forward_kl" the log probability of the exact posterior's draws, of which it is the
    posterior's mean less m. Both are summed over all states; no sampling enters. Adam on mini-batches, as in
    :func:`~fastvi.fit_model`.

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork` (also a deep one) or :class:`~fastvi.BinarySparseCoding`.
    x : array_like
        (N, D) data, N >= 1.
    encoder
        Where to start; of family "bernoulli", from D pixels to the model's d latents.
    objective
        "reverse_kl" or "forward_kl".
    held_out
        Data that are not trained on, by which the encoder is scored after each epoch; without them by ``x``.
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
    check_model(model)
    validation.instance(model, "model", TILED)
    check_encoder(encoder, model)
    objective = validation.choice(objective, "objective", OBJECTIVES)
    schedule = Schedule.checked(num_epochs, batch_size, learning_rate, patience, seed)
    wanted = validation.flag(amortization_gap, "amortization_gap")
    if not callable(progress):
        progress = validation.flag(progress, "progress")
    data = training_data(model, x, "x")
    judged = data if held_out is None else training_data(model, held_out, "held_out")
    kind = _ReverseKL if objective == "reverse_kl" else _ForwardKL
    learner = kind(model, encoder, data, judged)
    identity = ("fit_encoder", objective, model._digest(), encoder._arrays(), data, judged)
    trained = train(learner, len(data), schedule, identity, checkpoint, progress)
    found = learner.network.encoder()
    q = found(data)
    gap = None
    if wanted:
        own = fit_posterior(model, data, seed=seed)
        gap = own.objective - elbo(model, data, q).value
    best, finished = trained.history[trained.best_epoch], np.asarray(not trained.interrupted)
    return Fit(
        q, np.asarray(best), trained.history, finished, encoder=found, best_epoch=trained.best_epoch,
        amortization_gap=gap,
    )  # fmt: skip


def check_encoder(encoder: Any, model: Enumerable) -> None:
    """Refuse what is no encoder for the binary latents of ``model``."""
    validation.instance(encoder, "encoder", Encoder)
    if encoder.family != "bernoulli" or model._real_latents:
        raise TypeError(
            "encoder must be of family 'bernoulli' for a model of binary latents, got "
            f"{encoder!r} for {model!r}"
        )
    if (encoder.num_pixels, encoder.num_latents) != (model.num_pixels, model.num_latents):
        raise ValueError(
            f"encoder must go from {model.num_pixels} pixels to {model.num_latents} latents, got {encoder!r}"
        )


class _EncoderLearner:
    def __init__(self, model: Enumerable, encoder: Encoder, data: np.ndarray, judged: np.ndarray) -> None:
        # refused here where it is too large, or has no states
        ask(model, data[:1], None, Options(), always_summed)
        self.network = EncoderNetwork(encoder)
        self.adam = Adam(self.network.values)
        self._model, self._data, self._judged = model, data, judged
        self._form = model._form(np.ones(model.num_pixels, bool), "float64")

    def gradient(self, batch: np.ndarray, step: int) -> dict[str, np.ndarray]:
        inputs = self.network.forward(self._data[batch])
        slope = self._slope(batch, inputs[-1])
        return self.network.backward(inputs, slope / len(batch))

    def _slope(self, batch: np.ndarray, logits: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class _ReverseKL(_EncoderLearner):
    """Mean ELBO."""

    def _slope(self, batch: np.ndarray, logits: np.ndarray) -> np.ndarray:
        mean = Bernoulli(logits).mean
        slope = expected_log_joint(self._form, self._data[batch], logits).slope
        return slope - mean * (1.0 - mean) * logits

    def score(self) -> float:
        logits = self.network.forward(self._judged)[-1]
        value = expected_joint(self._form, self._judged, logits)  # its slope would take as long again
        return float((value + Bernoulli(logits).entropy()).mean())


class _ForwardKL(_EncoderLearner):
    """Mean of E_p(z|x)[log q(z|x)] = sum_i m_i log q_i + (1 - m_i) log(1 - q_i), m the posterior's means."""

    def __init__(self, model: Enumerable, encoder: Encoder, data: np.ndarray, judged: np.ndarray) -> None:
        super().__init__(model, encoder, data, judged)
        self._means = exact_posterior(model, data).mean
        self._judged_means = self._means if judged is data else exact_posterior(model, judged).mean

    def _slope(self, batch: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return self._means[batch] - Bernoulli(logits).mean

    def score(self) -> float:
        logits, means = self.network.forward(self._judged)[-1], self._judged_means
        log_q = means * logits - np.logaddexp(0.0, logits)
        return float(log_q.sum(axis=1).mean())
