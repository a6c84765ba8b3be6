"""Declaration of kernels, the one place that knows numba.cuda; no device is looked for.

A kernel is kept as a Python function with the types of its arguments. It is compiled when it is first
launched, never when it is imported (that would need a driver), and can be compiled for any architecture
without a device.

In kernels: ``math`` and the functions of ``kernels/scalar.py`` and ``kernels/philox.py``, which are the
CPU's own; ``np.uint64`` indices where a loop is hot (they fold into addresses; signed ones add instructions
for negative indices); shapes of shared and local arrays are global constants.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import config, types
from numba import cuda as numba_cuda
from numba.np import numpy_support

cuda: Any = numba_cuda  # whose types say little of what may stand in a kernel

SIMULATED = bool(getattr(config, "ENABLE_CUDASIM"))  # noqa: B009 (a setting made at run time)


def _complete_arrays() -> None:
    """Import what numba.cuda knows of arrays, as its first compilation would.

    Up to 0.30 it names np.row_stack there, an alias of np.vstack that NumPy 2.5 took away: no kernel would
    compile.
    """
    names = vars(np)
    missing = "row_stack" not in names
    if missing:
        names["row_stack"] = np.vstack
    try:
        with contextlib.suppress(ModuleNotFoundError):  # versions that have it elsewhere name no row_stack
            importlib.import_module("numba.cuda.np.arrayobj")
    finally:
        if missing:
            del names["row_stack"]


if not SIMULATED:
    _complete_arrays()

BOOL, INT32, UINT32, INT64 = types.boolean, types.int32, types.uint32, types.int64
FLOAT32, FLOAT64 = types.float32, types.float64

# of arrays that are read two numbers at a time, in bytes; the simulator knows none
ALIGNED = None if SIMULATED else 16


def numba_type(dtype: Any) -> Any:
    """Return the type of numbers of a NumPy dtype."""
    return numpy_support.from_dtype(dtype)


def array(dtype: Any, ndim: int) -> Any:
    """Return the type of a C-contiguous array of ``ndim`` axes."""
    return types.Array(dtype, ndim, "C")


def strided(dtype: Any, ndim: int) -> Any:
    """Return the type of an array of any strides, which is only read."""
    return types.Array(dtype, ndim, "A", readonly=True)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A loop over device arrays.

    Attributes
    ----------
    function
        The loop that is compiled.
    arguments
        The types of its arguments.
    threads
        Threads of a block; it is never launched with another number.
    blocks
        Least number of blocks of a multiprocessor, which bounds a thread's registers. 0 sets no bound.
    """

    function: Callable[..., None]
    arguments: tuple[Any, ...]
    threads: int
    blocks: int
    name: str
    _compiled: list[Any] = field(default_factory=list)

    @property
    def launch_bounds(self) -> Any:
        """Threads of a block, and the least number of blocks of a multiprocessor if it is set."""
        return (self.threads, self.blocks) if self.blocks else self.threads

    def dispatcher(self) -> Any:
        """Return the dispatcher of numba.cuda, compiled for the current device at its first launch."""
        if not self._compiled:
            # the types that were checked, whatever Python's numbers would be taken for; the simulator knows
            # no bounds
            bounds = {} if SIMULATED else {"launch_bounds": self.launch_bounds}
            self._compiled.append(cuda.jit(types.void(*self.arguments), **bounds)(self.function))
        return self._compiled[0]


KERNELS: dict[str, Kernel] = {}  # all that were declared, by name: what is checked without a device


def kernel(*arguments: Any, threads: int = 256, blocks: int = 0, name: str | None = None) -> Any:
    """Declare a kernel of these argument types."""

    def declare(function: Callable[..., None]) -> Kernel:
        """Keep the function under its name."""
        made = Kernel(function, arguments, threads, blocks, name or function.__name__)
        KERNELS[made.name] = made
        return made

    return declare


def device(function: Any) -> Any:
    """Declare a function that only kernels call."""
    return cuda.jit(device=True)(function)
