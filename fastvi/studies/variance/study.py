"""Variances: which direction of KL underestimates the posterior's, which overestimates it, by how much."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.core.registry import rules_of
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.named import named
from fastvi.studies.common.result import Finding, Progress, StudyResult, Table, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject
from fastvi.studies.variance.continuous import curves, elbo_by_width
from fastvi.studies.variance.figures import FORWARD, REVERSE, figures

PAIRS, DIGITS, CORRELATED, MODES = "either of two causes", "digits", "correlated normal", "two normal modes"
CORRELATION = 0.9
_MOST_LATENTS = 24  # binary ones, whose states are summed; more are not listed singly
_MOST_REAL_LATENTS = 3  # of a decoder, by quadrature
SEEN = 6.0  # what the network of two modes shows: |z_1| near 1.5


class Case(NamedTuple):
    """A model, what it saw, and both fits."""

    model: Any
    x: np.ndarray
    fits: dict[str, Any]  # by REVERSE and FORWARD


class Direction(NamedTuple):
    """Variances of one quantity under the posterior and under each q."""

    name: str
    posterior: float
    q: dict[str, float]


def two_causes() -> tuple[fastvi.SigmoidBeliefNetwork, np.ndarray]:
    """Two pairs of latents, each seen by six pixels that either of the pair turns on.

    One suffices, and a prior against both leaves two modes a pair.
    """
    weights = np.zeros((12, 4))
    weights[:6, :2] = weights[6:, 2:] = 6.0
    model = fastvi.SigmoidBeliefNetwork(weights, np.full(12, -3.0), np.full(4, -3.0))
    return model, np.ones((1, 12), np.uint8)


def correlated() -> tuple[fastvi.LinearGaussian, np.ndarray]:
    """Two latents whose posterior has the correlation -CORRELATION: their sum is seen, with noise."""
    # precision I + g 11^T has the covariance I - g / (1 + 2 g) 11^T
    gain = CORRELATION / (1.0 - CORRELATION)
    return fastvi.LinearGaussian(np.full((1, 2), np.sqrt(gain)), [0.0], 1.0), np.zeros((1, 1))


def two_modes() -> tuple[fastvi.NeuralDecoder, np.ndarray]:
    """A network that sees |z_1|, smoothly, and z_2."""
    layers = [
        ([[4.0, 0.0], [-4.0, 0.0], [0.0, 1.0]], [0.0, 0.0, 0.0]),
        ([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0, 0.0]),
    ]
    prior = fastvi.Normal([0.0, 0.0], [1.0, 1.0])
    return fastvi.NeuralDecoder(layers, "softplus", prior, "gaussian", 0.7), np.array([[SEEN, 0.8]])


def fit_both(model: Any, x: np.ndarray, seed: int) -> Case:
    """Both fits of every datum."""
    fits = {
        REVERSE: fastvi.fit_posterior(model, x, seed=seed).q,
        FORWARD: fastvi.fit_posterior(model, x, objective="forward_kl").q,
    }
    return Case(model, x, fits)


def binary_directions(case: Case, groups: dict[str, list[int]]) -> list[Direction]:
    """Each latent, and sums of some, averaged over the data."""
    posterior = fastvi.exact_posterior(case.model, case.x, pairwise=True)
    mean, second = posterior.mean, posterior.second_moment
    assert second is not None
    covariance = second - mean[:, :, None] * mean[:, None]
    spread = {name: q.mean * (1.0 - q.mean) for name, q in case.fits.items()}
    found = []
    for text, latents in groups.items():
        own = covariance[:, latents][:, :, latents].sum(axis=(1, 2))
        q = {name: float(values[:, latents].sum(axis=1).mean()) for name, values in spread.items()}
        found.append(Direction(text, float(own.mean()), q))
    return found


def latents_and_sums(case: Case, sums: dict[str, list[int]]) -> list[Direction]:
    """The mean over latents, then the sums.

    A single latent's variance says little under reverse KL: which mode it takes is the random starts' choice,
    and of two causes the one that is off has 63,000 times the variance of the one that is on.
    """
    own = binary_directions(case, {f"z_{i + 1}": [i] for i in range(case.model.num_latents)})
    return [_mean("a latent (mean)", own), *binary_directions(case, sums)]


def normal_directions(case: Case, covariance: np.ndarray | None) -> list[Direction]:
    """Each latent, averaged over the data; with ``covariance`` (2, 2) of the posterior sum and difference."""
    _, std, _ = rules_of(case.model).posterior_moments(case.x)
    found = []
    for i in range(std.shape[1]):
        q = {name: float(np.square(fit.std[:, i]).mean()) for name, fit in case.fits.items()}
        found.append(Direction(f"z_{i + 1}", float(np.square(std[:, i]).mean()), q))
    if covariance is not None:
        q = {name: float(np.square(fit.std[0]).sum()) for name, fit in case.fits.items()}
        for text, sign in (("z_1 + z_2", 1.0), ("z_1 - z_2", -1.0)):
            found.append(Direction(text, float(np.trace(covariance) + 2.0 * sign * covariance[0, 1]), q))
    return found


def divergences(case: Case, name: str) -> tuple[float, float, float, float]:
    """KL(q || p), KL(p || q), H(q), H(p), means over the data."""
    model, x, q = case.model, case.x, case.fits[name]
    to_posterior = fastvi.log_marginal(model, x) - fastvi.elbo(model, x, q).value
    if isinstance(q, fastvi.Bernoulli):
        own, from_posterior = fastvi.exact_posterior(model, x).entropy, fastvi.kl_from_posterior(model, x, q)
    else:
        mean, std, own = rules_of(model).posterior_moments(x)
        squares = (np.square(mean - q.mean) + np.square(std)) / np.square(q.std)
        cross = (0.5 * squares + np.log(q.std) + 0.5 * np.log(2.0 * np.pi)).sum(axis=1)
        from_posterior = cross - own
    parts = to_posterior, from_posterior, q.entropy(), own
    values = [float(np.mean(part)) for part in parts]
    return values[0], values[1], values[2], values[3]


def own_directions(case: Case) -> list[Direction]:
    """Each latent and their mean, and where they are binary or linear the sum of all."""
    num_latents = case.model.num_latents
    if _has_states(case.model):
        found = binary_directions(case, {f"z_{i + 1}": [i] for i in range(num_latents)})
        sums = binary_directions(case, {"sum of all z": list(range(num_latents))})
    else:
        found, sums = normal_directions(case, None), []
    several = [_mean("a latent (mean)", found), *sums] if num_latents > 1 else []
    return [*several, *(found if num_latents <= _MOST_LATENTS else [])]


def _has_states(model: Any) -> bool:
    return "exact_posterior" in fastvi.supported(model)


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    model, name = own.model, type(own.model).__name__
    if isinstance(model, fastvi.JointTable):
        return "the q of a table is not bound to independent latents: the best one is the posterior itself"
    questions = fastvi.supported(model)
    if not {"fit_posterior", "fit_posterior(objective='forward_kl')"} <= set(questions):
        return f"to this {name} no q of independent latents can be fitted by both divergences"
    if _has_states(model):
        if model.num_latents > _MOST_LATENTS:
            return f"it sums over the states of at most {_MOST_LATENTS} latents, of {model.num_latents} here"
    elif not isinstance(model, fastvi.LinearGaussian) and model.num_latents > _MOST_REAL_LATENTS:
        return f"it integrates over at most {_MOST_REAL_LATENTS} real latents, of {model.num_latents} here"
    return None


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Compare variances of the posterior with those of the q that either divergence fits.

    The reverse fit has the least KL(q || p), the forward fit the least KL(p || q); the latents of a q are
    independent. A caller's model is looked at alone, on the first of the data.

    Tables
    ------
    variances
        case, direction (a latent, or a sum of latents), posterior, and of each fit its variance (reverse,
        forward) and ratio to the posterior's (reverse_ratio, forward_ratio). Of binary latents means over all
        of them, of digits also over images; ratios are those of the means.
    divergences
        case, fit, kl_to_posterior, kl_from_posterior, entropy_q, entropy_posterior; nats.
    continuous
        Of a latent of one real number: std_q (q is normal, at the posterior's mean), times_posterior (of its
        standard deviation), elbo, log_marginal, gap. Not of a caller's model.
    """
    if own is not None:
        return _own(own, settings, progress)
    progress("two causes", 0, 4)
    seed = settings.seed
    cases = {PAIRS: fit_both(*two_causes(), seed)}
    progress("digits", 1, 4)
    x = split(settings).test[: settings.num_images]
    cases[DIGITS] = fit_both(fitted(settings, settings.num_latents, progress, kept).model, x, seed)
    progress("normal posteriors", 2, 4)
    cases[CORRELATED] = fit_both(*correlated(), seed)
    progress("two modes", 3, 4)
    cases[MODES] = fit_both(*two_modes(), seed)

    linear = cases[CORRELATED].model
    covariance = np.linalg.inv(np.eye(2) + linear.weights.T @ linear.weights / linear.noise_std**2)
    directions = {
        PAIRS: latents_and_sums(cases[PAIRS], {"z_1 + z_2": [0, 1], "sum of all z": [0, 1, 2, 3]}),
        DIGITS: latents_and_sums(cases[DIGITS], {"sum of all z": list(range(settings.num_latents))}),
        CORRELATED: normal_directions(cases[CORRELATED], covariance),
        MODES: normal_directions(cases[MODES], None),
    }
    variances, gaps = _tables(cases, directions)
    return StudyResult(
        name="variance",
        tables={"variances": variances, "divergences": gaps, "continuous": elbo_by_width()},
        findings=_findings(directions),
        figures=figures,
        shown={"variances": variances, "divergences": gaps},
        timings={},
        models={},
        arrays={"pictures": _pictures(cases)},
    )


def _tables(cases: dict[str, Case], directions: dict[str, list[Direction]]) -> tuple[Table, Table]:
    rows = [
        (case, d.name, d.posterior, d.q[REVERSE], d.q[FORWARD], _ratio(d, REVERSE), _ratio(d, FORWARD))
        for case, found in directions.items()
        for d in found
    ]
    columns = ("case", "direction", "posterior", "reverse", "forward", "reverse_ratio", "forward_ratio")
    gaps = rows_to_table(
        ("case", "fit", "kl_to_posterior", "kl_from_posterior", "entropy_q", "entropy_posterior"),
        [(name, fit, *divergences(case, fit)) for name, case in cases.items() for fit in case.fits],
    )
    return rows_to_table(columns, rows), gaps


def _own(own: Subject, settings: Settings, progress: Progress) -> StudyResult:
    """The study of a caller's model alone."""
    progress(own.title, 0, 1)
    case = fit_both(own.model, own.x[: settings.num_images], settings.seed)
    found = own_directions(case)
    variances, gaps = _tables({own.title: case}, {own.title: found})
    values = "; ".join(
        f"{d.name}: reverse KL {_ratio(d, REVERSE):.2g}, forward KL {_ratio(d, FORWARD):.2g}"
        for d in found[: 2 if own.model.num_latents > 1 else 1]
    )
    text = f"variance of q over that of the posterior, means over {len(case.x)} data: {values}"
    result = StudyResult(
        name="variance",
        tables={"variances": variances, "divergences": gaps},
        findings=(Finding(text),),
        figures=figures,
        shown={"variances": variances, "divergences": gaps},
        timings={},
        models={},
        arrays={},
    )
    return named(result, own)


def _ratio(direction: Direction, name: str) -> float:
    """Of a posterior that is one state there is none."""
    return direction.q[name] / direction.posterior if direction.posterior > 0 else float("nan")


def _mean(name: str, found: list[Direction]) -> Direction:
    q = {fit: float(np.mean([d.q[fit] for d in found])) for fit in (REVERSE, FORWARD)}
    return Direction(name, float(np.mean([d.posterior for d in found])), q)


def _pictures(cases: dict[str, Case]) -> dict[str, np.ndarray]:
    """Densities on grids with the q's parameters, and the probabilities of the binary states."""
    line = np.linspace(-3.2, 3.2, 161)
    z = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    found: dict[str, np.ndarray] = {"line": line, **curves()}
    for word, name in (("correlated", CORRELATED), ("modes", MODES)):
        case = cases[name]
        log_p = case.model.log_joint(case.x[0], z) - fastvi.log_marginal(case.model, case.x)[0]
        found[f"density_{word}"] = np.exp(log_p).reshape(len(line), len(line))
        for fit, q in case.fits.items():
            found[f"{fit.split()[0]}_{word}"] = np.stack([q.mean[0], q.std[0]])
    case = cases[PAIRS]
    states = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(np.uint8)
    posterior = fastvi.exact_posterior(case.model, case.x)
    found["states"] = states
    found["p"] = np.exp(np.reshape(posterior.log_prob(states[:, None]), -1))
    for fit, q in case.fits.items():
        found[f"q_{fit.split()[0]}"] = np.exp(np.reshape(q.log_prob(states[:, None]), -1))
    return found


def _findings(directions: dict[str, list[Direction]]) -> tuple[Finding, ...]:
    pairs, modes, normal = directions[PAIRS], directions[MODES], directions[CORRELATED]
    digits = directions[DIGITS]
    return (
        Finding(
            f"of a single latent reverse KL, the least KL(q || p), has {_ratio(pairs[0], REVERSE):.2g} of "
            f"the posterior's variance where either of two causes suffices, {_ratio(modes[0], REVERSE):.2g} "
            f"across two normal modes, {_ratio(normal[0], REVERSE):.2g} (1 less the square of the "
            f"correlation) at a correlation of {-CORRELATION:g}, and {_ratio(digits[0], REVERSE):.2g} on "
            f"digits; of a sum that the data determine it has {_ratio(pairs[1], REVERSE):.2g} (two causes) "
            f"and {_ratio(normal[2], REVERSE):.2g} times the variance (correlated normal)"
        ),
        Finding(
            "forward KL, the least KL(p || q), has every latent's own variance, but no correlations: of a "
            f"sum that the data determine it has {_ratio(pairs[1], FORWARD):.3g} times the variance (two "
            f"causes) and {_ratio(normal[2], FORWARD):.3g} times (correlated normal); of the sum of all "
            f"latents of a digit it has {_ratio(digits[1], FORWARD):.2g} of the variance"
        ),
    )
