"""Log joints that the caller wrote, on a GPU: the function is compiled into the loop over states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.cuda.device import Device
from fastvi.engine.cuda.form import CudaBatch, CudaForm, Running
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.tiling import Tiling
from fastvi.engine.states.user_form import UserForm
from fastvi.kernels.cuda.log_sums import merge_tile_sums
from fastvi.kernels.cuda.target import Kernel, numba_type
from fastvi.kernels.cuda.user_loops import STATES, user_sums

_WAVE_STATES = 1 << 24
_MOST_DATA = 1 << 12


@dataclass(frozen=True, eq=False)
class CudaUserForm(CudaForm):
    """A UserForm whose tiles are all that a block of threads goes through."""

    source: UserForm

    @property
    def wave_tiles(self) -> int:
        return max(1, _WAVE_STATES // self.tiling.tile_states)

    def batch(self, terms: Terms) -> UserBatch:
        return UserBatch(self, terms)

    def tables(self, on: Device) -> Any:
        return on.put(np.ascontiguousarray(self.source.latents, np.int64))

    def log_space_part(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        self.batch(terms).add(on, terms, first, running)  # which is in log space

    def kernel(self, x: Array) -> Kernel:
        return user_sums(self.source.model.fn, self.num_latents, numba_type(x.dtype), x.ndim)


class UserBatch(CudaBatch):
    """Data of one chunk under a LogJoint."""

    def data_at_once(self, on: Device) -> int:
        x = self.terms.linear
        blocks = min(self.form.wave_tiles, self.form.tiling.num_tiles)
        each = 16 * blocks + 64 + (x.nbytes // len(x) if len(x) else 0)
        return self.form.room(on, 1 << 12, each, _MOST_DATA)

    def add(self, on: Device, terms: Terms, first: int, running: Running) -> None:
        form, x = self.form, np.ascontiguousarray(terms.linear)
        blocks = min(form.wave_tiles, form.tiling.num_tiles - first)
        states = form.tiling.tile_states
        scales, sums = on.empty((blocks, len(x)), np.float64), on.empty((blocks, len(x)), np.float64)
        bad = on.full(len(x), 0, np.int32)
        on.launch(
            form.kernel(x), (blocks, len(x)), on.put(x), form.resident(on), first * states, blocks * states,
            scales, sums, bad,
        )  # fmt: skip
        where = np.flatnonzero(on.get(bad))
        if where.size:
            raise ValueError(
                "fn must return finite numbers or -inf, got NaN or +inf for datum "
                f"{where[0]} of those that were summed together; device='cpu' says for which states"
            )
        on.launch(
            merge_tile_sums, len(x), sums, scales, on.full(blocks, 0.0), first, 1,
            on.put(np.empty((len(x), 0))),
            on.put(terms.constant), running.largest, running.total, running.bound,
        )  # fmt: skip
        # nothing is dropped in log space
        running.bound = on.full(len(x), -np.inf)


def cuda_user_form(form: UserForm, dtype: str, memory_limit: int | None) -> CudaUserForm:
    """Return the form with a block of threads for 2^14 states."""
    d = form.num_latents
    bits = min(d, STATES.bit_length() - 1)
    return CudaUserForm(
        Tiling(d - bits, bits, 0, 0), form.order, form.centre, form.data, form, dtype, memory_limit
    )
