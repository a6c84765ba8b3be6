"""Rules of SigmoidBeliefNetwork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.core.functions import sigmoid
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine.decoder.block_form import BlockForm
from fastvi.engine.decoder.direct_form import direct_form
from fastvi.engine.decoder.large_logits import are_large
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import num_chunks
from fastvi.engine.states.data_terms import BinaryData
from fastvi.engine.states.softplus_form import softplus_form
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.rules.base import Gradient, LogPrior, Rules, gradient_of, relaxed_bits
from fastvi.rules.kept import kept
from fastvi.rules.questions import (
    BY_SAMPLES,
    ENUMERATED,
    EXACTLY_FITTED,
    LEARNED,
    LOG_MARGINAL_BOUNDS,
    MISSING,
    ON_GPU,
    UPPER_BOUND,
)

if TYPE_CHECKING:
    from fastvi.engine.annealing.chains import Schedule
    from fastvi.engine.mean_field.mean_field import MeanFieldFit


class SigmoidBeliefNetworkRules(Rules):
    """Rules of :class:`~fastvi.SigmoidBeliefNetwork`."""

    model: SigmoidBeliefNetwork

    def __init__(self, model: SigmoidBeliefNetwork) -> None:
        super().__init__(model)
        self.layers, self.is_deep = ((model.weights, model.bias),), model.is_deep
        self.questions = ENUMERATED | MISSING | BY_SAMPLES | LEARNED | EXACTLY_FITTED
        if not model.is_deep:
            self.questions |= ON_GPU | {UPPER_BOUND, LOG_MARGINAL_BOUNDS}

    @property
    def deep_prior(self) -> Rules | None:
        return rules_of(self.model.prior) if self.is_deep else None

    @property
    def _prior_of_states(self) -> LogPrior | None:
        """Log p(z) of a deep network's states."""
        return None if self.deep_prior is None else self.deep_prior.log_prior

    reads_device_data = True
    samples_in_float32 = True
    samples_open_subcubes = True
    is_probability = True

    def form(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        large = self._large_form(observed)
        return self._small_form(observed, dtype) if large is None else large

    def _large_form(self, observed: np.ndarray, *, with_prior: bool = True) -> Any:
        """Form of logits so large that sums with a linear part would lose digits; None where they are not.

        Not ``with_prior``, all states are as probable.
        """
        prior = np.zeros(self.num_latents)
        if with_prior and not self.is_deep:
            prior = self.model.prior_logits
        deep = self._prior_of_states if with_prior else None
        return direct_form(self.layers, "relu", None, prior, observed, deep)

    def _is_large(self, observed: np.ndarray) -> bool:
        seen = (self.model.weights[observed], self.model.bias[observed])
        return are_large((seen,), "relu", np.zeros(0) if self.is_deep else self.model.prior_logits)

    def _small_form(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        """Form of logits that are not that large."""
        weights, bias = self.model.weights[observed], self.model.bias[observed]
        if not self.is_deep:
            return softplus_form(weights, bias, self.model.prior_logits, dtype=dtype)
        return softplus_form(
            weights, bias, np.zeros(self.num_latents), dtype=dtype,
            log_prior=self._prior_of_states,
        )  # fmt: skip

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        from fastvi.engine.memory.tiles import TileMemory

        seen = int(observed.sum())
        return TileMemory.of(self.num_latents, seen, seen, dtype, deep=self.is_deep)

    def subcube_form(self, observed: np.ndarray) -> Any:
        from fastvi.engine.subcubes.softplus_subcubes import softplus_subcubes

        if self.is_deep:  # log p(z) is not concave in z
            return super().subcube_form(observed)
        m = self.model
        # weights[:, order] and the like are copies: kernels are compiled once more for read-only arrays
        return softplus_subcubes(m.weights[observed], m.bias[observed], m.prior_logits)

    def sampling_target(
        self, observed: np.ndarray, num_states: int, *, with_prior: bool = True, dtype: str = "float64"
    ) -> Any:
        from fastvi.engine.importance.decoder_target import BinaryDecoderTarget
        from fastvi.engine.importance.softplus_target import ProductTarget

        prior = self._prior_of_states if with_prior else None
        if self._is_large(observed):
            factorised = self.model.prior_logits if with_prior and not self.is_deep else None
            decoder = self.layers, "relu", None, observed
            return BinaryDecoderTarget(*decoder, self.num_latents, factorised, prior)
        weights, bias = (
            np.ascontiguousarray(part[observed]) for part in (self.model.weights, self.model.bias)
        )
        data = BinaryData(weights, bias, np.zeros(self.num_latents), 0.0)
        logits = self.model.prior_logits if with_prior else None
        return ProductTarget(weights, bias, -1.0, data, logits, prior, num_states, dtype)

    def sampled_joint(self, x: np.ndarray, z: np.ndarray, dtype: str = "float64") -> Any:
        from fastvi.engine.expectation.sampled_joint import BernoulliPrior, ModelPrior, SampledJoint

        prior: Any
        deep = self._prior_of_states
        if deep is not None:
            prior = ModelPrior(deep, self._gradient_of_prior)
        else:
            prior = BernoulliPrior(self.model.prior_logits)
        return SampledJoint(self.layers, "relu", None, prior, [("weights", "bias")], x, z, dtype)

    def reconstruction(self, x: np.ndarray, observed: np.ndarray, q: Any) -> np.ndarray:
        from fastvi.engine.expectation.expectations import expected_log_likelihood
        from fastvi.engine.expectation.expected_joint import expected_joint

        form = kept(
            self, "likelihood", observed.tobytes(), lambda: self._likelihood_form(observed),
            lambda: self.memory(observed).tables,
        )  # fmt: skip
        if isinstance(form, BlockForm):  # of large logits, in which all states are as probable
            return expected_joint(form, x, q.logits) + self.num_latents * np.log(2.0)
        return expected_log_likelihood(form, x, q.logits)

    def _likelihood_form(self, observed: np.ndarray) -> Any:
        """Form of log p(x | z)."""
        large = self._large_form(observed, with_prior=False)
        if large is not None:
            return large
        none = np.zeros(self.num_latents)
        return softplus_form(self.model.weights[observed], self.model.bias[observed], none, fold_prior=False)

    def prior(self) -> Any:
        return self.model.prior

    def prior_proposal(self) -> Any:
        from fastvi.engine.importance.proposals import Ancestral

        if not self.is_deep:
            return self.model.prior
        layers, above = [], self.deep_prior
        while isinstance(above, SigmoidBeliefNetworkRules):
            layers.append((above.model.weights, above.model.bias))
            if above.deep_prior is None:
                return Ancestral(above.model.prior_logits, tuple(reversed(layers)))
            above = above.deep_prior
        raise ValueError(
            f"proposal 'prior' must belong to directed layers all the way up, got {self.model!r}; use a "
            "Bernoulli"
        )

    def initial(self) -> Bernoulli:
        if self.is_deep:
            raise ValueError(
                "initial must be a Bernoulli or Uniform distribution where model is a deep network, whose "
                "prior is not factorised, got 'prior'"
            )
        return self.model.prior  # type: ignore[no-any-return]

    def annealed_log_weights(
        self, x: np.ndarray, initial: np.ndarray, schedule: Schedule, num_leapfrog: int
    ) -> np.ndarray:
        from fastvi.engine.annealing.general import general_log_weights
        from fastvi.engine.annealing.targets import NetworkTarget
        from fastvi.engine.annealing.units import softplus_log_weights

        m, log_prior = self.model, self._prior_of_states or self.model.log_prior
        if not self.is_deep and not are_large(self.layers, "relu", m.prior_logits):
            return softplus_log_weights(m.weights, m.bias, m.prior_logits, x, initial, schedule)
        target = NetworkTarget(self.layers, "relu", None, x, log_prior, bits=True)
        return general_log_weights(target, initial, schedule)

    def mean_field(
        self, x: np.ndarray, starts: list[np.ndarray], max_sweeps: int, tolerance: float
    ) -> MeanFieldFit:
        from fastvi.engine.mean_field import block_mean_field, mean_field

        form = self.kept_form(np.ones(self.num_pixels, bool))
        ascend = block_mean_field.ascend if isinstance(form, BlockForm) else mean_field.fit
        return ascend(form, x, starts, max_sweeps, tolerance)

    def zero_gradient(self) -> Gradient:
        zeros = {"weights": np.zeros(self.model.weights.shape), "bias": np.zeros(self.num_pixels)}
        if self.deep_prior is None:
            return {**zeros, "prior_logits": np.zeros(self.num_latents)}
        return {**zeros, **{f"prior_{k}": v for k, v in self.deep_prior.zero_gradient().items()}}

    def check_relaxed_data(
        self, x: Any, observed: Any, name: str = "x"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        return relaxed_bits(x, observed, self.num_pixels, name)

    @property
    def pass_numbers(self) -> int:
        return self.num_latents + 2

    def first_pass(
        self, x: np.ndarray, observed: np.ndarray, run: Run
    ) -> tuple[np.ndarray, np.ndarray] | None:
        from fastvi.engine.posterior.state_moments import first_pass

        if self._is_large(observed):
            return None
        form = self._small_form(observed)
        found = first_pass(form, x, run)
        # its tables take a tenth of both passes at N = 100, D = 784, d = 16: they wait for the second one
        self._waiting = observed.tobytes(), form
        return found.evidence, found.packed(self.num_latents)

    def _form_after_first_pass(self, observed: np.ndarray) -> Any:
        seen, form = self.__dict__.pop("_waiting", (b"", None))
        return form if seen == observed.tobytes() and form is not None else self._small_form(observed)

    def gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> Gradient:  # fmt: skip
        from fastvi.engine.linalg.weighted_sums import weighted_sums
        from fastvi.engine.posterior.state_moments import FirstPass, state_moments, states_of

        out = self.zero_gradient()
        if first is None:
            form = self.kept_form(observed)
            if isinstance(form, BlockForm):  # of large logits
                return {**out, **self._large_gradient(form, x, data_weights, observed, run)}
            found = state_moments(form, x, data_weights, run)
        else:
            passed = FirstPass.unpacked(first, self.num_latents)
            found = state_moments(self._form_after_first_pass(observed), x, data_weights, run, passed)
        weights, bias = weighted_sums(x, data_weights, found.mean)
        seen = ... if len(bias) == self.num_pixels else observed  # all of them, without looking one by one
        out["weights"][seen] = weights - found.values[:, :-1]
        out["bias"][seen] = bias - found.values[:, -1]
        if not self.is_deep:
            posterior = (data_weights[:, None] * found.mean).sum(axis=0)
            out["prior_logits"] = posterior - data_weights.sum() * sigmoid(self.model.prior_logits)
            return out
        return {**out, **self._gradient_of_prior(*states_of(found), run)}

    def pixel_gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        from fastvi.engine.linalg.products import matmul
        from fastvi.engine.posterior.log_sum import log_sums_and_means

        if first is None:
            form = self.kept_form(observed)
            mean = log_sums_and_means(form, x, run)[1][:, np.argsort(form.order)]
        else:
            mean = np.ascontiguousarray(first[:, 2:])
        weights, bias = self.model.weights[observed], self.model.bias[observed]
        return data_weights[:, None] * matmul(mean, np.ascontiguousarray(weights.T), bias)

    def _large_gradient(
        self, form: Any, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run
    ) -> Gradient:
        """:meth:`gradient` from the form of large logits."""
        from fastvi.engine.decoder.direct_gradient import direct_gradient

        found = direct_gradient(form, x, data_weights, run)
        out = {"weights": np.zeros_like(self.model.weights), "bias": np.zeros_like(self.model.bias)}
        out["weights"][observed], out["bias"][observed] = found["weight_0"], found["bias_0"]
        if not self.is_deep:
            return {
                **out,
                "prior_logits": found["prior"] - data_weights.sum() * sigmoid(self.model.prior_logits),
            }
        return {**out, **self._gradient_of_prior(form.states(), found["states"], run)}

    def _gradient_of_prior(self, z: np.ndarray, weights: np.ndarray, run: Run | None = None) -> Gradient:
        """Gradient of sum_s weights_s log p(z_s) under the prior of a deep network."""
        everything = np.ones(self.num_latents, bool)
        assert self.deep_prior is not None
        prior = gradient_of(self.deep_prior, z, weights, everything, Run() if run is None else run)
        return {f"prior_{name}": value for name, value in prior.items()}

    def without_deep_prior(self) -> Rules:
        m = self.model
        return rules_of(SigmoidBeliefNetwork(m.weights, m.bias, np.zeros(self.num_latents)))

    def states_above(self) -> int:
        prior = self.deep_prior
        if prior is None:
            return 0
        everything = np.ones(self.num_latents, bool)
        free, partition = prior.free_latents(everything).size, prior.partition_form()
        states = 2 * num_chunks(1 << self.num_latents) << free if free else 0
        return states + prior.states_above() + (0 if partition is None else 2 * partition.num_states)


make_rules = SigmoidBeliefNetworkRules
