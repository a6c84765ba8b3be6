"""Variational distributions fitted datum by datum."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.deprecation import renamed
from fastvi.core.options import DType
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.fitting import binary_posterior, normal_posterior, sampled_posterior
from fastvi.fitting.fit_results import PosteriorFit
from fastvi.fitting.model_access import check_data, check_has_prior, check_states
from fastvi.fitting.sampled_bound import Estimator, check_exact, checked_dtype, checked_estimator
from fastvi.fitting.table_fits import posterior_of_table
from fastvi.fitting.training_data import check_reach
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.rules.joint_table import JointTableRules
from fastvi.rules.questions import FIT_POSTERIOR

Objective = Literal["reverse_kl", "forward_kl", "importance_weighted"]

MAX_LATENTS = 24  # the table of all states is kept: 128 MiB at 24


@renamed(max_sweeps="max_steps")
@takes_rng
def fit_posterior(
    model: Any,
    x: ArrayLike,
    *,
    objective: Objective = "reverse_kl",
    num_restarts: int = 4,
    max_steps: int = 200,
    tolerance: float = 1e-8,
    num_samples: int | None = None,
    estimator: Estimator | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    dtype: DType = "float64",
) -> PosteriorFit:
    r"""Fit a q(z) of independent latents, Bernoulli or normal as the model's are, to each datum's posterior.

    .. math::
        q_n = \arg\min_q KL(q \| p(z|x_n)), \qquad \arg\min_q KL(p(z|x_n) \| q) \qquad \text{or} \qquad
        \arg\max_q E_q\left[\log \frac{1}{K} \sum_k \frac{p(x_n, z_k)}{q(z_k)}\right]

    ===================== ======================= ====================== =========== ========================
    objective             climbed, datum by datum gradient               needs       source
    ===================== ======================= ====================== =========== ========================
    "reverse_kl"          ELBO                    coordinate ascent; of  -           Bishop (2006), eq. 10.9
                                                  normal q a formula or              Saul et al. (1996)
                                                  L-BFGS, exact
    "reverse_kl"          ELBO                    sampled: leave one     num_samples Kool et al. (2019);
                                                  out, DisARM, through               Dong et al. (2020),
                                                  draws of normal q                  eq. 7
    "forward_kl"          E_p(z|x)[log q(z)]      none: the posterior's  -           Bishop (2006), eq. 10.17
                                                  means (and variances)
    "forward_kl"          E_p(z|x)[log q(z)]      weighted draws, biased num_samples Bornschein, Bengio
                                                  as 1 / K                           (2015), eq. 9
    "importance_weighted" K-sample bound          VIMCO; through draws   num_samples Burda et al. (2016),
                                                  of normal q                        eq. 8; Mnih, Rezende
                                                                                     (2016), eq. 10, 11
    ===================== ======================= ====================== =========== ========================

    Reverse KL starts from the prior and from random starts; the best of them is kept, which need not be the
    global optimum. It settles on one mode where there are several, and its variances are too small. Forward
    KL covers all modes, but it has no correlations and so puts mass between modes. The K-sample bound lies
    between: the more samples, the wider q may be.

    Parameters
    ----------
    model
        Exact: for "reverse_kl" a :class:`~fastvi.SigmoidBeliefNetwork` (also a deep one) of at most 24
        latents (coordinate ascent; a table of all 2^d states is kept), a
        :class:`~fastvi.BinarySparseCoding` of any size (coordinate ascent from its couplings), a
        :class:`~fastvi.NeuralDecoder` with a Bernoulli prior of at most 24 latents (a table of 2^d states
        for each datum, as many data at a time as 128 MiB hold) or with a Normal prior of at most 3 latents
        (L-BFGS on an ELBO integrated by the trapezoid rule), or a :class:`~fastvi.LinearGaussian` (a
        formula). For "forward_kl" any model that :func:`~fastvi.exact_posterior` takes, a LinearGaussian, or
        a decoder of at most 3 normal latents. By sampling any of them, of any size. Of a
        :class:`~fastvi.JointTable` q is a :class:`~fastvi.Categorical`, which the posterior is itself: both
        divergences are 0 there.
    x : array_like
        (N, D), as for :func:`~fastvi.log_marginal`; for a table (N,) integers, or None for every value of x.
    objective
        A name of the table.
    num_restarts
        Random starts beside the prior (logits of 0 where the prior is a model), at least 0. Sampled fits
        start from the prior alone.
    max_steps
        Sweeps over all latents, or steps of L-BFGS or of sampled fits, at most.
    tolerance
        A datum has converged when a sweep moves no q(z_i = 1) by more; L-BFGS stops when no derivative is
        larger.
    num_samples
        None is exact. A number K draws so many states for each datum and step and climbs unbiased gradients
        by Adam; "importance_weighted" needs it, and "forward_kl" with it takes the K weighted draws in place
        of the posterior's (biased as 1 / K).
    estimator
        Of the sampled gradient, as in :func:`~fastvi.fit_encoder`.
    learning_rate
        Of Adam, > 0; None is 0.1. Its rate falls to 0 along half a cosine, and q is the mean of the last
        quarter of the steps.
    seed
        Of the random starts, which are the same for all data: what a datum gets depends on nothing but
        itself. Or of the draws, of which those of a datum depend on its number in ``x`` as well, not on the
        data after it.
    rng
        A generator that gives the seed, in place of ``seed``.
    dtype
        "float64", or "float32" for sampled fits of a :class:`~fastvi.SigmoidBeliefNetwork`: the logits of
        pixels and what is made of them are then rounded to float32, in two thirds of the time. That moves the
        log weight of a draw by at most (d / 5 + 12) 2^-24 (S + D) nats, S the sum of all weights' and biases'
        sizes (8e-3 at d = 200, D = 784, S = 1,770; 1e-5 were found there). Draws are the same. Sums over
        samples and data, and all parameters, stay in float64. Where S is above 256 (D + 1,024) nothing is
        rounded to float32.

    Returns
    -------
    PosteriorFit
        ``q`` has logits, or means and standard deviations, (N, d); of a table logits (N, num_z), which are
        log p(z | x). ``objective`` is each datum's ELBO, or
        KL(p || q) for "forward_kl"; sampled, the bound (for "forward_kl" that of K weights) by 1,000 fresh
        draws.

    Raises
    ------
    ValueError, TypeError
        For wrong input, models too large for exact fits among it.

    Warns
    -----
    AccuracyWarning
        Where an integral over normal latents did not come to rest for some data: it says which.

    References
    ----------
    C. M. Bishop (2006), Pattern Recognition and Machine Learning. L. K. Saul, T. Jaakkola, M. I. Jordan
    (1996), Mean field theory for sigmoid belief networks. Y. Burda, R. Grosse, R. Salakhutdinov (2016),
    Importance weighted autoencoders, ICLR. B. T. Polyak, A. B. Juditsky (1992), Acceleration of stochastic
    approximation by averaging (the mean of the last steps). Sources of sampled gradients are those of
    :func:`~fastvi.fit_encoder`.

    Examples
    --------
    Either of two causes explains the pixel. Reverse KL settles on one of them, forward KL keeps both means:

    >>> import fastvi, numpy
    >>> model = fastvi.SigmoidBeliefNetwork([[12.0, 12.0]], [-8.0], [-3.0, -3.0])
    >>> fastvi.exact_posterior(model, [[1]]).mean.round(2)
    array([[0.51, 0.51]])
    >>> fit = fastvi.fit_posterior(model, [[1]])
    >>> numpy.sort(fit.q.mean).round(2)
    array([[0.05, 0.99]])
    >>> fit.objective.round(2), fastvi.log_marginal(model, [[1]]).round(2)
    (array([-3.06]), array([-2.39]))
    >>> fastvi.fit_posterior(model, [[1]], objective="forward_kl").q.mean.round(2)
    array([[0.51, 0.51]])
    """
    rules = rules_of(model, tables=True)
    objective = validation.choice(objective, "objective", get_args(Objective))
    num_restarts = validation.positive_int(num_restarts, "num_restarts", 0)
    max_steps = validation.positive_int(max_steps, "max_steps")
    tolerance = validation.real_number(tolerance, "tolerance", "finite and >= 0")
    if tolerance == math.inf:
        raise ValueError("tolerance must be finite and >= 0, got inf")
    if tolerance < 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    seed = validation.seed(seed)
    dtype = checked_dtype(model, dtype, sampled=num_samples is not None)
    if isinstance(rules, JointTableRules):
        if num_samples is not None or objective == "importance_weighted":
            raise TypeError(
                "num_samples must be None, and objective 'reverse_kl' or 'forward_kl', for a JointTable, "
                f"whose posterior is a formula, got {validation.shown(num_samples)} and {objective!r}"
            )
        check_exact(objective, estimator=estimator, learning_rate=learning_rate)
        return posterior_of_table(rules, x, objective)
    if num_samples is not None:
        return _sampled(model, x, objective, num_samples, estimator, learning_rate, max_steps, seed, dtype)
    check_exact(objective, estimator=estimator, learning_rate=learning_rate)
    if objective == "forward_kl":
        if rules_of(model).real_latents:
            return normal_posterior.forward(model, _data(model, x))
        return binary_posterior.forward(model, x)
    if rules_of(model).real_latents:
        return normal_posterior.reverse(model, _data(model, x), num_restarts, max_steps, tolerance, seed)
    if FIT_POSTERIOR not in rules_of(model).questions:
        validation.instance(model, "model", (SigmoidBeliefNetwork, BinarySparseCoding, NeuralDecoder))
    data = _data(model, x)
    if not rules_of(model).closed_expectations:
        if model.num_latents > MAX_LATENTS:
            raise ValueError(
                f"model must have at most {MAX_LATENTS} latents to be fitted exactly, got "
                f"{model.num_latents}; pass num_samples to fit it by sampling"
            )
        check_states(model, len(data), "states")
    return binary_posterior.reverse(model, data, num_restarts, max_steps, tolerance, seed)


def _data(model: Any, x: Any) -> np.ndarray:
    """The argument ``x``, clean and within reach."""
    data, _ = check_data(model, x, "x")
    check_reach(model, data)
    return data


def _sampled(
    model: Any, x: Any, objective: str, num_samples: Any, estimator: Any, learning_rate: Any,
    num_steps: int, seed: int, dtype: str,
) -> PosteriorFit:  # fmt: skip
    check_has_prior(model)
    num_samples = validation.positive_int(num_samples, "num_samples")
    rate = 0.1 if learning_rate is None else validation.positive_float(learning_rate, "learning_rate")
    estimator = checked_estimator(model, objective, estimator, num_samples)
    return sampled_posterior.climb(
        model, _data(model, x), num_samples=num_samples, num_steps=num_steps, learning_rate=rate,
        importance_weighted=objective == "importance_weighted", estimator=estimator, seed=seed,
        dtype=dtype,
    )  # fmt: skip
