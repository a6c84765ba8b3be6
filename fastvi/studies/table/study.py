"""A table: what p(x), p(z | x), sampling, bounds and divergences are, where all can be added by hand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.distributions.categorical import Categorical
from fastvi.studies.bounds.study import log_weights_of_states
from fastvi.studies.common.digits import factorised, fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.table.figures import COLOURS, figures

# eye colours against eight nationalities, a textbook's; as printed they sum to 0.99
EYES = (
    (0.02, 0.03, 0.02, 0.01, 0.07, 0.03, 0.01, 0.00),
    (0.09, 0.01, 0.03, 0.03, 0.08, 0.04, 0.03, 0.06),
    (0.01, 0.01, 0.08, 0.06, 0.07, 0.08, 0.06, 0.06),
)
BLUE = 1  # a row without zeros, of two modes: what is fitted
UNIFORM, PRIOR, HALFWAY, POSTERIOR = "uniform", "prior", "halfway", "posterior"
REVERSE, FORWARD = "reverse KL", "forward KL"


class Fit(NamedTuple):
    """Where a bell stands, and its q."""

    place: float
    q: Categorical


def joint_table() -> fastvi.JointTable:
    """The table, declared unnormalized, for it is kept as it is printed."""
    return fastvi.JointTable(EYES, unnormalized=True)


def proposals(table: fastvi.JointTable) -> dict[str, Categorical]:
    """A q (num_x, num_z) of each name; halfway is the geometric mean of uniform and posterior."""
    log_posterior = fastvi.exact_posterior(table).log_probs
    prior = np.log(table.probabilities.sum(axis=0))
    every = np.ones((table.num_x, 1))
    return {
        UNIFORM: Categorical(0.0 * every * prior),
        PRIOR: Categorical(every * prior),
        HALFWAY: Categorical(0.5 * log_posterior),
        POSTERIOR: Categorical(log_posterior),
    }


def relative_variances(table: fastvi.JointTable, q: Categorical) -> np.ndarray:
    """Relative variance of one weight p(x, z) / q(z), (num_x,): sum_z p(z | x)^2 / q(z) - 1."""
    p = fastvi.exact_posterior(table).probabilities
    return (np.square(p) / np.where(p > 0, q.probabilities, 1.0)).sum(axis=1) - 1.0


# ---- reverse and forward KL --------------------------------------------------------------------------------


def bells(places: np.ndarray, num_z: int) -> Categorical:
    """Bells exp(-(z - m)^2 / 2) over z = 1 ... num_z, of ``places`` m (M,)."""
    return Categorical(-0.5 * np.square(np.arange(1, num_z + 1) - places[:, None]))


def fitted_bell(table: fastvi.JointTable, x: int, direction: str) -> Fit:
    """The bell of the least divergence: the best of a grid, and of finer ones around the best.

    Each grid has 257 points and an eighth of the width of the one before.
    """
    divergence = fastvi.kl_to_posterior if direction == REVERSE else fastvi.kl_from_posterior
    best, reach = 0.5 * (1 + table.num_z), 0.5 * table.num_z
    while reach > 1e-9:
        places = best + reach * np.linspace(-1.0, 1.0, 257)
        values = divergence(table, np.full(len(places), x), bells(places, table.num_z))
        best, reach = float(places[values.argmin()]), reach / 8.0
    return Fit(best, bells(np.array([best]), table.num_z))


# ---- tables of the study -----------------------------------------------------------------------------------


def _rows(table: fastvi.JointTable) -> dict[str, list[Any]]:
    posterior = fastvi.exact_posterior(table)
    found: dict[str, list[Any]] = {
        "x": list(COLOURS),
        "p_x": np.exp(posterior.log_marginal).tolist(),
        "log_marginal": posterior.log_marginal.tolist(),
        "entropy": posterior.entropy.tolist(),
        "mode": (posterior.mode + 1).tolist(),
    }
    for z in range(table.num_z):
        found[f"p_z{z + 1}"] = posterior.probabilities[:, z].tolist()
    return found


def _sampled(table: fastvi.JointTable, settings: Settings, progress: Progress) -> dict[str, list[Any]]:
    """Measured variances of p_hat(x) / p(x) beside chi^2(p(z | x) || q) / K."""
    qs, rows = proposals(table), []
    for done, (name, q) in enumerate(qs.items()):
        progress("sampling p(x)", done, len(qs))
        theory = relative_variances(table, q)
        asked = name if name in (UNIFORM, PRIOR) else q
        calibration = fastvi.calibrate(
            table, proposals={name: asked}, num_samples=settings.table_num_samples,
            num_repeats=settings.table_num_repeats, seed=settings.seed,
        )  # fmt: skip
        for entry in calibration.entries:
            for x, colour in enumerate(COLOURS):
                rows.append((
                    colour, name, entry.num_samples, float(theory[x]) / entry.num_samples,
                    float(entry.relative_variance[x]), float(entry.bias[x]),
                    -0.5 * float(theory[x]) / entry.num_samples,
                ))  # fmt: skip
    columns = (
        "x", "proposal", "num_samples", "variance_theory", "variance_measured", "bias_of_log_measured",
        "bias_of_log_theory",
    )  # fmt: skip
    return rows_to_table(columns, rows)


def _elbos(table: fastvi.JointTable) -> dict[str, list[Any]]:
    rows, truth = [], fastvi.log_marginal(table)
    for name, q in proposals(table).items():
        forms = ("reconstruction", "joint", "log_ratio")
        bounds = [fastvi.elbo(table, None, q, decomposition=form) for form in forms]  # type: ignore[arg-type]
        kl = fastvi.kl_to_posterior(table, None, q)
        for x, colour in enumerate(COLOURS):
            first = bounds[0]
            parts = (
                first.reconstruction, first.kl_to_prior, first.expected_log_joint, first.entropy, truth, kl,
                *(bound.value for bound in bounds), truth - kl,
            )  # fmt: skip
            rows.append((colour, name, *(float(part[x]) for part in parts)))
    columns = (
        "x", "q", "reconstruction", "kl_to_prior", "expected_log_joint", "entropy", "log_marginal",
        "kl_to_posterior", "reconstruction_minus_kl_to_prior", "expected_log_joint_plus_entropy",
        "expected_log_ratio", "log_marginal_minus_kl_to_posterior",
    )  # fmt: skip
    return rows_to_table(columns, rows)


def _jensen(table: fastvi.JointTable, digits: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    """The logarithm of the mean weight, and the mean logarithm of the weight."""
    rows: list[tuple[Any, ...]] = []
    for name, q in proposals(table).items():
        for x, colour in enumerate(COLOURS):
            p, weights = q.probabilities[x], table.probabilities[x]
            seen = p > 0
            mean = float(np.log((p[seen] * (weights[seen] / p[seen])).sum()))
            with np.errstate(divide="ignore"):
                of_logs = float((p[seen] * np.log(weights[seen] / p[seen])).sum())
            rows.append((f"table, {colour}, {name}", mean, of_logs, mean - of_logs))
    for n, (mean, of_logs) in enumerate(zip(digits["log_mean"], digits["mean_log"], strict=True)):
        rows.append((f"held-out digit {n}, fitted q", float(mean), float(of_logs), float(mean - of_logs)))
    return rows_to_table(("weights", "log_of_mean", "mean_of_log", "gap"), rows)


def _digits(settings: Settings, progress: Progress) -> dict[str, np.ndarray]:
    """Log weights (N, 2^d) of images under a factorised q of each, and q's log probabilities."""
    model = fitted(settings, settings.num_latents, progress).model
    x = split(settings).test[: settings.num_images]
    q = factorised(model, x, "reverse_kl")
    states = ((np.arange(1 << model.num_latents)[:, None] >> np.arange(model.num_latents)) & 1).astype(
        np.uint8
    )
    log_w = log_weights_of_states(model, x, q)
    log_q = np.ascontiguousarray(q.log_prob(states[:, None]).T)
    top = log_w.max(axis=1, keepdims=True)
    share = np.exp(log_q)
    log_mean = top[:, 0] + np.log((share * np.exp(log_w - top)).sum(axis=1))
    return {"log_w": log_w, "q": share, "log_mean": log_mean, "mean_log": (share * log_w).sum(axis=1)}


def _divergences(table: fastvi.JointTable, fits: dict[str, Fit]) -> dict[str, list[Any]]:
    rows: list[tuple[Any, ...]] = []
    for name, q in proposals(table).items():
        both = fastvi.kl_to_posterior(table, None, q), fastvi.kl_from_posterior(table, None, q)
        rows += [(colour, name, *(float(value[x]) for value in both)) for x, colour in enumerate(COLOURS)]
    for name, fit in fits.items():
        both = fastvi.kl_to_posterior(table, [BLUE], fit.q), fastvi.kl_from_posterior(table, [BLUE], fit.q)
        rows.append((COLOURS[BLUE], f"bell by {name}", *(float(value[0]) for value in both)))
    return rows_to_table(("x", "q", "kl_to_posterior", "kl_from_posterior"), rows)


def _bells(table: fastvi.JointTable) -> dict[str, list[Any]]:
    """Both divergences of bells along z from the posterior of blue eyes."""
    places = np.linspace(0.0, table.num_z + 1.0, 181)
    q, x = bells(places, table.num_z), np.full(len(places), BLUE)
    return {
        "place": places.tolist(),
        "kl_to_posterior": fastvi.kl_to_posterior(table, x, q).tolist(),
        "kl_from_posterior": fastvi.kl_from_posterior(table, x, q).tolist(),
    }


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    return "it is about the packaged digits alone"


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Every question about eye colour x and nationality z, and Jensen's inequality on digits beside it.

    Tables
    ------
    rows
        x, p_x, log_marginal, entropy (of p(z | x)), mode (1 ... 8), p_z1 ... p_z8 (p(z | x)).
    sampling
        x, proposal, num_samples K, variance_theory (of p_hat(x) / p(x): chi^2(p(z | x) || q) / K),
        variance_measured over repeats; the bias of log p_hat(x) and what the variance lets expect of it.
    jensen
        weights, log_of_mean (log E_q[w], which is log p(x)), mean_of_log (E_q[log w], the ELBO), gap; nats.
    elbo
        x, q, its parts, and the ELBO in each form, computed on its own.
    divergences
        x, q, kl_to_posterior (reverse), kl_from_posterior (forward); of bells of standard deviation 1 over
        the numbers of z those fitted to blue eyes.
    bells
        place, kl_to_posterior, kl_from_posterior, of such bells and blue eyes.
    """
    table = joint_table()
    sampling = _sampled(table, settings, progress)
    digits = _digits(settings, progress)
    progress("reverse and forward KL", 0, 1)
    fits = {name: fitted_bell(table, BLUE, name) for name in (REVERSE, FORWARD)}
    rows, jensen, elbos = _rows(table), _jensen(table, digits), _elbos(table)
    divergences = _divergences(table, fits)
    image = int((digits["log_mean"] - digits["mean_log"]).argmax())
    pictures = {
        "probabilities": table.probabilities,
        "posteriors": fastvi.exact_posterior(table).probabilities,
        "prior": table.probabilities.sum(axis=0) / table.total,
        "digit_log_w": digits["log_w"][image],
        "digit_q": digits["q"][image],
        "digit_log_mean": digits["log_mean"][image],
        "digit_mean_log": digits["mean_log"][image],
        "reverse_place": fits[REVERSE].place,
        "forward_place": fits[FORWARD].place,
        "reverse": fits[REVERSE].q.probabilities[0],
        "forward": fits[FORWARD].q.probabilities[0],
    }
    return StudyResult(
        name="table",
        tables={
            "rows": rows, "sampling": sampling, "jensen": jensen, "elbo": elbos, "divergences": divergences,
            "bells": _bells(table),
        },
        findings=_findings(table, sampling, jensen, elbos, divergences, fits),
        figures=figures,
        shown={
            "rows": {name: rows[name] for name in ("x", "p_x", "log_marginal", "entropy", "mode")},
            "elbo": {name: elbos[name] for name in list(elbos)[:8]},
            "divergences": divergences,
        },
        timings={},
        models={"table": table},
        arrays={"pictures": pictures},
    )  # fmt: skip


def _findings(
    table: fastvi.JointTable, sampling: Any, jensen: Any, elbos: Any, divergences: Any, fits: dict[str, Fit]
) -> tuple[Finding, ...]:
    theory, measured = (np.array(sampling[f"variance_{word}"]) for word in ("theory", "measured"))
    noisy = theory > 1e-12
    ratio = measured[noisy] / theory[noisy]
    weights = {name: relative_variances(table, q).max() for name, q in proposals(table).items()}
    values = np.array([elbos[name] for name in list(elbos)[8:]])
    finite = np.isfinite(values).all(axis=0)
    apart = float(np.ptp(values[:, finite], axis=0).max())
    of_digits = [gap for name, gap in zip(jensen["weights"], jensen["gap"], strict=True) if "digit" in name]
    named = list(zip(divergences["x"], divergences["q"], strict=True))
    zero = named.index((COLOURS[0], UNIFORM))
    reverse, forward = (fits[name] for name in (REVERSE, FORWARD))
    return (
        Finding(
            "relative variance of one weight, worst eye colour: "
            + ", ".join(f"{value:.2g} ({name})" for name, value in weights.items())
        ),
        Finding(f"measured variances are {ratio.min():.2f} to {ratio.max():.2f} of those of the formula"),
        Finding(
            f"the forms of the ELBO agree within {10.0 ** np.ceil(np.log10(max(apart, 1e-16))):.0e} nats"
        ),
        Finding(f"log E[w] is {np.mean(of_digits):.2g} nats above E[log w] on digits under a fitted q"),
        Finding(
            f"nobody of nationality 8 has brown eyes here: of uniform q KL(q || p) is "
            f"{divergences['kl_to_posterior'][zero]}, KL(p || q) {divergences['kl_from_posterior'][zero]:.2g}"
        ),
        Finding(
            f"a bell fitted to blue eyes stands at {reverse.place:.2f} by reverse KL, near a mode, and at "
            f"{forward.place:.2f} by forward KL, near the mean"
        ),
    )
