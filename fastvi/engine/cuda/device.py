"""Devices: where arrays lie and kernels run.

``Device`` is all that the rest of the engine asks of one. ``NumbaDevice`` is a GPU, or Numba's simulator of
one; tests put another in its place, which runs the same compiled code on the CPU (``use``).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.extras import how_to_install

if TYPE_CHECKING:
    from fastvi.kernels.cuda.target import Kernel

_MOST_MEMORY = 1 << 50  # the simulator's has no end
_LOG = logging.getLogger("fastvi")


class Device(ABC):
    """One GPU."""

    index: int
    name: str

    @abstractmethod
    def put(self, array: Array) -> Any:
        """A copy on the device."""

    @abstractmethod
    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """An array on the device that holds anything."""

    @abstractmethod
    def adopt(self, array: Any) -> Any:
        """Another library's array of this device, not copied, once what its stream holds is done."""

    @abstractmethod
    def get(self, held: Any) -> Array:
        """A copy on the host, once all launches so far are done."""

    @abstractmethod
    def launch(self, kernel: Kernel, grid: int | tuple[int, int], *arguments: Any) -> None:
        """Queue a kernel with so many blocks."""

    @abstractmethod
    def matmul(self, left: Any, right: Any, out: Any) -> None:
        """Queue out[t] = left @ right[t], of float64 arrays (M, K), (T, K, C) and (T, M, C)."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Bytes that are free, and all."""

    def full(self, shape: int | tuple[int, ...], value: float, dtype: Any = np.float64) -> Any:
        """An array of one value."""
        return self.put(np.full(shape, value, dtype))


class NumbaDevice(Device):
    """A GPU as Numba sees it."""

    def __init__(self, index: int) -> None:
        from numba import config, cuda

        # it warns of grids that are small, which ours are where the question is
        setattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS", 0)  # noqa: B010 (a setting made at run time)
        self.index, self._cuda = index, cuda
        with self._context():
            name = getattr(cuda.get_current_device(), "name", "Numba's simulator")
        self.name = name.decode() if isinstance(name, bytes) else str(name)

    def _context(self) -> Any:
        return self._cuda.gpus[self.index]

    def put(self, array: Array) -> Any:
        with self._context(), _explained(array.nbytes):
            return self._cuda.to_device(np.ascontiguousarray(array))

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with self._context(), _explained(size):
            return self._cuda.device_array(shape, dtype)

    def adopt(self, array: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(array, torch.Tensor):
            # its interface names no stream, so the one that it may still be written on is waited for
            torch.cuda.current_stream(array.device).synchronize()
        with self._context():
            return self._cuda.as_cuda_array(array)  # waits for the stream that the interface names

    def get(self, held: Any) -> Array:
        with self._context():
            return np.asarray(held.copy_to_host())

    def launch(self, kernel: Kernel, grid: int | tuple[int, int], *arguments: Any) -> None:
        with self._context():
            kernel.dispatcher()[grid, kernel.threads](*arguments)

    def matmul(self, left: Any, right: Any, out: Any) -> None:
        import cupy
        from numba import config

        # the stream that kernels are launched on: nothing waits, the order is the stream's
        by_thread = getattr(config, "CUDA_PER_THREAD_DEFAULT_STREAM", 0)
        stream = cupy.cuda.Stream.ptds if by_thread else cupy.cuda.Stream.null
        with self._context(), cupy.cuda.Device(self.index), stream:
            a, b, c = (cupy.asarray(array) for array in (left, right, out))
            cupy.matmul(a[None], b, out=c)

    def memory(self) -> tuple[int, int]:
        with self._context():
            free, total = self._cuda.current_context().get_memory_info()
        return int(min(free, _MOST_MEMORY)), int(min(total, _MOST_MEMORY))


@contextlib.contextmanager
def _explained(size: int) -> Iterator[None]:
    """Say what was asked for where the device has no room for it."""
    try:
        yield
    except Exception as error:
        if "OUT_OF_MEMORY" not in str(error):
            raise
        raise MemoryError(
            f"the GPU has no room for {size:,} bytes more; give memory_limit=, "
            "or free what other programs hold there"
        ) from error


class MissingDeviceError(RuntimeError):
    """No GPU can be used, and why."""


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@lru_cache(maxsize=1)
def _found() -> int:
    """Number of devices; MissingDeviceError where there is none."""
    if find_spec("numba_cuda") is None:
        raise MissingDeviceError(f"the extra is not installed: {how_to_install('cuda')}")
    from numba import config, cuda

    if getattr(config, "ENABLE_CUDASIM"):  # noqa: B009 (a setting made at run time)
        _LOG.info(
            "NUMBA_ENABLE_CUDASIM is set: kernels run in Numba's simulator, thread by thread, in Python"
        )
        return 1
    try:
        return len(cuda.gpus)
    except Exception as error:
        raise MissingDeviceError(f"no CUDA driver or device was found: {_reason(error)}") from error


_SUBSTITUTES: list[Device] = []


@contextlib.contextmanager
def use(*devices: Device) -> Iterator[None]:
    """Let these stand for the machine's GPUs."""
    before = list(_SUBSTITUTES)
    _SUBSTITUTES[:] = devices
    try:
        yield
    finally:
        _SUBSTITUTES[:] = before


def num_devices() -> int:
    """Return the number of GPUs; raise MissingDeviceError with the reason where there is none."""
    return len(_SUBSTITUTES) or _found()


@lru_cache(maxsize=64)
def _opened(index: int) -> Device:
    return NumbaDevice(index)


def device_at(index: int) -> Device:
    """The device of this number."""
    count = num_devices()
    if not 0 <= index < count:
        raise MissingDeviceError(f"an array lies on device {index}, but {count} can be used")
    return _SUBSTITUTES[index] if _SUBSTITUTES else _opened(index)


_OWN = threading.local()
_NEXT = itertools.count()


def device() -> Device:
    """The device of this thread: threads of this process take turns, and processes of a pool as well.

    A scheduler that gives each of its workers one GPU (through CUDA_VISIBLE_DEVICES, as dask-cuda does)
    leaves only that one to choose.
    """
    count = num_devices()
    turn = getattr(_OWN, "turn", None)
    if turn is None:
        turn = _OWN.turn = _first_turn() + next(_NEXT)
    return _SUBSTITUTES[turn % count] if _SUBSTITUTES else _opened(turn % count)


def _first_turn() -> int:
    """Number of this process among those of its pool."""
    from multiprocessing import current_process

    identity: tuple[int, ...] = getattr(current_process(), "_identity", ())
    return identity[-1] - 1 if identity else 0


def state() -> str:
    """One line for ``fastvi info``."""
    try:
        count = num_devices()
        first = device()
    except MissingDeviceError as error:
        return str(error)
    except Exception as error:  # a driver that does not work
        return f"a device was found, but cannot be used: {_reason(error)}"
    return f"{count} x {first.name}, {first.memory()[1] >> 20:,} MiB"
