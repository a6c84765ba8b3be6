"""log p(x_n) = log sum_z exp(c_n + <t_n, z> - A(z)) for a batch, certified.

The fast path sums products of three scaled factors; a factor below 2^-1020 of its tile's largest is
dropped, and a product below 2^-1022. What that can lose is bounded: at most 16 * 2^-1020 per state,
relative to the largest scale of any tile. A datum for which the bound exceeds 2^-53 of its sum is summed
again in log space, where a tile is passed over only if all its states together are below 2^-53 of the sum
already certain.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.posterior.posteriors import details_of
from fastvi.engine.run.progress import report_nothing
from fastvi.engine.run.runs import Run
from fastvi.engine.run.slices import chunks
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form, SummedForm
from fastvi.engine.states.sums import Moments, Sums

_LOG = logging.getLogger("fastvi")
_NOBODY = np.empty(0, np.intp)
_UNDERFLOW = "products underflow"
_TOO_LARGE = "their terms are too large for products"


def log_space_sums_of(form: SummedForm, terms: Terms, certain: Array, run: Run) -> Array:
    """The sums in log space; ``certain`` is a lower bound of each datum's logarithm."""
    negligible = certain - (form.rounding_bits + form.num_latents) * math.log(2.0)
    work = partial(form.log_space_wave, terms, negligible)
    return run.reduce(Sums.zero(len(certain)), form.filled_starts(), work, report_nothing).log()


def is_certain(form: SummedForm, bound: Array, result: Array) -> Array:
    """Whether the bound on what was dropped is at most 2^-53 of each datum's sum (N,)."""
    dropped = bound + (4 + form.num_latents + form.flush_exponent) * math.log(2.0)
    return dropped <= result - form.rounding_bits * math.log(2.0)


def uncertain(form: SummedForm, terms: Terms, bound: Array, result: Array) -> Array:
    """Indices of the data of whose ``result`` nothing is certain, and it becomes -inf.

    The bound on what was dropped exceeds 2^-53 of their sum, or their terms are too large for products.
    """
    too_large = form.too_large(terms)
    any_large = np.count_nonzero(too_large) > 0
    if any_large:
        result[too_large] = -np.inf
    certain = is_certain(form, bound, result)
    if np.count_nonzero(certain) == certain.size and not any_large:  # nearly all batches
        return _NOBODY
    _say(too_large, "log space" if form.more_exact() is None else "two words on the CPU", _TOO_LARGE)
    _say(~certain & ~too_large, "log space" if form.wider() is None else "float64", _UNDERFLOW)
    return np.flatnonzero(~certain | too_large)


def _say(which: Array, how: str, why: str) -> None:
    if which.any():
        _LOG.info("%d of %d data are summed again in %s: %s", which.sum(), which.size, how, why)


def log_sums(form: SummedForm, x: Any, run: Run) -> Array:
    """Log sum_z exp(c_n + <t_n, z> - A(z)) for each row of ``x``."""
    form, result = run.placed(form), np.empty(len(x))
    for data in chunks(len(x)):
        result[data] = _summed(form, form.terms(x[data]), run)
    return result


def _summed(form: SummedForm, terms: Terms, run: Run) -> Array:
    sums = run.reduce(
        Sums.zero(len(terms.constant)), form.wave_starts(), form.batch(terms).sums, form.wave_states
    )
    return _certified(form, terms, sums.bound, sums.log(), run)


def _certified(form: SummedForm, terms: Terms, bound: Array, found: Array, run: Run) -> Array:
    again = uncertain(form, terms, bound, found)
    if not again.size:
        return found
    too_large = form.too_large(terms)[again]
    for members, other in ((again[too_large], form.more_exact()), (again[~too_large], form.wider())):
        if not members.size:
            continue
        part = terms.part(members)
        found[members] = (
            log_space_sums_of(form, part, found[members], run) if other is None else _summed(other, part, run)
        )
    return found


def log_sums_and_means(form: Form, x: Array, run: Run) -> tuple[Array, Array]:
    """Log p(x_n) with the bits that ``log_sums`` gives, and p(z_i = 1 | x_n), (N, d) in the form's order."""
    result, means = np.empty(len(x)), np.empty((len(x), form.num_latents))
    for data in chunks(len(x)):
        result[data], means[data], _ = log_sums_and_means_of(form, form.data.terms(x[data]), run)
    return result, means


def log_sums_and_means_of(
    form: Form, terms: Terms, run: Run, batch: Batch | None = None
) -> tuple[Array, Array, Array]:
    """``log_sums_and_means`` for the data of one chunk, and which of them were summed in log space.

    ``batch`` is that of the data, where a second pass will use it too.
    """
    moments = run.reduce(
        Moments.zero(len(terms.constant), form.num_latents),
        form.wave_starts(),
        (form.batch(terms) if batch is None else batch).moments,
        form.wave_states,
    )
    evidence = Sums(*moments[:3]).log()
    form.check_posterior(evidence)
    again = uncertain(form, terms, moments.bound, evidence)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        # not exp(bound - evidence): the rounding of a logarithm of 1e3 is 1e-13
        mean = moments.ones * (np.exp(moments.bound - moments.largest) / moments.total)[:, None]
    if again.size:
        part = terms.part(again)
        evidence[again] = log_space_sums_of(form, part, evidence[again], run)
        mean[again] = details_of(form, part, evidence[again], 1, run, report=False).mean
    # a datum of probability 0 has no posterior
    mean = np.where(np.isneginf(evidence)[:, None], np.nan, np.minimum(mean, 1.0))
    return evidence, mean, again
