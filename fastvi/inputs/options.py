"""Options of every question, checked: device, dtype, limits, executor, checkpoint, progress."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from typing import Any, NamedTuple, cast

from fastvi.core import validation
from fastvi.core.limits import MAX_STATES
from fastvi.core.options import DEVICES, DTYPES, Device, DType
from fastvi.engine.run.progress import Progress

_LOG = logging.getLogger("fastvi")


def check_device(device: Any, *, cuda: bool = False, why: str = "") -> Device:
    """Return "cpu" or "cuda"; raise RuntimeError where "cuda" is asked for and cannot be had.

    "auto" logs why it picks what. ``cuda`` says whether the question can be answered on a GPU, ``why`` in a
    few words why not.
    """
    if validation.choice(device, "device", DEVICES) == "cpu":
        return "cpu"
    reason = why or "this question is answered on the CPU only"
    if cuda:
        from fastvi.engine.cuda.device import MissingDeviceError, num_devices

        try:
            count = num_devices()
        except MissingDeviceError as error:
            reason = str(error)
        else:
            if device == "auto":
                _LOG.info("device='auto' picks 'cuda': %d found", count)
            return "cuda"
    if device == "cuda":
        raise RuntimeError(f"device='cuda' is not available: {reason}; use device='cpu'")
    _LOG.info("device='auto' picks 'cpu': %s", reason)
    return "cpu"


def check_dtype(dtype: Any) -> DType:
    """Return the argument ``dtype``."""
    return validation.choice(dtype, "dtype", DTYPES)


def check_executor(executor: Any) -> Executor | None:
    """Return the argument ``executor``; of a client of Dask the executor that it gives."""
    if executor is None or isinstance(executor, Executor):
        return executor
    if callable(getattr(executor, "get_executor", None)):
        if getattr(executor, "status", None) in ("closed", "closing"):
            raise ValueError(f"executor must be open, got {validation.type_name(executor)} that is closed")
        executor = executor.get_executor()
    return cast(Executor, validation.instance(executor, "executor", Executor))


def check_progress(progress: Any) -> Progress:
    """Return the argument ``progress``: a flag, or a function that is told of it."""
    return progress if callable(progress) else validation.flag(progress, "progress")


class Limits(NamedTuple):
    """The most that a call may take."""

    memory: int | None = None  # bytes beyond the arguments; None: whatever it takes
    states: int = MAX_STATES

    def check(self, num_latents: int, need: int, text: str, ways: str = "") -> None:
        """Refuse 2^``num_latents`` states, or ``need`` bytes, that are too many; ``text`` says whose.

        ``ways`` says which ways there are to sum them.
        """
        if (1 << num_latents) > self.states:
            raise ValueError(
                f"max_states is {self.states} (2^40 unless raised), but the model has 2^{num_latents}; "
                f"{text} would take {need:,} bytes" + (f"; {ways}" if ways else "")
            )
        if self.memory is not None and need > self.memory:
            raise ValueError(f"memory_limit is {self.memory:,} bytes, but {text} would take {need:,} bytes")


NO_LIMITS = Limits()


def check_limits(memory_limit: Any, max_states: Any) -> Limits:
    """Return the arguments ``memory_limit`` and ``max_states``, clean."""
    if memory_limit is not None:
        memory_limit = validation.positive_int(memory_limit, "memory_limit", maximum=None)
    return Limits(memory_limit, validation.positive_int(max_states, "max_states", maximum=None))


class Options(NamedTuple):
    """How to run, as the caller said it."""

    device: Device = "cpu"
    dtype: DType = "float64"
    executor: Executor | None = None
    checkpoint: Any = None
    progress: Progress = False
    memory_limit: int | None = None
    max_states: int = MAX_STATES
    automatic: bool = False  # whether the device was left to us

    def checked(self, *, cuda: bool = False) -> Options:
        """Return these options, every value checked and the device chosen.

        ``cuda`` says whether a GPU can answer.
        """
        device = check_device(self.device, cuda=cuda)
        check_dtype(self.dtype)
        limits = check_limits(self.memory_limit, self.max_states)
        executor = check_executor(self.executor)
        check_progress(self.progress)
        return Options(
            device, self.dtype, executor, self.checkpoint, self.progress, *limits, self.device == "auto"
        )

    def checked_for_table(self) -> Limits:
        """Check the options of a question about a table, which is answered at once; return its limits."""
        limits = self.checked().limits
        if self.checkpoint is not None:
            came = validation.shown(self.checkpoint)
            raise ValueError(
                f"checkpoint must be None for a JointTable, which takes no run to go on with, got {came}"
            )
        return limits

    @property
    def limits(self) -> Limits:
        """Limits of this machine: the memory of a device is planned there."""
        return Limits(None if self.device == "cuda" else self.memory_limit, self.max_states)
