"""Rules of NeuralDecoder: one class for bits, one for real latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.core import validation
from fastvi.core.functions import ACTIVATIONS, bernoulli_log_prob, sigmoid
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.multivariate_normal import moments_of
from fastvi.distributions.normal import Normal
from fastvi.engine.decoder.block_form import BlockForm
from fastvi.engine.decoder.decoder_form import block_form
from fastvi.engine.run.runs import Run
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.rules.base import Gradient, Rules, relaxed_bits
from fastvi.rules.questions import (
    BY_SAMPLES,
    ELBO,
    ENUMERATED,
    FIT_ENCODER_FORWARD,
    FIT_POSTERIOR,
    FIT_POSTERIOR_FORWARD,
    LEARNED,
    LOG_MARGINAL,
    MISSING,
    PLAN,
)
from fastvi.rules.real_latents import RealLatentsRules

if TYPE_CHECKING:
    from fastvi.engine.annealing.chains import Schedule
    from fastvi.engine.expectation.sampled_joint import SampledJoint
    from fastvi.engine.importance.decoder_target import BinaryDecoderTarget
    from fastvi.engine.mean_field.mean_field import MeanFieldFit
    from fastvi.engine.memory.blocks import BlockMemory

_WORDS = ("activation", "likelihood")  # arrays that are no parameters


class _Decoder(Rules):
    """Rules that do not depend on the prior."""

    model: NeuralDecoder

    def __init__(self, model: NeuralDecoder) -> None:
        super().__init__(model)
        self.layers, self.activation, self.noise_std = model.layers, model.activation, model.noise_std
        self.is_probability = model.noise_std is None
        self.pixel_bytes = 1 if model.noise_std is None else 8
        self.parameter_names = [(f"layer_{i}_weight", f"layer_{i}_bias") for i in range(len(model.layers))]

    def check_data(self, x: Any, observed: Any, name: str = "x") -> tuple[np.ndarray, np.ndarray | None]:
        check = validation.observed_data if self.noise_std is None else validation.observed_real_data
        return check(x, observed, self.num_pixels, name)


class BinaryDecoderRules(_Decoder):
    """Rules of :class:`~fastvi.NeuralDecoder` with a Bernoulli prior."""

    questions = ENUMERATED | MISSING | BY_SAMPLES | LEARNED | {FIT_POSTERIOR}

    def prior(self) -> Bernoulli:
        return self.model.prior  # type: ignore[return-value]

    prior_proposal = prior

    def form(self, observed: np.ndarray, dtype: str = "float64") -> BlockForm:
        return self._form_under(self.prior().logits, observed, dtype)

    def _form_under(
        self, prior_logits: np.ndarray, observed: np.ndarray, dtype: str = "float64"
    ) -> BlockForm:
        network = self.layers, self.activation, ACTIVATIONS[self.activation], self.noise_std
        return block_form(*network, prior_logits, observed, dtype)

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> BlockMemory:
        from fastvi.engine.memory.blocks import BlockMemory

        sizes = [weight.shape[::-1] for weight, _ in self.layers]
        sizes[-1] = sizes[-1][0], int(observed.sum())
        return BlockMemory.of(sizes, self.pixel_bytes, dtype if self.noise_std is None else "float64")

    def sampling_target(
        self, observed: np.ndarray, num_states: int, *, with_prior: bool = True
    ) -> BinaryDecoderTarget:
        from fastvi.engine.importance.decoder_target import BinaryDecoderTarget

        decoder = self.layers, self.activation, self.noise_std, observed
        logits = self.prior().logits if with_prior else None
        return BinaryDecoderTarget(*decoder, self.num_latents, logits)

    def sampled_joint(self, x: np.ndarray, z: np.ndarray) -> SampledJoint:
        from fastvi.engine.expectation.sampled_joint import BernoulliPrior, SampledJoint

        prior, names = BernoulliPrior(self.prior().logits), self.parameter_names
        return SampledJoint(self.layers, self.activation, self.noise_std, prior, names, x, z)

    def reconstruction(self, x: np.ndarray, observed: np.ndarray, q: Any) -> np.ndarray:
        from fastvi.engine.expectation.expected_joint import expected_joint

        form = self._form_under(np.zeros(self.num_latents), observed)
        return expected_joint(form, x, q.logits) + self.num_latents * np.log(2.0)

    def mean_field(
        self, x: np.ndarray, starts: list[np.ndarray], max_sweeps: int, tolerance: float
    ) -> MeanFieldFit:
        from fastvi.engine.mean_field import block_mean_field

        form = self.kept_form(np.ones(self.num_pixels, bool))
        return block_mean_field.ascend(form, x, starts, max_sweeps, tolerance)

    def annealed_log_weights(
        self, x: np.ndarray, initial: np.ndarray, schedule: Schedule, num_leapfrog: int
    ) -> np.ndarray:
        from fastvi.engine.annealing.general import general_log_weights
        from fastvi.engine.annealing.targets import NetworkTarget

        logits = self.prior().logits
        target = NetworkTarget(
            self.layers, self.activation, self.noise_std, x,
            lambda z: np.asarray(bernoulli_log_prob(z, logits).sum(axis=-1)), bits=True,
        )  # fmt: skip
        return general_log_weights(target, initial, schedule)

    def zero_gradient(self) -> Gradient:
        arrays = self.model.arrays()
        return {name: np.zeros_like(value) for name, value in arrays.items() if name not in _WORDS}

    def check_relaxed_data(
        self, x: Any, observed: Any, name: str = "x"
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if self.noise_std is not None:
            return self.check_data(x, observed, name)
        return relaxed_bits(x, observed, self.num_pixels, name)

    @property
    def pass_numbers(self) -> int:
        return 2

    def first_pass(
        self, x: np.ndarray, observed: np.ndarray, run: Run
    ) -> tuple[np.ndarray, np.ndarray] | None:
        from fastvi.engine.decoder.direct_form import DirectForm
        from fastvi.engine.decoder.network_gradient import first_sums

        form = self.kept_form(observed)
        return None if isinstance(form, DirectForm) else first_sums(form, x, run)

    def pixel_gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        return self.both_gradients(x, data_weights, observed, run, first)[1]

    def both_gradients(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> tuple[Gradient, np.ndarray]:  # fmt: skip
        from fastvi.engine.decoder.direct_form import DirectForm
        from fastvi.engine.decoder.network_gradient import network_gradient
        from fastvi.engine.linalg.products import matmul

        form = self.kept_form(observed)
        if isinstance(form, DirectForm):
            raise TypeError(
                "x must not need a gradient where logits are so large that each pixel is summed by itself"
            )
        found = network_gradient(form, x, data_weights, run, first, with_units=True)
        weight, bias = (part[observed] for part in self.layers[-1])
        pixels = matmul(found["units"], np.ascontiguousarray(weight.T)) + data_weights[:, None] * bias
        if self.noise_std is not None:
            pixels = (pixels - data_weights[:, None] * x) / self.noise_std / self.noise_std
        return self._named(found, data_weights, observed), pixels

    def gradient(
        self, x: np.ndarray, data_weights: np.ndarray, observed: np.ndarray, run: Run,
        first: np.ndarray | None = None,
    ) -> Gradient:  # fmt: skip
        from fastvi.engine.decoder.network_gradient import network_gradient

        found = network_gradient(self.kept_form(observed), x, data_weights, run, first)
        return self._named(found, data_weights, observed)

    def _named(self, found: Gradient, data_weights: np.ndarray, observed: np.ndarray) -> Gradient:
        """Sums of ``network_gradient`` by the names of the parameters."""
        out, last = self.zero_gradient(), len(self.layers) - 1
        for i in range(last):
            out[f"layer_{i}_weight"], out[f"layer_{i}_bias"] = found[f"weight_{i}"], found[f"bias_{i}"]
        out[f"layer_{last}_weight"][observed] = found[f"weight_{last}"]
        out[f"layer_{last}_bias"][observed] = found[f"bias_{last}"]
        if self.noise_std is not None:
            out["noise_std"] = found["noise_std"]
        out["prior_logits"] = found["prior"] - data_weights.sum() * sigmoid(self.prior().logits)
        return out

    def gradient_bytes(self, num_data: int, observed: np.ndarray) -> int:
        return 0  # all of it is in the passes, which take some data at a time


class RealDecoderRules(_Decoder, RealLatentsRules):
    """Rules of :class:`~fastvi.NeuralDecoder` with a Normal prior: log p(x) is an integral."""

    questions = (
        BY_SAMPLES | MISSING | LEARNED
        | {LOG_MARGINAL, PLAN, ELBO, FIT_POSTERIOR, FIT_POSTERIOR_FORWARD, FIT_ENCODER_FORWARD}
    )  # fmt: skip
    _refusal = (
        "model must have a Bernoulli prior for its states to be enumerated, got a NeuralDecoder with "
        "a Normal prior: its latents are continuous, and log_marginal integrates over them"
    )

    def closed_form(self, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
        return self.integral(x, observed).log_marginal  # type: ignore[no-any-return]

    def closed_bytes(self, num_data: int, observed: np.ndarray) -> int:
        from fastvi.engine.quadrature.quadrature_form import predicted_bytes

        shapes = [weight.shape for weight, _ in self.layers]
        return predicted_bytes(shapes, self.num_latents, num_data)

    def integral(self, x: np.ndarray, observed: np.ndarray) -> Any:
        """Log p(x) and the posterior's moments."""
        from fastvi.engine.quadrature.quadrature_form import quadrature

        prior = self.prior()
        return quadrature(self.layers, self.activation, self.noise_std, prior.mean, prior.std, x, observed)

    def posterior_moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = self.integral(x, np.ones(self.num_pixels, bool))
        return found.mean, found.std, found.entropy

    def reconstruction(self, x: np.ndarray, observed: np.ndarray, q: Any) -> np.ndarray:
        from fastvi.engine.quadrature.normal_expectation import expected_log_likelihood

        mean, scale = moments_of(q, len(x))
        return expected_log_likelihood(self.layers, self.activation, self.noise_std, observed, x, mean, scale)

    def learnable(self) -> Gradient:
        # a normal prior stays: the first layer can do what it could
        kept = (*_WORDS, "prior_mean", "prior_std")
        arrays = self.model.arrays()
        return {name: np.zeros_like(value) for name, value in arrays.items() if name not in kept}

    def zero_gradient(self) -> Gradient:
        raise TypeError(
            "model must have a Bernoulli prior to be differentiated, got a NeuralDecoder with a Normal prior"
        )


def make_rules(model: NeuralDecoder) -> Rules:
    """Return the rules that the decoder's prior asks for."""
    return (RealDecoderRules if isinstance(model.prior, Normal) else BinaryDecoderRules)(model)
