"""A device whose kernels are the code compiled for a GPU, run on the CPU: memory is the host's."""

from __future__ import annotations

import functools
import hashlib
import threading
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from harness import offline
from harness.ptx_kernel import PtxKernel, kept_text

from fastvi.engine.cuda.device import Device
from fastvi.kernels.compiled_code import stamp
from fastvi.kernels.cuda.target import KERNELS

_COMPILED: dict[Any, PtxKernel] = {}
_LOCK = threading.Lock()  # one block of threads at a time


def ptx_kernel(kernel: Any, *, check: bool) -> PtxKernel:
    """A kernel of fastvi, compiled once a session."""
    key = kernel, check
    if key not in _COMPILED:
        _COMPILED[key] = PtxKernel(_ptx(kernel), check=check)
    return _COMPILED[key]


@functools.cache
def _compilers() -> list[str]:
    """Versions of all that makes PTX of Python."""
    makers = ("numba", "llvmlite", "numpy", "cuda", "nvidia")
    return sorted(
        f"{found.name} {found.version}" for found in distributions() if found.name.startswith(makers)
    )


def _ptx(kernel: Any) -> str:
    """What a kernel is compiled to, a second's work; that of a file's kernels is kept for later processes."""

    def compiled() -> str:
        return offline.compile_ptx(kernel.function, kernel.arguments, launch_bounds=kernel.launch_bounds)

    if KERNELS.get(kernel.name) is not kernel:  # it holds a caller's function, or a test's
        return compiled()
    source = Path(kernel.function.__code__.co_filename)
    key = kernel.name, kernel.arguments, kernel.launch_bounds, stamp(source), stamp(Path(offline.__file__))
    return kept_text(hashlib.sha256(repr((key, _compilers())).encode()).hexdigest()[:24], compiled)


class PtxDevice(Device):
    """``check`` looks for races, divergence and accesses out of bounds, ``schedule`` is the order of
    threads.
    """

    index, name = 0, "PTX on the CPU"

    def __init__(self, *, check: bool = False, schedule: int = 0, free: int = 1 << 33) -> None:
        self.check, self.schedule, self.free = check, schedule, free
        self.launches: list[str] = []

    def put(self, array: Any) -> Any:
        return np.array(array, order="C", copy=True)

    def empty(self, shape: Any, dtype: Any) -> Any:
        # what nobody wrote must not look like a result
        held = np.empty(shape, dtype)
        held.reshape(-1).view(np.uint8)[...] = 0xA5 if held.dtype.kind in "iub" else 0xFF
        return held

    def adopt(self, array: Any) -> Any:
        return np.asarray(SimpleNamespace(__array_interface__=array.__cuda_array_interface__, owner=array))

    def get(self, held: Any) -> Any:
        return held.copy()

    def launch(self, kernel: Any, grid: Any, *arguments: Any) -> None:
        self.launches.append(kernel.name)
        with _LOCK:
            compiled = ptx_kernel(kernel, check=self.check)
            compiled.launch(grid, kernel.threads, arguments, schedule=self.schedule)

    def matmul(self, left: Any, right: Any, out: Any) -> None:
        self.launches.append("matmul")
        np.matmul(left, right, out=out)

    def memory(self) -> tuple[int, int]:
        return self.free, 1 << 33
