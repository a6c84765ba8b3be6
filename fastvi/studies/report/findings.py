"""What a report found, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvi.core.limits import TOLERANCE
from fastvi.studies.common.result import Finding, Table
from fastvi.studies.report.settings import ReportSettings
from fastvi.studies.report.truth import CERTIFIED, ESTIMATED, EXACT, Truth
from fastvi.weights.estimate import reliable_k

if TYPE_CHECKING:
    from fastvi.studies.report.judged import Gap
    from fastvi.studies.report.study import Judged

_WHOSE = {"encoder": "the encoder's q", "given": "the given q", "fitted": "the best q of each datum"}
_ROUNDING = 1e-10  # nats, below which a difference is none
_FAR = 4.0  # standard errors, which an honest estimate hardly ever misses the truth by


def findings(found: Judged, settings: ReportSettings, seconds: Table) -> tuple[Finding, ...]:
    """Sentences, one a finding, each with its numbers."""
    said = [_truth(found.truth), *_gaps(found), _bounds(found), *_weights(found, settings)]
    said.append(_calibration(found, settings))
    parts = sorted(zip(seconds["seconds"], seconds["step"], strict=True), reverse=True)
    cost = ", ".join(f"{step} {value:.3g} s" for value, step in parts[:4])
    return *map(Finding, said), Finding(f"cost, with what was compiled on the way: {cost}", timed=True)


def _truth(truth: Truth) -> str:
    mean = truth.value.mean()
    if truth.how == EXACT:
        return f"log p(x) is {mean:.4f} nats a datum on average, exactly: {truth.words}"
    if truth.how == CERTIFIED:
        width = np.median(truth.high - truth.low)
        return (
            f"log p(x) lies between {truth.low.mean():.4f} and {truth.high.mean():.4f} nats a datum on "
            f"average, for certain, {truth.words}: {int(truth.known.sum())} of {len(truth.low)} intervals "
            f"are at most {TOLERANCE:g} wide, the median is {width:.2g}"
        )
    return (
        f"log p(x) is about {mean:.4f} nats a datum on average, an estimate {truth.words}: the largest "
        f"standard error of a datum is {truth.std_error.max():.2g}"
    )


def _gaps(found: Judged) -> list[str]:
    gap, best, whose = found.gap, found.best_gap, _WHOSE[found.whose]
    sampled = " (sampled)" if gap.std_error.any() else ""
    how = found.truth.how
    said = [
        f"the ELBO of {whose} is {gap.elbo.mean():.4f}{sampled}, {_span(gap, how)} nats below log p(x): that "
        "is KL(q || p(z|x))"
    ]
    if found.has_other:
        name = "the encoder" if found.whose == "encoder" else "the given q"
        said.append(
            f"the best q of each datum, {found.best.words}, stops {_span(best, how)} nats short; the "
            f"amortisation gap, what {name} loses beside it, is {nats((best.elbo - gap.elbo).mean())} nats"
        )
    else:
        said.append(f"q is {found.best.words}; with --encoder or --q the report says what another one loses")
    return said


def _span(gap: Gap, how: str) -> str:
    """Mean of a gap; its ends where log p(x) is certain within an interval."""
    if how == CERTIFIED:
        return f"{nats(gap.low.mean())} to {nats(gap.high.mean())}"
    return nats(gap.value.mean())


def _bounds(found: Judged) -> str:
    size, bound = list(found.bounds.items())[-1]
    truth = found.truth
    below = float((truth.value - bound.value).mean())
    side = "below" if below >= 0 or nats(below) == "0" else "above"
    distance = nats(abs(below))
    if truth.how == CERTIFIED:
        low, high = (float((end - bound.value).mean()) for end in (truth.low, truth.high))
        side, distance = "below", f"{nats(low)} to {nats(high)}" if low > 0 else f"at most {nats(high)}"
    error = float(np.sqrt(np.square(bound.std_error).sum()) / len(bound.value))
    return (
        f"the importance-weighted bound of {size:,} samples from q is {distance} nats {side} log "
        f"p(x), by weights that claim a standard error of {nats(error)}"
    )


def _weights(found: Judged, settings: ReportSettings) -> list[str]:
    weights, limit = found.weights, reliable_k(settings.num_samples)
    bad = ~(weights.pareto_k <= limit)
    said = [
        f"{settings.num_samples:,} samples are worth {count(weights.ess.mean())} on average, "
        f"{count(weights.ess.min())} for the worst datum; k-hat is above {limit:.2g} for {int(bad.sum())} of "
        f"{len(weights)} data"
    ]
    if bad.any():
        said.append(
            "where k-hat is above that, the standard error says little: mix q with the prior, fit it by "
            "forward KL, or take exact or certified values"
        )
    if found.truth.how == EXACT:
        short = found.truth.value - weights.log_marginal
        missed = ~bad & (short > np.maximum(_FAR * weights.std_error, _ROUNDING * np.abs(found.truth.value)))
        if missed.any():
            said.append(
                f"for {int(missed.sum())} of {len(weights)} data k-hat is small, yet the estimate lies more "
                f"than {_FAR:g} standard errors below log p(x): q hardly draws what it misses, and no weight "
                "tells"
            )
    return said


def _calibration(found: Judged, settings: ReportSettings) -> str:
    if found.calibration is None:
        why = f"no interval is at most {TOLERANCE:g} wide (--max-bounds makes them narrower)"
        if found.truth.how == ESTIMATED:
            why = "log p(x) is an estimate"
        return f"calibration is left out: {why}, and errors need a truth"
    row = found.calibration.entries[-1].row()
    return (
        f"over {settings.calibration_num_repeats} repeats on {len(found.calibration)} data, 95 % intervals "
        f"from {row['num_samples']:,} samples hold log p(x) in {100 * row['coverage']:.1f} % of cases; "
        f"estimates are off by {nats(row['bias'])} nats on average, {nats(row['rms_error'])} in root mean "
        "square"
    )


def nats(value: float) -> str:
    """Three digits, and 0 where only rounding is left."""
    return f"{value:.3g}" if abs(value) > _ROUNDING else "0"


def count(value: float) -> str:
    """A number of samples that need not be whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
