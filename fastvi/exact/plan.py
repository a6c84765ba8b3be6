"""What an exact question would take, before it is asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastvi import validation
from fastvi.engine import requests
from fastvi.models.enumerable import NO_DATA, Enumerable, check_model

if TYPE_CHECKING:
    from fastvi.engine.form import Form

QUESTIONS = ("log_marginal", "log_partition", "exact_posterior", "log_marginal_gradient")
_CALIBRATION = 1 << 31  # states times data of one measured wave, at most: a fraction of a second
_CALIBRATION_DATA = 256


@dataclass(frozen=True)
class Plan:
    """What a question takes on this machine; ``print`` shows it as a table.

    Attributes
    ----------
    question : str
    num_data : int
    states : int
        States that are summed, for all data together where they share them.
    operations : int
        Floating-point operations, roughly: two a state and pixel, two a state and datum, for each pass.
    bytes : int
        Peak memory beyond the arguments and the results.
    shards : int
        Tasks that an ``executor`` gets, one after which a ``checkpoint`` may be written.
    predicted_seconds : float
        On all threads of this process, extrapolated from a short run.
    """

    question: str
    num_data: int
    states: int
    operations: int
    bytes: int
    shards: int
    predicted_seconds: float

    def __str__(self) -> str:
        rows = (
            ("question", self.question),
            ("data", f"{self.num_data:,}"),
            ("states", f"{self.states:,}" + (f" (2^{math.log2(self.states):.4g})" if self.states else "")),
            ("operations", f"{self.operations:.3g}"),
            ("peak memory", f"{self.bytes / 2**20:,.0f} MiB"),
            ("shards", f"{self.shards:,}"),
            ("predicted time", duration(self.predicted_seconds)),
        )
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("years", 31557600.0), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1e3 * seconds:.2g} ms"


def plan(
    model: Enumerable,
    num_data: int = 1,
    *,
    question: str = "log_marginal",
    observed: ArrayLike | None = None,
    dtype: str = "float64",
) -> Plan:
    """States, operations, memory, shards and seconds of an exact question, from a short run on this machine.

    One wave of states is summed for a few made-up data, twice, and the time of the whole is extrapolated:
    right within a factor of two on a machine that does nothing else, for data that take the fast path (which
    data of the model's own kind do).

    Parameters
    ----------
    model
        Any model with binary latents; a :class:`~fastvi.LogJoint` is run on zeros of its latents' number.
    num_data
        N, at least 0.
    question
        "log_marginal", "log_partition" (of a Boltzmann machine; N does not matter), "exact_posterior"
        (evidence and means) or "log_marginal_gradient".
    observed : array_like of bool, (D,), optional
        Which pixels would be seen; all where not given, none of a Boltzmann machine.
    dtype
        As in :func:`~fastvi.log_marginal`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError, TypeError
        For wrong input.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0, 0.0], [-1.0, 1.0]], [0.0, 0.5], [0.0, 0.0])
    >>> fastvi.plan(model, 100).states
    4
    """
    check_model(model)
    num_data = validation.positive_int(num_data, "num_data", 0)
    question = validation.choice(question, "question", QUESTIONS)
    requests.check_dtype(dtype)
    pixels = _pixels(model, observed)
    if question == "log_partition":
        if model._partition_form() is None:
            raise TypeError(f"model must have a log Z, got {validation.shown(model)}")
        build: Callable[[], Any] = model._partition_form
        return _measured(question, build, 1, model.num_pixels)
    if question == "log_marginal" and model._is_closed(pixels):
        return Plan(question, num_data, 0, 0, 0, 0, 0.0)
    prior = model._deep_prior
    if prior is None:
        x = _made_up(model, pixels, _CALIBRATION_DATA)
        return _measured(question, lambda: model._form(pixels, dtype), num_data, int(pixels.sum()), x=x)
    upper = plan(prior, 1 << model.num_latents, dtype=dtype)
    lower = plan(
        type(model)(model.weights, model.bias, np.zeros(model.num_latents)),  # type: ignore[attr-defined, call-arg]
        num_data, question=question, observed=pixels, dtype=dtype,
    )  # fmt: skip
    return Plan(
        question, num_data, lower.states + upper.states, lower.operations + upper.operations,
        max(upper.bytes, lower.bytes) + (8 << model.num_latents), lower.shards,
        lower.predicted_seconds + upper.predicted_seconds,
    )  # fmt: skip


def _pixels(model: Enumerable, observed: ArrayLike | None) -> np.ndarray:
    if observed is None:
        everything = np.ones(model.num_pixels, bool)
        return everything if model._free(everything).size else ~everything
    mask = validation.observed_mask(observed, 0, model.num_pixels)
    if mask is None or mask.ndim != 1:
        raise ValueError(f"observed must have shape ({model.num_pixels},), got shape {np.shape(observed)}")
    return mask


def _made_up(model: Enumerable, pixels: np.ndarray, num_data: int) -> np.ndarray:
    """Data of coin flips, as the model's own check returns them."""
    bits = np.random.default_rng(0).integers(0, 2, (num_data, model.num_pixels))
    return np.ascontiguousarray(model._check_data(bits, None)[0][:, pixels])


def _measured(
    question: str, build: Callable[[], Form], num_data: int, num_pixels: int, x: np.ndarray = NO_DATA
) -> Plan:
    """Extrapolate from one wave."""
    from fastvi.engine.form import CHUNK_DATA, num_chunks
    from fastvi.engine.state_moments import has_slopes

    form, build_seconds = _timed(build)
    if question == "log_marginal_gradient" and not has_slopes(form):
        raise ValueError(
            "question must not be 'log_marginal_gradient' for this model: only its sums are measured"
        )
    if build_seconds < 30.0:  # it may have compiled
        build_seconds = _timed(build)[1]
    shards = len(form.wave_starts()) * max(1, num_chunks(num_data))
    passes = 2 if question == "log_marginal_gradient" else 1
    few = max(1, min(num_data, len(x), _CALIBRATION // form.wave_states(0)))
    one, some = (_wave_seconds(question, form, x[:count]) for count in (1, few))
    slope = max(0.0, (some - one) / (few - 1)) if few > 1 else 0.0
    chunk = min(num_data, CHUNK_DATA)
    # the last wave may be shorter than the one that was measured
    waves = (1 << form.num_latents) / form.wave_states(0)
    seconds = build_seconds + max(1, num_chunks(num_data)) * waves * (one + slope * (chunk - 1))
    if num_data % CHUNK_DATA and num_data > CHUNK_DATA:  # the last chunk may be, too
        seconds -= waves * slope * (CHUNK_DATA - num_data % CHUNK_DATA)
    states = 1 << form.num_latents
    products = {"exact_posterior": 2, "log_marginal_gradient": 3}.get(question, 1)
    operations = 2 * states * (passes * num_pixels * max(1, num_chunks(num_data)) + products * num_data)
    need = requests.predicted_bytes(form.tiling, num_data, num_pixels)
    return Plan(question, num_data, states, operations, need, passes * shards, seconds)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    value = function()
    return value, time.perf_counter() - begin


def _wave_seconds(question: str, form: Form, x: np.ndarray) -> float:
    """Seconds of one wave for these data, tables and terms made anew; the first run compiles."""

    def wave() -> None:
        batch = form.batch(form.data.terms(x))
        if question in ("log_marginal", "log_partition"):
            batch.sums(0)
            return
        moments = batch.moments(0)
        if question == "log_marginal_gradient":
            from fastvi.engine.state_moments import one_wave

            one_wave(form, batch, moments)

    wave()
    return min(_timed(wave)[1] for _ in range(2))
