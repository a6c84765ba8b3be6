"""Exact log Z."""

from __future__ import annotations

import os
from concurrent.futures import Executor

from fastvi.core import validation
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import Device, DType, Method
from fastvi.core.registry import find_rules
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.run.progress import Progress
from fastvi.inputs.method import rules_by
from fastvi.inputs.options import Options
from fastvi.inputs.question import nothing_observed
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine
from fastvi.rules.base import NO_DATA
from fastvi.rules.questions import LOG_PARTITION


def log_partition(
    model: BoltzmannMachine | RestrictedBoltzmannMachine,
    *,
    method: Method = "auto",
    device: Device = "cpu",
    dtype: DType = "float64",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> float:
    r"""Log Z of a Boltzmann machine, summed over all states.

    .. math:: \log Z = \log \sum_{z \in \{0,1\}^d} \exp\left(\tfrac12 z^T J z + h^T z\right)

    By enumeration a Boltzmann machine costs one multiply-add a state, as a matrix product: z is split in
    three groups of bits, and every pair of bits lies in at most two of them. A restricted one sums over its
    smaller layer, the other one is analytic: one addition and one multiplication a state and unit of the
    larger layer. The result has the same bits for any number of threads or workers.

    Parameters
    ----------
    model
        A :class:`~fastvi.BoltzmannMachine` or a :class:`~fastvi.RestrictedBoltzmannMachine`.
    method
        "enumeration" of all 2^d states; "independent_set", of the states of all units but some that are not
        coupled among themselves, which are summed in closed form (a restricted machine with couplings inside
        one layer); "elimination", unit after unit, which takes few couplings: 2^(width + 1) terms for each
        unit, width 10 or 11 of a 10 by 10 grid. "auto" takes the cheapest one: :func:`~fastvi.plan` says
        which. The choice follows from the couplings alone, and all ways agree to 1e-12 of the sum of all
        |values|. A restricted machine takes "auto" or "enumeration".
    dtype
        "float64", or "float32" for GPUs that are slow at the former: log Z is then off by at most about
        (1100 + 3 D) 2^-24 nats (sums over up to 2^9 rows and as many columns; D units of the larger layer
        of a restricted machine), and summed again in float64 where float32 cannot hold it. On the CPU all
        is summed in float64.
    device, executor, checkpoint, progress, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    float
        log Z in nats.

    Raises
    ------
    ValueError, TypeError
        For wrong input.
    RuntimeError
        For ``device="cuda"`` where no GPU can be used.

    References
    ----------
    R. Williams (2005), "A new algorithm for optimal 2-constraint satisfaction and its implications",
    Theoretical Computer Science 348, section 3: the split in three groups.

    Examples
    --------
    Independent sets of a path of three vertices: neighbours exclude each other.

    >>> import fastvi, math
    >>> never = -math.inf
    >>> path = fastvi.BoltzmannMachine([[0, never, 0], [never, 0, never], [0, never, 0]], [0, 0, 0])
    >>> round(math.exp(fastvi.log_partition(path)), 12)
    5.0
    """
    rules = find_rules(model)
    if rules is None or LOG_PARTITION not in rules.questions:
        validation.instance(model, "model", (BoltzmannMachine, RestrictedBoltzmannMachine))
    assert rules is not None
    rules = rules_by(rules, method, LOG_PARTITION, device)
    options = Options(device, dtype, executor, checkpoint, progress, memory_limit, max_states)
    question, form = nothing_observed(rules, options, cuda=True)
    run = question.run("log_partition", form.num_states)
    return float(log_sums(form, NO_DATA, run)[0]) + rules.constant
