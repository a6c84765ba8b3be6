"""Kullback-Leibler divergence between two distributions of one kind, in closed form.

Every form is a sum of non-negative terms, most of them of h(t) = exp(t) - 1 - t for t a log ratio of the two,
so that nothing cancels where they are close: the divergence is quadratic in their difference, and the terms
of the textbook forms are linear in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.categorical import Categorical, log_softmax
from fastvi.distributions.multivariate_normal import MultivariateNormal
from fastvi.distributions.normal import Normal
from fastvi.engine.linalg.triangular import solve_lower
from fastvi.kernels.cpu.dense.bernoulli_divergence import SERIES, bernoulli_divergences

_SMALLEST = 2.0**-1022  # below it a quotient loses digits

# both of a pair belong to one row
_KINDS: tuple[tuple[type, ...], ...] = ((Bernoulli,), (Normal, MultivariateNormal), (Categorical,))


def kl_divergence(q: Any, p: Any) -> np.ndarray:
    r"""KL(q || p) = sum_z q(z) log(q(z) / p(z)) in nats, in closed form.

    With h(t) = exp(t) - 1 - t >= 0 and L the Cholesky factor of a covariance, what is of p with a prime:

    - Categorical: sum_k q_k h(log(p_k / q_k)); Bernoulli: the same of each latent;
    - Normal: sum_i [h(2 log(std_i / std'_i)) + ((mean_i - mean'_i) / std'_i)^2] / 2;
    - MultivariateNormal: [sum_i h(2 log M_ii) + sum_{i>j} M_ij^2 + |L'^-1 (mean - mean')|^2] / 2 with M =
      L'^-1 L.

    A standard normal p is ``Normal(zeros(d), ones(d))``.

    Parameters
    ----------
    q, p : both Bernoulli or Uniform, both Categorical, or each a Normal or a MultivariateNormal
        Over the same number of latents or of categories. Parameters without an axis of data are used for
        every datum of the other.

    Returns
    -------
    ndarray, (N,), float64
        N = 1 where neither has parameters for each datum. Never negative; +inf where q has mass and p has
        none, 0 where both are the same. Computed from logits: means that round to 0 or 1 lose nothing. For
        parameters that are taken as exact the relative error of each latent's term is below 1e-14, however
        close or far apart q and p are; of a Categorical that of the sum, plus 4e-16 times the largest
        difference of logits. For a MultivariateNormal it holds of the Cholesky factors, and the error grows
        with the condition number of p's.

    Raises
    ------
    TypeError
        For a pair with no closed form here.
    ValueError
        For different numbers of latents, of categories or of data.

    Examples
    --------
    >>> import fastvi
    >>> fastvi.kl_divergence(fastvi.Bernoulli([float("inf"), float("-inf")]), fastvi.Uniform(2))
    array([1.38629436])
    >>> q = fastvi.MultivariateNormal([0.0, 1.0], [[1.0, 0.5], [0.5, 1.0]])
    >>> fastvi.kl_divergence(q, fastvi.Normal([0.0, 0.0], [1.0, 1.0])).round(6)
    array([0.643841])
    """
    validation.instance(q, "q", tuple(each for kind in _KINDS for each in kind))
    kind = next(kind for kind in _KINDS if isinstance(q, kind))
    validation.instance(p, "p", kind if len(kind) > 1 else kind[0])
    name, what = ("num_categories", "categories") if kind == (Categorical,) else ("num_latents", "latents")
    sizes = getattr(q, name), getattr(p, name)
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"q and p must have the same number of {what}, got q with {sizes[0]} and p with {sizes[1]}"
        )
    if None not in (q.num_data, p.num_data) and q.num_data != p.num_data:
        raise ValueError(
            f"q and p must be over the same number of data, got q with {q.num_data} and p with {p.num_data}"
        )
    if isinstance(q, Categorical):
        return categorical_kl(*np.broadcast_arrays(np.atleast_2d(q.logits), np.atleast_2d(p.logits)))
    if isinstance(q, Bernoulli):
        return bernoulli_kl(np.atleast_2d(q.logits), np.atleast_2d(p.logits)).sum(axis=-1)
    if isinstance(q, Normal) and isinstance(p, Normal):
        return normal_kl(*(np.atleast_2d(each) for each in (q.mean, q.std, p.mean, p.std))).sum(axis=-1)
    return _multivariate_kl(q, p)


def normal_kl(mean: np.ndarray, std: np.ndarray, other_mean: np.ndarray, other_std: np.ndarray) -> np.ndarray:
    """KL between normal distributions, elementwise: (h(2 log(s / s')) + ((m - m') / s')^2) / 2."""
    with np.errstate(over="ignore"):
        # halves keep the difference of two means of 1e308 finite
        shift = 2.0 * ((0.5 * mean - 0.5 * other_mean) / other_std)
        return 0.5 * (_h_of_square(std, other_std) + np.square(shift))


def _multivariate_kl(q: Any, p: Any) -> np.ndarray:
    """Each a Normal or a MultivariateNormal."""
    own, other = _factor(q), _factor(p)
    diagonal, other_diagonal = (np.diagonal(each, axis1=-2, axis2=-1) for each in (own, other))
    half_shift = 0.5 * np.atleast_2d(q.mean) - 0.5 * np.atleast_2d(p.mean)
    # M - I, from the difference of two factors that may be close
    return triangular_kl(
        diagonal,
        other_diagonal,
        solve_lower(other, own - other),
        2.0 * solve_lower(other, half_shift[..., None])[..., 0],
    )


def _factor(q: Any) -> np.ndarray:
    """Cholesky factors, (N, d, d) or (1, d, d)."""
    if isinstance(q, MultivariateNormal):
        return q.cholesky.reshape(-1, q.num_latents, q.num_latents)
    return np.atleast_2d(q.std)[..., None] * np.eye(q.num_latents)


def triangular_kl(
    diagonal: np.ndarray, other_diagonal: np.ndarray, below: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """KL between normal distributions from M = L'^-1 L, leading axes broadcast.

    M_ii = diagonal / other_diagonal (..., d), what ``below`` (..., d, d) has under its diagonal is that of M;
    ``shift`` is L'^-1 (m - m') (..., d).
    """
    with np.errstate(over="ignore"):
        squares = np.square(np.tril(below, -1))
        mixed = squares.reshape(*squares.shape[:-2], squares.shape[-1] ** 2).sum(axis=-1)
        alone = _h_of_square(diagonal, other_diagonal).sum(axis=-1)
        return 0.5 * (alone + mixed + np.square(shift).sum(axis=-1))


def log_quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log(a / b) of positive numbers: neither a quotient near 1 nor one beyond the doubles costs digits.

    Logarithms of a and b apart have errors of their own size, 1e-13 at 1e300: they are taken only where the
    quotient has no digits left, and the result is as large as they are.
    """
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        quotient = a / b
        near = np.abs(a - b) <= 0.5 * b
        held = (quotient >= _SMALLEST) & (quotient < np.inf)
        apart = np.where(held, np.log(np.where(held, quotient, 1.0)), np.log(a) - np.log(b))
        return np.where(near, np.log1p(np.where(near, (a - b) / b, 0.0)), apart)


def _h_of_square(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """h(2 log(a / b)) = (a / b)^2 - 1 - 2 log(a / b).

    An exponential of the logarithm would be off by 1e-16 times that.
    """
    with np.errstate(over="ignore", under="ignore"):
        t = 2.0 * log_quotient(a, b)
        return np.where(np.abs(t) <= 1.0, _h(t), (np.square(a / b) - 1.0) - t)


def categorical_kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """KL between categorical distributions with logits ``a`` and ``b`` (N, K), -inf allowed.

    The sum over k of q_k h(t_k), t = log(p / q).
    """
    log_q, log_p = log_softmax(a), log_softmax(b)
    q, p = np.exp(log_q), np.exp(log_p)
    seen, both = a > -np.inf, (a > -np.inf) & (b > -np.inf)
    top = a.argmax(axis=-1)[:, None]
    high, low = _exact_difference(np.where(both, b, 0.0), np.where(both, a, 0.0))
    high_top, low_top = (np.take_along_axis(each, top, -1) for each in (high, low))
    change = (high - high_top) + (low - low_top)
    # log(q / p) of the top category, whose change is 0 here
    ratio = np.take_along_axis(log_q, top, -1) - np.take_along_axis(log_p, top, -1)
    small = np.abs(change) <= 1.0
    with np.errstate(over="ignore", invalid="ignore"):  # where p rules out what q does not
        close = q * np.expm1(np.where(small, change, 0.0))
        apart = np.exp(np.where(both, log_q + change, log_p + ratio)) - q
        gain = np.where(small & both, close, apart).sum(axis=-1, keepdims=True)
        t = change - np.where(gain <= 1.0, np.log1p(np.minimum(gain, 1.0)), ratio)
        near = np.abs(t) <= 1.0
        terms = np.where(near, q * _h(np.where(near, t, 0.0)), p - q - q * t)
    terms = np.where(both, terms, np.where(seen, 0.0, p))
    return np.where((seen & ~both).any(axis=-1), np.inf, terms.sum(axis=-1))


def _exact_difference(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A - b as the sum of two doubles (Knuth)."""
    high = a - b
    back = high - a
    return high, (a - (high - back)) - (b + back)


def bernoulli_kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """KL between Bernoulli distributions with logits ``a`` and ``b``, elementwise, +-inf allowed.

    With t1 = log(sigmoid(b) / sigmoid(a)) and t0 = log(sigmoid(-b) / sigmoid(-a)) the divergence is

        -sigmoid(a) t1 - sigmoid(-a) t0 = sigmoid(a) h(t1) + sigmoid(-a) h(t0),   h(t) = exp(t) - 1 - t >= 0.

    The first form cancels where a and b are close (the divergence is quadratic in b - a, its terms are
    linear), the second has no sum of unlike signs but overflows where they are far apart: each is used on its
    side of |b - a| = 1.
    """
    shape = a.shape if a.shape == b.shape else np.broadcast_shapes(a.shape, b.shape)
    # copies: read-only arrays, which distributions have, would take code of their own
    own, other, out = np.empty(shape), np.empty(shape), np.empty(shape)
    own[...], other[...] = a, b
    bernoulli_divergences(own.reshape(-1), other.reshape(-1), out.reshape(-1))
    return out


def _h(t: np.ndarray) -> np.ndarray:
    """exp(t) - 1 - t; for |t| <= 1 by its series (Horner's scheme): expm1(t) - t would cancel."""
    small = np.abs(t) <= 1.0
    near = np.where(small, t, 0.0)
    total = np.zeros_like(near)
    for coefficient in SERIES:
        total = total * near + coefficient
    with np.errstate(over="ignore"):
        return np.where(small, total * near * near, np.expm1(t) - t)
