"""ELBO <= importance-weighted bound <= log p(x), datum by datum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.bounds.elbo import Elbo
from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.studies.bounds.figures import figures
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.states import (
    best_product,
    log_weights_of_states,
    no_latent_bits,
    not_answered,
    require_finite,
)
from fastvi.studies.common.subject import Subject, digits_subject
from fastvi.studies.common.words import counted, first_of, rounded, unit

MOST_LATENTS = 20  # of a caller's own model; its KL(q || p(z | x)) sums over all states
_MOST_LISTED = 14  # latents, for which there are fewer states than draws: their weights are looked up


class Averaged(NamedTuple):
    """An importance-weighted bound and the standard error of its estimate, (N,)."""

    value: np.ndarray
    std_error: np.ndarray


def weigher(model: Any, x: np.ndarray, q: Bernoulli | Normal) -> Callable[[np.ndarray], np.ndarray]:
    """Function from draws z (S, N, d) to log p(x_n, z) - log q_n(z), (N, S)."""
    constant = fastvi.log_partition(model) if "log_partition" in fastvi.supported(model) else 0.0
    rules = rules_of(model)
    if rules.real_latents or rules.num_latents > _MOST_LISTED:
        return lambda z: np.ascontiguousarray((model.log_joint(x, z) - q.log_prob(z)).T) - constant
    listed = log_weights_of_states(model, x, q) - constant
    bits = 1 << np.arange(rules.num_latents)
    return lambda z: np.take_along_axis(listed, (z @ bits).T, axis=1)  # integers: BLAS has no part in it


def weighted_bounds(
    weigh: Callable[[np.ndarray], np.ndarray],
    q: Bernoulli | Normal,
    sizes: tuple[int, ...],
    num_draws: int,
    seed: int,
    progress: Progress,
) -> dict[int, Averaged]:
    """Importance-weighted bounds of each size K from independent parts, as long as the largest K.

    The spread of the parts' bounds gives the standard error.
    """
    length = max(sizes)
    seeds = np.random.SeedSequence(seed).generate_state(max(2, num_draws // length), np.uint64).tolist()
    values: dict[int, list[np.ndarray]] = {size: [] for size in sizes}
    for done, each in enumerate(seeds):
        progress("importance-weighted bounds", done, len(seeds))
        log_w = weigh(q.sample(length, each))
        for size, bound in zip(sizes, fastvi.importance_weighted_bound(log_w, sizes).T, strict=True):
            values[size].append(bound)
    return {
        size: Averaged(np.mean(part, axis=0), np.std(part, axis=0, ddof=1) / np.sqrt(len(part)))
        for size, part in values.items()
    }


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    lack = not_answered(
        own, "log_marginal", "elbo", "kl_to_posterior", "fit_posterior(objective='forward_kl')"
    )
    if lack is not None and not isinstance(own.model, BoltzmannMachine):
        return lack
    rules = rules_of(own.model, tables=True)
    return None if rules.real_latents else no_latent_bits(own, MOST_LATENTS)


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Bounds on log p(x) under the best q of each datum whose latents are independent.

    q is the one of the largest ELBO. Where a model does not answer ``fit_posterior`` for it, q has the exact
    posterior means in its place. The importance-weighted bound (Burda, Grosse, Salakhutdinov 2016) is the
    mean of log((1/K) sum_k p(x, z_k) / q(z_k)) over draws of K states from q.

    Tables
    ------
    images
        A row a datum: index (place in the data set), label (of digits), log_marginal, elbo, kl_to_posterior,
        residual (log_marginal - elbo - kl_to_posterior: 0 but for rounding), weighted_bound_K and its
        weighted_bound_K_std_error for each K.
    decompositions
        index, elbo, and it again as reconstruction_minus_kl_to_prior, expected_log_joint_plus_entropy and
        log_marginal_minus_kl_to_posterior. Then the parts: reconstruction (E_q[log p(x | z)]) and
        kl_to_prior, nan where the model has no prior, expected_log_joint (E_q[log p(x, z)]) and entropy.
    means
        bound, mean and gap (mean of log_marginal - bound), in nats a datum.
    """
    subject = own or digits_subject(settings, progress, kept=kept)
    subject = first_of(subject, settings.num_images)
    model, x = subject.model, subject.x
    progress("log p(x)", 0, 1)
    truth = fastvi.log_marginal(model, x)
    require_finite(truth)
    progress("fitting q", 0, 1)
    q = best_product(model, x)
    progress("ELBO and KL", 0, 1)
    elbo = fastvi.elbo(model, x, q)
    kl = fastvi.kl_to_posterior(model, x, q)
    weighted = weighted_bounds(
        weigher(model, x, q), q, settings.bounds_num_samples, settings.num_draws, settings.seed, progress
    )

    images: dict[str, list[Any]] = {"index": subject.index.tolist()}
    if subject.labels is not None:
        images["label"] = subject.labels.tolist()
    images |= {
        "log_marginal": truth.tolist(),
        "elbo": elbo.value.tolist(),
        "kl_to_posterior": kl.tolist(),
        "residual": (truth - elbo.value - kl).tolist(),
    }
    for size, bound in weighted.items():
        images[f"weighted_bound_{size}"] = bound.value.tolist()
        images[f"weighted_bound_{size}_std_error"] = bound.std_error.tolist()
    means = [("ELBO", elbo.value)]
    means += [(f"importance-weighted, K = {size:,}", bound.value) for size, bound in weighted.items()]
    means += [("log p(x)", truth)]
    rows = [(name, float(value.mean()), float((truth - value).mean())) for name, value in means]
    summary = rows_to_table(("bound", "mean", "gap"), rows)
    decompositions = {"index": subject.index.tolist(), **_forms(truth, elbo, kl)}
    return StudyResult(
        name="bounds",
        tables={"images": images, "decompositions": decompositions, "means": summary},
        findings=_findings(rows, subject, images, decompositions),
        figures=partial(figures, subject=subject),
        shown={f"mean bounds on log p(x), {counted(subject)}, nats": summary},
        timings={},
        models={},
        arrays={},
    )


def _forms(truth: np.ndarray, elbo: Elbo, kl: np.ndarray) -> dict[str, list[float]]:
    """The ELBO by three ways of adding it up, and the parts of two of them."""
    found = {
        "elbo": elbo.value,
        "reconstruction_minus_kl_to_prior": elbo.reconstruction - elbo.kl_to_prior,
        "expected_log_joint_plus_entropy": elbo.expected_log_joint + elbo.entropy,
        "log_marginal_minus_kl_to_posterior": truth - kl,
        "reconstruction": elbo.reconstruction,
        "kl_to_prior": elbo.kl_to_prior,
        "expected_log_joint": elbo.expected_log_joint,
        "entropy": elbo.entropy,
    }
    return {name: values.tolist() for name, values in found.items()}


def _findings(
    rows: list[tuple[str, float, float]],
    subject: Subject,
    images: dict[str, list[Any]],
    forms: dict[str, list[Any]],
) -> tuple[Finding, ...]:
    residual = max(abs(value) for value in images["residual"])
    limit = 10.0 ** np.ceil(np.log10(max(residual, 1e-16)))
    name, _, gap = rows[-2]
    errors = [column for column in images if column.endswith("_std_error")][-1]
    error = np.sqrt(np.square(images[errors]).sum()) / len(subject.x)
    kl = np.mean(images["kl_to_posterior"])
    mean = {part: float(np.mean(values)) for part, values in forms.items()}
    found = [
        f"{counted(subject)}: the ELBO is {rows[0][2]:.3f} nats below log p(x) on average; "
        f"KL(q || p(z|x)) is {kl:.3f}",
        f"log p(x) - ELBO - KL is 0 within {limit:.0e} nats for every {unit(subject)}",
        f"the bound '{name}' leaves {rounded(gap)} nats on average, with a standard error of {error:.1g}",
    ]
    if np.isfinite(mean["reconstruction"]):
        found.append(
            f"the mean ELBO {mean['elbo']:.2f} is E[log p(x|z)] {mean['reconstruction']:.2f} less KL(q || "
            f"p(z)) {mean['kl_to_prior']:.2f}, and E[log p(x,z)] {mean['expected_log_joint']:.2f} plus the "
            f"entropy of q {mean['entropy']:.2f}"
        )
    return tuple(Finding(text) for text in found)
