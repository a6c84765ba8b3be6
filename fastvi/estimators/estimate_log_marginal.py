"""Monte Carlo estimates of log p(x)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine import requests
from fastvi.engine.importance import log_weight_rows
from fastvi.engine.progress import Progress, Reporter
from fastvi.engine.table_samples import table_log_weight_rows
from fastvi.estimators.estimate import Estimate
from fastvi.estimators.summary import Summary
from fastvi.models.joint_table import JointTable
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork, factorised

PROPOSALS = ("uniform", "prior")


def estimate_log_marginal(
    model: SigmoidBeliefNetwork | JointTable,
    x: ArrayLike,
    *,
    proposal: str | Bernoulli = "uniform",
    num_samples: int = 1000,
    seed: int = 0,
    target_std_error: None = None,
    target_ess: None = None,
    executor: None = None,
    device: str = "cpu",
    progress: Progress = False,
) -> Estimate:
    r"""Importance sampling estimate of log p(x), each datum with its error and its diagnosis.

    .. math::
        \log \hat p(x_n) = \log \frac{1}{K} \sum_{k=1}^K \frac{p(x_n, z_{nk})}{q_n(z_{nk})}, \quad z_{nk}
        \sim q_n

    A state that q never draws is missing from the estimate, whatever its mass under p; no diagnosis can see
    that.

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork` or a :class:`~fastvi.JointTable`.
    x : array_like
        (N, D) of 0 and 1; for a table (N,) integers.
    proposal
        q: "uniform" over all states, "prior" p(z), or a :class:`~fastvi.Bernoulli` with logits (d,) or (N,
        d) (not for a table).
    num_samples
        K, at least 1.
    seed
        0 <= seed < 2**64. A draw depends on (seed, datum, sample) alone: more data or samples change none
        of those before, and the result has the same bits for any number of threads.
    target_std_error, target_ess, executor
        Not built yet: anything but None raises NotImplementedError.
    device
        "cpu", or "auto", which picks it. "cuda" raises: it is not built yet.
    progress
        True for a line on standard error, or a function of (data done, data in all).

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    Notes
    -----
    Memory: a thread holds the K weights of one datum (of several where K is below 2048), never N x K. A table
    of all states takes 8 MiB where d <= 20 and N K is at least a quarter of 2^d; otherwise tables of D d / 8
    rows of up to 2^8 numbers are made, 2 MB at D = 784, d = 20 and 19 MB at d = 100.

    References
    ----------
    Kahn and Marshall (1953), Methods of reducing sample size in Monte Carlo computations.

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
    validation.instance(model, "model", (SigmoidBeliefNetwork, JointTable))
    if not isinstance(model, JointTable):
        factorised(model)
    requests.check_device(device)
    num_samples = validation.positive_int(num_samples, "num_samples")
    seed = validation.seed(seed)
    for name, value in (
        ("target_std_error", target_std_error),
        ("target_ess", target_ess),
        ("executor", executor),
    ):
        if value is not None:
            raise NotImplementedError(f"{name} must be None: it is not built yet")
    if not callable(progress):
        progress = validation.flag(progress, "progress")
    if isinstance(model, JointTable):
        rows = validation.index_vector(x, "x", model.num_x)
        kind = validation.choice(proposal, "proposal", PROPOSALS)
        summary, report = Summary(len(rows), num_samples), Reporter(progress, len(rows), "data")
        table_log_weight_rows(model.probabilities, rows, kind, num_samples, seed, _consumer(summary, report))
        return summary.estimate()
    data = validation.binary_matrix(x, "x", model.num_pixels)
    logits = _proposal_logits(model, len(data), proposal)
    summary, report = Summary(len(data), num_samples), Reporter(progress, len(data), "data")
    log_weight_rows(
        model.weights,
        model.bias,
        model.prior_logits,
        data,
        logits,
        num_samples,
        seed,
        _consumer(summary, report),
    )
    return summary.estimate()


def _consumer(summary: Summary, report: Reporter) -> Any:
    def consume(n: int, log_w: np.ndarray) -> None:
        summary.add(n, log_w)
        report(1)

    return consume


def _proposal_logits(model: SigmoidBeliefNetwork, num_data: int, proposal: Any) -> np.ndarray:
    """Logits (d,) or (N, d) of the proposal."""
    if isinstance(proposal, str):
        uniform = validation.choice(proposal, "proposal", PROPOSALS) == "uniform"
        return np.zeros(model.num_latents) if uniform else model.prior_logits
    if not isinstance(proposal, Bernoulli):
        raise TypeError(
            f"proposal must be 'uniform', 'prior' or a Bernoulli, got {validation.shown(proposal)}"
        )
    allowed = ((model.num_latents,), (num_data, model.num_latents))
    if proposal.logits.shape not in allowed:
        raise ValueError(
            f"proposal must have logits of shape {allowed[0]} or {allowed[1]}, "
            f"got shape {proposal.logits.shape}"
        )
    return proposal.logits
