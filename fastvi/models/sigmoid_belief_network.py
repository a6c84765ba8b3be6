"""Binary pixels whose logits are linear in binary latents."""

from __future__ import annotations

import importlib
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.core.blocks import BLOCK, in_blocks
from fastvi.core.functions import bernoulli_log_prob, sigmoid
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine.linalg.weighted_sums import weighted_sums
from fastvi.models.base import Pairs
from fastvi.models.enumerable import Enumerable, LogPrior, gradient_of

# what a prior may be, by the name that a file keeps; imported when it is needed
_PRIORS = {
    "SigmoidBeliefNetwork": "fastvi.models.sigmoid_belief_network",
    "BoltzmannMachine": "fastvi.models.boltzmann_machine",
}


class SigmoidBeliefNetwork(Enumerable):
    """p(x, z) = prod_i Bernoulli(z_i; prior_logits_i) prod_j Bernoulli(x_j; eta_j), eta = W z + b.

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
    _data_by_terms = True
    _sums_to_one = True

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

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"weights": self.weights, "bias": self.bias}
        if not self.is_deep:
            return {**arrays, "prior_logits": self.prior_logits}
        kind = type(self._deep_prior)
        if _PRIORS.get(kind.__name__) != kind.__module__:  # what comes back would be of another class
            raise TypeError(
                f"prior must be one of {', '.join(_PRIORS)} to be saved or pickled, got "
                f"{validation.with_article(kind.__name__)} of {kind.__module__}"
            )
        nested = {f"prior_{name}": array for name, array in self._deep_prior._arrays().items()}
        return {**arrays, "prior_kind": np.array(kind.__name__), **nested}

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        if "prior_kind" not in arrays:
            return cls(**arrays)
        rest = dict(arrays)
        kind = validation.choice(str(rest.pop("prior_kind")), "prior_kind", _PRIORS)
        inner = {name: rest.pop(name) for name in arrays if name in rest and name.startswith("prior_")}
        home = getattr(importlib.import_module(_PRIORS[kind]), kind)
        prior = home._from_arrays({name.removeprefix("prior_"): array for name, array in inner.items()})
        return cls(**rest, prior=prior)

    @property
    def is_deep(self) -> bool:
        """Whether the prior of the latents is a model with parameters of its own."""
        return self._deep_prior is not None

    @property
    def prior(self) -> Any:
        """p(z): a factorised Bernoulli distribution, or the model that a deep network was given."""
        return self._deep_prior if self.is_deep else Bernoulli(self.prior_logits)

    @property
    def _layers(self) -> tuple[tuple[np.ndarray, np.ndarray]]:
        return ((self.weights, self.bias),)

    def _log_prior(self, z: np.ndarray) -> np.ndarray:
        """log p(z) in nats of bits (..., d), the last axis summed."""
        if not self.is_deep:
            return np.asarray(bernoulli_log_prob(z, self.prior_logits).sum(axis=-1))
        return np.reshape(LogPrior(self._deep_prior)(z.reshape(-1, self.num_latents)), z.shape[:-1])

    def _form(self, pixels: np.ndarray, dtype: str) -> Any:
        large = self._large_form(pixels)
        return self._small_form(pixels, dtype) if large is None else large

    def _large_form(self, pixels: np.ndarray, *, with_prior: bool = True) -> Any:
        """Form of logits so large that sums with a linear part would lose digits; None where they are not.

        Not ``with_prior``, all states are as probable.
        """
        from fastvi.engine.decoder.direct_form import direct_form

        prior = np.zeros(self.num_latents)
        if with_prior and not self.is_deep:
            prior = self.prior_logits
        deep = LogPrior(self._deep_prior) if with_prior and self.is_deep else None
        return direct_form(self._layers, "relu", None, prior, pixels, deep)

    def _small_form(self, pixels: np.ndarray, dtype: str) -> Any:
        """Form of logits that are not that large."""
        from fastvi.engine.states.softplus_form import softplus_form

        weights, bias = self.weights[pixels], self.bias[pixels]
        if not self.is_deep:
            return softplus_form(weights, bias, self.prior_logits, dtype=dtype)
        return softplus_form(
            weights, bias, np.zeros(self.num_latents), dtype=dtype,
            log_prior=LogPrior(self._deep_prior),
        )  # fmt: skip

    def _memory(self, pixels: np.ndarray, dtype: str) -> Any:
        from fastvi.engine.memory.tiles import TileMemory

        seen = int(pixels.sum())
        return TileMemory.of(self.num_latents, seen, seen, dtype, deep=self.is_deep)

    def _target(self, pixels: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        from fastvi.engine.decoder.large_logits import are_large
        from fastvi.engine.importance.decoder_target import BinaryDecoderTarget
        from fastvi.engine.importance.softplus_target import ProductTarget
        from fastvi.engine.states.data_terms import BinaryData

        prior = LogPrior(self._deep_prior) if self.is_deep and with_prior else None
        seen = (self.weights[pixels], self.bias[pixels])
        if are_large((seen,), "relu", np.zeros(0) if self.is_deep else self.prior_logits):
            factorised = self.prior_logits if with_prior and not self.is_deep else None
            decoder = self._layers, "relu", None, pixels
            return BinaryDecoderTarget(*decoder, self.num_latents, factorised, prior)
        weights, bias = (np.ascontiguousarray(part[pixels]) for part in (self.weights, self.bias))
        data = BinaryData(weights, bias, np.zeros(self.num_latents), 0.0)
        logits = self.prior_logits if with_prior else None
        return ProductTarget(weights, bias, -1.0, data, logits, prior, num_states)

    def _sampled_joint(self, x: np.ndarray, z: np.ndarray) -> Any:
        from fastvi.engine.expectation.sampled_joint import BernoulliPrior, ModelPrior, SampledJoint

        prior: Any = None
        if self.is_deep:
            prior = ModelPrior(LogPrior(self._deep_prior), self._gradient_of_prior)
        else:
            prior = BernoulliPrior(self.prior_logits)
        return SampledJoint(self._layers, "relu", None, prior, [("weights", "bias")], x, z)

    def _reconstruction(self, x: np.ndarray, pixels: np.ndarray, q: Any) -> np.ndarray:
        from fastvi.engine.expectation.expectations import expected_log_likelihood
        from fastvi.engine.expectation.expected_joint import expected_joint
        from fastvi.engine.states.softplus_form import softplus_form

        large = self._large_form(pixels, with_prior=False)
        if large is not None:
            return expected_joint(large, x, q.logits) + self.num_latents * np.log(2.0)
        none = np.zeros(self.num_latents)
        form = softplus_form(self.weights[pixels], self.bias[pixels], none, fold_prior=False)
        return expected_log_likelihood(form, x, q.logits)

    def _prior(self) -> Any:
        return self.prior

    def _prior_proposal(self) -> Any:
        if not self.is_deep:
            return self.prior
        from fastvi.engine.importance.proposals import Ancestral

        layers, above = [], self._deep_prior
        while isinstance(above, SigmoidBeliefNetwork):
            layers.append((above.weights, above.bias))
            if not above.is_deep:
                return Ancestral(above.prior_logits, tuple(reversed(layers)))
            above = above._deep_prior
        raise ValueError(
            f"proposal 'prior' must belong to directed layers all the way up, got {self!r}; use a Bernoulli"
        )

    def _no_gradient(self) -> dict[str, np.ndarray]:
        zeros = {"weights": np.zeros_like(self.weights), "bias": np.zeros_like(self.bias)}
        if not self.is_deep:
            return {**zeros, "prior_logits": np.zeros_like(self.prior_logits)}
        return {**zeros, **{f"prior_{k}": v for k, v in self._deep_prior._no_gradient().items()}}

    def _gradient(
        self, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray, run: Any
    ) -> dict[str, np.ndarray]:
        from fastvi.engine.posterior.state_moments import state_moments, states_of

        out, large = self._no_gradient(), self._large_form(pixels)
        if large is not None:
            return {**out, **self._large_gradient(large, x, data_weights, pixels, run)}
        found = state_moments(self._small_form(pixels, "float64"), x, data_weights, run)
        weights, bias = weighted_sums(x, data_weights, found.mean)
        out["weights"][pixels] = weights - found.values[:, :-1]
        out["bias"][pixels] = bias - found.values[:, -1]
        if not self.is_deep:
            posterior = (data_weights[:, None] * found.mean).sum(axis=0)
            out["prior_logits"] = posterior - data_weights.sum() * sigmoid(self.prior_logits)
            return out
        return {**out, **self._gradient_of_prior(*states_of(found), run)}

    def _large_gradient(
        self, form: Any, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray, run: Any
    ) -> dict[str, np.ndarray]:
        """``_gradient`` from the form of large logits."""
        from fastvi.engine.decoder.direct_gradient import direct_gradient

        found = direct_gradient(form, x, data_weights, run)
        out = {"weights": np.zeros_like(self.weights), "bias": np.zeros_like(self.bias)}
        out["weights"][pixels], out["bias"][pixels] = found["weight_0"], found["bias_0"]
        if not self.is_deep:
            return {**out, "prior_logits": found["prior"] - data_weights.sum() * sigmoid(self.prior_logits)}
        return {**out, **self._gradient_of_prior(form.states(), found["states"], run)}

    def _gradient_of_prior(
        self, z: np.ndarray, weights: np.ndarray, run: Any = None
    ) -> dict[str, np.ndarray]:
        """Gradient of sum_s weights_s log p(z_s) under the prior of a deep network."""
        from fastvi.engine.run.runs import Run

        everything = np.ones(self.num_latents, bool)
        prior = gradient_of(self._deep_prior, z, weights, everything, Run() if run is None else run)
        return {f"prior_{name}": value for name, value in prior.items()}

    def _states_above(self) -> int:
        if not self.is_deep:
            return 0
        from fastvi.engine.run.slices import num_chunks

        prior, everything = self._deep_prior, np.ones(self.num_latents, bool)
        free, partition = prior._free(everything).size, prior._partition_form()
        states = 2 * num_chunks(1 << self.num_latents) << free if free else 0
        return states + prior._states_above() + (0 if partition is None else 2 << partition.num_latents)

    def _logits(self, z: np.ndarray) -> np.ndarray:
        """eta = W z + b, (..., D). Not by BLAS: its last bits depend on the number of threads."""
        from fastvi.engine.decoder.large_logits import LargeLogits, are_large

        bits = z.astype(np.float64)
        if are_large(self._layers, "relu", np.zeros(0)):
            eta = LargeLogits(self._layers, "relu")(bits.reshape(-1, self.num_latents))
            return eta.reshape(*z.shape[:-1], self.num_pixels)
        return np.einsum("...i,ji->...j", bits, self.weights) + self.bias

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """log p(x, z) in nats.

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
        """
        pixels = validation.binary_array(x, "x", self.num_pixels)
        latents = validation.binary_array(z, "z", self.num_latents)
        shape = validation.broadcasting("x[..., 0]", pixels.shape[:-1], "z[..., 0]", latents.shape[:-1])
        out = np.broadcast_to(self._log_prior(latents), shape).copy()
        in_blocks(self._add_log_likelihood, pixels, latents, out, self.num_pixels, BLOCK)
        return out

    def _add_log_likelihood(self, x: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
        """Add log p(x | z) to ``out``."""
        out += bernoulli_log_prob(x, self._logits(z)).sum(axis=-1)

    def _check_draws(self) -> None:
        """Refuse a prior that cannot be drawn from before any room is made for x."""
        if self.is_deep:
            self._deep_prior._check_draws()

    def sample(self, num: int, seed: int) -> Pairs:
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

        Returns
        -------
        A named tuple of

        z : ndarray, (num, d), uint8
        x : ndarray, (num, D), uint8
        """
        num = validation.positive_int(num, "num", 0)
        seed = validation.seed(seed)
        self._check_draws()
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
