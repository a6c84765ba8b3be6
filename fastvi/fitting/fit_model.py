"""Learning a model from data."""

from __future__ import annotations

import os
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.deprecation import renamed
from fastvi.core.options import DType
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.distributions.encoder import Encoder
from fastvi.engine.run.progress import Progress
from fastvi.fitting.expectation_maximization import ExpectationMaximization
from fastvi.fitting.fit_encoder import check_encoder
from fastvi.fitting.fit_results import ModelFit
from fastvi.fitting.model_access import check_has_prior
from fastvi.fitting.model_trainers import (
    ExactElbo,
    ExactLikelihood,
    ImportanceWeighted,
    SampledElbo,
    WakeSleep,
)
from fastvi.fitting.provenance import provenance
from fastvi.fitting.sampled_bound import Estimator, checked_dtype, checked_estimator
from fastvi.fitting.table_fits import TableCounts
from fastvi.fitting.training import Schedule, opened, train
from fastvi.fitting.training_data import training_data
from fastvi.inputs.options import check_progress
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.rules.joint_table import JointTableRules

M = TypeVar("M")
Objective = Literal["exact", "em", "elbo", "importance_weighted", "wake_sleep", "reweighted_wake_sleep"]
Score = Literal["exact", "bound"]

_SEVERAL_SAMPLES = ("importance_weighted", "reweighted_wake_sleep")  # one alone has no weight of its own


@renamed(num_particles="num_samples")
@takes_rng
def fit_model(
    model: M,
    x: ArrayLike,
    *,
    objective: Objective = "exact",
    encoder: Encoder | None = None,
    num_samples: int | None = None,
    estimator: Estimator | None = None,
    held_out: ArrayLike | None = None,
    score: Score = "exact",
    data_weights: ArrayLike | None = None,
    observed: ArrayLike | None = None,
    num_epochs: int = 50,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    dtype: DType = "float64",
) -> ModelFit[M]:
    r"""Learn a model's parameters from data.

    .. math:: \hat\theta = \arg\max_\theta \frac{1}{\sum_n w_n} \sum_n w_n \log p_\theta(x_n), \quad w_n = 1

    by Adam on the exact gradient (:func:`~fastvi.log_marginal_gradient`) of mini-batches, the learning rate
    falling to 0 along half a cosine; or, for comparison, by a bound on it. Two runs with the same arguments
    give the same bits, for any number of threads.

    ======================= ====================== ======================= ============= =====================
    objective               climbed                gradient                needs         source
    ======================= ====================== ======================= ============= =====================
    "exact"                 mean log p(x)          exact                   -             Neal (1992), sect. 3
    "em"                    mean log p(x)          none: exact E and M     sparse coding Dempster et al.
                                                   steps                   or linear     (1977)
                                                                           Gaussian
    "elbo"                  mean ELBO of each      exact                   factorised    Saul et al. (1996)
                            datum's own q                                  network
    "elbo"                  mean ELBO of the       exact                   factorised    Jordan et al. (1999),
                            encoder's q                                    network,      eq. 41
                                                                           encoder
    "elbo"                  mean ELBO of the       sampled, by             encoder,      as in fit_encoder
                            encoder's q            ``estimator``           num_samples
    "importance_weighted"   bound of num_samples   sampled, by             encoder       Burda et al. (2016),
                            weights                ``estimator``                         eq. 8
    "wake_sleep"            model: E_q[log p],     samples of the encoder, encoder       Hinton et al. (1995)
                            encoder: E_p[log q]    samples of the model
    "reweighted_wake_sleep" model: bound of        samples of the encoder, encoder       Bornschein, Bengio
                            num_samples weights,   by their weights                      (2015), eq. 9
                            encoder: E_p(z|x)[log
                            q]
    ======================= ====================== ======================= ============= =====================

    "em" takes an exact E step and an exact M step on all data an epoch, so that the mean log p(x) of ``x``
    never falls. It keeps noise_std above 1e-4 of the start's (with a warning) and the log odds of latents
    that are never or always on within +-36; weights that the data leave open are moved as little as possible.

    Of a :class:`~fastvi.JointTable` both "exact" and "em" take the maximum in one step: p(x) becomes the
    share that x has of the data. x alone does not say how a row is spread over z, so p(z | x) stays what it
    was, and so does the total of a table that is not normalised. Where z was seen too, the maximum is the
    table of counts itself: ``JointTable(counts / counts.sum())``.

    Bounds are for models with a prior (no Boltzmann machines). "elbo" without an encoder refits each datum's
    q at each step by up to 20 sweeps of coordinate ascent. "reweighted_wake_sleep" is the wake phase of both,
    without a sleep phase.

    Parameters
    ----------
    model
        Where to start: any model whose log p(x) has a gradient. Every parameter is moved but couplings of
        -inf; noise_std stays positive (its logarithm is moved). A start in which all latents are alike (all
        weights 0, say) keeps them alike.
    x : array_like
        (N, D) data, N >= 1, as for :func:`~fastvi.log_marginal`; for a table (N,) integers.
    objective
        A name of the table.
    encoder
        Where the encoder starts, of family "bernoulli" for binary latents, "normal" for real ones; trained
        with the model.
    num_samples
        Samples a datum and step: None is 10, or for "elbo" no sampling. At least 2 for "importance_weighted",
        "reweighted_wake_sleep" and the estimators of binary latents.
    estimator
        Of the gradient in the encoder, as in :func:`~fastvi.fit_encoder`.
    held_out
        Data that are not trained on. After each epoch the model is scored by them, and the best one is kept;
        without them by ``x``.
    score
        "exact": the mean exact log p(x), whatever the objective. "bound", for where that is out of reach: the
        sampled bound itself (of ``num_samples`` weights, but for "elbo"), with the same draws each time.
    data_weights : array_like, (N,), optional
        w_n, finite numbers of at least 0, not all 0; not for "em". The score of ``x`` is their weighted mean.
        A datum of weight 0 is left out before anything is drawn: the bits are those of data without it.
        Weights that are all alike give the bits of none. A weight of 2 counts as the datum twice: where a
        batch holds all data the two agree up to rounding, else the batches differ. Only ratios of weights
        matter.
    observed : array_like of bool, optional
        (D,) or (N, D), True where a pixel of ``x`` was seen; the others are summed out and may hold anything.
        For "exact" alone. Data are grouped by mask in each batch, and each mask costs an enumeration of its
        own. ``held_out`` is seen whole.
    num_epochs
        Passes over the data, at least 0.
    batch_size
        Data a step, at least 1; None is 100. "em" takes all data and nothing but None.
    learning_rate
        About how far a parameter moves in the first steps, > 0; None is 0.01. "em" has no rate and takes
        nothing but None.
    patience
        Ends training after so many epochs without a better score; None never does.
    seed
        Of the order of the data.
    rng
        A generator that gives the seed, in place of ``seed``.
    checkpoint
        A file that keeps what is done, and is gone on from; see :func:`~fastvi.log_marginal`. It belongs to
        these data, this start and these options, to this version and to machines with the same caches. It is
        written after an epoch, every few seconds, and when training ends, also by an exception.
    progress
        True for a line on standard error, or a function of (epochs done, epochs in all).
    dtype
        "float64", or "float32" where states of a :class:`~fastvi.SigmoidBeliefNetwork` are sampled, as in
        :func:`~fastvi.fit_posterior`.

    Returns
    -------
    ModelFit
        ``model``, ``encoder``, ``history`` (the score before the first and after each epoch) and
        ``best_epoch``. Ctrl-C ends training; the best model so far is returned, a warning is logged, and
        ``interrupted`` is True. ``converged`` is whether the score has stopped moving (see
        :class:`~fastvi.ModelFit`): on gradients it takes ``patience`` to know, and epochs that run out are
        False.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    References
    ----------
    D. P. Kingma, J. Ba (2015), Adam: a method for stochastic optimization, ICLR. A. Mnih, D. Rezende (2016),
    Variational inference for Monte Carlo objectives, ICML. G. E. Hinton, P. Dayan, B. J. Frey, R. M. Neal
    (1995), The wake-sleep algorithm for unsupervised neural networks, Science 268. J. Bornschein, Y. Bengio
    (2015), Reweighted wake-sleep, ICLR. A. P. Dempster, N. M. Laird, D. B. Rubin (1977), Maximum likelihood
    from incomplete data via the EM algorithm, Journal of the Royal Statistical Society B 39. R. M. Neal
    (1992), Connectionist learning of belief networks, Artificial Intelligence 56. L. K. Saul, T. Jaakkola, M.
    I. Jordan (1996), Mean field theory for sigmoid belief networks, JAIR 4. M. I. Jordan, Z. Ghahramani, T.
    Jaakkola, L. K. Saul (1999), An introduction to variational methods for graphical models. Y. Burda, R.
    Grosse, R. Salakhutdinov (2016), Importance weighted autoencoders, ICLR.

    Examples
    --------
    >>> import fastvi, numpy
    >>> truth = fastvi.SigmoidBeliefNetwork([[4.0], [-4.0]], [-2.0, 2.0], [0.0])
    >>> x = truth.sample(500, seed=1).x
    >>> start = fastvi.SigmoidBeliefNetwork([[0.1], [-0.1]], [0.0, 0.0], [0.0])
    >>> fit = fastvi.fit_model(start, x, num_epochs=60, learning_rate=0.2)
    >>> bool(fastvi.log_marginal(fit.model, x).mean() >= fastvi.log_marginal(truth, x).mean())
    True
    """
    rules = rules_of(model, tables=True)
    objective = validation.choice(objective, "objective", get_args(Objective))
    if rules.is_table:
        _check_table_options(objective, batch_size, learning_rate)
    by_bound = validation.choice(score, "score", get_args(Score)) == "bound"
    sampler = _checked_sampler(model, objective, encoder, num_samples, estimator, by_bound)
    dtype = checked_dtype(model, dtype, sampled=sampler is not None)
    if objective == "em":
        _refuse(objective, batch_size=batch_size, learning_rate=learning_rate, data_weights=data_weights)
    if objective != "exact":
        _refuse(objective, observed=observed)
    schedule = Schedule.checked(
        num_epochs, 100 if batch_size is None else batch_size,
        0.01 if learning_rate is None else learning_rate, patience, seed,
    )  # fmt: skip
    progress = check_progress(progress)
    data = training_data(model, x, "x", data_weights, observed)
    judged = data if held_out is None else training_data(model, held_out, "held_out")
    trainer: Any
    if isinstance(rules, JointTableRules):
        trainer = TableCounts(rules, data, judged)
    elif objective == "exact":
        trainer = ExactLikelihood(model, None, data, judged)
    elif objective == "em":
        trainer = ExpectationMaximization(model, data.x, judged.x)
    elif sampler is None:
        trainer = ExactElbo(model, encoder, data, judged)
    else:
        trainer = _TRAINERS[objective](
            model, encoder, data, judged, sampler.num_samples, schedule.seed, estimator=sampler.estimator,
            by_bound=by_bound, dtype=dtype,
        )  # fmt: skip
    start = None if encoder is None else encoder.arrays()
    options = objective, sampler, by_bound, dtype
    identity = ("fit_model", *options, rules.digest(), start, data, judged)
    kept = opened(checkpoint, identity, schedule)
    trained = train(trainer, len(data.x), schedule, kept, progress)
    how = provenance("fit_model", objective, schedule, trained, data)
    return ModelFit(
        model=trainer.model().made_by(how),
        encoder=None if encoder is None else trainer.network.encoder().made_by(how),
        **trained._asdict(),
    )


def _check_table_options(objective: str, batch_size: Any, learning_rate: Any) -> None:
    """Refuse what a table, whose maximum is a formula, has no use for."""
    if objective not in ("exact", "em"):
        raise ValueError(f"objective must be 'exact' or 'em' for a JointTable, got {objective!r}")
    for name, value in (("batch_size", batch_size), ("learning_rate", learning_rate)):
        if value is not None:
            raise TypeError(f"{name} must be None for a JointTable, got {validation.shown(value)}")


class _Sampler(NamedTuple):
    """Number of states a datum and step, and what is made of them."""

    num_samples: int
    estimator: str


def _checked_sampler(
    model: Any, objective: str, encoder: Any, num_samples: Any, estimator: Any, by_bound: bool
) -> _Sampler | None:
    """None where nothing is sampled."""
    if objective in ("exact", "em") or (objective == "elbo" and num_samples is None):
        _refuse(objective, num_samples=num_samples, estimator=estimator)
        if by_bound:
            raise ValueError(f"score must be 'exact' where nothing is sampled, got 'bound' for {objective!r}")
        if objective != "elbo":
            _refuse(objective, encoder=encoder)
        else:
            if not isinstance(model, SigmoidBeliefNetwork) or model.is_deep:
                raise TypeError(
                    "num_samples must be a number for objective='elbo' of models but a "
                    f"SigmoidBeliefNetwork with prior_logits, got None for {model!r}"
                )
            if encoder is not None:
                check_encoder(encoder, model)
        return None
    check_has_prior(model)
    if encoder is None:
        raise TypeError(f"encoder must be an Encoder for objective={objective!r}, got None")
    check_encoder(encoder, model)
    least = 2 if objective in _SEVERAL_SAMPLES else 1
    num = 10 if num_samples is None else validation.positive_int(num_samples, "num_samples", least)
    return _Sampler(num, checked_estimator(model, objective, estimator, num))


def _refuse(objective: str, **arguments: Any) -> None:
    """Arguments that the objective has no use for."""
    for name, value in arguments.items():
        if value is not None:
            raise TypeError(f"{name} must be None for objective={objective!r}, got {validation.shown(value)}")


_TRAINERS = {
    "elbo": SampledElbo,
    "importance_weighted": ImportanceWeighted,
    "wake_sleep": WakeSleep,
    "reweighted_wake_sleep": ImportanceWeighted,
}
