"""The exact posterior p(z | x)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.engine import posteriors, requests
from fastvi.engine.progress import Progress, Reporter
from fastvi.engine.softplus_form import SoftplusForm, softplus_form
from fastvi.engine.waves import num_chunks
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork


@dataclass(frozen=True, eq=False)
class ExactPosterior:
    """Exact posteriors of N data over d binary latents.

    Attributes
    ----------
    log_marginal : ndarray, (N,)
        log p(x_n) in nats.
    mean : ndarray, (N, d)
        p(z_i = 1 | x_n).
    second_moment : ndarray, (N, d, d), or None
        p(z_i = 1, z_j = 1 | x_n), the mean on its diagonal; None unless it was asked for.
    entropy : ndarray, (N,)
        H(p(z | x_n)) in nats.
    top_states : ndarray, (N, k, d), uint8
        The k most probable states in descending order.
    top_log_probs : ndarray, (N, k)
        Their log p(z | x_n).
    """

    log_marginal: np.ndarray
    mean: np.ndarray
    second_moment: np.ndarray | None
    entropy: np.ndarray
    top_states: np.ndarray
    top_log_probs: np.ndarray
    _mode: tuple[np.ndarray, np.ndarray] = field(repr=False)
    _parts: tuple[tuple[SoftplusForm, np.ndarray, np.ndarray], ...] = field(repr=False)

    @property
    def mode(self) -> np.ndarray:
        """Most probable state of each datum, (N, d) uint8."""
        return self._mode[0]

    @property
    def mode_log_prob(self) -> np.ndarray:
        """log p(mode | x_n), (N,)."""
        return self._mode[1]

    def __repr__(self) -> str:
        num_data, num_latents = self.mean.shape
        mean = f", mean log_marginal={self.log_marginal.mean():.6g}" if num_data else ""
        return f"ExactPosterior(num_data={num_data}, num_latents={num_latents}{mean})"

    def log_prob(self, z: ArrayLike) -> np.ndarray:
        """log p(z | x_n) of given states.

        Parameters
        ----------
        z : array_like of 0 and 1, (N, ..., d)
            States of each datum, as :meth:`sample` gives them.

        Returns
        -------
        ndarray, (N, ...), float64
        """
        num_data, num_latents = self.mean.shape
        states = validation.binary_array(z, "z", num_latents)
        if states.ndim < 2 or len(states) != num_data:
            raise ValueError(f"z must have shape ({num_data}, ..., {num_latents}), got shape {states.shape}")
        out = np.empty(states.shape[:-1])
        for form, members, x in self._parts:
            out[members] = posteriors.log_joint(form, x, states[members])
        return out - self.log_marginal.reshape(-1, *[1] * (out.ndim - 1))

    def sample(self, num: int, seed: int) -> np.ndarray:
        """Exact, independent draws from p(z | x_n).

        Parameters
        ----------
        num
            Draws for each datum, at least 0.
        seed
            0 <= seed < 2**64. Draw k of datum n depends on (seed, n, k) and the posterior alone.

        Returns
        -------
        ndarray, (N, num, d), uint8
        """
        num, seed = validation.positive_int(num, "num", 0), validation.seed(seed)
        num_data, num_latents = self.mean.shape
        out = np.empty((num_data, num, num_latents), np.uint8)
        for form, members, x in self._parts:
            out[members] = posteriors.sample(form, x, self.log_marginal[members], members, num, seed)
        return out


def exact_posterior(
    model: SigmoidBeliefNetwork,
    x: ArrayLike,
    *,
    observed: ArrayLike | None = None,
    top_k: int = 0,
    pairwise: bool = False,
    device: str = "cpu",
    progress: Progress = False,
    memory_limit: int | None = None,
    max_states: int = requests.MAX_STATES,
) -> ExactPosterior:
    r"""Everything about p(z | x), by summing over all states.

    .. math:: p(z|x_n) = p(x_n, z) / \sum_{z'} p(x_n, z')

    A first pass gives log p(x_n) (see :func:`~fastvi.log_marginal`), a second one the probability of each
    state that matters: rows of states whose total is certain to be below 2^-60 are passed over, so that a
    concentrated posterior costs little more than its evidence, and one that is spread over all states an
    exponential a state.

    Parameters
    ----------
    model
        A :class:`~fastvi.SigmoidBeliefNetwork`.
    x : array_like
        (N, D) of 0 and 1.
    observed : array_like of bool, optional
        (D,) or (N, D), True where a pixel was seen.
    top_k
        How many of the most probable states to keep, 0 <= top_k <= 2^d; the mode is always there.
    pairwise
        Whether to compute second moments.
    device, progress, memory_limit, max_states
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    ExactPosterior

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
    """
    validation.instance(model, "model", SigmoidBeliefNetwork)
    requests.check_device(device)
    data, mask = validation.observed_data(x, observed, model.num_pixels)
    top_k = validation.positive_int(top_k, "top_k", 0)
    num_data, num_latents = len(data), model.num_latents
    if num_latents < 63 and top_k > 1 << num_latents:
        raise ValueError(f"top_k must be at most 2^{num_latents}, the number of states, got {top_k}")
    pairwise = validation.flag(pairwise, "pairwise")
    if not callable(progress):
        progress = validation.flag(progress, "progress")
    requests.check_size(num_latents, num_data, model.num_pixels, memory_limit, max_states)
    groups = requests.distinct_masks(mask, *data.shape)
    chunks = sum(num_chunks(len(group.members)) for group in groups)
    report = Reporter(progress, 2 * chunks << num_latents)
    kept = max(top_k, 1)
    evidence, entropy = np.empty(num_data), np.empty(num_data)
    mean = np.empty((num_data, num_latents))
    second = np.empty((num_data, num_latents, num_latents)) if pairwise else None
    states, log_probs = np.empty((num_data, kept, num_latents), np.uint8), np.empty((num_data, kept))
    parts = []
    for pixels, members in groups:
        form = softplus_form(model.weights[pixels], model.bias[pixels], model.prior_logits)
        part = np.ascontiguousarray(data[members][:, pixels])
        found = posteriors.posterior(form, part, kept, pairwise=pairwise, report=report)
        evidence[members], mean[members], entropy[members] = found.log_marginal, found.mean, found.entropy
        states[members], log_probs[members] = found.top_states, found.top_log_probs
        if second is not None:
            second[members] = found.second_moment
        parts.append((form, members, part))
    mode = (states[:, 0].copy(), log_probs[:, 0].copy())
    return ExactPosterior(
        evidence, mean, second, entropy, states[:, :top_k], log_probs[:, :top_k], mode, tuple(parts)
    )
