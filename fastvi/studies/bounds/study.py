"""ELBO <= importance-weighted bound <= log p(x), image by image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import fastvi
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.bounds.figures import figures
from fastvi.studies.common.digits import factorised, fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject


class Averaged(NamedTuple):
    """An importance-weighted bound and the standard error of its estimate, (N,)."""

    value: np.ndarray
    std_error: np.ndarray


def log_weights_of_states(model: SigmoidBeliefNetwork, x: np.ndarray, q: Bernoulli) -> np.ndarray:
    """(N, 2^d): log p(x_n, z) - log q_n(z) of every state, bit k of the state's number being z_k.

    There are fewer states than draws here, so the weights are computed once and looked up.
    """
    number = np.arange(1 << model.num_latents)
    states = ((number[:, None] >> np.arange(model.num_latents)) & 1).astype(np.uint8)
    return np.asarray(model.log_joint(x[:, None], states[None]) - q.log_prob(states[:, None]).T)


def weighted_bounds(
    weights: np.ndarray, z: np.ndarray, sizes: tuple[int, ...], progress: Progress
) -> dict[int, Averaged]:
    """Importance-weighted bounds of each size K from draws z (S, N, d) and the states' weights (N, 2^d).

    The S draws are cut into independent parts as long as the largest K; the spread of the parts' bounds gives
    the standard error.
    """
    length = max(sizes)
    starts = range(0, len(z) - length + 1, length)
    values: dict[int, list[np.ndarray]] = {size: [] for size in sizes}
    for done, start in enumerate(starts):
        progress("importance-weighted bounds", done, len(starts))
        number = z[start : start + length] @ (1 << np.arange(z.shape[2]))  # integers: BLAS has no part in it
        log_w = np.take_along_axis(weights, number.T, axis=1)
        for size, bound in zip(sizes, fastvi.importance_weighted_bound(log_w, sizes).T, strict=True):
            values[size].append(bound)
    return {
        size: Averaged(np.mean(part, axis=0), np.std(part, axis=0, ddof=1) / np.sqrt(len(part)))
        for size, part in values.items()
    }


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    return "it is about the packaged digits alone"


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Bounds on log p(x) of held-out images under the best factorised q of each.

    Tables
    ------
    images
        A row an image: index (place in the data set), label, log_marginal, elbo, kl_to_posterior, residual
        (log_marginal - elbo - kl_to_posterior: 0 but for rounding), weighted_bound_K and its
        weighted_bound_K_std_error for each K.
    decompositions
        index, elbo, and it again as reconstruction_minus_kl_to_prior, expected_log_joint_plus_entropy and
        log_marginal_minus_kl_to_posterior.
    means
        bound, mean and gap (mean of log_marginal - bound), in nats an image.
    """
    model = fitted(settings, settings.num_latents, progress, kept).model
    parts = split(settings)
    index = parts.test_index[: settings.num_images]
    x = parts.test[: settings.num_images]
    progress("fitting q", 0, 1)
    q = factorised(model, x, "reverse_kl")
    progress("log p(x), ELBO and KL", 0, 1)
    truth = fastvi.log_marginal(model, x)
    elbo = fastvi.elbo(model, x, q)
    kl = fastvi.kl_to_posterior(model, x, q)
    z = q.sample(settings.num_draws, settings.seed)
    weighted = weighted_bounds(log_weights_of_states(model, x, q), z, settings.bounds_num_samples, progress)

    images = {
        "index": index.tolist(),
        "label": parts.test_labels[: len(x)].tolist(),
        "log_marginal": truth.tolist(),
        "elbo": elbo.value.tolist(),
        "kl_to_posterior": kl.tolist(),
        "residual": (truth - elbo.value - kl).tolist(),
    }
    for size, bound in weighted.items():
        images[f"weighted_bound_{size}"] = bound.value.tolist()
        images[f"weighted_bound_{size}_std_error"] = bound.std_error.tolist()
    decompositions = {
        "index": index.tolist(),
        "elbo": elbo.value.tolist(),
        "reconstruction_minus_kl_to_prior": (elbo.reconstruction - elbo.kl_to_prior).tolist(),
        "expected_log_joint_plus_entropy": (elbo.expected_log_joint + elbo.entropy).tolist(),
        "log_marginal_minus_kl_to_posterior": (truth - kl).tolist(),
    }
    means = [("ELBO", elbo.value)]
    means += [(f"weighted bound, K = {size:,}", bound.value) for size, bound in weighted.items()]
    means += [("log p(x)", truth)]
    rows = [(name, float(value.mean()), float((truth - value).mean())) for name, value in means]
    summary = rows_to_table(("bound", "mean", "gap"), rows)
    return StudyResult(
        name="bounds",
        tables={"images": images, "decompositions": decompositions, "means": summary},
        findings=_findings(rows, images, kl),
        figures=figures,
        shown={"means": summary},
        timings={},
        models={},
        arrays={},
    )


def _findings(
    rows: list[tuple[str, float, float]], images: dict[str, list[float]], kl: np.ndarray
) -> tuple[Finding, ...]:
    residual = max(abs(value) for value in images["residual"])
    limit = 10.0 ** np.ceil(np.log10(max(residual, 1e-16)))
    name, _, gap = rows[-2]
    return (
        Finding(
            f"the ELBO is {rows[0][2]:.3f} nats below log p(x) on average; KL(q || p(z|x)) is {kl.mean():.3f}"
        ),
        Finding(f"log p(x) - ELBO - KL is 0 within {limit:.0e} for every image"),
        Finding(f"the {name} leaves {gap:.3f} nats on average"),
    )
