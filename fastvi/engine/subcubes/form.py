"""Models as the search over subcubes sees them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fastvi.core.arrays import Array
from fastvi.engine.states.data_terms import Terms

FREE = -1  # a bit of a subcube that is not fixed


class Roots(NamedTuple):
    """What is known of log p(x) before anything is split.

    lower : (N,), the ELBO of a factorised q
    upper : (N,), the bound of the whole cube
    logits : (N, f), of its tangent points
    """

    lower: Array
    upper: Array
    logits: Array


class Children(NamedTuple):
    """Both halves of subcubes.

    bit : (n,), which bit is split
    upper : (n, 2), bounds where it is 0 and where it is 1; -inf where that is impossible
    logits : (n, 2, f), of their tangent points
    """

    bit: Array
    upper: Array
    logits: Array


class Tangents(NamedTuple):
    """Tangents of subcubes, near the best ones.

    upper : (n,), the bounds
    fields : (n, f), logits of the product of coins that p(x, z) is bounded by; infinite for fixed bits
    """

    upper: Array
    fields: Array


class SubcubeForm(Protocol):
    """log p(x, z) = c(x) + <t(x), z> - A(z) over f free bits, and bounds of its sum over a subcube.

    Subcubes are rows (f,) of int8: 0 and 1 where a bit is fixed, ``FREE`` elsewhere. ``members`` says whose
    they are. What is found of a subcube does not depend on the others of a call.
    """

    @property
    def num_latents(self) -> int:
        """Return f."""

    @property
    def order(self) -> Array:
        """Return which of the free latents each bit is, (f,)."""

    @property
    def leaf_bits(self) -> int:
        """Return how many free bits a subcube may have at most for :meth:`leaves`."""

    def terms(self, x: Array) -> Terms:
        """Return t(x) and c(x)."""

    def upper(self, terms: Terms) -> Array:
        """Return the upper bounds (N,) of :meth:`roots` alone."""

    def roots(self, terms: Terms) -> Roots:
        """Return bounds of the whole cube, as tight as a tangent gives them."""

    def expand(self, terms: Terms, members: Array, states: Array, logits: Array) -> Children:
        """Return both halves of subcubes (n, f), whose tangent points have the ``logits`` (n, f)."""

    def leaves(self, terms: Terms, members: Array, states: Array) -> Array:
        """Return the log sums (n,) over the free bits of subcubes (n, f)."""

    def error(self, terms: Terms) -> Array:
        """Return by how much roundings may move any of these numbers, (N,) nats."""


class TangentForm(SubcubeForm, Protocol):
    """A form whose open subcubes can be sampled."""

    def tangents(self, terms: Terms, members: Array, states: Array) -> Tangents:
        """Bound subcubes (n, f) again, of which nothing but the fixed bits was kept."""
