"""Log joints that the caller wrote, as the engine sums them.

A scalar function is compiled into the loop over states: a tile of its values, then their exponentials, in the
second-level cache, threads over data and parts of a wave. A function of arrays is called in the calling
thread with some thousands of states and as many data as keep what it returns small. Whatever is needed beside
that is as large as what it returns for a few data and one wave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.bits import bits_of
from fastvi.engine.run.slices import data_slices, slices
from fastvi.engine.run.threads import parallel_map
from fastvi.engine.states.data_terms import Terms
from fastvi.engine.states.form import shifted
from fastvi.engine.states.numbered_form import (
    NumberedBatch,
    NumberedForm,
    block_tiling,
    merged,
    packed_places,
    visit_datum_tiles,
)
from fastvi.engine.states.sums import Moments
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.states.user_loops import add_rows_of_logs, user_loops

_WAVE_BITS = 15  # states of a wave, at most
PART_TILES = 4  # tiles of a task's states
_PART_DATA = 4  # data of a task
CALL_STATES = 1 << 12  # states that a function of arrays gets at a time
CALL_NUMBERS = 1 << 22  # numbers that it returns at a time, at most: 32 MiB
OPERATIONS = 100  # of a scalar function: a guess


def wave_tiles(tiling: Tiling) -> int:
    """Tiles of a wave."""
    return max(1, (1 << _WAVE_BITS) // tiling.tile_states)


class UserData(NamedTuple):
    """A datum is whatever the function takes, in the place of one pixel."""

    def terms(self, x: Array) -> Terms:
        """Data (N, 1, ...) as (N, ...)."""
        return Terms(np.ascontiguousarray(x[:, 0]), np.zeros(len(x)))


@dataclass(frozen=True, eq=False)
class UserForm(NumberedForm):
    """A LogJoint."""

    model: Any  # a LogJoint

    @property
    def wave_tiles(self) -> int:
        return wave_tiles(self.tiling)

    @property
    def operations(self) -> int:
        return OPERATIONS

    def batch(self, terms: Terms) -> UserBatch:
        return UserBatch(self, terms)

    def states(self, first: int, count: int) -> Array:
        """States (count, d) of the numbers from ``first`` as float64."""
        return bits_of(np.arange(first, first + count), self.latents, np.float64)

    def table(self, x: Array, first: int, count: int) -> Array:
        """Log p(x_n, z) (N, count) of the states from number ``first``."""
        if self.model.vectorized:
            steps = range(0, count, CALL_STATES)
            parts = [
                self.model.table(x, self.states(first + step, min(CALL_STATES, count - step)))
                for step in steps
            ]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        fill, _ = user_loops(self.model.fn)
        out, latents = np.empty((len(x), count)), self.latents

        def task(n: int) -> None:
            fill(x[n], first, latents, out[n])

        with self.model.explained(x):
            parallel_map(task, range(len(x)), 1.0 * out.size * OPERATIONS)
        self.model.check_table(out)
        return out

    def data_parts(self, num_data: int, num_states: int) -> Iterator[slice]:
        """Data whose table of so many states is kept at a time."""
        step = max(1, CALL_NUMBERS // num_states)
        return slices(num_data, step)

    def visit_states(
        self, kernel: Any, terms: Terms, shift: Array, first: int, sums: tuple[Array, ...], *,
        most: int | None = None,
    ) -> None:  # fmt: skip
        offset = shifted(terms, shift)
        count = min(most or self.filled_tiles, self.tiling.num_tiles - first)
        num_states = count * self.tiling.tile_states
        where, linear = packed_places(self.tiling, self.padded_rows), np.zeros((1, self.num_latents))
        for data in self.data_parts(len(offset), num_states):
            table = self.table(terms.linear[data], first * self.tiling.tile_states, num_states)

            def task(k: int, table: Array = table, begin: int = data.start) -> None:
                tiles = np.zeros((1, count, self.tile_size))
                tiles[0, :, where] = table[k].reshape(count, -1).T
                who = range(begin + k, begin + k + 1)
                visit_datum_tiles(self, kernel, tiles, first, linear, offset, who, sums)

            parallel_map(task, range(len(table)), 8.0 * table.size)

    def log_joint(self, x: Array, z: Array) -> Array:
        out = np.empty(z.shape[:-1])
        for n in range(len(x)):
            states = z[n].reshape(-1, self.num_latents)
            for start in range(0, len(states), CALL_STATES):
                part = slice(start, start + CALL_STATES)
                out[n].reshape(-1)[part] = self.model.table(x[n : n + 1, 0], states[part])[0]
        return out


class UserBatch(NumberedBatch):
    """Data of one chunk under a LogJoint."""

    def _zero(self, with_ones: bool) -> Moments:
        return Moments.zero(self.num_data, self.form.num_latents, with_ones=with_ones)

    def add(self, first: int, with_ones: bool) -> Moments:
        form, tile_states = self.form, self.form.tiling.tile_states
        count, begin = min(form.wave_tiles, form.tiling.num_tiles - first), first * form.tiling.tile_states
        add = self._add_arrays if form.model.vectorized else self._add_scalars
        return merged(add(begin, count * tile_states, with_ones), with_ones=with_ones)

    def _add_scalars(self, first: int, num_states: int, with_ones: bool) -> list[Moments]:
        """Sums of the parts of a wave, each from nothing: the same bits for any number of threads."""
        form, tile_states, x = self.form, self.form.tiling.tile_states, self.terms.linear
        _, add_sums = user_loops(form.model.fn)
        step = PART_TILES * tile_states
        found = [self._zero(with_ones) for _ in range(0, num_states, step)]
        latents = form.latents

        def task(which: tuple[int, int]) -> None:
            part, begin = which
            own, end = found[part], min(begin + _PART_DATA, self.num_data)
            tiles = min(PART_TILES, num_states // tile_states - part * PART_TILES)
            add_sums(
                x, begin, end, first + part * step, tiles, tile_states, latents, form.negligible,
                own.largest, own.total, own.ones,
            )  # fmt: skip

        tasks = [(part, n) for part in range(len(found)) for n in range(0, self.num_data, _PART_DATA)]
        with form.model.explained(x):
            parallel_map(task, tasks, 1.0 * num_states * self.num_data * OPERATIONS)
        for part, own in enumerate(found):
            for n in np.flatnonzero(np.isnan(own.total)):  # the table says what was returned and where
                form.table(x[n : n + 1], first + part * step, min(step, num_states - part * step))
        return found

    def _add_arrays(self, first: int, num_states: int, with_ones: bool) -> list[Moments]:
        form, found, latents = self.form, self._zero(with_ones), self.form.latents
        for start in range(0, num_states, CALL_STATES):
            count = min(CALL_STATES, num_states - start)
            for data in form.data_parts(self.num_data, count):
                table = form.table(self.terms.linear[data], first + start, count)
                own = Moments(*(array[data] for array in found))

                def task(
                    part: slice, table: Array = table, own: Moments = own, number: int = first + start
                ) -> None:
                    add_rows_of_logs(
                        table, form.tiling.tile_states, number, latents, form.negligible, part.start,
                        part.stop, own.largest, own.total, own.ones,
                    )  # fmt: skip

                parallel_map(task, data_slices(len(table)), 20.0 * table.size)
        return [found]


def user_form(model: Any) -> UserForm:
    """A LogJoint in tiles of its states."""
    d = model.num_latents
    data: Any = UserData()
    return UserForm(block_tiling(d), np.arange(d), np.zeros(d), data, model)
