"""Mixtures of distributions over latents, as proposals of importance sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.distributions.base import Distribution
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.distributions.normal import Normal
from fastvi.models.base import Frozen

WORDS = ("uniform", "prior")


class Mixture(Frozen):
    """q(z) = sum_c weights_c q_c(z).

    As a proposal with the prior among its components it bounds the importance weights by p(x | z) over the
    prior's weight, so that no state is out of reach (defensive importance sampling).

    Parameters
    ----------
    components : sequence
        At least one :class:`~fastvi.Bernoulli`, :class:`~fastvi.Normal`, :class:`~fastvi.Encoder`, "uniform"
        or "prior". All over the same latents, binary or real. The words and encoders are resolved by
        :func:`~fastvi.estimate_log_marginal`, which knows the model and x.
    weights : array_like, (C,)
        Finite and > 0; they are divided by their sum.

    Attributes
    ----------
    components : tuple
    weights : ndarray, (C,), float64, read-only
        Of sum 1.
    num_latents, num_data : int or None
        d and N, None where no component says.

    Raises
    ------
    ValueError, TypeError
        For components that do not go together, and weights that do not fit.

    References
    ----------
    T. Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions,
    Technometrics 37.

    Examples
    --------
    >>> import fastvi
    >>> q = fastvi.Mixture([fastvi.Bernoulli([2.0]), fastvi.Uniform(1)], [3, 1])
    >>> q.mean
    array([0.78559781])
    """

    components: tuple[Any, ...]
    weights: np.ndarray
    num_latents: int | None
    num_data: int | None

    def __init__(self, components: Sequence[Any], weights: ArrayLike) -> None:
        if isinstance(components, str) or not isinstance(components, Sequence) or not len(components):
            came = validation.shown(components)
            raise TypeError(f"components must be a sequence of at least one proposal, got {came}")
        for each in components:
            _check_component(each)
        if len({_is_real(each) for each in components} - {None}) > 1:
            raise TypeError("components must be all over binary or all over real latents, got both")
        share = validation.float_array(weights, "weights", ndim=1, shape=(len(components),))
        validation.require(share, share > 0, "weights must be > 0")
        with np.errstate(over="ignore"):
            total = share.sum()
        if not np.isfinite(total):
            raise ValueError("weights must have a finite sum, got inf")
        self._set(
            components=tuple(components),
            weights=validation.frozen_array(share / total),
            num_latents=_common(components, "num_latents"),
            num_data=_common([each for each in components if isinstance(each, Distribution)], "num_data"),
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{w:.3g} * {c!r}" for w, c in zip(self.weights, self.components, strict=True))
        return f"Mixture({parts})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Mixture, (self.components, self.weights)

    def _arrays(self) -> NoReturn:
        raise TypeError("a Mixture cannot be saved: save its components, or pickle it")

    def _resolved(self, what: str) -> tuple[Bernoulli | Normal, ...]:
        for each in self.components:
            if not isinstance(each, Distribution):
                raise TypeError(
                    f"components must all be distributions for {what}, got {validation.shown(each)}, which "
                    "only a model and its data turn into one"
                )
        return self.components

    @property
    def mean(self) -> np.ndarray:
        """E[z], (d,) or (N, d)."""
        parts = [w * c.mean for w, c in zip(self.weights, self._resolved("mean"), strict=True)]
        return validation.frozen_array(np.asarray(sum(parts[1:], start=parts[0])))

    def sample(self, num: int, seed: int) -> np.ndarray:
        """Draw from q.

        Parameters
        ----------
        num
            Draws for each datum, at least 0.
        seed
            0 <= seed < 2**64. Draw k of datum n is the one that the component which (seed, n, k) picks would
            make on its own.

        Returns
        -------
        ndarray, (num, N, d)
            uint8 of binary latents, float64 of real ones; N = 1 where all parameters are (d,).
        """
        components = self._resolved("sample")
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        from fastvi.kernels.cpu.component_draws import pick_components
        from fastvi.kernels.cpu.draws import split_seed

        num_data = 1 if self.num_data is None else self.num_data
        which = np.empty((num, num_data), np.int64)
        column = np.empty(num, np.int64)
        for n in range(num_data):
            pick_components(np.cumsum(self.weights), *split_seed(seed), n, 0, column)
            which[:, n] = column
        out: np.ndarray | None = None
        for c, each in enumerate(components):
            if each.num_data is None and num_data > 1:  # a datum draws as the n-th of many
                arrays = each._arrays() if not isinstance(each, Bernoulli) else {"logits": each.logits}
                kind: Any = Bernoulli if isinstance(each, Bernoulli) else Normal
                each = kind(*(np.broadcast_to(value, (num_data, *value.shape)) for value in arrays.values()))
            drawn = each.sample(num, seed)
            out = drawn if out is None else np.where((which == c)[..., None], drawn, out)
        assert out is not None
        return out

    def log_prob(self, z: ArrayLike) -> np.ndarray:
        """log q(z) in nats.

        Parameters
        ----------
        z : array_like, (..., d)
            Its leading axes broadcast against the data, as in :meth:`Bernoulli.log_prob`.

        Returns
        -------
        ndarray, float64
            The broadcast shape without the last axis. -inf where no component gives z any mass.
        """
        parts = [each.log_prob(z) for each in self._resolved("log_prob")]
        logs = np.stack(np.broadcast_arrays(*parts), axis=-1)
        logs += np.log(self.weights)
        largest = logs.max(axis=-1)
        with np.errstate(divide="ignore"):
            shift = np.where(np.isneginf(largest), 0.0, largest)
            return np.asarray(shift + np.log(np.exp(logs - shift[..., None]).sum(axis=-1)))

    def entropy(self) -> NoReturn:
        """Raise TypeError: the entropy of a mixture has no closed form."""
        raise TypeError("the entropy of a Mixture has no closed form; average -log_prob over samples")


def _check_component(each: Any) -> None:
    if isinstance(each, str):
        validation.choice(each, "components", WORDS)
    else:
        validation.instance(each, "components", (Bernoulli, Normal, Encoder))


def _is_real(each: Any) -> bool | None:
    """Whether over real latents; None where the model decides."""
    if isinstance(each, Encoder):
        return each.family == "normal"
    if isinstance(each, str):
        return False if each == "uniform" else None
    return isinstance(each, Normal)


def _common(components: Sequence[Any], name: str) -> int | None:
    known = {getattr(each, name) for each in components if not isinstance(each, str)} - {None}
    if len(known) > 1:
        raise ValueError(f"components must have the same {name}, got {' and '.join(map(str, sorted(known)))}")
    return known.pop() if known else None
