"""Bounds and divergences of a table under a categorical q, each by its own sum over z."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastvi.bounds.kl_divergence import categorical_kl
from fastvi.distributions.categorical import Categorical, entropies, log_softmax
from fastvi.engine.importance.jobs import Sampler, Source
from fastvi.engine.importance.targets import JOINT, WEIGHT
from fastvi.engine.run.slices import slices
from fastvi.engine.run.threads import num_threads
from fastvi.engine.sampling.averages import sampled_means
from fastvi.engine.sampling.run_jobs import CHUNK
from fastvi.inputs.options import Limits
from fastvi.inputs.variational import categories, check_categorical
from fastvi.rules.joint_table import JointTableRules

_NUMBERS = 1 << 16  # of data times num_z that are worked on together: about 30 arrays of 512 KiB
_ARRAYS = 30

# of the rows of some data (M,) and the logits of their q (M, num_z): numbers (M, ...)
_OfRows = Callable[[np.ndarray, np.ndarray], np.ndarray]


class TableBound(NamedTuple):
    """Numbers of an ``Elbo``, in its order."""

    value: np.ndarray
    reconstruction: np.ndarray
    kl_to_prior: np.ndarray
    expected_log_joint: np.ndarray
    entropy: np.ndarray
    std_error: np.ndarray


class TableQuestion(NamedTuple):
    """Checked arguments: the row of each datum, and q."""

    rules: JointTableRules
    rows: np.ndarray  # (N,)
    q: Categorical

    def answer(self, of_rows: _OfRows, *shape: int) -> np.ndarray:
        """Return (N, *shape) of the data, some at a time."""
        logits = np.atleast_2d(self.q.logits)
        out = np.empty((len(self.rows), *shape))
        for some in slices(len(self.rows), max(1, _NUMBERS // self.rules.model.num_z)):
            rows = self.rows[some]
            own = logits[some] if len(logits) > 1 else np.repeat(logits, len(rows), axis=0)
            out[some] = of_rows(rows, own)
        return out


def ask_table(
    rules: JointTableRules, x: Any, q: Any, observed: Any, limits: Limits, *, sampled: bool = False
) -> TableQuestion:
    """Check x, q and observed; refuse what takes too much memory."""
    rows = rules.rows(x, observed)
    check_categorical(rules, q, "q", len(rows))
    num_z = rules.model.num_z
    numbers = len(TableBound._fields) * len(rows) + _ARRAYS * max(num_z, min(_NUMBERS, len(rows) * num_z))
    numbers += 3 * rules.log_rows.size  # which are made once
    if sampled:  # q as draws are made of it, and the draws that threads hold
        numbers += 4 * q.logits.size + 8 * CHUNK * num_threads()
    limits.check(0, 8 * numbers, f"{len(rows)} data of {num_z} states")
    return TableQuestion(rules, rows, q)


# ---- the ELBO --------------------------------------------------------------------------------------------


def elbo_of_table(question: TableQuestion, form_of: str) -> TableBound:
    """Return the exact ELBO; ``form_of`` says by which of its three forms."""
    rules, num_data = question.rules, len(question.rows)
    log_prior = rules.log_rows[-1]

    def of_rows(rows: np.ndarray, logits: np.ndarray) -> np.ndarray:
        log_q, log_joint = log_softmax(logits), rules.log_rows[rows]
        reconstruction = _expectation(log_q, rules.log_likelihoods[rows])
        kl = categorical_kl(logits, np.repeat(log_prior[None], len(rows), axis=0))
        joint, entropy = _expectation(log_q, log_joint), entropies(log_q)
        if form_of == "reconstruction":
            value = reconstruction - kl
        elif form_of == "joint":
            value = joint + entropy
        else:
            value = _expectation(log_q, log_joint - np.maximum(log_q, -1e300))
        return np.stack([value, reconstruction, kl, joint, entropy], axis=-1)

    value, reconstruction, kl, joint, entropy = np.ascontiguousarray(question.answer(of_rows, 5).T)
    return TableBound(value, reconstruction, kl, joint, entropy, np.zeros(num_data))


def sampled_elbo_of_table(question: TableQuestion, form_of: str, num_samples: int, seed: int) -> TableBound:
    """Return the ELBO by draws from q; the entropy, or the KL to the prior, is added exactly."""
    rules, rows = question.rules, question.rows
    likelihood = form_of == "reconstruction"
    num_states = num_samples * len(rows)
    build = partial(rules.sampling_target, rules.everything, num_states, with_prior=not likelihood)
    what = WEIGHT if form_of == "log_ratio" else JOINT
    sampler = Sampler(Source(build), rows[:, None], np.arange(len(rows)), categories(question.q), seed, what)
    mean, error = sampled_means(sampler, num_samples)
    exact = elbo_of_table(question, form_of)
    kl, entropy = exact.kl_to_prior, exact.entropy
    value = mean - kl if likelihood else mean if form_of == "log_ratio" else mean + entropy
    # q that leaves the prior's support has a value of -inf, and nothing to take the other parts from
    inside = kl < np.inf
    reconstruction = mean if likelihood else np.where(inside, value + np.where(inside, kl, 0.0), -np.inf)
    return TableBound(value, reconstruction, kl, value - entropy, entropy, error)


def _expectation(log_q: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return E_q[values] over the last axis: -inf where q, however small, meets a value of -inf."""
    ruled_out = ((log_q > -np.inf) & (values == -np.inf)).any(axis=-1)
    terms = np.exp(log_q) * np.where(values > -np.inf, values, 0.0)
    return np.where(ruled_out, -np.inf, terms.sum(axis=-1))


# ---- divergences -----------------------------------------------------------------------------------------


def divergence_of_table(question: TableQuestion, *, from_posterior: bool) -> np.ndarray:
    """Return KL(q || p(z | x)), or KL(p(z | x) || q), (N,); NaN where p(x) is 0."""
    rules = question.rules

    def of_rows(rows: np.ndarray, logits: np.ndarray) -> np.ndarray:
        own = rules.log_rows[rows]
        impossible = (own == -np.inf).all(axis=-1)
        own[impossible] = 0.0
        found = categorical_kl(own, logits) if from_posterior else categorical_kl(logits, own)
        return np.where(impossible, np.nan, found)

    return question.answer(of_rows)


def chi_square_of_table(question: TableQuestion) -> np.ndarray:
    """Return log E_q[(p(x, z) / q(z))^2] / 2, (N,)."""
    rules = question.rules

    def of_rows(rows: np.ndarray, logits: np.ndarray) -> np.ndarray:
        log_q, log_joint = log_softmax(logits), rules.log_rows[rows]
        possible = log_joint > -np.inf
        ruled_out = (possible & (log_q == -np.inf)).any(axis=-1)
        terms = np.where(possible, 2.0 * log_joint - np.maximum(log_q, -1e300), -np.inf)
        top = terms.max(axis=-1)
        shift = np.where(top > -np.inf, top, 0.0)
        with np.errstate(divide="ignore"):
            found = 0.5 * (shift + np.log(np.exp(terms - shift[:, None]).sum(axis=-1)))
        return np.where(ruled_out, np.inf, found)

    return question.answer(of_rows)
