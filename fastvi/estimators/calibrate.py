"""Estimators against exact enumeration: bias, variance, coverage and cost in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.options import PROPOSALS
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.distributions.base import Distribution
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.categorical import Categorical
from fastvi.distributions.encoder import Encoder
from fastvi.distributions.mixture import Mixture
from fastvi.distributions.normal import Normal
from fastvi.engine.run.progress import Progress, Reporter
from fastvi.estimators.calibration import Calibration, CalibrationEntry, entry
from fastvi.estimators.estimate_log_marginal import estimate_log_marginal
from fastvi.exact.log_marginal import log_marginal
from fastvi.inputs.options import check_progress
from fastvi.rules.base import Rules
from fastvi.rules.joint_table import JointTableRules
from fastvi.weights.estimate import Estimate

Estimator = Callable[[Any, Any, int], Estimate]

_PROPOSALS = (Bernoulli, Normal, Categorical, Mixture, Encoder)
_WEIGHTS = 1 << 20  # of one call: a job of the sampler, so that longer calls gain nothing
_ENTRIES = 1 << 24  # of repeated data: 16 MiB of bits
_CALLS = 5  # at least, where there are as many repeats: the median then passes over the one that compiles


@takes_rng
def calibrate(
    model: Any,
    x: ArrayLike | None = None,
    *,
    proposals: Mapping[str, str | Distribution | Categorical | Mixture | Encoder | Estimator],
    num_samples: int | Sequence[int] = 1000,
    num_repeats: int = 100,
    level: float = 0.95,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    truth: ArrayLike | None = None,
    progress: Progress = False,
) -> Calibration:
    r"""Errors of estimators of log p(x) over many repeats, against exact enumeration of the same model.

    With e = log p_hat(x) - log p(x) of R independent repeats, for each datum, estimator and K:

    .. math::
        \text{bias} = \tfrac{1}{R} \sum_r e_r, \quad \text{rms error}^2 = \tfrac{1}{R} \sum_r e_r^2, \quad
        \text{relative variance} = \tfrac{1}{R} \sum_r (\exp(e_r) - 1)^2

    and the coverage of ``Estimate.interval(level)``, the standard errors claimed beside the standard
    deviation found, pareto_k, and the seconds. p_hat is unbiased, log p_hat is not. The relative variance of
    importance sampling has the expectation

    .. math::
        \frac{1}{K} \chi^2(p(z | x) \| q)
        = \frac{1}{K} \left( \sum_z \frac{p(x, z)^2}{q(z)\, p(x)^2} - 1 \right)

    which to first order is the variance of log p_hat, and minus half of it the bias.

    What to expect: intervals hold the truth in about ``level`` of the repeats where K is large against chi^2
    and pareto_k < 0.5. Elsewhere few repeats meet the largest weights, the others come out too low with too
    small a standard error, and coverage falls below ``level``. The coverage found has itself a standard error
    of sqrt(level (1 - level) / R): 0.7 percentage points at 0.95 and R = 1,000. A pareto_k below 0.5 is no
    proof: weights that no draw met leave no trace in it.

    Parameters
    ----------
    model
        Any model of :func:`~fastvi.log_marginal`; any at all where ``truth`` is given and the estimators are
        the caller's own.
    x : array_like
        (N, D); for a table (N,) integers.
    proposals : mapping
        Name -> what :func:`~fastvi.estimate_log_marginal` takes as ``proposal``, or a function
        ``estimator(model, x, seed) -> Estimate`` for another estimator, called once a repeat with model and x
        as they were given. Such a function has its own number of samples, and one entry. For instance
        ``lambda model, x, seed: fastvi.annealed_importance_sampling(model, num_temperatures=100,
        num_chains=50, seed=seed)`` with x None and ``truth=[fastvi.log_partition(model)]``.
    num_samples
        K, at least 1, or several that differ.
    num_repeats
        R, at least 1; standard deviations need 2.
    level
        0 < level < 1.
    seed
        0 <= seed < 2**64. Calls take their seeds, in order, from ``numpy.random.SeedSequence(seed)``, so that
        repeats are independent and so are calibrations of different seeds. All proposals and K take the same:
        differences between them are paired, and another proposal changes no entry.
    rng
        A generator that gives the seed, in place of ``seed``.
    truth : array_like, (N,), optional
        log p(x_n); by default :func:`~fastvi.log_marginal` enumerates it. May be -inf.
    progress
        True for a line on standard error, or a function of (repeats done, repeats in all).

    Returns
    -------
    Calibration
        Deterministic but for ``seconds`` and ``efficiency``.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    Notes
    -----
    Where K is small several repeats go into one call, as rows of x beneath each other: draws depend on
    (seed, place in x, sample). A call has 2^20 weights at most, and there are five calls or more.
    ``seconds`` is that of a call over its repeats: what a call costs beside sampling is shared among them.

    References
    ----------
    Owen (2013), Monte Carlo theory, methods and examples, chapter 9 (importance sampling, its variance, the
    delta method).

    Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, JMLR 25(72) (k-hat, 0.5
    and 0.7).

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> found = fastvi.calibrate(model, [[1, 0]], proposals={"prior": "prior"}, num_repeats=400)
    >>> bool(abs(found["prior"].bias[0]) < 0.01)
    True
    >>> bool(0.92 < found["prior"].coverage[0] < 0.98)
    True
    """
    kinds = _checked_proposals(proposals)
    counts = validation.counts(num_samples, "num_samples")
    num_repeats = validation.positive_int(num_repeats, "num_repeats")
    level = _checked_level(level)
    seed = validation.seed(seed)
    progress = check_progress(progress)
    if truth is None or not all(map(_is_own, kinds.values())):
        rules_of(model, tables=True)
    if truth is None:
        exact = log_marginal(model, x)
    else:
        exact = validation.float_array(truth, "truth", ndim=1, allow_infinite=True)
        validation.require(exact, exact < np.inf, "truth must be finite or -inf")
    exact = validation.frozen_array(exact)
    cells = [(name, k) for name in kinds for k in ((None,) if _is_own(kinds[name]) else counts)]
    report = Reporter(progress, len(cells) * num_repeats, "repeats")
    seeds = np.random.SeedSequence(seed).generate_state(num_repeats, np.uint64).tolist()
    data = None
    if any(not _is_own(kind) for kind in kinds.values()):
        data = _checked_data(rules_of(model, tables=True), x, len(exact))
        for name, kind in kinds.items():
            _check_num_data(kind, f"proposals[{name!r}]", len(exact))
    entries = []
    for name, k in cells:
        if k is None:
            calls = _own_calls(model, x, kinds[name], seeds)
        else:
            calls = _sampling_calls(model, data, kinds[name], k, len(exact), seeds)
        entries.append(_entry(name, k, exact, calls, level, report))
    return Calibration(tuple(entries), exact, num_repeats, level, seed)


def _own_calls(
    model: Any, x: Any, estimator: Estimator, seeds: list[int]
) -> Iterator[tuple[int, Callable[[], Estimate]]]:
    for seed in seeds:
        yield 1, partial(estimator, model, x, seed)


def _sampling_calls(
    model: Any, data: np.ndarray | None, proposal: Any, num_samples: int, num_data: int, seeds: list[int]
) -> Iterator[tuple[int, Callable[[], Estimate]]]:
    """Numbers of repeats, each with the call that makes them."""
    left = len(seeds)
    for seed in seeds:
        repeats = min(left, repeats_a_call(data, num_samples, num_data, len(seeds)))
        rows = data if repeats == 1 or data is None else np.concatenate([data] * repeats)
        q = proposal if repeats == 1 else _tiled(proposal, repeats)
        yield (
            repeats,
            partial(estimate_log_marginal, model, rows, proposal=q, num_samples=num_samples, seed=seed),
        )
        left -= repeats
        if not left:
            return


def repeats_a_call(data: np.ndarray | None, num_samples: int, num_data: int, num_repeats: int) -> int:
    """Number of repeats that are rows of one call; without data there is nothing to repeat."""
    if data is None or num_data == 0:
        return 1
    return max(
        1, min(_WEIGHTS // (num_data * num_samples), _ENTRIES // data.size, math.ceil(num_repeats / _CALLS))
    )


def _entry(
    name: str,
    num_samples: int | None,
    truth: np.ndarray,
    calls: Iterator[tuple[int, Callable[[], Estimate]]],
    level: float,
    report: Reporter,
) -> CalibrationEntry:
    parts, seconds, spent = [], [], []
    for repeats, call in calls:
        begin = time.perf_counter()
        estimate = call()
        seconds.append((time.perf_counter() - begin) / repeats)
        _check_estimate(estimate, f"proposals[{name!r}]", repeats * len(truth))
        ends = estimate.interval(level)
        arrays = (estimate.log_marginal, estimate.std_error, *ends, estimate.pareto_k, estimate.ess)
        parts.append(tuple(array.reshape(repeats, len(truth)) for array in arrays))
        if len(truth):
            spent.append(float(np.mean(estimate.num_samples)))
        report(repeats)
    if num_samples is None:
        num_samples = round(float(np.mean(spent))) if spent else 0
    return entry(name, num_samples, truth, parts, seconds)


def _tiled(proposal: Any, repeats: int) -> Any:
    """The same for data that are repeated."""
    if isinstance(proposal, Mixture):
        return Mixture([_tiled(each, repeats) for each in proposal.components], proposal.weights)
    if not isinstance(proposal, Distribution | Categorical) or proposal.num_data is None:
        return proposal
    arrays = (np.tile(array, (repeats, 1)) for array in proposal.arrays().values())
    return type(proposal)(*arrays)


def _is_own(proposal: Any) -> bool:
    """Whether it is an estimator of the caller's; an encoder can be called, too."""
    return callable(proposal) and not isinstance(proposal, Encoder)


def _checked_proposals(proposals: Any) -> dict[str, Any]:
    allowed = "proposals must be a mapping of names to proposals or functions"
    if not isinstance(proposals, Mapping):
        raise TypeError(f"{allowed}, got {validation.shown(proposals)}")
    if not proposals:
        raise ValueError(f"{allowed}, got none")
    for name, each in proposals.items():
        if not isinstance(name, str):
            raise TypeError(f"{allowed}, got the name {validation.shown(name)}")
        if isinstance(each, str):
            validation.choice(each, f"proposals[{name!r}]", PROPOSALS)
        elif not isinstance(each, _PROPOSALS) and not callable(each):
            raise TypeError(
                f"proposals[{name!r}] must be 'uniform', 'prior', a Bernoulli, a Normal, a Categorical, an "
                f"Encoder, a Mixture or a function of (model, x, seed), got {validation.shown(each)}"
            )
    return dict(proposals)


def _checked_level(level: Any) -> float:
    share = validation.real_number(level, "level", "a number with 0 < level < 1")
    if not 0.0 < share < 1.0:
        raise ValueError(f"level must satisfy 0 < level < 1, got {share}")
    return share


def _checked_data(rules: Rules, x: Any, num_data: int) -> np.ndarray | None:
    """Data whose rows can be repeated; None where there are none."""
    if isinstance(rules, JointTableRules):
        data = rules.rows(x)
    elif x is None:
        return None  # the estimator says whether that means something
    else:
        data = rules.check_data(x, None)[0]
        data = data[:, 0] if rules.whole_data else data
    if len(data) != num_data:
        raise ValueError(f"truth must have shape ({len(data)},), one for each datum, got shape ({num_data},)")
    return data


def _check_num_data(proposal: Any, name: str, num_data: int) -> None:
    own = getattr(proposal, "num_data", None)
    if own is not None and own != num_data:
        raise ValueError(f"{name} must have parameters for {num_data} data, those of x, got {own}")


def _check_estimate(estimate: Any, name: str, num_data: int) -> None:
    if not isinstance(estimate, Estimate):
        raise TypeError(f"{name} must return an Estimate, got {validation.shown(estimate)}")
    if estimate.log_marginal.shape != (num_data,):
        raise ValueError(
            f"{name} must return an Estimate of {num_data} data, got shape {estimate.log_marginal.shape}"
        )
