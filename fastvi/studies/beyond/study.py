"""Certified intervals around log p(x) at more latents than enumeration bears."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

import fastvi
from fastvi.datasets.idx import load_idx
from fastvi.distributions.encoder import Encoder
from fastvi.fitting.starting_network import starting_network
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.studies.beyond.figures import figures
from fastvi.studies.common.digits import split, whole
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.named import named
from fastvi.studies.common.result import Finding, Progress, StudyResult, Table, rows_to_table
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import Subject

_BLOCK = 1_000  # draws that are weighed at a time
_HELD_OUT = 0.1  # of a file's images
_DRAWS = 10  # a datum and step, by which an encoder is fitted to a caller's model
TOLERANCE = 1e-3  # nats: narrower intervals are closed


class Images(NamedTuple):
    """Data for the fit (M, D) and those looked at (N, D), their places in the data set, sides of an image."""

    train: np.ndarray
    test: np.ndarray
    places: np.ndarray
    sides: tuple[int, int] | None


_Rows = dict[str, list[tuple[Any, ...]]]


def images(settings: Settings) -> Images:
    """The package's digits, or the images of an IDX file, in a random order."""
    count, most = settings.beyond_num_images, settings.beyond_num_train
    if settings.beyond_images is None:
        parts = split(settings)
        return Images(parts.train[:most], parts.test[:count], parts.test_index[:count], (8, 8))
    raw = load_idx(settings.beyond_images)
    held_out = int(_HELD_OUT * len(raw))
    if raw.dtype != np.uint8 or raw.ndim != 3 or held_out < count:
        raise ValueError(
            f"beyond_images must be at least {round(count / _HELD_OUT)} images of uint8, (N, height, "
            f"width), got {raw.dtype} of shape {raw.shape}"
        )
    binary = (raw >= 128).astype(np.uint8).reshape(len(raw), -1)
    order = np.random.default_rng(settings.seed).permutation(len(raw))
    test, train = order[:held_out][:count], order[held_out:][:most]
    return Images(binary[train], binary[test], test, (raw.shape[1], raw.shape[2]))


def weighted_bounds(
    model: Any, encoder: Encoder, x: np.ndarray, sizes: tuple[int, ...], seed: int
) -> np.ndarray:
    """Importance-weighted bounds (N, sizes), each a mean over as many blocks as the largest size has."""
    q = encoder(x)
    z = q.sample(max(sizes), seed)
    log_w = np.asarray(-q.log_prob(z), float).T.copy()
    for n, own in enumerate(x):
        for first in range(0, len(z), _BLOCK):
            part = slice(first, first + _BLOCK)
            log_w[n, part] += model.log_joint(own, z[part, n])
    return np.asarray(fastvi.importance_weighted_bound(log_w, sizes))


def refusal(own: Subject) -> str | None:
    """Return why the study cannot look at a caller's own model and data, or None."""
    questions, name = fastvi.supported(own.model), type(own.model).__name__
    if "log_marginal_bounds" not in questions:
        return f"for this {name} there are no certain intervals around log p(x)"
    if "fit_encoder(num_samples=...)" not in questions:
        return f"for this {name} no encoder can be fitted, whose bounds stand beside the intervals"
    return None


def run(
    settings: Settings, progress: Progress, *, own: Subject | None = None, kept: Kept = NOTHING_KEPT
) -> StudyResult:
    """Show how fast intervals close that hold log p(x) of held-out images for certain, and what is within.

    Networks are trained by the importance-weighted bound of an encoder. On the package's images of 8 x 8
    pixels the search does not pay: it closes an interval only when most states have been summed, and
    enumeration sums all of them faster. On images of 28 x 28 pixels, which a file has to bring, it pays.
    To a caller's model an encoder is fitted, by draws, on the caller's data; the first of them are looked at.

    Tables
    ------
    intervals
        A row an image and number of bounds that the search may take, until it has converged: num_latents,
        index (place in the data set), max_bounds, num_bounds, lower, upper, gap, converged.
    estimates
        num_latents, index, num_samples, weighted_bound (of 1 sample the ELBO), the encoder being q.
    exact
        num_latents, index, log_marginal; no rows beyond ``beyond_largest_exact`` latents.
    closing
        num_latents, num_pixels, max_bounds, and over the images median_gap, largest_gap, share_converged.
    search_seconds (timed)
        num_latents, index, max_bounds, seconds.
    sampling_seconds (timed)
        num_latents, index, num_samples, seconds.
    other_seconds (timed)
        num_latents, step (fit, or enumeration of one image), seconds.
    """
    data = images(settings) if own is None else _own_data(own, settings)
    sizes = settings.beyond_latents if own is None else (own.model.num_latents,)
    rows: _Rows = {
        name: []
        for name in ("intervals", "estimates", "exact", "closing", "search", "sampling", "other")
    }  # fmt: skip
    for size in sizes:
        begin = time.perf_counter()
        model, encoder = (
            _learned(settings, data, size, progress, kept)
            if own is None
            else (own.model, _fitted_encoder(own.model, settings, data, progress, kept))
        )
        rows["other"].append((size, "fit", time.perf_counter() - begin))
        _look(model, encoder, settings, data, rows, progress)
    tables: dict[str, Table] = {
        "intervals": rows_to_table(
            ("num_latents", "index", "max_bounds", "num_bounds", "lower", "upper", "gap", "converged"),
            rows["intervals"],
        ),
        "estimates": rows_to_table(
            ("num_latents", "index", "num_samples", "weighted_bound"), rows["estimates"]
        ),
        "exact": rows_to_table(("num_latents", "index", "log_marginal"), rows["exact"]),
        "closing": rows_to_table(
            ("num_latents", "num_pixels", "max_bounds", "median_gap", "largest_gap", "share_converged"),
            rows["closing"],
        ),
    }  # fmt: skip
    timings: dict[str, Table] = {
        "search_seconds": rows_to_table(("num_latents", "index", "max_bounds", "seconds"), rows["search"]),
        "sampling_seconds": rows_to_table(
            ("num_latents", "index", "num_samples", "seconds"), rows["sampling"]
        ),
        "other_seconds": rows_to_table(("num_latents", "step", "seconds"), rows["other"]),
    }  # fmt: skip
    result = StudyResult(
        name="beyond",
        tables=tables,
        findings=_findings(settings, sizes, tables, timings),
        figures=figures,
        shown={"closing": tables["closing"]},
        timings=timings,
        models={},
        arrays={
            "images": {"index": data.places, "x": data.test.reshape(len(data.test), *(data.sides or (-1,)))}
        },
    )
    return named(result, own)


def _own_data(own: Subject, settings: Settings) -> Images:
    count, most = settings.beyond_num_images, settings.beyond_num_train
    x = np.ascontiguousarray(own.x)
    return Images(x[:most], x[:count], own.index[:count], own.image_shape)


def _learned(
    settings: Settings, data: Images, size: int, progress: Progress, kept: Kept
) -> tuple[SigmoidBeliefNetwork, Encoder]:
    """Network of ``size`` latents, learned together with an encoder."""
    step = f"fitting {size} latents by the importance-weighted bound"
    start = Encoder.random(data.train.shape[1], settings.beyond_num_hidden, size, seed=settings.seed)
    fit = whole(lambda: fastvi.fit_model(
        starting_network(data.train, size, settings.seed), data.train, objective="importance_weighted",
        encoder=start, score="bound", num_epochs=settings.beyond_num_epochs, batch_size=100,
        learning_rate=settings.beyond_learning_rate, seed=settings.seed,
        checkpoint=kept.checkpoint(f"beyond_{size}_latents"),
        progress=lambda done, total: progress(step, done, total),
    ))  # fmt: skip
    assert fit.encoder is not None
    return fit.model, fit.encoder


def _fitted_encoder(model: Any, settings: Settings, data: Images, progress: Progress, kept: Kept) -> Encoder:
    """Encoder of a caller's model, which stays as it is."""
    width = data.train.shape[1]
    start = Encoder.random(width, settings.beyond_num_hidden, model.num_latents, seed=settings.seed)
    return whole(lambda: fastvi.fit_encoder(
        model, data.train, start, num_samples=_DRAWS, num_epochs=settings.beyond_num_epochs, batch_size=100,
        learning_rate=settings.beyond_learning_rate, seed=settings.seed,
        checkpoint=kept.checkpoint("beyond_encoder"),
        progress=lambda done, total: progress("fitting an encoder", done, total),
    )).encoder  # fmt: skip


def _look(
    model: Any, encoder: Encoder, settings: Settings, data: Images, rows: _Rows, progress: Progress
) -> None:
    """Add a model's rows."""
    size, x, index = model.num_latents, data.test, data.places.tolist()
    # compile
    fastvi.log_marginal_bounds(model, x[:1], max_bounds=3)
    fastvi.estimate_log_marginal(model, x[:1], proposal=encoder, num_samples=2)

    gaps = np.full((len(settings.beyond_max_bounds), len(x)), np.nan)
    for n in range(len(x)):
        own = x[n : n + 1]
        for k, most in enumerate(settings.beyond_max_bounds):
            progress(f"{size} latents: bounds", n * len(gaps) + k, gaps.size)
            begin = time.perf_counter()
            bounds = fastvi.log_marginal_bounds(model, own, max_bounds=most)
            rows["search"].append((size, index[n], most, time.perf_counter() - begin))
            ends = bounds.num_bounds, bounds.lower, bounds.upper, bounds.gap, bounds.converged
            rows["intervals"].append((size, index[n], most, *(value[0].item() for value in ends)))
            gaps[k:, n] = bounds.gap[0]
            if bounds.converged[0]:
                break
        for count in settings.beyond_num_samples:
            begin = time.perf_counter()
            fastvi.estimate_log_marginal(model, own, proposal=encoder, num_samples=count, seed=settings.seed)
            rows["sampling"].append((size, index[n], count, time.perf_counter() - begin))
    for most, own in zip(settings.beyond_max_bounds, gaps, strict=True):
        values = float(np.median(own)), float(own.max()), float((own <= TOLERANCE).mean())
        rows["closing"].append((size, x.shape[1], most, *values))
    progress(f"{size} latents: importance-weighted bounds", 0, 1)
    found = weighted_bounds(model, encoder, x, settings.beyond_num_samples, settings.seed)
    for place, line in zip(index, found.tolist(), strict=True):
        pairs = zip(settings.beyond_num_samples, line, strict=True)
        rows["estimates"] += [(size, place, count, value) for count, value in pairs]
    if size <= settings.beyond_largest_exact:
        progress(f"{size} latents: enumeration", 0, 1)
        exact = fastvi.log_marginal(model, x).tolist()
        begin = time.perf_counter()
        fastvi.log_marginal(model, x[:1])
        rows["other"].append((size, "enumeration of one image", time.perf_counter() - begin))
        rows["exact"] += [(size, place, value) for place, value in zip(index, exact, strict=True)]


def _findings(
    settings: Settings, sizes: tuple[int, ...], tables: dict[str, Table], timings: dict[str, Table]
) -> tuple[Finding, ...]:
    found = []
    for size in sizes:
        last = _of(tables["intervals"], size)
        ends = {row["index"]: row for row in last}  # the last of each image
        closed = sum(row["converged"] for row in ends.values())
        first = np.median([row["gap"] for row in last if row["max_bounds"] == settings.beyond_max_bounds[0]])
        subcubes = np.median([row["num_bounds"] for row in ends.values()])
        found.append(Finding(
            f"{size} latents: {closed} of {len(ends)} intervals closed to {TOLERANCE:g} nats; in the median "
            f"from {first:.1f} nats, by {subcubes:,.0f} subcubes (states that share some latents)"
        ))  # fmt: skip
        exact = {row["index"]: row["log_marginal"] for row in _of(tables["exact"], size)}
        if exact:
            inside = sum(row["lower"] <= exact[n] <= row["upper"] for n, row in ends.items())
            found.append(
                Finding(f"{size} latents: the exact value lies in {inside} of {len(ends)} intervals")
            )
        most = max(settings.beyond_num_samples)
        off = [
            row["weighted_bound"] - 0.5 * (ends[row["index"]]["lower"] + ends[row["index"]]["upper"])
            for row in _of(tables["estimates"], size)
            if row["num_samples"] == most
        ]
        found.append(Finding(
            f"{size} latents: the importance-weighted bound of {most:,} samples is "
            f"{np.median(np.abs(off)):.3f} nats from the middle of the interval in the median"
        ))  # fmt: skip
        last_seconds = {row["index"]: row["seconds"] for row in _of(timings["search_seconds"], size)}
        seconds = float(np.median(list(last_seconds.values())))
        text = f"{size} latents: {seconds:.2g} s a search in the median"
        for row in _of(timings["other_seconds"], size):
            if row["step"] != "fit":
                text += f"; enumeration of one image {row['seconds']:.2g} s"
        found.append(Finding(text, timed=True))
    return tuple(found)


def _of(table: Table, size: int) -> list[dict[str, Any]]:
    """Rows of a table about ``size`` latents."""
    rows = (dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True))
    return [row for row in rows if row["num_latents"] == size]
