"""What the bounds ask: data in groups that see the same pixels, each with its own part of q."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.encoder import Encoder
from fastvi.distributions.multivariate_normal import MultivariateNormal
from fastvi.distributions.normal import Normal
from fastvi.engine.importance.proposals import BernoulliMixture, NormalMixture, Proposal
from fastvi.engine.states.remote_data import refuse_pixels
from fastvi.inputs.memory import OTHER, Seen
from fastvi.inputs.question import check_size, checked_data, exact_log_z, seen_groups
from fastvi.inputs.requests import Limits
from fastvi.models.enumerable import Enumerable, check_model


class Part(NamedTuple):
    """Data that see the same pixels."""

    members: np.ndarray  # indices of the data
    x: Any  # (members, pixels seen), or data of a GPU
    pixels: np.ndarray  # (D,) bool
    free: np.ndarray  # latents that are not observed
    q: Any  # over the free latents, of parameters (free,) or (members, free)

    def proposal(self) -> Proposal:
        """q as the engine draws from it."""
        if isinstance(self.q, Bernoulli):
            return BernoulliMixture((np.atleast_2d(self.q.logits),), np.ones(1))
        if not isinstance(self.q, Normal):
            raise TypeError(f"q must be a Bernoulli or a Normal to be sampled from, got {self.q!r}")
        return NormalMixture((np.atleast_2d(self.q.mean),), (np.atleast_2d(self.q.std),), np.ones(1))

    def check_size(self, model: Enumerable, limits: Limits) -> None:
        """Refuse an enumeration that is too large."""
        seen = Seen(self.pixels, len(self.members), False)
        check_size(model, [seen], OTHER, limits)


class Parts(NamedTuple):
    """All data."""

    num_data: int
    parts: list[Part]
    log_z: float  # to be subtracted


def parts_of(
    model: Any, x: Any, q: Any, observed: Any, normalized: bool, limits: Limits, device: str | None = None,
    *, summed: Callable[[Part], bool],
) -> Parts:  # fmt: skip
    """Check everything, group the data by mask, cut q; ``device`` as ``checked_data`` takes it, ``summed``
    says of which parts the states are enumerated.
    """
    check_model(model)
    data, mask = checked_data(model, x, observed, device)
    if isinstance(q, Encoder):
        if mask is not None:
            raise TypeError(
                f"q must not be an Encoder where observed is given, for it reads whole data, got {q!r}"
            )
        refuse_pixels(data, "where q is an Encoder, which reads it")
        q = q(data)
    _check_q(model, q, len(data))
    parts = [
        Part(members, seen, pixels, free, _cut(q, members, free))
        for pixels, members, seen, free in seen_groups(model, data, mask)
    ]
    for part in parts:
        if summed(part):
            part.check_size(model, limits)
    log_z = exact_log_z(model, device or "cpu", limits) if normalized else 0.0
    return Parts(len(data), parts, log_z)


def _check_q(model: Enumerable, q: Any, num_data: int) -> None:
    if model._real_latents:
        if not isinstance(q, Normal | MultivariateNormal):
            raise TypeError(f"q must be a normal distribution for real latents, got {validation.shown(q)}")
        name, parameters = "mean", q.mean
    else:
        name, parameters = "logits", validation.instance(q, "q", Bernoulli).logits
    validation.per_datum(parameters, "q", name, num_data, model.num_latents)


def _cut(q: Any, members: np.ndarray, free: np.ndarray) -> Any:
    """q of some data and latents; real latents are never observed."""
    if not free.size:
        return q
    if isinstance(q, Bernoulli):
        rows = q.logits if q.num_data is None else q.logits[members]
        return Bernoulli(rows[..., free])
    if q.num_data is None:
        return q
    return type(q)(**{name: value[members] for name, value in q._arrays().items()})
