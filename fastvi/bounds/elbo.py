"""The evidence lower bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.bounds.arguments import model_data_q
from fastvi.bounds.kl_divergence import kl_divergence
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.engine import requests
from fastvi.engine.expectations import expected_log_likelihood, log_ratio
from fastvi.engine.softplus_form import softplus_form
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

DECOMPOSITIONS = ("reconstruction", "joint", "log_ratio")


@dataclass(frozen=True, eq=False)
class Elbo:
    """A bound on log p(x) and its parts, each (N,) in nats.

    ``value`` = ``reconstruction`` - ``kl_to_prior`` = ``expected_log_joint`` + ``entropy``; ``std_error``
    is 0 where exact.
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


def elbo(
    model: SigmoidBeliefNetwork,
    x: ArrayLike,
    q: Bernoulli,
    *,
    num_samples: int | None = None,
    seed: int = 0,
    decomposition: str = "reconstruction",
    device: str = "cpu",
    memory_limit: int | None = None,
    max_states: int = requests.MAX_STATES,
) -> Elbo:
    r"""ELBO(q) <= log p(x), exact or by sampling from q.

    .. math::
        \mathrm{ELBO} = E_q[\log p(x|z)] - KL(q \| p(z))
                      = E_q[\log p(x, z)] + H(q)
                      = E_q\left[\log \frac{p(x, z)}{q(z)}\right]

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork`.
    x : array_like
        (N, D) of 0 and 1.
    q
        A :class:`~fastvi.Bernoulli` with logits (d,) or (N, d).
    num_samples
        None sums over all 2^d states; a number averages over as many draws from q and gives a standard error.
    seed
        Of the draws.
    decomposition
        Which of the three forms above gives ``value``: "reconstruction", "joint" or "log_ratio". They are
        computed by separate code and agree to rounding. The first two cost one multiply-add a state and
        datum, the third an exponential.
    device, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    Elbo

    Raises
    ------
    ValueError, TypeError
        For wrong input.

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
    """
    data, logits = model_data_q(model, x, q, memory_limit, max_states)
    requests.check_device(device)
    validation.choice(decomposition, "decomposition", DECOMPOSITIONS)
    seed = validation.seed(seed)
    num_data = len(data)
    kl = np.broadcast_to(kl_divergence(q, model.prior), num_data).copy()
    entropy = np.broadcast_to(q.entropy(), num_data).copy()
    expected_log_prior = -(kl + entropy)
    zero = np.zeros(num_data)
    if num_samples is not None:
        num_samples = validation.positive_int(num_samples, "num_samples")
        value, reconstruction, error = _sampled(model, data, q, num_samples, seed)
        return Elbo(value, reconstruction, kl, reconstruction + expected_log_prior, entropy, error)
    if decomposition == "joint":
        form = softplus_form(model.weights, model.bias, model.prior_logits)
        joint = expected_log_likelihood(form, data, logits)
        return Elbo(joint + entropy, joint - expected_log_prior, kl, joint, entropy, zero)
    form = softplus_form(model.weights, model.bias, model.prior_logits, fold_prior=False)
    reconstruction = expected_log_likelihood(form, data, logits)
    value = reconstruction - kl
    if decomposition == "log_ratio":
        value = log_ratio(softplus_form(model.weights, model.bias, model.prior_logits), data, logits)
    return Elbo(value, reconstruction, kl, reconstruction + expected_log_prior, entropy, zero)


_BLOCK = 1 << 22  # numbers in a block of sampled logits


def _sampled(
    model: SigmoidBeliefNetwork, data: np.ndarray, q: Bernoulli, num_samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of log p(x, z) - log q(z) and of log p(x | z) over draws from q, and the standard error of the
    first.
    """
    value, reconstruction, error = (np.empty(len(data)) for _ in range(3))
    logits = np.broadcast_to(q.logits, (len(data), model.num_latents))
    step = max(1, _BLOCK // (num_samples * max(model.num_pixels, model.num_latents)))
    from fastvi.kernels.cpu.draws import bernoulli_draws

    for first in range(0, len(data), step):
        part = slice(first, first + step)
        z = bernoulli_draws(np.ascontiguousarray(logits[part]), num_samples, seed, first, 0)
        log_joint = model.log_joint(data[part], z)
        ratio = log_joint - Bernoulli(logits[part]).log_prob(z)
        value[part] = ratio.mean(axis=0)
        reconstruction[part] = (log_joint - model.prior.log_prob(z)).mean(axis=0)
        error[part] = ratio.std(axis=0, ddof=1) / np.sqrt(num_samples) if num_samples > 1 else np.inf
    return value, reconstruction, error
