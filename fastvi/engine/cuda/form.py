"""Forms as a GPU sums them: another tiling, and batches whose waves are launched there.

A wave is cut in *launches* of a size that does not depend on the device or its memory, merged in order; a
device with little memory gets fewer data at a time. So neither changes a bit of a result.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.cuda import blas
from fastvi.engine.cuda.device import Device, device
from fastvi.engine.cuda.resident import resident
from fastvi.engine.run.slices import slices
from fastvi.engine.states.batch import Batch
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import Form, SummedForm
from fastvi.engine.states.sums import Moments, Sums
from fastvi.kernels.cuda.softplus_product import LIMITS
from fastvi.kernels.cuda.tile_sums import DATA, KERNELS

TileSums = Callable[[Any, Any, Any], None]  # of tables, tiles, sums

_SHARE = 0.8  # of the free memory that a run takes at most


@dataclass(frozen=True, eq=False)
class CudaForm(SummedForm):
    """A form with tiles for a GPU."""

    source: Form
    dtype: str
    memory_limit: int | None

    @property
    def operations(self) -> int:
        return self.source.operations

    @property
    def flush_exponent(self) -> int:
        return LIMITS[self.dtype][2]

    @property
    def rounding_bits(self) -> int:
        return 53 if self.dtype == "float64" else 24

    def wider(self) -> CudaForm | None:
        return None if self.dtype == "float64" else replace(self, dtype="float64")

    @abstractmethod
    def tables(self, on: Device) -> Any:
        """Put on a device what all batches share."""

    def resident(self, on: Device) -> Any:
        """``tables``, put once on each device."""
        return resident(self, on, self.tables)

    @abstractmethod
    def log_space_part(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        """Add one wave's sums in log space."""

    def log_space_wave(self, terms: Terms, negligible: Array, first: int) -> Sums:
        on = device()
        running = Running(on, len(terms.constant))
        self.log_space_part(on, terms, first, running)
        return running.sums()

    def tile_sums(self, on: Device, num_tiles: int, num_rows: int, num_columns: int) -> TileSums:
        """Return what makes sums[t, n] = u_n^T tiles[t] v_n of tables (numbers, N) and such tiles."""
        if self.by_blas:
            return blas.BlasSums(on, num_tiles, num_rows, num_columns)

        def launch(tables: Any, tiles: Any, sums: Any) -> None:
            on.launch(KERNELS[self.dtype][1], (sums.shape[1] // DATA, num_tiles), tables, tiles, sums)

        return launch

    @property
    def by_blas(self) -> bool:
        """Whether that is cuBLAS's to do."""
        return self.dtype == "float64" and blas.wanted()

    def room(self, on: Device, fixed: int, each: int, needed: int) -> int:
        """Number of things of ``each`` bytes, ``needed`` at most, that fit beside ``fixed`` bytes."""
        free = int(_SHARE * on.memory()[0])
        limit = free if self.memory_limit is None else min(free, self.memory_limit)
        fits = (limit - fixed) // each
        if fits < 1:
            if limit < free:
                raise ValueError(
                    f"memory_limit leaves {limit:,} bytes, but at least {fixed + each:,} are needed"
                )
            raise MemoryError(
                f"the GPU's free memory leaves {limit:,} bytes, but at least {fixed + each:,} are needed"
            )
        return min(needed, fits)


def put_terms(on: Device, terms: Terms, outer: int) -> tuple[Any, Any, Any]:
    """Linear terms, constants and the linear terms of the ``outer`` bits, on a device."""
    return on.put(terms.linear), on.put(terms.constant), on.put(terms.linear[:, :outer])


class Running:
    """Running sums of some data on a device."""

    def __init__(self, on: Device, num_data: int) -> None:
        self._on = on
        self.largest, self.bound = on.full(num_data, -math.inf), on.full(num_data, -math.inf)
        self.total = on.full(num_data, 0.0)

    def sums(self) -> Sums:
        """On the host."""
        return Sums(*(self._on.get(part) for part in (self.largest, self.total, self.bound)))


class CudaBatch(Batch):
    """Data of one chunk, summed on the device of whichever thread asks."""

    @abstractmethod
    def add(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        """Add one wave's sums of some data."""

    @abstractmethod
    def data_at_once(self, on: Device) -> int:
        """Number of data that fit."""

    def sums(self, first: int) -> Sums:
        on = device()
        found = []
        for part in slices(self.num_data, self.data_at_once(on)):
            running = Running(on, part.stop - part.start)
            self.add(on, Terms(self.terms.linear[part], self.terms.constant[part]), first, running)
            found.append(running.sums())
        if not found:
            return Sums.zero(0)
        return Sums(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))

    def moments(self, first: int) -> Moments:
        raise NotImplementedError
