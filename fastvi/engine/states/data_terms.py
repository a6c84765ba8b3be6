"""Terms that a datum adds to log p(x, z): c(x) + <t(x), z>, for binary and for real pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.linalg.products import matmul
from fastvi.engine.run.slices import data_slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.remote_data import RemoteData, refuse_pixels
from fastvi.kernels.cpu.dense.reflections import reflect_rows, scale_rows, subtract_bias
from fastvi.kernels.cpu.states.data_terms import linear_terms, pair_terms, real_terms
from fastvi.kernels.cpu.states.pair_words import residual_terms

# S up to which a GPU, which has no second words, sums sparse coding: off by 2^-33 nats
LARGEST_ON_DEVICE = 2.0**20


class Terms(NamedTuple):
    """t(x) less the centre, in the form's order of latents, and c(x)."""

    linear: Array  # (N, d)
    constant: Array  # (N,)
    # what rounding took from them, where that matters
    linear_low: Array | None = None
    constant_low: Array | None = None

    def part(self, members: Any) -> Terms:
        """Those of some data."""
        rows = (None if array is None else np.ascontiguousarray(array[members]) for array in self)
        return Terms(*rows)  # type: ignore[arg-type]

    def words(self) -> tuple[Array, Array, Array, Array]:
        """linear, linear_low, constant, constant_low."""
        linear_low = np.zeros_like(self.linear) if self.linear_low is None else self.linear_low
        constant_low = np.zeros_like(self.constant) if self.constant_low is None else self.constant_low
        return self.linear, linear_low, self.constant, constant_low


class BinaryData(NamedTuple):
    """t(x) = offset + W^T x, c(x) = constant + b . x + x^T J x / 2 for x in {0, 1}^D.

    ``weights`` and ``couplings`` may hold -inf: only the entries of ones are added. Relaxed pixels, float64
    in [0, 1], take weights that are finite, and no couplings.
    """

    weights: Array  # (D, d) columns in the form's order
    bias: Array  # (D,)
    offset: Array  # (d,)
    constant: float
    couplings: Array | None = None  # (D, D) symmetric

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x`` (N, D) uint8, or of a GPU's."""
        if isinstance(x, RemoteData):
            return x.terms(self)
        if x.dtype == np.float64:
            return Terms(
                matmul(x, self.weights, self.offset), matmul(x, self.bias[:, None])[:, 0] + self.constant
            )
        linear, constant = np.empty((len(x), self.offset.size)), np.empty(len(x))

        def task(part: slice) -> None:
            linear_terms(
                x[part], self.weights, self.bias, self.constant, self.offset, linear[part], constant[part]
            )
            if self.couplings is not None:
                pair_terms(x[part], self.couplings, constant[part])

        parallel_map(task, data_slices(len(x)), 1.0 * x.size * (self.offset.size + 4))
        return Terms(linear, constant)


def log_density_scale(num_pixels: int, noise_std: float) -> float:
    """D log(s sqrt(2 pi))."""
    return num_pixels * (math.log(noise_std) + 0.5 * math.log(2.0 * math.pi))


class RealData(NamedTuple):
    """x ~ N(W z + b, s^2 I): t(x) = offset + W^T (x - b) / s^2, c(x) = constant - |x - b|^2 / (2 s^2)."""

    weights: Array  # (D, d) columns in the form's order
    bias: Array  # (D,)
    noise_std: float
    offset: Array  # (d,)
    constant: float  # log p(z = 0), without the normal density's own constant

    @property
    def full_constant(self) -> float:
        """With the normal density's."""
        return self.constant - log_density_scale(self.bias.size, self.noise_std)

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x`` (N, D) float64, or of a GPU's."""
        if isinstance(x, RemoteData):
            return x.terms(self)
        linear, constant = np.empty((len(x), self.offset.size)), np.empty(len(x))

        def task(part: slice) -> None:
            real_terms(
                x[part], self.weights, self.bias, self.noise_std, self.full_constant, self.offset,
                linear[part], constant[part],
            )  # fmt: skip

        parallel_map(task, data_slices(len(x)), 1.0 * x.size * (self.offset.size + 4))
        return Terms(linear, constant)


class PixelData(NamedTuple):
    """t(x) = (x, 1 - x), c(x) = 0: against features that are log probabilities of pixels."""

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x`` (N, D) uint8."""
        refuse_pixels(x, "where weights are so large that every pixel is looked at by itself")
        pixels = x.astype(np.float64)
        return Terms(np.concatenate([pixels, 1.0 - pixels], axis=1), np.zeros(len(x)))


class WordData(NamedTuple):
    """``RealData`` with terms in two words each (``kernels.double_word``).

    Squares of x / s, the squares of W z / s and the products of both leave log joints that they may exceed by
    far.

    Pixels are measured in ``1 / unit``, the power of two next to s, so that squares leave the range only
    where those of x / s do.
    """

    weights: Array  # (D, d) columns in the form's order
    bias: Array  # (D,)
    noise_std: float
    offset: Array  # (d,)
    offset_low: Array  # (d,)
    constant: tuple[float, float]  # log p(z = 0) in two words, without the normal density's own constant
    prior_logits: Array  # (d,) in the form's order
    reach: float  # the sizes of all that the data's terms are added to

    @property
    def full_constant(self) -> float:
        """With the normal density's, rounded."""
        return self.full_constant_words[0]

    @property
    def full_constant_words(self) -> tuple[float, float]:
        """With the normal density's."""
        return two_words([*self.constant, -log_density_scale(self.bias.size, self.noise_std)])

    @property
    def unit(self) -> float:
        return power_below(self.noise_std)

    def scaled(self, x: Array) -> Array:
        """(x - b) / s."""
        return (x - self.bias) / self.noise_std

    def sizes(self, terms: Terms) -> Array:
        """S (N,): no partial sum of a log joint exceeds it, so that sums in one word are off by some S 2^-53.

        Inf where the square of x / s overflows.
        """
        with np.errstate(over="ignore"):
            return np.abs(terms.constant) + np.abs(terms.linear).sum(axis=1) + self.reach

    def large(self, terms: Terms, largest: float | None = None) -> Array:
        """Which data have log joints that one word does not bear (N,).

        S beyond ``largest``, by default beyond what is at most ten times the rounding of a direct sum of D
        squares.
        """
        sizes = self.sizes(terms)
        return (sizes > (largest_size(self.bias.size) if largest is None else largest)) & (sizes < np.inf)

    def terms(self, x: Any) -> Terms:
        """Terms of the data ``x`` (N, D) float64, or of a GPU's.

        One word there, and brought here where that does not bear them.
        """
        if isinstance(x, RemoteData):
            return self._remote_terms(x)
        found = Terms(*(np.empty(shape) for shape in ((len(x), self.offset.size), (len(x),)) * 2))
        linear, linear_low, constant, constant_low = found.words()
        weights, factor = self.weights * self.unit, inverse_square(self.noise_std * self.unit)

        def task(part: slice) -> None:
            residual_terms(
                x[part], self.bias, self.unit, weights, *factor, *self.full_constant_words, self.offset,
                self.offset_low, linear[part], linear_low[part], constant[part], constant_low[part],
            )  # fmt: skip

        parallel_map(task, data_slices(len(x)), 4.0 * x.size * (self.offset.size + 4))
        return found

    def _remote_terms(self, x: RemoteData) -> Terms:
        found = x.terms(self)
        large = self.large(found, LARGEST_ON_DEVICE)
        if large.any():
            words = found.words()
            for into, of in zip(words, self.terms(x[large].on_host()).words(), strict=True):
                into[large] = of
            found = Terms(words[0], words[2], words[1], words[3])
        return found


def two_words(parts: Iterable[float]) -> tuple[float, float]:
    """The sum of finite numbers."""
    some = list(parts)
    high = math.fsum(some)
    return high, math.fsum([*some, -high])


def largest_size(num_pixels: int) -> float:
    """S up to which log joints of sparse coding are summed in one word.

    A residual is left of numbers of size sqrt(S), so that a direct sum of D squares near 1 is off by some
    (D + sqrt(S)) 2^-53; S may be as large as costs ten times that. Measured at D = 6: at most 7 times the
    error of a direct sum.
    """
    return 32.0 * (16 + num_pixels)


class RotatedData(NamedTuple):
    """x ~ N(W h + b, s^2 I).

    t(x) = y, the first of the coordinates of (x - b) / (s sqrt(2)), turned by reflections that leave W h
    nothing but these; c(x) = - the square of the others - D log(s sqrt(2 pi)).
    """

    bias: Array  # (D,)
    noise_std: float
    vectors: Array  # (K, D) of the reflections 1 - v v^T; (0, D) where nothing is turned
    num_coordinates: int  # of y; 1, a zero, where D is 0

    def rotated(self, x: Array) -> Array:
        """All coordinates (N, D) of (x - b) / (s sqrt(2))."""
        out, low = np.empty(x.shape), np.empty(x.shape)

        def task(part: slice) -> None:
            subtract_bias(x[part], self.bias, power_below(self.noise_std), out[part], low[part])
            reflect_rows(self.vectors, False, out[part], low[part])
            scale_rows(out[part], low[part], rotated_factor(self.noise_std))

        parallel_map(task, data_slices(len(x)), 20.0 * len(x) * self.vectors.size)
        return out

    def unrotated(self, rows: Array) -> Array:
        """Rows (N, D) of coordinates as pixels, in place."""
        reflect_rows(self.vectors, True, rows, np.zeros_like(rows))
        return rows

    def split(self, rotated: Array) -> tuple[Array, Array]:
        """Y and the other coordinates."""
        inside, outside = (
            np.ascontiguousarray(part)
            for part in (rotated[:, : self.num_coordinates], rotated[:, self.num_coordinates :])
        )
        return inside if self.bias.size else np.zeros((len(rotated), 1)), outside

    def terms(self, x: Array) -> Terms:
        """Terms of the data ``x`` (N, D) float64."""
        rotated = self.rotated(x)
        # beyond the doubles when turned: no z has a density, and inf - inf must not say otherwise
        beyond = ~np.isfinite(rotated).all(axis=1)
        rotated[beyond] = 0.0
        inside, outside = self.split(rotated)
        with np.errstate(over="ignore"):
            square = np.square(outside).sum(axis=1)
        square[beyond] = np.inf
        return Terms(inside, -square - log_density_scale(self.bias.size, self.noise_std))


def power_below(noise_std: float) -> float:
    """2^-k with noise_std 2^-k in [1, 2), as far as the range goes."""
    return math.ldexp(1.0, 1 - max(math.frexp(noise_std)[1], -1000))


def rotated_factor(noise_std: float) -> float:
    """1 / (s sqrt(2)) for pixels measured in ``power_below``."""
    return 1.0 / (noise_std * power_below(noise_std) * math.sqrt(2.0))


def inverse_square(noise_std: float) -> tuple[float, float]:
    """1 / s^2 in two words."""
    exact = 1 / Fraction(noise_std) ** 2
    high = float(exact)
    return high, float(exact - Fraction(high))


# what is linear in z
Data = BinaryData | RealData | WordData
