"""Questions of fits to a model beyond its public methods, for data in which every pixel is seen.

Nothing is validated here but what is said to be: fits check their arguments once, before the first step.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastvi.core import validation
from fastvi.core.accuracy import reported
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.engine.decoder.block_form import BlockForm
from fastvi.engine.decoder.large_logits import largest_reach
from fastvi.engine.expectation.sampled_joint import SampledJoint
from fastvi.engine.run.runs import Run
from fastvi.inputs.memory import Asked, Seen
from fastvi.inputs.question import check_size
from fastvi.inputs.requests import NO_LIMITS
from fastvi.models.enumerable import gradient_of, log_marginal_of, log_probabilities

Gradient = dict[str, np.ndarray]
Question = Literal["log_marginal", "gradient", "states"]  # the last sums states whatever the model


def _everything(model: Any) -> np.ndarray:
    return np.ones(model.num_pixels, bool)


# ---- what a model is -------------------------------------------------------------------------------------


def has_real_latents(model: Any) -> bool:
    """Whether latents are real numbers, not bits."""
    return bool(model._real_latents)


def prior_of(model: Any) -> Any:
    """p(z), a distribution or a model; None of a model that has none."""
    return model._prior()


def prior_parameters(model: Any, num_data: int) -> np.ndarray:
    """Parameters (N, P) of the prior where it is a distribution, else logits of 0: where a q starts."""
    prior = prior_of(model)
    if isinstance(prior, Normal):
        own = np.concatenate([prior.mean, np.log(prior.std)])
    elif isinstance(prior, Bernoulli):
        own = prior.logits
    else:
        own = np.zeros(model.num_latents)
    return np.tile(own, (num_data, 1))


def check_has_prior(model: Any) -> None:
    """Refuse models without p(z) and p(x | z) of their own, whose log joint has a gradient."""
    model._learnable()
    if prior_of(model) is None:
        raise TypeError(f"model must have a prior p(z) and a likelihood p(x | z), got {model!r}")


def check_data(model: Any, x: Any, name: str) -> np.ndarray:
    """The argument ``name`` as clean data (N, D) for ``model``."""
    if x is None:
        raise TypeError(f"{name} must be an array of data, got None")
    if name == "x":
        return np.asarray(model._check_data(x, None)[0])
    real = getattr(model, "noise_std", None) is not None
    return (validation.real_matrix if real else validation.binary_matrix)(x, name, model.num_pixels)


def check_states(model: Any, num_data: int, question: Question) -> None:
    """Refuse sums over more states than a call may take."""
    everything, closed = _everything(model), False
    if question != "states":
        closed = (model._is_closed if question == "log_marginal" else model._has_closed_gradient)(everything)
    check_size(model, [Seen(everything, num_data, closed)], Asked("log_marginal"), NO_LIMITS)


# ---- parameters ------------------------------------------------------------------------------------------


def digest_of(model: Any) -> tuple[Any, ...]:
    """Identity of this model, for a checkpoint."""
    return tuple(model._digest())


def arrays_of(holder: Any) -> dict[str, np.ndarray]:
    """Parameters of a model or an encoder, by name."""
    return dict(holder._arrays())


def with_arrays(holder: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A model of the same kind with these parameters, which its constructor checks: steps may overflow."""
    return type(holder)._from_arrays(arrays)


def made(holder: Any, how: dict[str, Any]) -> Any:
    """Return the model or encoder itself, which says from now on how it was made."""
    return holder._made_by(how)


def parameter_names(model: Any, *, exactly: bool) -> list[str]:
    """Parameters that can be learned from log p(x) (``exactly``) or from bounds; refused where there are
    none.
    """
    return list(model._no_gradient() if exactly else model._learnable())


# ---- log p(x) --------------------------------------------------------------------------------------------


@reported
def exact_log_marginal(model: Any, x: np.ndarray) -> np.ndarray:
    """log p(x_n), (N,): the bits of :func:`~fastvi.log_marginal`."""
    found = log_marginal_of(model, x, _everything(model), Run())
    return found if model._partition_memory() is None else log_probabilities(found - model._log_z())


def exact_gradient(model: Any, x: np.ndarray) -> Gradient:
    """Gradient of the mean log p(x_n): the bits of :func:`~fastvi.log_marginal_gradient`."""
    weights = np.full(len(x), 1.0 / len(x))
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        found = gradient_of(model, x, weights, _everything(model), Run())
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"x must have a positive probability for the gradient to exist, got NaN or infinity in {name}"
            )
    return found


def posterior_moments(model: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and standard deviations (N, d) and entropies (N,) of the posteriors of real latents."""
    mean, std, entropy = model._posterior_moments(x)
    return mean, std, entropy


# ---- expectations under q --------------------------------------------------------------------------------


def form_of(model: Any) -> Any:
    """Form that the engine sums over the states of ``model``."""
    return model._form(_everything(model), "float64")


def tiled_form(model: Any) -> Any:
    """Form whose tiles give the gradient of an exact ELBO; refused where its sums would lose digits."""
    form = form_of(model)
    if isinstance(form, BlockForm):
        raise ValueError(
            f"model must keep the sum of its |weights|, |bias| and |prior_logits| below "
            f"{largest_reach(model.num_pixels):g}, up to which the exact ELBO has an exact gradient, got "
            f"{model!r} beyond it; pass num_samples to climb by samples"
        )
    return form


def pair_parts(model: Any) -> Any:
    """Couplings of the latents of a sparse coding model, by which its q is climbed."""
    return model._parts(_everything(model))


def sampled_joint(model: Any, x: np.ndarray, z: np.ndarray) -> SampledJoint:
    """log p(x_n, z_nk) of states ``z`` (N, K, d), and its gradients."""
    found: SampledJoint = model._sampled_joint(x, z)
    return found


def expected_log_likelihood(model: Any, x: np.ndarray, q: Bernoulli | Normal) -> np.ndarray:
    """E_q[log p(x_n | z)] (N,), exact."""
    return np.asarray(model._reconstruction(x, _everything(model), q))
