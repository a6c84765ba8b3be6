"""The exact posterior p(z | x)."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import Device, Method
from fastvi.core.registry import rules_of
from fastvi.core.results import PerDatum, draws_dataset, package
from fastvi.core.seeds import takes_rng
from fastvi.engine.posterior import details, posteriors
from fastvi.engine.posterior.log_sum import log_sums, log_sums_and_means
from fastvi.engine.run.progress import Progress
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import slices
from fastvi.exact.table_posterior import TablePosterior, posterior_of_table
from fastvi.inputs.data import Group
from fastvi.inputs.memory import PAIR_DATA, Asked
from fastvi.inputs.method import rules_by
from fastvi.inputs.options import Options
from fastvi.inputs.question import Question, always_summed, ask
from fastvi.models.base import LatentVariableModel
from fastvi.models.joint_table import JointTable
from fastvi.rules.base import NO_DATA, Rules, log_probabilities
from fastvi.rules.joint_table import JointTableRules
from fastvi.rules.questions import EXACT_POSTERIOR

if TYPE_CHECKING:
    from fastvi.engine.states.form import Form


_LOG = logging.getLogger("fastvi")


class _Part(NamedTuple):
    """One group of data, what its form is made of, and where the latents that were not observed stand."""

    group: Group
    rules: Rules
    only: Form | None  # of the only group; forms of many masks, kept, would take gigabytes
    order: np.ndarray  # that of the form
    known: np.ndarray  # (members, d) uint8: the latents that were observed, 0 elsewhere

    def some(self, which: np.ndarray) -> _Part:
        """The same for data that are numbered anew: ``which`` (M,) says which ones they were."""
        place = np.full(int(self.group.members.max(initial=-1)) + 1, -1)
        place[self.group.members] = np.arange(len(self.group.members))
        members = np.flatnonzero(np.isin(which, self.group.members))
        rows = place[which[members]]
        group = self.group._replace(members=members, x=self.group.x[rows])
        return self._replace(group=group, known=self.known[rows])

    def form(self) -> Form:
        """What is summed for these data."""
        return self.rules.kept_form(self.group.observed) if self.only is None else self.only

    def states(self, free: np.ndarray) -> np.ndarray:
        """States (members, k, free latents) as states of all latents."""
        out = np.repeat(self.known[:, None], free.shape[1], axis=1)
        out[..., self.group.free] = free
        return out


class _States(NamedTuple):
    """What takes the probability of single states, (N, ...) each."""

    entropy: np.ndarray
    top_states: np.ndarray
    top_log_probs: np.ndarray
    second_moment: np.ndarray | None

    def some(self, which: Any) -> _States:
        """The same of some data."""
        return _States(*(None if value is None else value[which] for value in self))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class ExactPosterior(PerDatum):
    """Exact posteriors of N data over d binary latents.

    ``len(posterior)`` is N; ``posterior[2:5]`` and ``posterior[mask]`` are the posteriors of some data,
    ``posterior[3]`` that of one, with arrays (1, ...). A datum keeps its number for draws:
    ``posterior[3].sample(num, seed)`` is ``posterior.sample(num, seed)[:, 3:4]``.

    ``log_marginal``, ``mean`` and what was asked for are there at once. ``entropy``, ``mode`` and
    ``mode_log_prob`` take a second pass over the states. Where ``top_k`` or ``pairwise`` ask for it, it is a
    part of :func:`exact_posterior`, with the executor, checkpoint and progress given there. Else it runs when
    one of the three is first used, by the threads of this process alone: it uses no executor (which may be
    shut down by then), no checkpoint and no progress, and the logger "fastvi" says so at level INFO. Ask for
    ``top_k=1`` where it takes long.

    A pickle and a copy hold the data, the model's tables and all that is computed so far, a second pass too.
    Of the executor, the checkpoint and the progress nothing is kept, here or there.

    Attributes
    ----------
    log_marginal : ndarray, (N,)
        log p(x_n) in nats; without - log Z where ``normalized=False`` left that out.
    mean : ndarray, (N, d)
        p(z_i = 1 | x_n). Units of a Boltzmann machine that were observed have their value. NaN where p(x_n)
        is 0.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0, 0.0], [-1.0, 1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> posterior = fastvi.exact_posterior(model, [[1, 0], [1, 1]], top_k=2, pairwise=True)
    >>> posterior.log_marginal.round(3), posterior.entropy.round(3)
    (array([-1.237, -0.916]), array([1.208, 1.36 ]))
    >>> posterior.mean.round(3)
    array([[0.759, 0.365],
           [0.55 , 0.598]])
    >>> posterior.second_moment[0].round(3)
    array([[0.759, 0.286],
           [0.286, 0.365]])

    The most probable states, and their log probabilities:

    >>> posterior.mode
    array([[1, 0],
           [1, 1]], dtype=uint8)
    >>> posterior.mode_log_prob.round(3)
    array([-0.75 , -1.072])
    >>> posterior.top_states[0]
    array([[1, 0],
           [1, 1]], dtype=uint8)
    >>> posterior.top_log_probs[0].round(3)
    array([-0.75, -1.25])
    """

    log_marginal: np.ndarray
    mean: np.ndarray
    _log_partition: float = field(repr=False)
    _parts: tuple[_Part, ...] = field(repr=False)
    _top_k: int = field(repr=False)
    _asked: _States | None = field(repr=False)
    _numbers: np.ndarray = field(repr=False)  # (N,) by which draws are keyed

    _axes: ClassVar = {
        "mean": ("latent",),
        "second_moment": ("latent", "other_latent"),
        "mode": ("latent",),
        "top_states": ("rank", "latent"),
        "top_log_probs": ("rank",),
    }

    def _columns(self) -> dict[str, Any]:
        """What is there: no table begins a second pass over the states."""
        names = ["log_marginal", "mean"]
        if self._asked is not None or "_states" in vars(self):
            names += ["entropy", "mode", "mode_log_prob"]
            names += ["top_states", "top_log_probs"] if self._top_k else []
            names += [] if self.second_moment is None else ["second_moment"]
        return {name: getattr(self, name) for name in names}

    def _some(self, which: Any) -> ExactPosterior:
        chosen = np.arange(len(self))[which]
        parts = tuple(part.some(chosen) for part in self._parts)
        taken = replace(
            self,
            log_marginal=self.log_marginal[which],
            mean=self.mean[which],
            _parts=tuple(part for part in parts if len(part.group.members)),
            _asked=None if self._asked is None else self._asked.some(which),
            _numbers=self._numbers[which],
        )
        if "_states" in vars(self):  # a second pass that was made is not made again
            vars(taken)["_states"] = self._states.some(which)
        return taken

    @takes_rng
    def to_datatree(self, num: int = 1000, seed: int = 0, *, rng: np.random.Generator | None = None) -> Any:
        """Return an xarray ``DataTree`` with draws, as ArviZ keeps what it knows of a model.

        Parameters
        ----------
        num
            Draws for each datum, as of :meth:`sample`.
        seed
            0 <= seed < 2**64.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        xarray.DataTree
            Group ``posterior``: ``z`` (chain, draw, datum, latent), exact and independent draws of one chain.
            Group ``sample_stats``: ``lp`` (chain, draw, datum), their log p(z | x_n) in nats. Group
            ``exact_posterior``: the dataset of :meth:`to_xarray`.

        Raises
        ------
        ImportError
            Without xarray.
        ValueError, TypeError
            As :meth:`sample`.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> posterior = fastvi.exact_posterior(model, [[1, 0], [1, 1]])
        >>> tree = posterior.to_datatree(num=500, seed=0)  # doctest: +SKIP
        >>> dict(tree["posterior"]["z"].sizes)  # doctest: +SKIP
        {'chain': 1, 'draw': 500, 'datum': 2, 'latent': 1}
        """
        package("xarray")  # without it no draw is made
        z = self.sample(num, seed)
        groups = {"posterior": draws_dataset({"z": z}, self._axes | {"z": ("latent",)})}
        return self._tree({**groups, "sample_stats": draws_dataset({"lp": self.log_prob(z)})})

    @property
    def _evidence(self) -> np.ndarray:
        """What the parts' forms sum to."""
        return self.log_marginal + self._log_partition

    @cached_property
    def _states(self) -> _States:
        if self._asked is not None:
            return self._asked
        _LOG.info(
            "entropy and mode: a second pass over the states, in this process, without executor, checkpoint "
            "or progress; exact_posterior(..., top_k=1) makes it with them"
        )
        return _sum_states(self._parts, self._evidence, self.mean, 1, False, Run())

    @property
    def second_moment(self) -> np.ndarray | None:
        """p(z_i = 1, z_j = 1 | x_n), (N, d, d), the mean on its diagonal; None unless it was asked for."""
        return None if self._asked is None else self._asked.second_moment

    @property
    def entropy(self) -> np.ndarray:
        """H(p(z | x_n)) in nats, (N,)."""
        return self._states.entropy

    @property
    def top_states(self) -> np.ndarray:
        """The k most probable states in descending order, (N, k, d) uint8."""
        return self._states.top_states[:, : self._top_k]

    @property
    def top_log_probs(self) -> np.ndarray:
        """Log p(z | x_n) of the k most probable states, (N, k)."""
        return self._states.top_log_probs[:, : self._top_k]

    @property
    def mode(self) -> np.ndarray:
        """Most probable state of each datum, (N, d) uint8."""
        return self._states.top_states[:, 0]

    @property
    def mode_log_prob(self) -> np.ndarray:
        """Log p(mode | x_n), (N,)."""
        return self._states.top_log_probs[:, 0]

    def __repr__(self) -> str:
        num_data, num_latents = self.mean.shape
        mean = f", mean log_marginal={self.log_marginal.mean():.6g}" if num_data else ""
        return f"ExactPosterior(num_data={num_data}, num_latents={num_latents}{mean})"

    def log_prob(self, z: ArrayLike) -> np.ndarray:
        """Log p(z | x_n) of given states.

        Parameters
        ----------
        z : array_like of 0 and 1, (..., N, d)
            States of each datum, as :meth:`sample` gives them. With 1 in place of N, or (d,) alone, a state
            serves all data.

        Returns
        -------
        ndarray, (..., N), float64
            NaN where p(x_n) is 0.

        Examples
        --------
        >>> import fastvi, numpy
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> posterior = fastvi.exact_posterior(model, [[1, 0], [1, 1]])
        >>> numpy.exp(posterior.log_prob([[[0]], [[1]]])).round(3)  # states by data
        array([[0.256, 0.483],
               [0.744, 0.517]])
        """
        num_data, num_latents = self.mean.shape
        states = validation.binary_array(z, "z", num_latents)
        validation.for_each_datum(states.shape, "z", num_data, num_latents)
        states = np.broadcast_to(states, np.broadcast_shapes(states.shape, self.mean.shape))
        states = np.moveaxis(states, -2, 0)
        out = np.empty(states.shape[:-1])
        for part in self._parts:
            form, members, x, free = part.form(), part.group.members, part.group.x, part.group.free
            asked = states[members]
            value = form.log_joint(x, np.ascontiguousarray(asked[..., free][..., form.order]))
            known = part.known.reshape(len(members), *[1] * (asked.ndim - 2), num_latents)
            others = np.delete(np.arange(num_latents), free)
            value[(asked[..., others] != known[..., others]).any(axis=-1)] = -np.inf
            out[members] = value
        evidence = self._evidence.reshape(-1, *[1] * (out.ndim - 1))
        out -= np.where(np.isneginf(evidence), np.nan, evidence)
        return np.moveaxis(out, 0, -1).copy(order="C")

    @takes_rng
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Exact, independent draws from p(z | x_n).

        Parameters
        ----------
        num
            Draws for each datum, at least 0.
        seed
            0 <= seed < 2**64. Draw k of datum n depends on (seed, n, k) and the posterior alone.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        ndarray, (num, N, d), uint8

        Raises
        ------
        ValueError, TypeError
            For wrong input, and where p(x_n) is 0: nothing can then be drawn.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> posterior = fastvi.exact_posterior(model, [[1, 0], [1, 1]])
        >>> z = posterior.sample(10000, seed=0)
        >>> z.shape, z.mean(axis=0).round(2)[:, 0], posterior.mean.round(2)[:, 0]
        ((10000, 2, 1), array([0.74, 0.52]), array([0.74, 0.52]))
        """
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        impossible = np.isneginf(self.log_marginal)
        if impossible.any():
            raise ValueError(
                "x must have a positive probability for its posterior to be drawn from, got 0 at index "
                f"{impossible.argmax()}"
            )
        num_data, num_latents = self.mean.shape
        out = np.empty((num, num_data, num_latents), np.uint8)
        for part in self._parts:
            members = part.group.members
            evidence, numbers = self._evidence[members], self._numbers[members]
            free = posteriors.sample(part.form(), part.group.x, evidence, numbers, num, seed)
            out[:, members] = part.states(free).swapaxes(0, 1)
        return out


def _sum_states(
    parts: tuple[_Part, ...], evidence: np.ndarray, mean: np.ndarray, top_k: int, pairwise: bool, run: Run
) -> _States:
    """The second pass: entropy, the most probable states, second moments."""
    num_data, num_latents = mean.shape
    entropy, log_probs = np.empty(num_data), np.full((num_data, top_k), -np.inf)
    states = np.zeros((num_data, top_k, num_latents), np.uint8)
    second = np.empty((num_data, num_latents, num_latents)) if pairwise else None
    for part in parts:
        form, members, x, free = part.form(), part.group.members, part.group.x, part.group.free
        kept = min(top_k, 1 << free.size)
        means = np.ascontiguousarray(mean[members][:, free[form.order]])
        found = details.details(form, x, evidence[members], means, kept, run, pairwise=pairwise)
        # states of probability 0 leave rounding below 0 where the posterior is one state
        entropy[members] = np.maximum(found.entropy, 0.0)
        log_probs[members, :kept] = found.log_probs
        states[members, :kept] = part.states(posteriors.unpack_states(form, found.states))
        if second is not None:
            for rows in slices(len(members), PAIR_DATA):
                own = posteriors.second_moments(found.pairs[rows])
                second[members[rows]] = _all_pairs(part, rows, own, mean[members[rows]])
    impossible = np.isneginf(evidence)
    for array in (entropy, log_probs, *([] if second is None else [second])):
        array[impossible] = np.nan
    return _States(entropy, states, log_probs, second)


def _all_pairs(part: _Part, rows: slice, pairs: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Second moments of the free latents of some data in the form's order as those of all latents."""
    where = part.group.free[part.order]
    out = mean[:, :, None] * part.known[rows, None, :]  # a latent that was observed is its own moment
    out = np.maximum(out, out.transpose(0, 2, 1))
    out[:, where[:, None], where[None]] = pairs
    return out


@overload
def exact_posterior(
    model: JointTable,
    x: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    top_k: int = 0,
    memory_limit: int | None = None,
) -> TablePosterior: ...
@overload
def exact_posterior(
    model: LatentVariableModel,
    x: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    top_k: int = 0,
    pairwise: bool = False,
    normalized: bool = True,
    method: Method = "auto",
    device: Device = "cpu",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> ExactPosterior: ...
def exact_posterior(
    model: LatentVariableModel | JointTable,
    x: ArrayLike | None = None,
    *,
    observed: ArrayLike | None = None,
    top_k: int = 0,
    pairwise: bool = False,
    normalized: bool = True,
    method: Method = "auto",
    device: Device = "cpu",
    executor: Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress = False,
    memory_limit: int | None = None,
    max_states: int = MAX_STATES,
) -> ExactPosterior | TablePosterior:
    r"""Everything about p(z | x), by summing over all states.

    .. math:: p(z|x_n) = p(x_n, z) / \sum_{z'} p(x_n, z')

    A first pass gives log p(x_n) and the means as matrix products, at about one and a half times the cost of
    :func:`~fastvi.log_marginal`. A second one gives the entropy, as products too where the model has softplus
    sums, and the most probable states. For ``pairwise``, and for other models, it takes the probability of
    each state that matters: rows of states whose total is certain to be below 2^-60 are passed over, so that
    a concentrated posterior costs little more than its evidence, and one that is spread over all states an
    exponential a state. The second pass runs at once, with ``executor``, ``checkpoint`` and ``progress``,
    where ``top_k`` or ``pairwise`` ask for it; else when the entropy or the mode is first used, in this
    process and without them.

    Parameters
    ----------
    model
        Any model with binary latents, or a :class:`~fastvi.JointTable`. Of a deep network the latents are
        those of its lowest layer; the others are summed out. Of a Boltzmann machine they are all units, those
        observed among them.
    x : array_like
        (N, D) of 0 and 1, or real numbers where the model's pixels are real; None for a Boltzmann machine of
        which nothing was observed, which gives the moments of the model itself. For a table (N,) integers,
        or None for every value of x in order.
    observed : array_like of bool, optional
        (D,) or (N, D), True where a pixel was seen. For a table D is 1; of an x that was not seen the
        posterior is p(z).
    top_k
        How many of the most probable states to keep, 0 <= top_k <= 2^d (num_z of a table); the mode is always
        there.
    pairwise
        Whether to compute second moments; not of a table.
    normalized
        False leaves - log Z out of ``log_marginal``, as in :func:`~fastvi.log_marginal`: where Z is out of
        reach, for the posterior does not need it.
    method
        As in :func:`~fastvi.log_marginal`, without "independent_set". "elimination" gives the mode, not more
        of the most probable states: ``top_k`` is then 0 or 1.
    device, executor, checkpoint, progress, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    ExactPosterior or TablePosterior
        The latter of a table, whose latent is a number and not a vector of bits: it has ``probabilities``
        (N, num_z) in place of means.

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> posterior = fastvi.exact_posterior(model, [[1, 0]])
    >>> posterior.mean.round(6)
    array([[0.743877]])
    >>> posterior.mode
    array([[1]], dtype=uint8)
    >>> fastvi.exact_posterior(fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]])).probabilities
    array([[0.25, 0.75],
           [1.  , 0.  ]])
    """
    top_k = validation.positive_int(top_k, "top_k", 0)
    rules = rules_by(rules_of(model, tables=True), method, EXACT_POSTERIOR, device, top_k=top_k, x=x)
    pairwise = validation.flag(pairwise, "pairwise")
    normalized = validation.flag(normalized, "normalized")
    options = Options(device, "float64", executor, checkpoint, progress, memory_limit, max_states)
    if isinstance(rules, JointTableRules):
        return posterior_of_table(rules, x, observed, options, top_k, pairwise)
    asked = Asked("exact_posterior", top_k=top_k, pairwise=pairwise, normalized=normalized)
    question = ask(rules, x, observed, options, always_summed, asked)
    num_data, num_latents = question.num_data, rules.num_latents
    fewest = min((group.free.size for group in question.groups), default=num_latents)
    if fewest < 63 and top_k > 1 << fewest:
        raise ValueError(f"top_k must be at most 2^{fewest}, the number of states, got {top_k}")
    passes = 2 if top_k or pairwise else 1
    partition = rules.kept_partition_form() if normalized else None
    states = passes * question.states() + (0 if partition is None else partition.num_states)
    run = question.run("exact_posterior", states, top_k, pairwise, normalized)
    evidence, mean = np.empty(num_data), np.empty((num_data, num_latents))
    parts = tuple(_first_pass(question, group, run, evidence, mean) for group in question.groups)
    if partition is None:  # what is not normalised has the constant
        log_z = 0.0 - rules.constant
        normalised = evidence - log_z
    else:
        log_z = float(log_sums(partition, NO_DATA, run)[0])
        normalised = log_probabilities(evidence - log_z)
    states_of = None
    if passes == 2:
        states_of = _sum_states(parts, normalised + log_z, mean, max(top_k, 1), pairwise, run)
    return ExactPosterior(normalised, mean, log_z, parts, top_k, states_of, np.arange(num_data))


def _first_pass(question: Question, group: Group, run: Run, evidence: np.ndarray, mean: np.ndarray) -> _Part:
    """Evidence and means of one group, into their places."""
    rules, form = question.rules, question.form(group)
    known = _known(rules, group)
    found, means = log_sums_and_means(form, group.x, run)
    if rules.is_closed(group.observed):  # the bits that log_marginal has
        found = rules.closed_form(group.x, group.observed)
    evidence[group.members] = log_probabilities(found) if rules.is_probability else found
    part_mean = known.astype(np.float64)
    part_mean[:, group.free[form.order]] = means
    mean[group.members] = part_mean
    return _Part(group, rules, form if len(question.groups) == 1 else None, form.order, known)


def _known(rules: Rules, group: Group) -> np.ndarray:
    """(members, d): latents that were observed, 0 where they were not."""
    known = np.zeros((len(group.members), rules.num_latents), np.uint8)
    if group.free.size < rules.num_latents:  # a model whose pixels are its latents
        known[:, group.observed] = group.x
    return known
