"""Mixtures of distributions over latents, as proposals of importance sampling."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvi.core import validation
from fastvi.core.frozen import Frozen
from fastvi.core.options import PROPOSALS, Proposal
from fastvi.core.seeds import takes_rng
from fastvi.distributions.base import Distribution
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.distributions.normal import Normal
from fastvi.distributions.uniform import Uniform

Component = Bernoulli | Normal | Encoder | Proposal

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Bernoulli, Uniform, Normal, Encoder)}


class Mixture(Frozen):
    """Mixture of distributions over latents: q(z) = sum_c weights_c q_c(z).

    As a proposal with the prior among its components it bounds the importance weights by p(x | z) over the
    prior's weight, so that no state is out of reach (defensive importance sampling).

    Where all components are distributions it has ``sample``, ``log_prob`` and ``mean``; elsewhere these raise
    TypeError. There is no closed form of its entropy.

    Parameters
    ----------
    components : sequence
        At least one :class:`~fastvi.Bernoulli` (a :class:`~fastvi.Uniform` is one),
        :class:`~fastvi.Normal`, :class:`~fastvi.Encoder`, "uniform" or "prior". All over the same number of
        latents, all binary or all real, those with parameters (N, d) for the same number of data. The words
        and encoders are resolved by :func:`~fastvi.estimate_log_marginal`, which knows the model and x.
    weights : array_like, (C,)
        Finite and > 0; they are divided by their sum, unless that is 1 to rounding.

    Attributes
    ----------
    components : tuple
    weights : ndarray, (C,), float64, read-only
        Their sum is 1.
    num_latents, num_data : int or None
        d and N, None where no component says.

    Raises
    ------
    ValueError, TypeError
        For components that do not go together or are mixtures themselves, and for weights that do not fit.

    References
    ----------
    T. Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions,
    Technometrics 37.

    Examples
    --------
    >>> import fastvi
    >>> q = fastvi.Mixture([fastvi.Bernoulli([2.0]), fastvi.Uniform(1)], [3, 1])
    >>> q.mean.round(3), q.weights
    (array([0.786]), array([0.75, 0.25]))
    >>> q.num_latents, q.num_data
    (1, None)

    The prior as a component keeps importance weights below p(x | z) / 0.1:

    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> safe = fastvi.Mixture([fastvi.Bernoulli([3.0]), "prior"], [0.9, 0.1])
    >>> estimate = fastvi.estimate_log_marginal(model, [[1, 0]], proposal=safe, num_samples=10000)
    >>> estimate.log_marginal.round(2), fastvi.log_marginal(model, [[1, 0]]).round(2)
    (array([-1.01]), array([-1.]))
    """

    components: tuple[Component, ...]
    weights: NDArray[np.float64]
    num_latents: int | None
    num_data: int | None

    def __init__(self, components: Sequence[Component], weights: ArrayLike) -> None:
        allowed = "components must be a sequence of at least one distribution, Encoder, 'uniform' or 'prior'"
        if isinstance(components, str) or not isinstance(components, Sequence):
            raise TypeError(f"{allowed}, got {validation.shown(components)}")
        if not components:
            raise ValueError(f"{allowed}, got none")
        for c, each in enumerate(components):
            _check_component(each, f"components[{c}]")
        if len({_is_real(each) for each in components} - {None}) > 1:
            raise TypeError("components must be all over binary or all over real latents, got both")
        self._set(
            components=tuple(components),
            weights=validation.frozen_array(_shares(weights, len(components))),
            num_latents=_common(components, "num_latents"),
            num_data=_common([each for each in components if isinstance(each, Distribution)], "num_data"),
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{w:.3g} * {c!r}" for w, c in zip(self.weights, self.components, strict=True))
        return f"Mixture({parts})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.components, self.weights)

    def arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {"weights": self.weights}
        for c, each in enumerate(self.components):
            if isinstance(each, str):
                arrays[f"component_{c}"] = np.array(each)
                continue
            kind = type(each)
            if _KINDS.get(kind.__name__) is not kind:
                raise TypeError(
                    f"components[{c}] must be one of {', '.join(_KINDS)} or a word to be saved, got "
                    f"{validation.with_article(kind.__name__)} of {kind.__module__}"
                )
            arrays[f"component_{c}"] = np.array(kind.__name__)
            arrays.update({f"component_{c}_{name}": array for name, array in each.arrays().items()})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        rest = dict(arrays)
        weights = rest.pop("weights")
        components: list[Any] = []
        while f"component_{len(components)}" in rest:
            prefix = f"component_{len(components)}"
            kind = str(rest.pop(prefix))
            names = [name for name in rest if name.startswith(f"{prefix}_")]
            own = {name[len(prefix) + 1 :]: rest.pop(name) for name in names}
            if kind in _KINDS:
                components.append(_KINDS[kind].from_arrays(own))
            elif own:
                raise TypeError(f"unexpected array {min(names)!r}")
            else:
                components.append(kind)
        if rest:
            raise TypeError(f"unexpected array {min(rest)!r}")
        return cls(components, weights)

    def _resolved(self, what: str) -> tuple[Bernoulli | Normal, ...]:
        """Return the components, none of which may need a model; ``what`` is named in the error."""
        for c, each in enumerate(self.components):
            if not isinstance(each, Distribution):
                came = validation.shown(each)
                raise TypeError(
                    f"components[{c}] must be a Bernoulli or Normal for {what}, got {came}, which has to be "
                    "resolved for a model and its data first"
                )
        return cast(tuple[Bernoulli | Normal, ...], self.components)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean of z, (d,) or (N, d), read-only: E[z] = sum_c weights_c E_c[z].

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Mixture([fastvi.Bernoulli([[2.0], [-2.0]]), fastvi.Uniform(1)], [0.9, 0.1]).mean.round(3)
        array([[0.843],
               [0.157]])
        """
        parts = [w * c.mean for w, c in zip(self.weights, self._resolved("mean"), strict=True)]
        return validation.frozen_array(np.asarray(sum(parts[1:], start=parts[0])))

    @takes_rng
    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> NDArray[Any]:
        """Draw from q.

        Parameters
        ----------
        num
            Draws for each datum, at least 0.
        seed
            0 <= seed < 2**64. (seed, n, k) picks the component of draw k of datum n, and the draw is the one
            that this component's own ``sample`` makes for (seed, n, k).
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        ndarray, (num, N, d)
            uint8 of binary latents, float64 of real ones; N = 1 where all parameters are (d,).

        Examples
        --------
        >>> import fastvi
        >>> q = fastvi.Mixture([fastvi.Normal([-3.0], [1.0]), fastvi.Normal([3.0], [1.0])], [0.25, 0.75])
        >>> z = q.sample(10000, seed=0)
        >>> round(float((z > 0).mean()), 2)
        0.75
        """
        components = self._resolved("sample")
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        # imported here, so that distributions do not import numba
        from fastvi.kernels.cpu.random.component_draws import pick_components
        from fastvi.kernels.cpu.random.draws import split_seed

        num_data = 1 if self.num_data is None else self.num_data
        picked = np.empty((num_data, num), np.int64)
        cumulative, key = np.cumsum(self.weights), split_seed(seed)
        for n in range(num_data):
            pick_components(cumulative, *key, n, 0, picked[n])
        out = _for_data(components[0], num_data).sample(num, seed)
        for c, each in enumerate(components[1:], 1):
            drawn = _for_data(each, num_data).sample(num, seed)
            np.copyto(out, drawn, where=np.equal(picked.T, c)[..., None])
        return out

    def log_prob(self, z: ArrayLike) -> NDArray[np.float64]:
        """Log probability (binary z) or log density (real z) under q, in nats.

        Parameters
        ----------
        z : array_like, (..., d)
            As in :meth:`Bernoulli.log_prob`.

        Returns
        -------
        ndarray, float64
            The shape without the last axis. -inf where no component gives z any mass.

        Examples
        --------
        >>> import fastvi, numpy
        >>> q = fastvi.Mixture([fastvi.Bernoulli([2.0]), fastvi.Uniform(1)], [0.9, 0.1])
        >>> numpy.exp(q.log_prob([[0], [1]])).round(3)
        array([0.157, 0.843])
        """
        parts = [each.log_prob(z) for each in self._resolved("log_prob")]
        logs = np.stack(np.broadcast_arrays(*parts), axis=-1)
        logs += np.log(self.weights)
        largest = logs.max(axis=-1)
        with np.errstate(divide="ignore"):
            shift = np.where(np.isneginf(largest), 0.0, largest)
            return np.asarray(shift + np.log(np.exp(logs - shift[..., None]).sum(axis=-1)))

    def entropy(self) -> NoReturn:
        """Raise TypeError: the entropy of a mixture has no closed form.

        Examples
        --------
        An estimate in its place:

        >>> import fastvi
        >>> q = fastvi.Mixture([fastvi.Bernoulli([2.0]), fastvi.Uniform(1)], [0.9, 0.1])
        >>> (-q.log_prob(q.sample(10000, seed=0))).mean(axis=0).round(2)
        array([0.43])
        """
        raise TypeError("the entropy of a Mixture has no closed form: average -log_prob over samples")


def _check_component(each: Any, name: str) -> None:
    """Refuse a component that no mixture takes."""
    if isinstance(each, str):
        validation.choice(each, name, PROPOSALS)
    elif isinstance(each, Mixture):
        raise TypeError(
            f"{name} must not be a Mixture: pass its components, with weights multiplied, got {each!r}"
        )
    elif not isinstance(each, Bernoulli | Normal | Encoder):
        raise TypeError(
            f"{name} must be a Bernoulli, Normal, Encoder, 'uniform' or 'prior', got {validation.shown(each)}"
        )


def _shares(weights: ArrayLike, num: int) -> NDArray[np.float64]:
    """Return ``weights`` divided by their sum."""
    clean = validation.float_array(weights, "weights", ndim=1, shape=(num,))
    validation.require(clean, clean > 0, "weights must be > 0")
    with np.errstate(over="ignore"):
        total = clean.sum()
    if not np.isfinite(total):
        raise ValueError("weights must have a finite sum, got inf")
    # what was divided before stays as it is, so that copies and files bring back the same bits: each share
    # and each addition of the sum is off by half of an epsilon at most
    if abs(total - 1.0) <= num * np.finfo(np.float64).eps:
        return clean
    shares: NDArray[np.float64] = clean / total
    validation.require(clean, shares > 0, "weights must be > 0 when divided by their sum")
    return shares


def _for_data(q: Bernoulli | Normal, num_data: int) -> Bernoulli | Normal:
    """Return ``q`` with parameters (N, d), so that datum n draws as the n-th of many."""
    if q.num_data is not None:
        return q
    shape = (num_data, q.num_latents)
    if isinstance(q, Bernoulli):
        return Bernoulli(np.broadcast_to(q.logits, shape))
    return Normal(np.broadcast_to(q.mean, shape), np.broadcast_to(q.std, shape))


def _is_real(each: Any) -> bool | None:
    """Tell whether a component is over real latents; None where the model decides."""
    if isinstance(each, Encoder):
        return each.family == "normal"
    if isinstance(each, str):
        return False if each == "uniform" else None
    return isinstance(each, Normal)


def _common(components: Sequence[Any], name: str) -> int | None:
    """Return the value of an attribute on which all components agree."""
    known = {getattr(each, name) for each in components if not isinstance(each, str)} - {None}
    if len(known) > 1:
        raise ValueError(f"components must have the same {name}, got {' and '.join(map(str, sorted(known)))}")
    return known.pop() if known else None
