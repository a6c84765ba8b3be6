"""Amortised inference: one q(z | x) for all data."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.elbo import elbo
from fastvi.core import validation
from fastvi.core.options import DType
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.distributions.encoder import Encoder
from fastvi.engine.run.progress import Progress
from fastvi.fitting import encoder_trainers
from fastvi.fitting.fit_posterior import fit_posterior
from fastvi.fitting.fit_results import EncoderFit
from fastvi.fitting.model_access import check_has_prior
from fastvi.fitting.provenance import provenance
from fastvi.fitting.sampled_bound import Estimator, check_exact, checked_dtype, checked_estimator
from fastvi.fitting.training import Schedule, opened, train
from fastvi.fitting.training_data import TrainingData, training_data
from fastvi.inputs.options import check_progress
from fastvi.rules.questions import FIT_ENCODER

Objective = Literal["reverse_kl", "forward_kl", "importance_weighted"]


@takes_rng
def fit_encoder(
    model: Any,
    x: ArrayLike,
    encoder: Encoder,
    *,
    objective: Objective = "reverse_kl",
    num_samples: int | None = None,
    estimator: Estimator | None = None,
    held_out: ArrayLike | None = None,
    num_epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 0.01,
    patience: int | None = None,
    amortization_gap: bool = False,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    dtype: DType = "float64",
) -> EncoderFit:
    r"""Train an encoder q(z | x) for a model that stays as it is, by exact gradients or by sampling.

    .. math::
        \max \frac{1}{N} \sum_n \mathrm{ELBO}(q(z|x_n)), \qquad
        \max \frac{1}{N} \sum_n E_{p(z|x_n)}[\log q(z|x_n)] \qquad \text{or} \qquad
        \max \frac{1}{N} \sum_n E_q\left[\log \frac{1}{K} \sum_k \frac{p(x_n, z_k)}{q(z_k|x_n)}\right]

    ===================== ============== ============================= ============= =========================
    objective             climbed        gradient                      needs         source
    ===================== ============== ============================= ============= =========================
    "reverse_kl"          mean ELBO      exact: in a logit l of mean   a model       Jordan et al. (1999),
                                         m, Cov_q(log p(x, z), z_i) -  named below   eq. 41
                                         m (1 - m) l over all states
    "reverse_kl"          mean ELBO      "leave_one_out"               num_samples   Kool et al. (2019)
    "reverse_kl"          mean ELBO      "disarm": opposite draws      num_samples   Dong et al. (2020), eq. 7
    "reverse_kl"          mean ELBO      "reparameterized", normal q   num_samples   Roeder et al. (2017)
    "forward_kl"          mean of        exact: the posterior's mean   -             Bishop (2006), eq. 10.17
                          E_p[log q]     less m
    "forward_kl"          mean of        weighted draws, biased as     num_samples   Bornschein, Bengio
                          E_p[log q]     1 / K                                       (2015), eq. 9
    "importance_weighted" K-sample bound "vimco"                       num_samples   Mnih, Rezende (2016),
                                                                                     eq. 10, 11
    "importance_weighted" K-sample bound "reparameterized", normal q   num_samples   Tucker et al. (2019),
                                                                                     eq. 7
    ===================== ============== ============================= ============= =========================

    All of them by Adam on mini-batches, as in :func:`~fastvi.fit_model`.

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
        A name of the table.
    num_samples
        None is exact. A number K draws so many states from q for each datum and step. Gradients are unbiased
        but for "forward_kl", where they are those of the wake phase of reweighted wake-sleep.
    estimator
        Of the sampled gradient: "leave_one_out" (the default for the ELBO) or "disarm" (pairs of opposite
        draws), "vimco" for the K-sample bound; "reparameterized" for real latents.
    held_out
        Data that are not trained on, by which the encoder is scored after each epoch; without them by ``x``.
        Sampled objectives are scored by the bound itself (that of K samples for "forward_kl"), with the same
        draws after each epoch.
    num_epochs, batch_size, learning_rate, patience, seed, rng, checkpoint, progress
        As in :func:`~fastvi.fit_model`.
    dtype
        "float64", or "float32" where states of a :class:`~fastvi.SigmoidBeliefNetwork` are sampled, as in
        :func:`~fastvi.fit_posterior`.
    amortization_gap
        Whether to fit each datum of ``x`` its own q beside it (:func:`~fastvi.fit_posterior`), which takes
        about 50 times :func:`~fastvi.log_marginal`.

    Returns
    -------
    EncoderFit
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
    M. I. Jordan, Z. Ghahramani, T. Jaakkola, L. K. Saul (1999), An introduction to variational methods for
    graphical models. C. M. Bishop (2006), Pattern Recognition and Machine Learning. W. Kool, H. van Hoof, M.
    Welling (2019), Buy 4 REINFORCE samples, get a baseline for free!, ICLR workshop. Z. Dong, A. Mnih, G.
    Tucker (2020), DisARM: an antithetic gradient estimator for binary latent variables, NeurIPS. G. Roeder,
    Y. Wu, D. Duvenaud (2017), Sticking the landing, NeurIPS. J. Bornschein, Y. Bengio (2015), Reweighted
    wake-sleep, ICLR. A. Mnih, D. Rezende (2016), Variational inference for Monte Carlo objectives, ICML. G.
    Tucker, D. Lawson, S. Gu, C. J. Maddison (2019), Doubly reparameterized gradient estimators for Monte
    Carlo objectives, ICLR.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> x = model.sample(200, seed=1).x
    >>> start = fastvi.Encoder.random(2, 4, 1, seed=0)
    >>> fit = fastvi.fit_encoder(model, x, start, num_epochs=20, learning_rate=0.1)
    >>> gap = fastvi.log_marginal(model, x).mean() - fastvi.elbo(model, x, fit.encoder).value.mean()
    >>> bool(0 <= gap < 0.01)
    True
    """
    rules_of(model)
    check_has_prior(model)
    check_encoder(encoder, model)
    objective = validation.choice(objective, "objective", get_args(Objective))
    schedule = Schedule.checked(num_epochs, batch_size, learning_rate, patience, seed)
    dtype = checked_dtype(model, dtype, sampled=num_samples is not None)
    make = _trainer(model, objective, num_samples, estimator, schedule.seed, dtype)
    wanted = validation.flag(amortization_gap, "amortization_gap")
    progress = check_progress(progress)
    data = training_data(model, x, "x").x
    judged = data if held_out is None else training_data(model, held_out, "held_out").x
    if wanted:
        fit_posterior(model, data[:0])  # refused here, not after training
    holders = rules_of(model).digest(), encoder.arrays()
    identity = ("fit_encoder", objective, num_samples, estimator, dtype, *holders, data, judged)
    kept = opened(checkpoint, identity, schedule)
    trainer = make(model, encoder, data, judged)
    trained = train(trainer, len(data), schedule, kept, progress)
    found = trainer.network.encoder().made_by(
        provenance("fit_encoder", objective, schedule, trained, TrainingData(data))
    )
    q, gap = found(data), None
    if wanted:
        own = fit_posterior(model, data, seed=seed)
        gap = own.objective - elbo(model, data, q).value
    return EncoderFit(encoder=found, q=q, amortization_gap=gap, **trained._asdict())


def _trainer(
    model: Any, objective: str, num_samples: Any, estimator: Any, seed: int, dtype: str
) -> Callable[..., encoder_trainers.EncoderTrainer]:
    """Function that makes the trainer of (model, encoder, data, judged)."""
    if num_samples is not None:
        num_samples = validation.positive_int(num_samples, "num_samples")
        return partial(
            encoder_trainers.Sampled, num_samples=num_samples, seed=seed,
            importance_weighted=objective == "importance_weighted",
            estimator=checked_estimator(model, objective, estimator, num_samples), dtype=dtype,
        )  # fmt: skip
    check_exact(objective, estimator=estimator)
    if objective == "forward_kl":
        real = rules_of(model).real_latents
        return encoder_trainers.NormalForwardKL if real else encoder_trainers.ForwardKL
    if rules_of(model).has_normal_posterior:
        return encoder_trainers.LinearReverseKL
    if FIT_ENCODER not in rules_of(model).questions:
        raise TypeError(
            "num_samples must be a number for a model whose ELBO has no exact gradient here, got None for "
            f"{model!r}"
        )
    return encoder_trainers.ReverseKL


def check_encoder(encoder: Any, model: Any) -> None:
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
