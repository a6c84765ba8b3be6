"""Binary pixels whose logits are linear in binary latents."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.core.functions import bernoulli_log_prob, sigmoid
from fastvi.core.registry import rules_of
from fastvi.core.seeds import takes_rng
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.models.base import LatentVariableModel, Pairs

# what a prior may be, by the name that a file keeps; imported when it is needed
_PRIORS = {
    "SigmoidBeliefNetwork": "fastvi.models.sigmoid_belief_network",
    "BoltzmannMachine": "fastvi.models.boltzmann_machine",
}


class SigmoidBeliefNetwork(LatentVariableModel):
    """Sigmoid belief network: binary pixels that depend on binary latents, which are their causes.

        p(x, z) = prod_i Bernoulli(z_i; prior_logits_i) prod_j Bernoulli(x_j; eta_j), eta = W z + b.

    With softplus(t) = log(1 + exp(t)),

        log p(x, z) = sum_j [x_j eta_j - softplus(eta_j)] + sum_i [z_i c_i - softplus(c_i)], c = prior_logits.

    A deep network has another model of binary units as its prior: with ``prior=`` a network whose pixels, or
    a Boltzmann machine whose units, are the d latents,

        log p(x, z) = sum_j [x_j eta_j - softplus(eta_j)] + log p(z),

    where log p(z) is the log marginal of that model: its own latents are summed out, exactly. The latents of
    a deep network are those of its lowest layer.

    Parameters
    ----------
    weights : array_like, (D, d)
        W, finite. D >= 0 pixels, d >= 1 latents.
    bias : array_like, (D,)
        b, finite.
    prior_logits : array_like, (d,)
        Log odds of z_i = 1 before anything is seen, finite.
    prior : SigmoidBeliefNetwork or BoltzmannMachine
        In place of ``prior_logits``: the distribution of z. Its ``num_pixels`` (of a network, which may be
        deep itself) or ``num_units`` (of a Boltzmann machine) is d.

    Attributes
    ----------
    weights, bias : ndarray, float64, read-only
    prior_logits : ndarray, (d,), float64, read-only, or None
        None where the network is deep.
    num_pixels, num_latents : int
        D and d.
    prior : Bernoulli, SigmoidBeliefNetwork or BoltzmannMachine
        p(z).
    is_deep : bool
        Whether ``prior`` is a model rather than a Bernoulli distribution.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, for values that are not finite, for weights so large that a logit
        overflows, and unless exactly one of ``prior_logits`` and ``prior`` is given.

    References
    ----------
    R. M. Neal, "Connectionist learning of belief networks", Artificial Intelligence 56 (1992), section 3.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0, 0.0], [0.0, -1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> model.log_joint([1, 0], [[0, 0], [1, 1]])
    array([-3.05351853, -1.98729936])
    >>> deep = fastvi.SigmoidBeliefNetwork([[1.0, 3.0], [0.0, -1.0]], [0.0, 0.0], prior=model)
    >>> deep.is_deep, deep.num_latents
    (True, 2)
    """

    weights: np.ndarray
    bias: np.ndarray
    prior_logits: Any  # an array, or None where the network is deep
    num_pixels: int
    num_latents: int
    _deep_prior: Any  # None, or the model that is the prior

    def __init__(
        self, weights: ArrayLike, bias: ArrayLike, prior_logits: ArrayLike | None = None, *, prior: Any = None
    ) -> None:
        w = validation.float_array(weights, "weights", ndim=2)
        num_pixels, num_latents = w.shape
        if num_latents < 1:
            raise ValueError(f"weights must have shape (num_pixels, num_latents >= 1), got shape {w.shape}")
        b = validation.float_array(bias, "bias", ndim=1, shape=(num_pixels,))
        if (prior_logits is None) == (prior is None):
            came = "neither" if prior is None else "both"
            raise TypeError(f"prior_logits or prior must be given, exactly one of them, got {came}")
        if prior is None:
            logits = validation.float_array(prior_logits, "prior_logits", ndim=1, shape=(num_latents,))
            logits = validation.frozen_array(logits)
        else:
            logits = None
            _check_prior(prior, num_latents)
        with np.errstate(over="ignore"):
            reach = np.abs(w).sum(axis=1) + np.abs(b)
        validation.require(
            reach, np.isfinite(reach), "weights and bias must keep sum |weights_j| + |bias_j| finite"
        )
        self._set(
            weights=validation.frozen_array(w),
            bias=validation.frozen_array(b),
            prior_logits=logits,
            num_pixels=num_pixels,
            num_latents=num_latents,
            _deep_prior=prior,
        )

    def __repr__(self) -> str:
        prior = f", prior={self._deep_prior!r}" if self.is_deep else ""
        return f"SigmoidBeliefNetwork(num_pixels={self.num_pixels}, num_latents={self.num_latents}{prior})"

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {"weights": self.weights, "bias": self.bias}
        if not self.is_deep:
            return {**arrays, "prior_logits": self.prior_logits}
        kind = type(self._deep_prior)
        if _PRIORS.get(kind.__name__) != kind.__module__:  # what comes back would be of another class
            raise TypeError(
                f"prior must be one of {', '.join(_PRIORS)} to be saved or pickled, got "
                f"{validation.with_article(kind.__name__)} of {kind.__module__}"
            )
        nested = {f"prior_{name}": array for name, array in self._deep_prior.arrays().items()}
        return {**arrays, "prior_kind": np.array(kind.__name__), **nested}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        if "prior_kind" not in arrays:
            return cls(**arrays)
        rest = dict(arrays)
        kind = validation.choice(str(rest.pop("prior_kind")), "prior_kind", _PRIORS)
        inner = {name: rest.pop(name) for name in arrays if name in rest and name.startswith("prior_")}
        home = getattr(importlib.import_module(_PRIORS[kind]), kind)
        prior = home.from_arrays({name.removeprefix("prior_"): array for name, array in inner.items()})
        return cls(**rest, prior=prior)

    @property
    def is_deep(self) -> bool:
        """Whether the prior of the latents is a model with parameters of its own.

        Examples
        --------
        >>> import fastvi
        >>> top = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> deep = fastvi.SigmoidBeliefNetwork([[1.0, 3.0], [0.0, -1.0]], [0.0, 0.0], prior=top)
        >>> top.is_deep, deep.is_deep
        (False, True)
        """
        return self._deep_prior is not None

    @cached_property
    def prior(self) -> Any:
        """p(z): a factorised Bernoulli distribution, or the model that a deep network was given.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [-1.0])
        >>> model.prior.mean.round(3)
        array([0.269])
        """
        return self._deep_prior if self.is_deep else Bernoulli(self.prior_logits)

    @property
    def _layers(self) -> tuple[tuple[np.ndarray, np.ndarray]]:
        return ((self.weights, self.bias),)

    def log_prior(self, z: np.ndarray) -> np.ndarray:
        """Log p(z) in nats of bits (..., d), the last axis summed.

        Examples
        --------
        >>> import fastvi, numpy
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [-1.0])
        >>> numpy.exp(model.log_prior(numpy.array([[0], [1]]))).round(3)
        array([0.731, 0.269])
        """
        if not self.is_deep:
            return np.asarray(bernoulli_log_prob(z, self.prior_logits).sum(axis=-1))
        return np.reshape(rules_of(self._deep_prior).log_prior(z.reshape(-1, self.num_latents)), z.shape[:-1])

    def _logits(self, z: np.ndarray) -> np.ndarray:
        """Eta = W z + b, (..., D). Not by BLAS: its last bits depend on the number of threads."""
        from fastvi.engine.decoder.large_logits import LargeLogits, are_large

        bits = z.astype(np.float64)
        if are_large(self._layers, "relu", np.zeros(0)):
            eta = LargeLogits(self._layers, "relu")(bits.reshape(-1, self.num_latents))
            return eta.reshape(*z.shape[:-1], self.num_pixels)
        return np.einsum("...i,ji->...j", bits, self.weights) + self.bias

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Log p(x, z) in nats.

        Parameters
        ----------
        x : array_like of 0 and 1, (..., D)
        z : array_like of 0 and 1, (..., d)
            The leading axes of x and z broadcast as in NumPy: ``log_joint(x[:, None], z[None])`` gives all
            pairs, (N, S).

        Returns
        -------
        ndarray, float64
            The broadcast shape of the leading axes.

        Examples
        --------
        >>> import fastvi, numpy
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> x = numpy.array([[1, 0], [1, 1], [0, 0]])
        >>> pairs = model.log_joint(x[:, None], [[0], [1]])  # every datum with every state
        >>> pairs.round(3)
        array([[-2.36 , -1.294],
               [-1.86 , -1.794],
               [-2.36 , -3.294]])
        """
        pixels = validation.binary_array(x, "x", self.num_pixels)
        latents = validation.binary_array(z, "z", self.num_latents)
        shape = validation.broadcasting("x[..., 0]", pixels.shape[:-1], "z[..., 0]", latents.shape[:-1])
        out = np.broadcast_to(self.log_prior(latents), shape).copy()
        in_blocks(self._add_log_likelihood, pixels, latents, out, self.num_pixels, BLOCK)
        return out

    def _add_log_likelihood(self, x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
        """Add log p(x | z) to ``out``."""
        out += bernoulli_log_prob(x, self._logits(z)).sum(axis=-1)

    def check_draws(self) -> None:
        """Refuse a prior that cannot be drawn from before any room is made for x."""
        if self.is_deep:
            self._deep_prior.check_draws()

    @takes_rng
    def sample(self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None) -> Pairs:
        """Draw z from the prior and x given z.

        The stream of numbers is Philox keyed by ``seed``. In a deep network it serves x alone; the prior
        draws z with a seed of its own, the first 64-bit word of
        ``numpy.random.SeedSequence(seed, spawn_key=(1,))``, so that each layer has an independent stream.

        Parameters
        ----------
        num
            Number of draws, at least 0.
        seed
            0 <= seed < 2**64; the draws are a pure function of it.
        rng
            A generator that gives the seed, in place of ``seed``.

        Returns
        -------
        A named tuple of

        z : ndarray, (num, d), uint8
        x : ndarray, (num, D), uint8

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> z, x = model.sample(10000, seed=0)
        >>> x[z[:, 0] == 1].mean(axis=0).round(1), x[z[:, 0] == 0].mean(axis=0).round(1)
        (array([0.9, 0.4]), array([0.5, 0.6]))
        """
        num = validation.positive_int(num, "num", 0)
        seed = validation.seed(seed)
        self.check_draws()
        generator = np.random.Generator(np.random.Philox(key=seed))
        z = np.empty((num, self.num_latents), dtype=np.uint8)
        x = np.empty((num, self.num_pixels), dtype=np.uint8)
        rows = max(1, BLOCK // max(self.num_pixels, self.num_latents))
        blocks = [slice(start, start + rows) for start in range(0, num, rows)]
        # all of z before any x: the stream is then read in an order that does not depend on the size of a
        # block
        if self.is_deep:
            inner_seed = np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0]
            z[...] = self._deep_prior.sample(num, int(inner_seed)).x
        else:
            for block in blocks:
                z[block] = generator.random(z[block].shape) < sigmoid(self.prior_logits)
        for block in blocks:
            x[block] = generator.random(x[block].shape) < sigmoid(self._logits(z[block]))
        return Pairs(z, x)


def factorised(model: Any) -> SigmoidBeliefNetwork:
    """The argument ``model`` where it is a network with a factorised prior."""
    validation.instance(model, "model", SigmoidBeliefNetwork)
    if model.is_deep:
        raise ValueError(f"model must have a factorised prior (prior_logits) here, got {model!r}")
    return model


def _check_prior(prior: Any, num_latents: int) -> None:
    """``prior`` is a model over exactly ``num_latents`` binary units."""
    if isinstance(prior, SigmoidBeliefNetwork):
        size, name = prior.num_pixels, "num_pixels"
    else:
        from fastvi.models.boltzmann_machine import BoltzmannMachine

        validation.instance(prior, "prior", (SigmoidBeliefNetwork, BoltzmannMachine))
        size, name = prior.num_units, "num_units"
    if size != num_latents:
        raise ValueError(
            f"prior must have {name} {num_latents}, the latents that weights have, got {name} {size}"
        )
