"""Annealed importance sampling of log p(x), and of log Z."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.options import Device, DType
from fastvi.core.registry import find_rules
from fastvi.core.seeds import takes_rng
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.engine.annealing.chains import Schedule
from fastvi.engine.run.progress import Progress, Reporter
from fastvi.estimators.annealed_log_weights import (
    checked_initial,
    checked_latents,
    log_weights,
)
from fastvi.inputs.options import check_device, check_dtype, check_progress
from fastvi.models.base import LatentVariableModel
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.linear_gaussian import LinearGaussian
from fastvi.models.log_joint import LogJoint
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.rules.base import Rules
from fastvi.rules.questions import ANNEALED, LOG_PARTITION
from fastvi.weights.estimate import Estimate
from fastvi.weights.summary import Summary

_MOST = 2**32 - 1  # a step, a chain and a datum are words of the generator's counter
ANNEALABLE = (
    SigmoidBeliefNetwork,
    BinarySparseCoding,
    NeuralDecoder,
    LinearGaussian,
    LogJoint,
    RestrictedBoltzmannMachine,
    BoltzmannMachine,
)


@takes_rng
def annealed_importance_sampling(
    model: LatentVariableModel,
    x: ArrayLike | None = None,
    *,
    num_temperatures: int,
    num_chains: int,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    initial: Literal["prior"] | Bernoulli | Normal = "prior",
    latents: ArrayLike | None = None,
    num_leapfrog: int = 10,
    progress: Progress = False,
    device: Device = "cpu",
    dtype: DType = "float64",
) -> Estimate:
    r"""Estimates of log p(x_n), or of log Z, by chains that move from an easy distribution to the model.

    .. math::
        \log \hat p(x) = \log \frac{1}{M} \sum_{m=1}^M w_m, \quad w_m = \prod_{k=1}^K
        \frac{f_k(z_{m,k-1})}{f_{k-1}(z_{m,k-1})}, \quad z_{m,0} \sim q_0, \quad z_{m,k} \sim
        T_k(\cdot | z_{m,k-1})

    T_k leaves f_k invariant. Of a model with latents, q_0 is ``initial`` and f_k lies between it and the
    joint distribution, beta_k = k / K:

    .. math:: f_k(z) = q_0(z)^{1 - \beta_k} p(x, z)^{\beta_k}

    Binary latents are drawn in turn, each given all others. Continuous ones move by Hamiltonian Monte Carlo
    with unit masses for z in units of q_0's standard deviations. Its step sizes, one for each datum and for
    each halving of beta, are tuned by a pilot run of 8 chains towards an acceptance of 0.75. The pilot has
    random numbers of its own, and the sizes are fixed before the chains that are weighed begin. So the
    exponential of the estimate is unbiased for p(x), whatever the sizes; the estimate itself is too low on
    average. Mass that no chain has found is missing from it, and no diagnosis can see that.

    With ``latents``, exact draws from p(z | x_n), chains start there and run from beta = 1 to 0, by the
    reversed transitions. Then E[1 / w] = 1 / p(x), and the estimate is

    .. math:: - \log \frac{1}{M} \sum_{m=1}^M \frac{1}{w_m},

    which is too high on average: with the forward estimate it encloses log p(x) (Grosse et al. 2015). Where
    p(x, z) = 0 for some z, E[1 / w] = s / p(x) for the mass s that q_0 gives to the others, and the estimate
    is higher by - log s.

    Of a Boltzmann machine, restricted or not, x is None and the estimate is of log Z. Of a restricted one W
    and c are multiplied by beta and b is kept; the hidden units are summed in f_k, and T_k draws h given v,
    then v given h:

    .. math::
        \log f_k(v) = b^T v + \sum_j \mathrm{softplus}(\beta_k (c + W^T v)_j), \quad
        \log Z_0 = \sum_i \mathrm{softplus}(b_i) + d \log 2

    Of a Boltzmann machine J is multiplied and h is kept; T_k draws each unit in turn given all others:

    .. math::
        \log f_k(z) = \beta_k z^T J z / 2 + h^T z, \quad \log Z_0 = \sum_i \mathrm{softplus}(h_i)

    Couplings of -inf hold at every temperature. There z_0 is drawn unit by unit, off where a unit before
    excludes it, and the weight of a chain begins with 1 / (1 + exp(h_i)) for each unit that was excluded. The
    moves of single units may not connect all states then: the estimate of Z is unbiased all the same.

    Parameters
    ----------
    model
        With latents: a :class:`~fastvi.SigmoidBeliefNetwork`, deep or not, a
        :class:`~fastvi.BinarySparseCoding`, a :class:`~fastvi.NeuralDecoder` with a Bernoulli or a Normal
        prior, a :class:`~fastvi.LinearGaussian` or a :class:`~fastvi.LogJoint`. For log Z: a
        :class:`~fastvi.RestrictedBoltzmannMachine` with b (D,), c (d,) and W (D, d), or a
        :class:`~fastvi.BoltzmannMachine` with h (d,) and J (d, d).
    x : array_like
        (N, D), as :func:`~fastvi.log_marginal` takes it; None for a Boltzmann machine.
    num_temperatures
        K, at least 1 and below 2**32. With 1 it is importance sampling from q_0.
    num_chains
        M for each datum, at least 1 and below 2**32.
    seed
        0 <= seed < 2**64. A chain depends on (model, x_n, q_0 of n, K, seed, n, its number) alone: more
        chains or data change none of those before, and the result has the same bits for any number of
        threads. Reversed chains share no random number with others of the same seed.
    rng
        A generator that gives the seed, in place of ``seed``.
    initial
        q_0: "prior" for p(z) where it is factorised and known (not for a deep network or a LogJoint), or a
        :class:`~fastvi.Bernoulli` (finite logits) for binary, a :class:`~fastvi.Normal` for continuous
        latents, with parameters (d,) or (N, d). It must be "prior" for a Boltzmann machine.
    latents : array_like, (N, d) or (M, N, d)
        Exact draws from p(z | x_n), for reversed chains: the z that x was simulated with, or
        ``exact_posterior(model, x).sample(M, seed)``. The M chains of a datum share their start where there
        is one for each datum, so that their spread understates the error. Of a restricted Boltzmann machine
        (M, D) draws of the visible units, of another (M, d).
    num_leapfrog
        Leapfrog steps of a Hamiltonian trajectory, at least 1; binary latents take none.
    progress
        True for a line on standard error, or a function of (temperatures done, in all), summed over chains;
        a pilot run is not counted.
    device
        "cpu", or "auto", which picks it and logs why. "cuda" raises: annealing runs on the CPU.
    dtype
        "float64", or "float32" for a restricted Boltzmann machine: the logits of its units are then summed
        in float32, about twice as fast. See Notes.

    Returns
    -------
    Estimate
        ``log_marginal`` (N,), of a Boltzmann machine (1,), in nats, ``num_samples`` = M. The other fields
        are those of the M weights w, of reversed chains of the weights 1 / w.

    Raises
    ------
    ValueError, TypeError
        For wrong input.
    RuntimeError
        For ``device="cuda"``.

    Notes
    -----
    Time for each chain: a sigmoid belief network takes about 2 K d D multiply-adds, and D exponentials where
    a latent changes; sparse coding K d^2 at most; other models of binary latents K d log joints, made for
    all rows of a block at once; continuous latents 2 K ``num_leapfrog`` passes through the network, and a
    pilot run 320 log2(2 K) ``num_leapfrog`` passes and as many back for a datum. K D d / 2 additions for a
    restricted Boltzmann machine, and 3 K D d for each 256 chains; K d^2 at most for a Boltzmann machine.
    Memory: the N M weights, some hundred chains, and for a Boltzmann machine or a network a few times W.

    With ``dtype="float32"`` fields W^T v and W h, sums of n terms, are off by less than (n / 32 + 7) 2^-24 of
    the sum of these terms' sizes. Weights are made from the fields in float64. So a log weight differs from
    that of the same path in float64 by less than 1.1 (D / 32 + 7) 2^-24 sum_ij abs(W_ij) nats, and mostly by
    a thousandth of it. Units are drawn by logits and chances of float32, so T_k leaves f_k invariant up to
    this rounding, and some chains take another path than in float64.

    References
    ----------
    R. M. Neal (2001), Annealed importance sampling, Statistics and Computing 11.

    R. B. Grosse, Z. Ghahramani, R. P. Adams (2015), Sandwiching the marginal likelihood using bidirectional
    Monte Carlo, arXiv:1511.02543, section 3.

    R. Salakhutdinov, I. Murray (2008), On the quantitative analysis of deep belief networks, ICML, section
    4.1.

    R. M. Neal (2011), MCMC using Hamiltonian dynamics, Handbook of Markov Chain Monte Carlo, section 3.2.

    D. E. Knuth (1975), Estimating the efficiency of backtrack programs, Mathematics of Computation 29 (the
    weights of states drawn unit by unit).

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> estimate = fastvi.annealed_importance_sampling(
    ...     model, [[1, 0]], num_temperatures=20, num_chains=1000
    ... )
    >>> low, high = estimate.interval(0.999)
    >>> bool(low[0] < fastvi.log_marginal(model, [[1, 0]])[0] < high[0])
    True
    >>> machine = fastvi.RestrictedBoltzmannMachine([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> estimate = fastvi.annealed_importance_sampling(machine, num_temperatures=100, num_chains=1000)
    >>> low, high = estimate.interval(0.999)
    >>> bool(low[0] < fastvi.log_partition(machine) < high[0])
    True
    """
    rules = find_rules(model)
    if rules is None or ANNEALED not in rules.questions:
        validation.instance(model, "model", ANNEALABLE)
    assert rules is not None
    num_steps = _count(num_temperatures, "num_temperatures")
    num_chains = _count(num_chains, "num_chains")
    seed = validation.seed(seed)
    num_leapfrog = validation.positive_int(num_leapfrog, "num_leapfrog")
    check_device(device)
    dtype = check_dtype(dtype)
    if dtype == "float32" and not rules.anneals_in_float32:
        raise ValueError(
            f"dtype must be 'float64' for {validation.type_name(model)}, whose chains have no float32, got "
            "'float32'"
        )
    progress = check_progress(progress)
    if LOG_PARTITION in rules.questions:
        _check_machine_arguments(x, initial)
        states = None if latents is None else _machine_states(rules, latents, num_chains)
        report = Reporter(progress, num_steps * num_chains, "temperatures")
        log_w = rules.annealed_log_z(Schedule(num_steps, num_chains, seed, report, states, dtype))[None]
    else:
        data, _ = rules.check_data(x, None)
        start = checked_initial(rules, initial, len(data))
        states = None if latents is None else checked_latents(rules, data, latents, num_chains)
        report = Reporter(progress, num_steps * num_chains * len(data), "temperatures")
        schedule = Schedule(num_steps, num_chains, seed, report, states)
        log_w = log_weights(rules, data, start, num_leapfrog, schedule)
    summary = Summary(len(log_w), num_chains)
    for n, row in enumerate(log_w):
        summary.add(n, row)
    estimate = summary.estimate()
    if latents is not None:
        estimate = replace(estimate, log_marginal=-estimate.log_marginal)
    if rules.constant:  # chains leave it out
        estimate = replace(estimate, log_marginal=estimate.log_marginal + rules.constant)
    return estimate


def _check_machine_arguments(x: Any, initial: Any) -> None:
    if x is not None:
        raise TypeError(f"x must be None: log Z is the model's own, got {validation.shown(x)}")
    if not (isinstance(initial, str) and initial == "prior"):
        raise TypeError(
            "initial must be 'prior' for a Boltzmann machine, whose chains start from independent units, got "
            f"{validation.shown(initial)}"
        )


def _machine_states(rules: Rules, latents: Any, num_chains: int) -> np.ndarray:
    """States (M, units) that reversed chains of log Z start at."""
    num_units = rules.num_pixels  # of a restricted machine the visible ones
    states = validation.binary_array(latents, "latents", num_units)
    if states.shape != (num_chains, num_units):
        raise ValueError(f"latents must have shape {(num_chains, num_units)}, got shape {states.shape}")
    rules.check_reversed(states)
    return states


def _count(value: int, name: str) -> int:
    number = validation.positive_int(value, name, maximum=None)
    if number > _MOST:
        raise ValueError(f"{name} must be an int < 2**32, got {number}")
    return number
