"""Annealed importance sampling of log Z."""

from __future__ import annotations

import numpy as np

from fastvi import validation
from fastvi.engine import requests
from fastvi.engine.annealing import layer_log_weights, pair_log_weights
from fastvi.engine.progress import Progress, Reporter
from fastvi.estimators.estimate import Estimate
from fastvi.estimators.summary import Summary
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine

_MOST = 2**32 - 1  # a step and a chain are words of the generator's counter


def annealed_importance_sampling(
    model: RestrictedBoltzmannMachine | BoltzmannMachine,
    x: None = None,
    *,
    num_temperatures: int,
    num_chains: int,
    seed: int = 0,
    progress: Progress = False,
    device: str = "cpu",
) -> Estimate:
    r"""Estimate of log Z by chains that move from independent units to the model, with its error.

    .. math::
        \log \hat Z = \log Z_0 + \log \frac{1}{M} \sum_{m=1}^M \prod_{k=1}^K
        \frac{f_k(v_{m,k-1})}{f_{k-1}(v_{m,k-1})}, \quad v_{m,0} \sim f_0 / Z_0, \quad v_{m,k} \sim
        T_k(\cdot | v_{m,k-1})

    f_k is the model at inverse temperature beta_k = k / K, T_k leaves it invariant. Of a restricted Boltzmann
    machine W and c are multiplied by beta and b is kept; the hidden units are summed in f_k, and T_k draws h
    given v, then v given h:

    .. math::
        \log f_k(v) = b^T v + \sum_j \mathrm{softplus}(\beta_k (c + W^T v)_j), \quad
        \log Z_0 = \sum_i \mathrm{softplus}(b_i) + d \log 2

    Of a Boltzmann machine J is multiplied and h is kept; T_k draws each unit in turn given all others:

    .. math::
        \log f_k(z) = \beta_k z^T J z / 2 + h^T z, \quad \log Z_0 = \sum_i \mathrm{softplus}(h_i)

    Couplings of -inf hold at every temperature. There z_0 is drawn unit by unit, off where a unit before
    excludes it, and the weight of a chain begins with 1 / (1 + exp(h_i)) for each unit that was excluded. The
    moves of single units may not connect all states then: the estimate of Z is unbiased all the same.

    The exponential of the estimate is unbiased for Z, so the estimate itself is too low on average. Mass that
    no chain has found is missing from it, and no diagnosis can see that.

    Parameters
    ----------
    model
        A :class:`~fastvi.RestrictedBoltzmannMachine` with b (D,), c (d,) and W (D, d), or a
        :class:`~fastvi.BoltzmannMachine` with h (d,) and J (d, d).
    x
        Must be None: log Z is the model's own.
    num_temperatures
        K, at least 1 and below 2**32. With 1 it is importance sampling from independent units.
    num_chains
        M, at least 1 and below 2**32.
    seed
        0 <= seed < 2**64. A chain depends on (model, K, seed, its number) alone: more chains change none of
        those before, and the result has the same bits for any number of threads.
    progress
        True for a line on standard error, or a function of (temperatures done, in all), summed over chains.
    device
        "cpu", or "auto", which picks it. "cuda" raises: it is not built yet.

    Returns
    -------
    Estimate
        Of one datum: ``log_marginal`` (1,) is the estimate of log Z in nats, the weights are those of the
        chains, times Z_0.

    Raises
    ------
    ValueError, TypeError
        For wrong input.
    RuntimeError
        For ``device="cuda"``.

    Notes
    -----
    Time: K M (D d) additions for a restricted Boltzmann machine of which half of the units are on, in
    proportion to these units; K M d^2 at most for a Boltzmann machine. Memory: twice W, and 12 (D + d) bytes
    for each chain of a few hundred.

    References
    ----------
    R. M. Neal (2001), Annealed importance sampling, Statistics and Computing 11.

    R. Salakhutdinov, I. Murray (2008), On the quantitative analysis of deep belief networks, ICML, section
    4.1.

    D. E. Knuth (1975), Estimating the efficiency of backtrack programs, Mathematics of Computation 29 (the
    weights of states drawn unit by unit).

    Examples
    --------
    >>> import fastvi
    >>> machine = fastvi.RestrictedBoltzmannMachine([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> estimate = fastvi.annealed_importance_sampling(machine, num_temperatures=100, num_chains=1000)
    >>> low, high = estimate.interval(0.999)
    >>> bool(low[0] < fastvi.log_partition(machine) < high[0])
    True
    """
    validation.instance(model, "model", (RestrictedBoltzmannMachine, BoltzmannMachine))
    if x is not None:
        raise TypeError(f"x must be None: log Z is the model's own, got {validation.shown(x)}")
    num_steps = _count(num_temperatures, "num_temperatures")
    num_chains = _count(num_chains, "num_chains")
    seed = validation.seed(seed)
    requests.check_device(device)
    if not callable(progress):
        progress = validation.flag(progress, "progress")
    report = Reporter(progress, num_steps * num_chains, "temperatures")
    if isinstance(model, RestrictedBoltzmannMachine):
        independent = np.logaddexp(0.0, model.visible_bias).sum() + model.num_latents * np.log(2.0)
        log_w = layer_log_weights(
            model.weights, model.visible_bias, model.hidden_bias, num_steps, num_chains, seed, report
        )
    else:
        independent = np.logaddexp(0.0, model.bias).sum()
        log_w = pair_log_weights(model.couplings, model.bias, num_steps, num_chains, seed, report)
    summary = Summary(1, num_chains)
    summary.add(0, log_w + independent)
    return summary.estimate()


def _count(value: int, name: str) -> int:
    number = validation.positive_int(value, name)
    if number > _MOST:
        raise ValueError(f"{name} must be an int < 2**32, got {number}")
    return number
