"""Models whose latents can be summed out: what each of them tells the exact questions."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.core import validation
from fastvi.engine.linalg.weighted_sums import weighted_sums_bytes
from fastvi.models.base import Model

if TYPE_CHECKING:
    from fastvi.distributions.base import Distribution
    from fastvi.engine.expectation.sampled_joint import SampledJoint
    from fastvi.engine.importance.proposals import Ancestral
    from fastvi.engine.importance.targets import Target
    from fastvi.engine.memory.form import FormMemory
    from fastvi.engine.run.runs import Run
    from fastvi.engine.states.form import Form


class Enumerable(Model):
    """A model of ``num_pixels`` observed and ``num_latents`` binary latent variables.

    ``pixels`` is a boolean mask (D,) of what was observed, the same for all data that are asked about
    together; ``x`` then holds those columns only.
    """

    num_pixels: int
    num_latents: int
    _real_latents = False  # whether the latents are real numbers, not bits
    _pixel_bytes = 1  # of a datum's pixel, clean: 8 where it is real
    _has_expectations = False  # whether E_q[log p(x, z)] of a factorised q takes no enumeration
    _may_lack_data = False  # whether x=None means something: nothing was observed
    # whether what is summed is p(x) itself, a probability and hence at most 1
    _sums_to_one = False
    _data_by_terms = (
        False  # whether data enter by t(x) and c(x) alone, which a GPU makes of data that lie there
    )
    _summed_log_z: float | None = None  # what ``_log_z`` has found
    _deep_prior: Enumerable | None = None  # the prior where it is a model, summed out for each state

    @abstractmethod
    def _form(self, pixels: np.ndarray, dtype: str) -> Form:
        """What the engine sums over the latents that these pixels leave free."""

    @abstractmethod
    def _memory(self, pixels: np.ndarray, dtype: str) -> FormMemory:
        """What ``_form`` takes, known before it is made; of a prior that is a model without its own sums."""

    def _check_data(self, x: Any, observed: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Clean data (N, D) and the mask; what the arguments ``x`` and ``observed`` are allowed to be."""
        return validation.observed_data(x, observed, self.num_pixels)

    def _free(self, pixels: np.ndarray) -> np.ndarray:
        """Which latents the form of these pixels sums over."""
        return np.arange(self.num_latents)

    def _is_closed(self, pixels: np.ndarray) -> bool:
        """Whether log p(x) of these pixels takes no enumeration of the latents: ``_closed_form`` gives it."""
        return False

    def _has_closed_gradient(self, pixels: np.ndarray) -> bool:
        """The same for ``_gradient``."""
        return False

    def _closed_form(self, x: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """log p(x), up to the normaliser, where ``_is_closed``."""
        raise NotImplementedError

    def _target(self, pixels: np.ndarray, num_states: int, *, with_prior: bool = True) -> Target:
        """What sampling needs of these pixels, for ``num_states`` sampled states in all; log p(x | z) alone
        where not ``with_prior``, which only models with a prior are asked for.
        """
        raise TypeError(f"model must be one whose latents can be sampled, got {self!r}")

    def _posterior_moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means and standard deviations (N, d) and entropy (N,) of real latents given fully seen data."""
        raise TypeError(f"model must have real latents whose posterior can be integrated, got {self!r}")

    def _sampled_joint(self, x: np.ndarray, z: np.ndarray) -> SampledJoint:
        """log p(x_n, z_nk) of states ``z`` (N, K, d), and its gradients, of fully seen data."""
        raise TypeError(f"model must be one whose log joint has a gradient, got {self!r}")

    def _learnable(self) -> dict[str, np.ndarray]:
        """Zeros in the shapes of the parameters that a bound can be climbed in."""
        return self._no_gradient()

    def _expected_joint(self, x: np.ndarray, pixels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """E_q[log p(x, z)] (N,), not normalised, for binary latents: q's ``logits`` (free,) or (N, free)."""
        from fastvi.engine.expectation.expected_joint import expected_joint

        return expected_joint(self._form(pixels, "float64"), x, logits)

    def _reconstruction(self, x: np.ndarray, pixels: np.ndarray, q: Any) -> np.ndarray | None:
        """E_q[log p(x | z)] (N,) of a Bernoulli or normal q over the free latents; None of a model without a
        prior.
        """
        return None

    def _prior(self) -> Any:
        """p(z), a Distribution or a model; None of a model that has none."""
        return None

    def _prior_proposal(self) -> Distribution | Ancestral:
        """p(z), for a proposal that draws from it."""
        raise ValueError(f"proposal 'prior' must belong to a model with a prior, got {self!r}")

    def _partition_form(self) -> Form | None:
        """What is summed for log Z, of a model that is not normalised."""
        return None

    def _log_z(self) -> float:
        """log Z; 0 of a model that is normalised. Summed once: no parameter of a model changes."""
        from fastvi.engine.posterior.log_sum import log_sums
        from fastvi.engine.run.runs import Run

        if self._summed_log_z is None:
            form = self._partition_form()
            self._set(_summed_log_z=0.0 if form is None else float(log_sums(form, NO_DATA, Run())[0]))
        return self._summed_log_z  # type: ignore[return-value]

    def _partition_memory(self) -> FormMemory | None:
        """What ``_partition_form`` takes."""
        return None

    def _no_gradient(self) -> dict[str, np.ndarray]:
        """Zeros in the shapes of the parameters that can be differentiated."""
        raise TypeError(f"model must have parameters to be differentiated, got {self!r}")

    def _gradient(
        self, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray, run: Run
    ) -> dict[str, np.ndarray]:
        """Gradient of sum_n data_weights_n log p(x_n), not normalised; ``x`` as in ``log_marginal_of``."""
        raise NotImplementedError

    def _gradient_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        """Peak of what ``_gradient`` does beside its passes over the states: means, these in the model's
        order, weighted; sums over some pixels at a time (``weighted_sums``).
        """
        blocks = weighted_sums_bytes(num_data, int(pixels.sum()))
        return 8 * 2 * num_data * self.num_latents + max(blocks, 8 * num_data * self.num_latents)

    def _closed_bytes(self, num_data: int, pixels: np.ndarray) -> int:
        """Peak of ``_closed_form``, its result included."""
        raise NotImplementedError

    def _states_above(self) -> int:
        """States that ``_gradient`` goes through for the parameters of a prior that is a model."""
        return 0

    def _partition_gradient(self, run: Run) -> dict[str, np.ndarray]:
        """Gradient of log Z; nothing of a model that is normalised."""
        return {}

    def _digest(self) -> tuple[Any, ...]:
        """What tells this model from any other."""
        return type(self).__name__, self._arrays()


def check_model(model: Any, *others: type) -> Any:
    """The argument ``model`` where its latents can be summed out, or where it is one of ``others``."""
    if not isinstance(model, (Enumerable, *others)):
        also = "".join(f" or {validation.with_article(other.__name__)}" for other in others)
        raise TypeError(f"model must be one with latents to sum out{also}, got {validation.shown(model)}")
    return model


def log_marginal_of(
    model: Enumerable, x: np.ndarray, pixels: np.ndarray, run: Run, *, dtype: str = "float64"
) -> np.ndarray:
    """log of the sum over the latents, not normalised; ``x`` (N, pixels observed)."""
    from fastvi.engine.posterior.log_sum import log_sums

    if model._is_closed(pixels):
        found = model._closed_form(x, pixels)
    else:
        found = log_sums(model._form(pixels, dtype), x, run)
    return log_probabilities(found) if model._sums_to_one else found


def log_probabilities(found: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, which rounding may have left just above 0."""
    return np.minimum(found, 0.0)


def gradient_of(
    model: Enumerable, x: np.ndarray, data_weights: np.ndarray, pixels: np.ndarray, run: Run
) -> dict[str, np.ndarray]:
    """Gradient of sum_n data_weights_n log p(x_n), normalised: that of log Z is taken away."""
    total = model._gradient(x, data_weights, pixels, run)
    return without_partition(model, total, float(data_weights.sum()), run)


def without_partition(
    model: Enumerable, total: dict[str, np.ndarray], weight: float, run: Run
) -> dict[str, np.ndarray]:
    """``total`` less ``weight`` times the gradient of log Z, of a model that is not normalised."""
    for name, value in model._partition_gradient(run).items():
        total[name] = total[name] - weight * value
    return total


# Of a Boltzmann machine, the largest sum of |values|: energies are sums of terms of both signs, rounded about
# d times, and log p(x) is their difference from log Z. 2^-53 of it is 1e-8 nats; measured errors are 1e-8.
MAX_ENERGY = 1e8
MAX_ENERGY_TEXT = f"of at most {MAX_ENERGY:g}, up to which log Z and log p(x) are right to 1e-6 nats"

NO_DATA = np.empty((1, 0), np.uint8)  # what is seen of nothing


class LogPrior:
    """log p(z) of states (S, d) of the layer below a model, for which they are data.

    Its form is made and its log Z is summed when it is built, once for all states that it is asked about.
    """

    def __init__(self, model: Enumerable) -> None:
        from fastvi.engine.posterior.log_sum import log_sums
        from fastvi.engine.run.runs import Run

        everything = np.ones(model.num_pixels, bool)
        if model._is_closed(everything):
            self._sum = lambda z: model._closed_form(z, everything)
        else:
            form = model._form(everything, "float64")
            self._sum = lambda z: log_sums(form, z, Run())
        self._log_z = model._log_z()

    def __call__(self, z: np.ndarray) -> np.ndarray:
        states = np.ascontiguousarray(z, dtype=np.uint8)
        return log_probabilities(self._sum(states) - self._log_z)
