"""Certified intervals around log p(x), and what a search left open."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastvi.core.results import PerDatum
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.subcubes.covers import Covers


def marks_of(terms: Terms) -> np.ndarray:
    """Return a number (N,) of each datum that hardly any other datum or model has."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = (terms.linear * np.sqrt(np.arange(1.0, terms.linear.shape[1] + 1.0))).sum(axis=1)
        return np.asarray(terms.constant + found)


class OpenSubcubes(NamedTuple):
    """What a search left open of some data that see the same pixels.

    members : which data
    observed : (D,), the pixels that they see
    latents : (f,), which latent each bit of a subcube is
    marks : of these data, by which they and their model are known again
    covers : of these data, in order
    """

    members: np.ndarray
    observed: np.ndarray
    latents: np.ndarray
    marks: np.ndarray
    covers: Covers


@dataclass(frozen=True, eq=False, repr=False)
class Bounds(PerDatum):
    """Intervals that hold log p(x) for certain, each (N,), in nats.

    Attributes
    ----------
    lower, upper
        lower <= log p(x) <= upper, roundings counted. Both are -inf where x is impossible.
    num_bounds
        Subcubes that were bounded or summed, without those of log Z.
    converged
        Whether the gap is at most the tolerance.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bounds = fastvi.log_marginal_bounds(model, [[1, 0], [1, 1]], tolerance=1e-3)
    >>> truth = fastvi.log_marginal(model, [[1, 0], [1, 1]])
    >>> bool(((bounds.lower <= truth) & (truth <= bounds.upper)).all())
    True
    >>> bounds.converged, bool((bounds.gap <= 1e-3).all()), bool((bounds.num_bounds >= 1).all())
    (array([ True,  True]), True, True)
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    num_bounds: NDArray[np.int64]
    converged: NDArray[np.bool_]
    # for ``estimate_log_marginal(proposal=bounds)``
    _open: tuple[OpenSubcubes, ...] = field(default=(), repr=False)

    @property
    def gap(self) -> NDArray[np.float64]:
        """Width of each interval, ``upper - lower``, (N,) in nats; 0 where both are -inf.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> bool(fastvi.log_marginal_bounds(model, [[1, 0]], tolerance=1e-6).gap[0] <= 1e-6)
        True
        """
        with np.errstate(invalid="ignore"):
            return np.where(self.upper == self.lower, 0.0, self.upper - self.lower)

    def _columns(self) -> dict[str, Any]:
        return {
            "lower": self.lower, "upper": self.upper, "gap": self.gap, "num_bounds": self.num_bounds,
            "converged": self.converged,
        }  # fmt: skip

    def _some(self, which: Any) -> Self:
        numbers = [int(n) for n in np.arange(len(self.lower))[which]]
        own = []
        for group in self._open:
            place = {int(n): k for k, n in enumerate(group.members)}
            members = [k for k, n in enumerate(numbers) if n in place]  # a datum may be asked for twice
            kept = [place[numbers[k]] for k in members]
            if kept:
                own.append(OpenSubcubes(
                    np.array(members), group.observed, group.latents, group.marks[kept],
                    group.covers.take(kept),
                ))  # fmt: skip
        arrays = {name: getattr(self, name)[which] for name in ("lower", "upper", "num_bounds", "converged")}
        return replace(self, **arrays, _open=tuple(own))

    def __repr__(self) -> str:
        num = len(self.lower)
        if num == 0:
            return "Bounds(num_data=0)"
        return (
            f"Bounds(num_data={num}, converged={int(self.converged.sum())}, "
            f"median gap={np.median(self.gap):.3g}, largest gap={self.gap.max():.3g}, "
            f"num_bounds={self.num_bounds.sum()})"
        )
