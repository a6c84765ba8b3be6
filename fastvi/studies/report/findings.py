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
    from fastvi.studies.report.study import Judged

_WHOSE = {"encoder": "the encoder's q", "given": "the given q", "fitted": "the best q of each datum"}


def findings(found: Judged, settings: ReportSettings, seconds: Table) -> tuple[Finding, ...]:
    """Sentences, one a finding, each with its numbers."""
    said = [_truth(found.truth), *_gaps(found), _bounds(found), *_weights(found, settings)]
    said += _calibration(found, settings)
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
    if found.truth.how == CERTIFIED:
        size = f"{gap.low.mean():.3g} to {gap.high.mean():.3g}"
    else:
        size = f"{gap.value.mean():.3g}"
    said = [
        f"the ELBO of {whose} is {gap.elbo.mean():.4f}{sampled}, {size} nats below log p(x): that is "
        "KL(q || p(z|x))"
    ]
    if found.has_other:
        loss = (best.elbo - gap.elbo).mean()
        name = "the encoder" if found.whose == "encoder" else "the given q"
        said.append(
            f"the best q of each datum, {found.best.words}, stops {best.value.mean():.3g} nats short; the "
            f"amortisation gap, what {name} loses beside it, is {loss:.3g} nats"
        )
    else:
        said.append(f"q is {found.best.words}; with --encoder or --q the report says what another one loses")
    return said


def _bounds(found: Judged) -> str:
    size, bound = list(found.bounds.items())[-1]
    below = found.truth.value - bound.value
    return (
        f"the importance-weighted bound of {size:,} samples from q is {below.mean():.3g} nats below log p(x)"
    )


def _weights(found: Judged, settings: ReportSettings) -> list[str]:
    weights, limit = found.weights, reliable_k(settings.num_samples)
    bad = int((~(weights.pareto_k <= limit)).sum())
    said = [
        f"{settings.num_samples:,} samples are worth {weights.ess.mean():.3g} on average, "
        f"{weights.ess.min():.3g} for the worst datum; k-hat is above {limit:.2g} for {bad} of "
        f"{len(weights)} data"
    ]
    if bad:
        said.append(
            "where k-hat is above that, the standard error says little: mix q with the prior, fit it by "
            "forward KL, or take exact or certified values"
        )
    return said


def _calibration(found: Judged, settings: ReportSettings) -> list[str]:
    if found.calibration is None:
        why = "log p(x) is an estimate" if found.truth.how == ESTIMATED else "no interval is narrow enough"
        return [f"calibration is left out: {why}, and errors need a truth"]
    row = found.calibration.entries[-1].row()
    return [
        f"over {settings.calibration_num_repeats} repeats on {len(found.calibration)} data, 95 % intervals from "
        f"{row['num_samples']:,} samples hold log p(x) in {100 * row['coverage']:.1f} % of cases; estimates are "
        f"off by {row['bias']:.2g} nats on average and {row['rms_error']:.2g} in root mean square"
    ]
