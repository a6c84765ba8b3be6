"""Monte Carlo estimates of log p(x)."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.options import Device, DType, Proposal
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.distributions.base import Distribution
from fastvi.distributions.categorical import Categorical
from fastvi.distributions.encoder import Encoder
from fastvi.engine.importance.jobs import Sampler, Source
from fastvi.engine.importance.proposals import Ancestral
from fastvi.engine.run.progress import Progress, reporter
from fastvi.engine.run.runs import Run
from fastvi.engine.sampling.run_jobs import sampler_where_it_can
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.estimators.open_samplers import open_samplers
from fastvi.estimators.sampling_run import Part, Stop, certain, gathered, run_samplers
from fastvi.exact.bounds import Bounds
from fastvi.inputs.data import NO_SUM, groups_of, read_data
from fastvi.inputs.options import check_device, check_dtype, check_executor, check_progress
from fastvi.inputs.question import exact_log_z
from fastvi.inputs.variational import of_latents, read_categories, read_proposal
from fastvi.models.base import Model
from fastvi.rules.base import Rules
from fastvi.rules.joint_table import JointTableRules
from fastvi.weights.estimate import Estimate


@takes_rng
def estimate_log_marginal(
    model: Model,
    x: ArrayLike | None = None,
    *,
    proposal: Proposal | Distribution | Encoder | Categorical | Bounds = "uniform",
    num_samples: int = 1000,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    observed: ArrayLike | None = None,
    normalized: bool = True,
    target_std_error: float | None = None,
    target_ess: float | None = None,
    executor: Executor | None = None,
    device: Device = "cpu",
    dtype: DType = "float64",
    progress: Progress = False,
) -> Estimate:
    r"""Importance sampling estimate of log p(x), each datum with its error and its diagnosis.

    .. math::
        \log \hat p(x_n) = \log \frac{1}{K} \sum_{k=1}^K \frac{p(x_n, z_{nk})}{q_n(z_{nk})}, \quad z_{nk}
        \sim q_n

    A state that q never draws is missing from the estimate, whatever its mass under p; no diagnosis can see
    that. A mixture with the prior bounds the weights by p(x | z) / weight, so that no state is missing
    (defensive importance sampling).

    Parameters
    ----------
    model
        Any model of this package. Of a restricted Boltzmann machine the hidden units are sampled, of a
        Boltzmann machine those that were not observed.
    x : array_like
        (N, D), as for :func:`~fastvi.log_marginal`; for a table (N,) integers.
    proposal
        q: "uniform" over all binary states; "prior" p(z); a :class:`~fastvi.Bernoulli` (binary latents) or
        :class:`~fastvi.Normal` (real ones) with parameters (d,) or (N, d); an :class:`~fastvi.Encoder`,
        which makes one of x; a :class:`~fastvi.Mixture` of these. The prior of a deep network is drawn from
        its top layer down and cannot be mixed with others. For a table "uniform", "prior" or a
        :class:`~fastvi.Categorical` with logits (num_z,) or (N, num_z); the posterior itself gives log p(x)
        from one draw.

        Or the :class:`~fastvi.Bounds` that :func:`~fastvi.log_marginal_bounds` found for the same model,
        ``x`` and ``observed``: of a ``SigmoidBeliefNetwork``, ``BinarySparseCoding`` or ``BoltzmannMachine``.
        Then what it summed is taken as it is, and only the subcubes that it left open are sampled: each in
        proportion to its bound, its states from the coins under its tangent. No state is missing. No weight
        of a network is much above exp(upper), unless logits of pixels are in the tens; of the others some
        exceed it by a few nats. So the error can be trusted where K is some multiple of exp(upper - log
        p(x)); with fewer samples what counts may not have been met, and the estimate may lie below
        ``lower``. Where nothing is open, the answer is exact.
    num_samples
        K, at least 1; with a target, the most samples of a datum.
    seed
        0 <= seed < 2**64. A draw depends on (seed, datum, sample) alone, the datum being its place in x:
        more data or samples change none of those before, and the result has the same bits for any number
        of threads or workers.
    rng
        A generator that gives the seed, in place of ``seed``.
    observed
        Boolean (D,) or (N, D): what was not observed is summed out, as in :func:`~fastvi.log_marginal`. For a
        table D is 1.
    normalized
        False leaves the exact - log Z of a Boltzmann machine, restricted or not, out.
    target_std_error, target_ess
        Sampling of a datum stops once std_error is at most, and ess at least, this. Looked at after 1,000
        samples, then each time their number has grown by half. A datum that reaches
        no target has ``num_samples``, and its ``std_error`` says so. Stopping favours estimates that look
        certain early: where the weights are heavy-tailed (a large pareto_k) the error is understated more
        than it is for a fixed number of samples.
    executor
        Any ``concurrent.futures.Executor``, or a client of Dask: jobs of 2^20 samples run there.
    device
        "cpu"; "cuda" for a GPU (the extra ``cuda``), which draws from the prior, uniformly or from a
        Bernoulli q and weighs the states of networks of one layer of latents, Boltzmann machines and sparse
        coding; "auto" picks a GPU where there is one that can, and logs why it picks what. The draws are
        the same bit for bit, log weights to rounding. Data on a GPU are read where they lie; what comes back
        lies on the host.
    dtype
        "float64", or "float32" for networks and restricted Boltzmann machines on the CPU: the products over
        pixels are then rounded to float32, in half the time. That moves a log weight, and so the estimate,
        by at most (3 d / 8 + 3) (D + 1) 2^-24 nats (1.9e-3 at D = 784, d = 100; 8e-6 were found there).
        The draws are the same, and sums of weights stay in float64.
    progress
        True for a line on standard error, or a function of (samples done, samples in all).

    Returns
    -------
    Estimate
        With a target, ``num_samples`` is an array (N,).

    Raises
    ------
    ValueError, TypeError
        For wrong input, and for ``dtype="float32"`` with a model of another kind.
    RuntimeError
        For ``device="cuda"`` where no GPU can be used, the model is not one of those or ``dtype`` is
        "float32", and where the executor breaks.

    Notes
    -----
    Memory does not grow with K but for the largest weights, which k-hat needs: 36 sqrt(K) bytes a datum (10^8
    samples of one datum, d = 20, D = 784: 106 MiB above the import, compiled code included). A job holds
    2^20 weights (8 MiB), never N x K. Tables: D numbers for each value of each group of up to 8 latents, of
    up to 6 where there are more than 32: 2 MB at D = 784, d = 20 and 5 MB at d = 100, in float32 half of it;
    and where d <= 20 and N K is at least 2^d one number a state besides, up to 8 MiB. The second saves time
    and changes no bit.

    References
    ----------
    Kahn and Marshall (1953), Methods of reducing sample size in Monte Carlo computations.

    Jaakkola and Jordan (1996), Computing upper and lower bounds on likelihoods in intractable networks, UAI
    (the tangents).

    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions,
    Technometrics 37.

    Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3 (the draws).

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> estimate = fastvi.estimate_log_marginal(model, [[1, 0]], proposal="prior", num_samples=10000)
    >>> low, high = estimate.interval(0.999)
    >>> bool(low[0] < fastvi.log_marginal(model, [[1, 0]])[0] < high[0])
    True
    """
    rules = rules_of(model, tables=True)
    rules.check_sampling_dtype(check_dtype(dtype))
    of_bounds = isinstance(proposal, Bounds)
    why = "open subcubes are sampled on the CPU" if of_bounds else "a table is sampled on the CPU"
    where = check_device(device, cuda=not rules.is_table and not of_bounds, why=why)
    num_samples = validation.positive_int(num_samples, "num_samples")
    seed = validation.seed(seed)
    normalized = validation.flag(normalized, "normalized")
    stop = Stop.checked(target_std_error, target_ess)
    executor = check_executor(executor)
    progress = check_progress(progress)
    samplers: Iterable[Sampler]
    if isinstance(rules, JointTableRules):
        num_data, samplers, closed = _table_sampler(rules, x, observed, proposal, seed, num_samples)
    elif isinstance(proposal, Bounds):
        num_data, samplers, closed = open_samplers(rules, x, observed, proposal, seed, num_samples, dtype)
    else:
        num_data, samplers, closed = _samplers(rules, x, observed, proposal, seed, num_samples, where, dtype)
        if device == "auto":
            samplers = [sampler_where_it_can(sampler) for sampler in samplers]
    log_z = exact_log_z(rules, where) if normalized and not rules.is_table else 0.0 - rules.constant
    run = Run(executor=executor, report=reporter(progress, num_data * num_samples, "samples"))
    parts = [*run_samplers(samplers, num_samples, stop, run), *closed]
    return gathered(parts, num_data, num_samples if stop is None else None, log_z)


def _table_sampler(
    rules: JointTableRules, x: Any, observed: Any, proposal: Any, seed: int, num_samples: int
) -> tuple[int, list[Sampler], list[Part]]:
    rows = rules.rows(x, observed)
    q = read_categories(rules, proposal, len(rows))
    source = Source(partial(rules.sampling_target, rules.everything, num_samples * len(rows)))
    return len(rows), [Sampler(source, rows[:, None], np.arange(len(rows)), q, seed)], []


def _samplers(
    rules: Rules, x: Any, observed: Any, proposal: Any, seed: int, num_samples: int, where: str, dtype: str
) -> tuple[int, list[Sampler], list[Part]]:
    """One for each distinct mask; where a mask leaves nothing to sample, what is certain."""
    data, mask = read_data(rules, x, observed, where)
    q = read_proposal(rules, proposal, data, mask)
    samplers, closed = [], []
    for group in groups_of(rules, data, mask):
        members = group.members
        if group.free.size == 0:
            refuse_pixels(group.x, NO_SUM)
            closed.append(certain(members, rules.closed_form(group.x, group.observed), num_samples))
            continue
        with_prior = not isinstance(q, Ancestral)
        num_states = num_samples * len(members)
        build = partial(rules.kept_target, group.observed, num_states, with_prior=with_prior, dtype=dtype)
        own = of_latents(q, group.free).part(members)
        samplers.append(Sampler(Source(build), group.x, members, own, seed, device=where))
    return len(data), samplers, closed
