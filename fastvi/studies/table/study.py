"""A table: what p(x), p(z | x), sampling, bounds and divergences are, where all can be added by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import fastvi
from fastvi.distributions.categorical import Categorical
from fastvi.studies.common.digits import factorised, fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.named import named
from fastvi.studies.common.result import Finding, Progress, StudyResult, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.states import log_weights_of_states
from fastvi.studies.common.subject import Subject
from fastvi.studies.table import words
from fastvi.studies.table.bells import FORWARD, REVERSE, Fit, divergences_by_place, fitted_bell
from fastvi.studies.table.figures import figures
from fastvi.studies.table.words import Words

# eye colours against eight nationalities, a textbook's; as printed they sum to 0.99
EYES = (
    (0.02, 0.03, 0.02, 0.01, 0.07, 0.03, 0.01, 0.00),
    (0.09, 0.01, 0.03, 0.03, 0.08, 0.04, 0.03, 0.06),
    (0.01, 0.01, 0.08, 0.06, 0.07, 0.08, 0.06, 0.06),
)
PRINTED_TOTAL = 1.0
UNIFORM, PRIOR, HALFWAY, POSTERIOR = "uniform", "prior", "halfway", "posterior"
_MOST_X, _MOST_Z = 12, 40  # of a caller's table: what can be shown


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


# ---- tables of the study -----------------------------------------------------------------------------------


def _rows(table: fastvi.JointTable, word: Words) -> dict[str, list[Any]]:
    posterior = fastvi.exact_posterior(table)
    found: dict[str, list[Any]] = {
        "x": list(word.rows),
        "p_x": np.exp(posterior.log_marginal).tolist(),
        "log_marginal": posterior.log_marginal.tolist(),
        "entropy": posterior.entropy.tolist(),
        "mode": (posterior.mode + 1).tolist(),
    }
    for z in range(table.num_z):
        found[f"p_z{z + 1}"] = posterior.probabilities[:, z].tolist()
    return found


def _sampled(
    table: fastvi.JointTable, word: Words, settings: Settings, progress: Progress
) -> dict[str, list[Any]]:
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
            for x, colour in enumerate(word.rows):
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


def _elbos(table: fastvi.JointTable, word: Words) -> dict[str, list[Any]]:
    rows, truth = [], fastvi.log_marginal(table)
    for name, q in proposals(table).items():
        forms = ("reconstruction", "joint", "log_ratio")
        bounds = [fastvi.elbo(table, None, q, decomposition=form) for form in forms]  # type: ignore[arg-type]
        kl = fastvi.kl_to_posterior(table, None, q)
        for x, colour in enumerate(word.rows):
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


def _jensen(
    table: fastvi.JointTable, word: Words, digits: dict[str, np.ndarray] | None
) -> dict[str, list[Any]]:
    """The logarithm of the mean weight, and the mean logarithm of the weight."""
    rows: list[tuple[Any, ...]] = []
    for name, q in proposals(table).items():
        for x, colour in enumerate(word.rows):
            p, weights = q.probabilities[x], table.probabilities[x]
            seen = p > 0
            mean = float(np.log((p[seen] * (weights[seen] / p[seen])).sum()))
            with np.errstate(divide="ignore"):
                of_logs = float((p[seen] * np.log(weights[seen] / p[seen])).sum())
            rows.append((f"table, {colour}, {name}", mean, of_logs, mean - of_logs))
    digits = digits or {"log_mean": np.empty(0), "mean_log": np.empty(0)}
    for n, (mean, of_logs) in enumerate(zip(digits["log_mean"], digits["mean_log"], strict=True)):
        rows.append((f"held-out digit {n}, fitted q", float(mean), float(of_logs), float(mean - of_logs)))
    return rows_to_table(("weights", "log_of_mean", "mean_of_log", "gap"), rows)


def _digits(settings: Settings, progress: Progress, kept: Kept) -> dict[str, np.ndarray]:
    """Log weights (N, 2^d) of images under a factorised q of each, and q's log probabilities."""
    model = fitted(settings, settings.num_latents, progress, kept).model
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


def _divergences(table: fastvi.JointTable, word: Words, fits: dict[str, Fit]) -> dict[str, list[Any]]:
    rows: list[tuple[Any, ...]] = []
    for name, q in proposals(table).items():
        both = fastvi.kl_to_posterior(table, None, q), fastvi.kl_from_posterior(table, None, q)
        rows += [(colour, name, *(float(value[x]) for value in both)) for x, colour in enumerate(word.rows)]
    for name, fit in fits.items():
        x = [word.shown]
        both = fastvi.kl_to_posterior(table, x, fit.q), fastvi.kl_from_posterior(table, x, fit.q)
        rows.append((word.rows[word.shown], f"bell by {name}", *(float(value[0]) for value in both)))
    return rows_to_table(("x", "q", "kl_to_posterior", "kl_from_posterior"), rows)


def _own_words(table: fastvi.JointTable, x: np.ndarray) -> Words | None:
    """Words for the most frequent values among the data; None where each of them has zeros in its row."""
    counts = np.bincount(np.ravel(x).astype(int), minlength=table.num_x)
    order = [int(row) for row in np.argsort(-counts, kind="stable") if counts[row]]
    whole = [row for row in order if (table.probabilities[row] > 0).all()]
    return words.numbered(table.num_x, whole[0], tuple(order[:3])) if whole else None


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    table = own.model
    if not isinstance(table, fastvi.JointTable):
        return f"it asks a JointTable, and this is a {type(table).__name__}"
    if table.num_z < 2:
        return "it asks about p(z | x), and this table has one z"
    if table.num_x > _MOST_X or table.num_z > _MOST_Z:
        return (
            f"it shows tables of at most {_MOST_X} x and {_MOST_Z} z, and this has {table.num_x} and "
            f"{table.num_z}"
        )
    if _own_words(table, own.x) is None:
        return "each x of the data has a z with p(x, z) = 0, from which KL(q || p) is infinite"
    return None


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Ask every question about eye colour x and nationality z, and Jensen's inequality on digits beside it.

    Or of a caller's table, without digits; its rows and columns are counted from 1.

    Tables
    ------
    rows
        x, p_x, log_marginal, entropy (of p(z | x)), mode (1 ... 8), p_z1 ... p_z8 (p(z | x)).
    sampling
        x, proposal q, num_samples K, variance_theory (of p_hat(x) / p(x), p_hat(x) being the mean of K
        weights p(x, z) / q(z): (sum over z of p(z | x)^2 / q(z), less 1) / K), variance_measured over
        repeats; the bias of log p_hat(x) and what the variance lets expect of it.
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
    table, word = joint_table(), words.EYES
    if own is not None:
        of_own = _own_words(own.model, own.x)
        assert of_own is not None
        table, word = own.model, of_own
    sampling = _sampled(table, word, settings, progress)
    digits = _digits(settings, progress, kept) if own is None else None
    progress("reverse and forward KL", 0, 1)
    fits = {name: fitted_bell(table, word.shown, name) for name in (REVERSE, FORWARD)}
    rows, jensen, elbos = _rows(table, word), _jensen(table, word, digits), _elbos(table, word)
    divergences = _divergences(table, word, fits)
    result = StudyResult(
        name="table",
        tables={
            "rows": rows, "sampling": sampling, "jensen": jensen, "elbo": elbos, "divergences": divergences,
            "bells": divergences_by_place(table, word.shown),
        },
        findings=_findings(table, word, sampling, jensen, elbos, divergences, fits),
        figures=partial(figures, word=word),
        shown={
            "rows": {name: rows[name] for name in ("x", "p_x", "log_marginal", "entropy", "mode")},
            "elbo": {name: elbos[name] for name in list(elbos)[:8]},
            "divergences": divergences,
        },
        timings={},
        models={"table": table},
        arrays={"pictures": _pictures(table, fits, digits)},
    )  # fmt: skip
    return named(result, own)


def _pictures(
    table: fastvi.JointTable, fits: dict[str, Fit], digits: dict[str, np.ndarray] | None
) -> dict[str, Any]:
    found = {
        "probabilities": table.probabilities,
        "posteriors": fastvi.exact_posterior(table).probabilities,
        "prior": table.probabilities.sum(axis=0) / table.total,
        "reverse_place": fits[REVERSE].place,
        "forward_place": fits[FORWARD].place,
        "reverse": fits[REVERSE].q.probabilities[0],
        "forward": fits[FORWARD].q.probabilities[0],
    }
    if digits is not None:
        image = int((digits["log_mean"] - digits["mean_log"]).argmax())
        found |= {f"digit_{name}": digits[name][image] for name in ("log_w", "q", "log_mean", "mean_log")}
    return found


def _findings(
    table: fastvi.JointTable, word: Words, sampling: Any, jensen: Any, elbos: Any, divergences: Any,
    fits: dict[str, Fit],
) -> tuple[Finding, ...]:  # fmt: skip
    theory, measured = (np.array(sampling[f"variance_{kind}"]) for kind in ("theory", "measured"))
    noisy = theory > 1e-12
    ratio = measured[noisy] / theory[noisy]
    weights = {name: relative_variances(table, q).max() for name, q in proposals(table).items()}
    values = np.array([elbos[name] for name in list(elbos)[8:]])
    finite = np.isfinite(values).all(axis=0)
    apart = float(np.ptp(values[:, finite], axis=0).max())
    of_digits = [gap for name, gap in zip(jensen["weights"], jensen["gap"], strict=True) if "digit" in name]
    named = list(zip(divergences["x"], divergences["q"], strict=True))
    reverse, forward = (fits[name] for name in (REVERSE, FORWARD))
    mean = float(fastvi.exact_posterior(table).probabilities[word.shown] @ np.arange(1, table.num_z + 1))
    found = [
        "relative variance of one weight p(x, z) / q(z), the worst of all x: "
        + ", ".join(f"{value:.2g} (q {name})" for name, value in weights.items())
        + "; halfway is the geometric mean of uniform and posterior",
        f"the forms of the ELBO agree within {10.0 ** np.ceil(np.log10(max(apart, 1e-16))):.0e} nats",
        f"a bell of standard deviation 1 fitted to {word.row(word.shown)} stands at {reverse.place:.2f} by "
        f"reverse KL, the least KL(q || p), and at {forward.place:.2f} by forward KL; the posterior's mean "
        f"is {mean:.2f}",
    ]
    if ratio.size:
        text = f"measured variances are {ratio.min():.2f} to {ratio.max():.2f} of those of the formula"
        found.insert(1, text)
    if of_digits:  # the textbook's table, and digits
        zero = named.index((words.COLOURS[0], UNIFORM))
        found += [
            f"the textbook prints a total of {PRINTED_TOTAL:.2f}, but its entries add up to "
            f"{table.total:.2f}: they are used as printed",
            f"log E[w] is {np.mean(of_digits):.2g} nats above E[log w] on digits under a fitted q",
            "nobody of nationality 8 has brown eyes here: of uniform q KL(q || p) is "
            f"{divergences['kl_to_posterior'][zero]}, KL(p || q) "
            f"{divergences['kl_from_posterior'][zero]:.2g}",
        ]
    return tuple(Finding(text) for text in found)
