"""Data that lie on a GPU: only their terms, d + 1 numbers a datum, are brought to the host."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastvi.core import validation
from fastvi.core.arrays import Array
from fastvi.engine.cuda.device import Device, device, device_at
from fastvi.engine.states.data_terms import BinaryData, Data, Terms
from fastvi.engine.states.remote_data import RemoteData

_DLPACK_CUDA = 2  # kDLCUDA


def on_device(value: Any) -> bool:
    """Whether this is an array of a GPU: CuPy's, a CUDA tensor of PyTorch, Numba's."""
    try:
        kind = getattr(value, "__dlpack_device__", None)
        if kind is not None and kind()[0] == _DLPACK_CUDA:
            return True
        return hasattr(value, "__cuda_array_interface__")
    except Exception:  # PyTorch raises for a tensor that lies on the CPU, or requires a gradient
        return False


class DeviceData(RemoteData):
    """Some rows of an array (N, D) on a GPU, and which columns of them were seen."""

    def __init__(self, on: Device, held: Any, rows: Array, pixels: Array) -> None:
        self.on, self.held, self.rows, self.pixels = on, held, rows, pixels

    def seen(self, rows: Array, pixels: Array) -> DeviceData:
        """Some ``rows``, and of them the ``pixels`` (D,) that were seen."""
        return DeviceData(self.on, self.held, self.rows[rows], np.flatnonzero(pixels))

    def on_host(self) -> Array:
        """A copy (N, D) float64."""
        return np.ascontiguousarray(self.on.get(self.held)[np.ix_(self.rows, self.pixels)], np.float64)

    def terms(self, data: Data) -> Terms:
        """t(x) and c(x), computed where the data lie; ValueError for a value that is not allowed."""
        from fastvi.kernels.cuda.data_terms import THREADS, terms_kernel
        from fastvi.kernels.cuda.target import numba_type

        on, num_data, d = self.on, len(self), data.offset.size
        if num_data == 0:
            return Terms(np.empty((0, d)), np.empty(0))
        linear, values = on.empty((num_data, d), np.float64), on.empty(num_data, np.float64)
        bad = on.empty(num_data, np.int64)
        real = not isinstance(data, BinaryData)
        if isinstance(data, BinaryData):
            couplings = np.empty((0, 0)) if data.couplings is None else data.couplings
            middle: tuple[Any, ...] = (data.constant, on.put(data.offset), on.put(couplings))
        else:
            middle = (data.noise_std, data.full_constant, on.put(data.offset))
        kernel = terms_kernel(numba_type(np.dtype(self.held.dtype)), real=real)
        on.launch(
            kernel, -(-num_data // THREADS), self.held, on.put(self.rows), on.put(self.pixels),
            on.put(data.weights), on.put(data.bias), *middle, linear, values, bad,
        )  # fmt: skip
        where = on.get(bad)
        if (where >= 0).any():
            n = int(np.flatnonzero(where >= 0)[0])
            allowed = "finite" if real else "0 or 1"
            raise ValueError(f"x must be {allowed}, got another value at index ({self.rows[n]}, {where[n]})")
        return Terms(on.get(linear), on.get(values))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | Array) -> DeviceData:
        return DeviceData(self.on, self.held, self.rows[which], self.pixels)

    def __reduce__(self) -> Any:
        raise TypeError(
            "executor must run threads for data on a GPU, which cannot be sent to another process"
        )


def _with_interface(value: Any) -> Any:
    """Present the memory of ``value`` as an object that Numba reads.

    Arrays that speak DLPack alone go through a library that speaks both.
    """
    if hasattr(value, "__cuda_array_interface__"):
        return value
    for library in ("cupy", "torch"):
        if find_spec(library) is not None:
            return import_module(library).from_dlpack(value)
    raise TypeError("DLPack alone is read where CuPy or PyTorch is installed")


def adopted(value: Any, name: str = "x") -> tuple[Device, Any]:
    """The device on which an array lies, and the array as its kernels take it."""
    kind = getattr(value, "__dlpack_device__", None)
    on = device() if kind is None else device_at(kind()[1])
    try:
        return on, on.adopt(_with_interface(value))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise TypeError(
            f"{name} must offer __cuda_array_interface__ (CuPy, Numba, PyTorch: detached) or DLPack, got "
            f"{validation.type_name(value)}: {reason}"
        ) from error


def device_data(value: Any, num_pixels: int) -> DeviceData:
    """Checked but for its values, which the kernel looks at."""
    on, held = adopted(value)
    if len(held.shape) != 2 or held.shape[1] != num_pixels:
        raise ValueError(f"x must have shape (num_data, {num_pixels}), got shape {tuple(held.shape)}")
    if np.dtype(held.dtype).kind not in "biuf":
        raise TypeError(f"x must be an array of real numbers, got dtype {held.dtype}")
    if np.dtype(held.dtype) == bool:
        held = held.view(np.uint8)
    return DeviceData(on, held, np.arange(held.shape[0]), np.arange(num_pixels))


def refuse_unless_asked(value: Any, device_name: str | None) -> None:
    """TypeError for data of a GPU where the CPU was asked for, or where the question reads none (None).

    Nothing is copied behind the caller's back.
    """
    if on_device(value) and device_name is None:
        raise TypeError(
            "x must lie on the host here, got an array of a GPU: of the questions to models only "
            "log_marginal, elbo and estimate_log_marginal read those where they are"
        )
    if on_device(value) and device_name == "cpu":
        raise TypeError(
            "x lies on a GPU, so device must be 'cuda', got 'cpu' (or copy it to the host first): "
            f"{validation.shown(type(value))}"
        )
