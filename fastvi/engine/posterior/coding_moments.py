"""Moments of the posteriors of binary sparse coding, for gradients and expectation maximisation.

With m = E[z | x] and residuals r = x - b - W m, all of it follows from m, sum_n w_n Cov[z | x_n] and

    E|x - W z - b|^2 / s^2 = (|r|^2 + tr(W Cov W^T)) / s^2
                           = 2 (H - log p(x) + E[log p(z)]) - 2 D log(s sqrt(2 pi)),

H the entropy of p(z | x). The first is taken where |W|^2 / s^2 is so small that the rounding of second
moments does not matter, the second of all other data, whose states are visited one by one: with z counted
from a state z0 close to the mean, f = z xor z0, nothing is lost where a posterior is certain, and Cov[z] is
Cov[f] with signs.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.linalg.products import matmul
from fastvi.engine.posterior.log_sum import log_sums_and_means_of
from fastvi.engine.posterior.posteriors import Details, second_moments
from fastvi.engine.posterior.state_moments import FirstPass, Total, in_products, pairs_wave
from fastvi.engine.run.progress import report_nothing
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import chunks, slices
from fastvi.engine.states.data_terms import Terms, WordData, log_density_scale
from fastvi.engine.states.pair_form import SparseCodingForm
from fastvi.kernels.cpu.states.posterior_sums import posterior_sums

_LARGEST_RATIO = 16.0  # |W|^2 / (D s^2) up to which second moments come from products
_DETAILS = 1 << 20  # numbers of second moments of single data that are kept at a time: 8 MiB


class CodingMoments(NamedTuple):
    """Latents in the model's order."""

    evidence: Array  # (N,) log p(x_n)
    mean: Array  # (N, d) E[z | x_n]
    spread: Array  # (d, d) sum_n w_n Cov[z | x_n]
    square: float  # sum_n w_n E|x_n - W z - b|^2 / s^2


def coding_moments(
    form: SparseCodingForm, x: Array, data_weights: Array, run: Run, first: FirstPass | None = None
) -> CodingMoments:
    """Moments of each datum and their weighted sums."""
    evidence, mean = np.empty(len(x)), np.empty((len(x), form.num_latents))
    spread, square = np.zeros((form.num_latents, form.num_latents)), 0.0
    for data in chunks(len(x)):
        terms, weights = form.terms(x[data]), data_weights[data]
        if first is None:
            found, means, again = log_sums_and_means_of(form, terms, run)
        else:
            found, means, again = first.chunk(data, form.order)
        # a datum that counts for nothing may be impossible
        evidence[data], mean[data] = found, np.where(weights[:, None] == 0.0, 0.0, means)
        if _ratio(form) > _LARGEST_RATIO:
            again = np.arange(len(weights))
        together = np.setdiff1d(np.arange(len(weights)), again)
        told = bool(together.size)  # each chunk's second pass is told of once
        if told:
            part = x[data][together], weights[together], mean[data][together]
            own_spread, own_square = _of_products(form, terms.part(together), *part, found[together], run)
            spread, square = spread + own_spread, square + own_square
        step = max(1, _DETAILS // form.num_latents**2)
        for some in slices(again.size, step):
            who = again[some]
            own_mean, own_spread, own_square = _of_states(
                form, terms.part(who), weights[who], mean[data][who], found[who], run, report=not told
            )
            told = True
            mean[np.arange(len(x))[data][who]] = own_mean
            spread, square = spread + own_spread, square + own_square
    back = np.argsort(form.order)
    return CodingMoments(evidence, mean[:, back], spread[back][:, back], square)


def _ratio(form: SparseCodingForm) -> float:
    data = _data(form)
    with np.errstate(over="ignore"):
        return float(np.square(data.weights / data.noise_std).sum() / max(1, data.bias.size))


def _data(form: SparseCodingForm) -> WordData:
    assert isinstance(form.data, WordData)
    return form.data


def _products(left: Array, right: Array) -> Array:
    """sum_n left_n right_n^T."""
    return matmul(np.ascontiguousarray(left.T), right)


def _of_products(
    form: SparseCodingForm, terms: Terms, x: Array, weights: Array, mean: Array, evidence: Array, run: Run
) -> tuple[Array, float]:
    """Spread and square of data that products hold."""
    data, zero = _data(form), Total(np.zeros((form.num_latents, form.num_latents)), np.zeros(0))
    work = partial(pairs_wave, form.batch(terms), in_products(evidence, weights))
    second = run.reduce(zero, form.wave_starts(), work, form.wave_states).values
    mean = np.clip(mean, 0.0, 1.0)
    spread = second - _products(weights[:, None] * mean, mean)
    np.fill_diagonal(spread, (weights[:, None] * mean * (1.0 - mean)).sum(axis=0))
    scaled = data.weights / data.noise_std
    residual = (x - data.bias) / data.noise_std - matmul(mean, np.ascontiguousarray(scaled.T))
    square = (weights[:, None] * np.square(residual)).sum() + (matmul(scaled, spread) * scaled).sum()
    return spread, float(square)


def _of_states(
    form: SparseCodingForm, terms: Terms, weights: Array, mean: Array, evidence: Array, run: Run, *,
    report: bool,
) -> tuple[Array, Array, float]:  # fmt: skip
    """Means, spread and square of data whose states are visited."""
    data, d = _data(form), form.num_latents
    near = np.where(mean > 0.5, 1, 0)
    origin = (near << np.arange(d)).sum(axis=1)
    work = partial(_flips_wave, form, terms, -evidence, origin)
    zero = Details.zero(len(weights), d, 1, pairwise=True)
    states = form.filled_states if report else report_nothing
    found = run.reduce(zero, form.filled_starts(), work, states)
    flipped, sign = np.minimum(found.mean, 1.0), 1.0 - 2.0 * near
    mean = np.where(near == 1, 1.0 - flipped, flipped)
    covariance = second_moments(found.pairs) - flipped[:, :, None] * flipped[:, None]
    covariance[:, np.arange(d), np.arange(d)] = flipped * (1.0 - flipped)
    counted = weights != 0.0
    covariance *= sign[:, :, None] * sign[:, None] * weights[:, None, None]
    # log p(z = 0) is the constant; what the density adds is taken away from log p(x)
    density = log_density_scale(data.bias.size, data.noise_std)
    prior = data.constant[0] + (mean * data.prior_logits).sum(axis=1)
    square = 2.0 * np.maximum(found.entropy - (evidence + density) + prior, 0.0)
    mean[~counted] = 0.0
    return mean, covariance[counted].sum(axis=0), float((weights * square)[counted].sum())


def _flips_wave(form: SparseCodingForm, terms: Terms, shift: Array, origin: Array, first: int) -> Details:
    found = Details.zero(len(shift), form.num_latents, 1, pairwise=True)
    form.visit_flips(posterior_sums, terms, shift, first, tuple(found), origin)
    return found
