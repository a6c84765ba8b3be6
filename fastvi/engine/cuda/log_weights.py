"""Log weights that lie on a GPU: summed there, and only the largest brought to the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.engine.cuda.arrays import adopted
from fastvi.engine.cuda.device import Device
from fastvi.engine.cuda.sampling import MOST_DATA, Sums, row_sums
from fastvi.engine.importance.weight_sums import WeightSums
from fastvi.kernels.cuda.log_weights import COLLECT, THREADS

_CAPACITY = 1 << 13  # entries of a row that are looked at; where more are above its threshold, it comes whole


def device_rows(log_w: Any, num_axes: int | None = None) -> tuple[Device, Any]:
    """The device, and the array as (N, K): C-contiguous, float32 or float64, at most MOST_DATA rows."""
    on, held = adopted(log_w, "log_w")
    shape, dtype = tuple(held.shape), np.dtype(held.dtype)
    if num_axes is not None and len(shape) != num_axes:
        raise ValueError(f"log_w must have {num_axes} axes, got shape {shape}")
    if not shape or (num_axes is None and shape[-1] == 0):
        raise ValueError(f"log_w must hold at least 1 weight along its last axis, got shape {shape}")
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"log_w must have dtype float32 or float64 on a GPU, got {dtype}")
    expected = dtype.itemsize
    strides: list[int] = []
    for size in reversed(shape):
        strides.insert(0, expected)
        expected *= size
    if held.strides is not None and tuple(held.strides) != tuple(strides):
        raise ValueError("log_w must be C-contiguous on a GPU, got other strides")
    num_rows = int(np.prod(shape[:-1]))
    if num_rows > MOST_DATA:
        raise ValueError(f"log_w must have at most {MOST_DATA} rows on a GPU, got {num_rows}")
    return on, held.reshape((num_rows, shape[-1]))


def checked_sums(on: Device, rows: Any) -> Sums:
    """Sums of each row; ValueError for NaN or +inf."""
    sums = row_sums(on, rows)
    if np.isnan(sums.total).any():
        raise ValueError(
            f"log_w must be finite or -inf, got NaN or +inf in row {np.flatnonzero(np.isnan(sums.total))[0]}"
        )
    return sums


def collect(on: Device, rows: Any, found: Sums, sums: WeightSums) -> None:
    """Offer the rows to the tails of ``sums``, which must have room."""
    num_rows, num = rows.shape
    values, counts = on.empty((num_rows, min(num, _CAPACITY)), np.float64), on.full(num_rows, 0, np.int64)
    kernel = COLLECT[str(np.dtype(rows.dtype))]
    on.launch(kernel, (-(-num // THREADS), num_rows), rows, on.put(sums.lowest), values, counts)
    held, above = on.get(values), on.get(counts)
    fits = above <= held.shape[1]
    if fits.all():
        sums.collect(held, above, found.largest, slice(0, num_rows))
        return
    whole = on.get(rows)  # a first chunk, as a rule: no threshold is known yet
    for n in range(num_rows):
        one = slice(n, n + 1)
        part, length = (
            (held[one], above[one]) if fits[n] else (whole[one].astype(np.float64), np.array([num]))
        )
        sums.collect(part, length, found.largest[one], one)
