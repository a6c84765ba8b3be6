"""The evidence lower bound."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastvi.bounds.bounds_of_tables import ask_table, elbo_of_table, sampled_elbo_of_table
from fastvi.bounds.kl_divergence import kl_divergence
from fastvi.core import validation
from fastvi.core.accuracy import reported, working_on
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import DECOMPOSITIONS, Decomposition, Device, DType
from fastvi.core.registry import rules_of
from fastvi.core.results import PerDatum
from fastvi.core.seeds import takes_rng
from fastvi.distributions.base import Distribution
from fastvi.distributions.categorical import Categorical
from fastvi.distributions.encoder import Encoder
from fastvi.engine.cuda.place import UnsupportedError
from fastvi.engine.expectation.expectations import log_ratio
from fastvi.engine.importance.jobs import Sampler, Source
from fastvi.engine.importance.targets import JOINT, WEIGHT
from fastvi.engine.sampling.averages import sampled_means
from fastvi.engine.sampling.run_jobs import sampler_where_it_can
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.inputs.data import NO_SUM, Group
from fastvi.inputs.options import check_device, check_dtype, check_limits
from fastvi.inputs.variational import drawn_from, read_bound
from fastvi.models.base import LatentVariableModel
from fastvi.models.joint_table import JointTable
from fastvi.rules.base import Rules
from fastvi.rules.joint_table import JointTableRules

_LOG = logging.getLogger("fastvi")

_LARGEST_PART = 1e6  # whose difference is right to 1e-9


@dataclass(frozen=True, eq=False)
class Elbo(PerDatum):
    """A bound on log p(x) and its parts, each (N,) in nats.

    ``value`` = ``reconstruction`` - ``kl_to_prior`` = ``expected_log_joint`` + ``entropy``.
    ``bound[2:5]`` and ``bound[mask]`` are the bounds of some data, ``bound[3]`` that of one.

    Attributes
    ----------
    value
        The ELBO.
    reconstruction
        E_q[log p(x | z)]; nan where the model has no prior.
    kl_to_prior
        KL(q || p(z)); nan where the model has no prior.
    expected_log_joint
        E_q[log p(x, z)].
    entropy
        H(q).
    std_error
        Standard error of ``value``; 0 where it is exact.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bound = fastvi.elbo(model, [[1, 0], [1, 1]], fastvi.Bernoulli([1.0]))
    >>> bound.value.round(3)
    array([-0.999, -1.23 ])
    >>> (bound.reconstruction - bound.kl_to_prior).round(3)
    array([-0.999, -1.23 ])
    >>> (bound.expected_log_joint + bound.entropy).round(3)
    array([-0.999, -1.23 ])
    >>> bound.std_error
    array([0., 0.])
    """

    value: np.ndarray
    reconstruction: np.ndarray
    kl_to_prior: np.ndarray
    expected_log_joint: np.ndarray
    entropy: np.ndarray
    std_error: np.ndarray

    def __repr__(self) -> str:
        if self.value.size == 0:
            return "Elbo(num_data=0)"
        return (
            f"Elbo(num_data={self.value.size}, mean value={self.value.mean():.6g}, "
            f"mean reconstruction={self.reconstruction.mean():.6g}, "
            f"mean kl_to_prior={self.kl_to_prior.mean():.6g}, "
            f"largest std_error={self.std_error.max():.3g})"
        )


class _Bound(NamedTuple):
    """Value, reconstruction, expected log joint, standard error of some data."""

    value: np.ndarray
    reconstruction: np.ndarray
    joint: np.ndarray
    std_error: np.ndarray


@reported
@takes_rng
def elbo(
    model: LatentVariableModel | JointTable,
    x: ArrayLike | None,
    q: Distribution | Encoder | Categorical,
    *,
    observed: ArrayLike | None = None,
    normalized: bool = True,
    num_samples: int | None = None,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    decomposition: Decomposition | None = None,
    device: Device = "cpu",
    dtype: DType = "float64",
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> Elbo:
    r"""ELBO(q) <= log p(x), exact or by sampling from q.

    .. math::
        \mathrm{ELBO} = E_q[\log p(x|z)] - KL(q \| p(z))
                      = E_q[\log p(x, z)] + H(q)
                      = E_q\left[\log \frac{p(x, z)}{q(z)}\right]

    Exact is a sum over all 2^d states for binary latents (a formula for pairwise models:
    :class:`~fastvi.BinarySparseCoding` and :class:`~fastvi.BoltzmannMachine`, of any size); for real latents
    a formula under :class:`~fastvi.LinearGaussian`, and the trapezoid rule under a
    :class:`~fastvi.NeuralDecoder` of at most 3 latents, to 1e-10 (1e-8 at the kinks of "relu", "leaky_relu"
    and "elu").

    Parameters
    ----------
    model
        Any model of this package.
    x : array_like
        (N, D), as for :func:`~fastvi.log_marginal`; for a table (N,) integers, or None for every value of x.
    q
        A :class:`~fastvi.Bernoulli`, or for real latents a :class:`~fastvi.Normal` or (exact only) a
        :class:`~fastvi.MultivariateNormal`, with parameters (d,) or (N, d) over the model's latents; or an
        :class:`~fastvi.Encoder`, which makes one of x. Of a Boltzmann machine the latents are its units, of
        which those that were not observed count; of a restricted one the hidden units. For a table a
        :class:`~fastvi.Categorical` with logits (num_z,) or (N, num_z).
    observed, normalized
        As in :func:`~fastvi.log_marginal`.
    num_samples
        None is exact; a number averages over as many draws from q and gives a standard error. Draws are those
        of :func:`~fastvi.estimate_log_marginal`.
    seed
        Of the draws.
    rng
        A generator that gives the seed, in place of ``seed``.
    decomposition
        Which of the three forms above gives ``value``: "reconstruction", "joint" or "log_ratio". They are
        computed by separate code and agree to rounding where exact. Sampled, what stands outside of the
        expectations is exact, and their errors differ. None is "reconstruction", or "joint" of a model
        without a prior. Exact, "log_ratio" is for binary latents and tables; it costs an exponential a state
        and datum, the others one multiply-add.
    device
        "cuda" sums or samples networks of one layer of latents on a GPU ("reconstruction" and "joint" are
        both made of the expected log joint there; sampled also Boltzmann machines and sparse coding); what
        takes no sum over states is computed on the CPU. "auto" picks a GPU where there is one that can, and
        logs why it picks what. Data on a GPU are read where they lie (by all but an Encoder, and not by a
        model of real latents); what comes back lies on the host.
    dtype
        "float64", or "float32" where states of a network or a restricted Boltzmann machine are sampled on the
        CPU: products over pixels are then rounded to float32, which moves the log weight of a draw as in
        :func:`~fastvi.estimate_log_marginal`. The draws are the same, and sums over them stay in float64.
    memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    Elbo
        Of a table whose total is not 1, p(z) is normalised and log(total) a part of the reconstruction. A q
        that leaves the support of p(z) has an infinite ``kl_to_prior`` and a reconstruction of -inf.

    Raises
    ------
    ValueError, TypeError
        For wrong input.
    RuntimeError
        For ``device="cuda"`` where no GPU can be used, or with a model or decomposition that only the CPU
        can do.

    Warns
    -----
    AccuracyWarning
        Where an expectation under a Normal did not come to rest for some data: it says which, and how far
        they still moved. Their values are the best found.

    References
    ----------
    Jordan, Ghahramani, Jaakkola, Saul (1999), An introduction to variational methods for graphical models,
    eq. 41.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bound = fastvi.elbo(model, [[1, 0]], fastvi.Bernoulli([1.0]))
    >>> bool(bound.value[0] <= fastvi.log_marginal(model, [[1, 0]])[0])
    True
    >>> table = fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]])
    >>> fastvi.elbo(table, [0], fastvi.Categorical([0.0, 0.0])).value.round(6)
    array([-1.060132])
    """
    rules = rules_of(model, tables=True)
    where = check_device(device, cuda=not rules.is_table, why="bounds of a table are summed on the CPU")
    limits = check_limits(memory_limit, max_states)
    if decomposition is not None:
        validation.choice(decomposition, "decomposition", DECOMPOSITIONS)
    seed = validation.seed(seed)
    if num_samples is not None:
        num_samples = validation.positive_int(num_samples, "num_samples")
    normalized = validation.flag(normalized, "normalized")
    if check_dtype(dtype) != "float64" and num_samples is None:
        raise ValueError(f"dtype must be 'float64' where nothing is sampled, got {dtype!r}")
    rules.check_sampling_dtype(dtype)
    if isinstance(rules, JointTableRules):
        of_table = ask_table(rules, x, q, observed, limits, sampled=num_samples is not None)
        shape = decomposition or "reconstruction"
        if num_samples is None:
            return Elbo(*elbo_of_table(of_table, shape))
        return Elbo(*sampled_elbo_of_table(of_table, shape, num_samples, seed))

    def summed(group: Group) -> bool:  # formulas and samples are never too large
        return num_samples is None and group.free.size > 0 and not rules.closed_expectations

    question = read_bound(rules, x, q, observed, normalized, limits, where, summed=summed)
    num_data = question.num_data
    arrays = [np.empty(num_data) for _ in range(6)]
    for group in question.groups:
        working_on(group.members)
        entropy: Any = group.q.entropy() if group.free.size else 0.0
        form_of = decomposition or ("joint" if rules.prior() is None else "reconstruction")
        kl = _kl_to_prior(rules, group)
        if group.free.size == 0:  # all units were observed
            refuse_pixels(group.x, NO_SUM)
            closed = rules.closed_form(group.x, group.observed)
            found = _Bound(closed, closed + kl, closed, np.zeros(len(closed)))
        elif num_samples is None:
            expectation = _expectation(rules, group, form_of, where, device, limits.memory)
            found = _exact(rules, group, form_of, kl, entropy, expectation)
        else:
            found = _sampled(
                rules, group, form_of, kl, entropy, num_samples, seed, where, device == "auto", dtype
            )
        if kl is None:  # the prior is a model
            kl = _kl_to_deep_prior(rules, group, found, entropy)
        values = found.value, found.reconstruction, kl, found.joint, entropy, found.std_error
        for array, own in zip(arrays, values, strict=True):
            array[group.members] = own
    value, reconstruction, kl_to_prior, joint, entropies, error = arrays
    log_z = question.log_z
    return Elbo(value - log_z, reconstruction, kl_to_prior, joint - log_z, entropies, error)


def _kl_to_prior(rules: Rules, group: Group) -> Any:
    """(N,) or (1,); None where the prior is a model, nan where there is none."""
    prior = rules.prior()
    if prior is None:
        return np.full(1, np.nan)
    return kl_divergence(group.q, prior) if isinstance(prior, Distribution) else None


def _kl_to_deep_prior(rules: Rules, group: Group, found: _Bound, entropy: Any) -> np.ndarray:
    """(N,) of a prior that is a model: the difference of the parts, which is lost where these are large."""
    kl = found.reconstruction - found.joint - entropy
    lost = np.abs(found.joint) > _LARGEST_PART
    if lost.any():
        nothing = np.zeros_like(group.observed)
        log_prior = rules.expected_joint(group.x[:, :0], nothing, group.q.logits)
        kl = np.where(lost, -log_prior - entropy, kl)
    return kl


def _expectation(
    rules: Rules, group: Group, form_of: str, where: str, device: str, memory_limit: int | None
) -> Any:
    """E_q[log p(x, z)] (N,) as a GPU sums it.

    None where it takes no sum over states, or the CPU was asked for.
    """
    if where == "cpu" or rules.real_latents:
        return None
    if rules.closed_expectations:
        # of data on a GPU the terms are here, but not the pixels that the other formula reads
        on_gpu = not isinstance(group.x, np.ndarray) and form_of != "log_ratio"
        return rules.expected_joint(group.x, group.observed, group.q.logits) if on_gpu else None
    from fastvi.engine.cuda.expectations import expected_joint

    try:
        if form_of == "log_ratio":
            raise UnsupportedError(
                "decomposition must be 'reconstruction' or 'joint' on a GPU, got 'log_ratio'"
            )
        return expected_joint(rules.kept_form(group.observed), group.x, group.q.logits, memory_limit)
    except UnsupportedError as error:
        if device != "auto":
            raise
        _LOG.info("device='auto' picks 'cpu': %s", error)
        return None


def _exact(rules: Rules, group: Group, form_of: str, kl: Any, entropy: Any, expectation: Any) -> _Bound:
    zero = np.zeros(len(group.members))
    if expectation is not None:
        whole = np.full(len(zero), np.nan) if kl is None else expectation + entropy + kl
        return _Bound(expectation + entropy, whole, expectation, zero)
    if rules.real_latents and form_of == "log_ratio":
        raise ValueError(
            "decomposition must be 'reconstruction' or 'joint' for real latents, got 'log_ratio'"
        )
    reconstruction = joint = None
    if form_of == "reconstruction" or rules.real_latents or kl is None:
        reconstruction = rules.reconstruction(group.x, group.observed, group.q)
        if reconstruction is None:
            raise ValueError(
                f"decomposition must be 'joint' or 'log_ratio' for a model without a prior, got {form_of!r}"
            )
    if form_of != "reconstruction" or kl is None:
        if rules.real_latents:
            joint = reconstruction + _expected_log_normal(group.q, rules.prior())
        else:
            joint = rules.expected_joint(group.x, group.observed, group.q.logits)
    if kl is not None:
        joint = reconstruction - kl - entropy if joint is None else joint
        reconstruction = joint + entropy + kl if reconstruction is None else reconstruction
    if form_of == "reconstruction" and kl is not None:
        value = reconstruction - kl
    elif form_of == "log_ratio":
        value = log_ratio(rules.kept_form(group.observed), group.x, group.q.logits)
    else:
        value = joint + entropy
    return _Bound(value, reconstruction, joint, zero)  # type: ignore[arg-type]


def _expected_log_normal(q: Any, p: Any) -> np.ndarray:
    """E_q[log p(z)] for normal q and a p of independent latents."""
    square = np.square(np.atleast_2d(q.mean) - p.mean) + np.square(np.atleast_2d(q.std))
    logs = -0.5 * square / np.square(p.std) - np.log(p.std) - 0.5 * math.log(2.0 * math.pi)
    return np.asarray(logs.sum(axis=-1))


def _sampled(
    rules: Rules,
    group: Group,
    form_of: str,
    kl: Any,
    entropy: Any,
    num_samples: int,
    seed: int,
    where: str,
    automatic: bool,
    dtype: str,
) -> _Bound:
    """Monte Carlo ELBO: an expectation is sampled, the entropy or the KL to the prior is added exactly."""
    if form_of == "reconstruction" and rules.prior() is None:
        raise ValueError(
            f"decomposition must be 'joint' or 'log_ratio' for a model without a prior, got {form_of!r}"
        )
    likelihood = form_of == "reconstruction" and kl is not None
    num_states = num_samples * len(group.members)
    source = Source(
        partial(rules.kept_target, group.observed, num_states, with_prior=not likelihood, dtype=dtype)
    )
    what = WEIGHT if form_of == "log_ratio" else JOINT
    sampler = Sampler(source, group.x, group.members, drawn_from(group.q), seed, what, where)
    if automatic:
        sampler = sampler_where_it_can(sampler)
    mean, error = sampled_means(sampler, num_samples)
    if likelihood:
        value = mean - kl
    else:
        value = mean if form_of == "log_ratio" else mean + entropy
    reconstruction = value + kl if kl is not None else np.full(len(value), np.nan)
    return _Bound(value, reconstruction, value - entropy, error)
