"""Memory of decoders: block_form.py, network.py and network_gradient.py of engine/decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastvi.engine.decoder import network_gradient
from fastvi.engine.decoder.block_form import PART_GROUPS, group_states, wave_bits
from fastvi.engine.decoder.network import block_rows
from fastvi.engine.decoder.network_gradient import TASK_STATES, TASKS_AT_ONCE
from fastvi.engine.linalg.products import panel_columns
from fastvi.engine.memory.form import NUMBER, FormMemory, padded
from fastvi.engine.run.threads import num_threads
from fastvi.engine.states.numbered_form import block_tiling
from fastvi.engine.states.tiling import Tiling
from fastvi.kernels.cpu.dense.products import ROWS
from fastvi.kernels.host import COLUMNS


@dataclass(frozen=True)
class BlockMemory(FormMemory):
    """A decoder of layers (inputs, outputs), the last one of the pixels that are seen."""

    tiling: Tiling
    layers: tuple[tuple[int, int], ...]
    pixel_bytes: int  # 8 where pixels are real
    dtype: str = "float64"  # of the last layer, its inputs and data

    @classmethod
    def of(cls, layers: Sequence[tuple[int, int]], pixel_bytes: int, dtype: str = "float64") -> BlockMemory:
        return cls(block_tiling(layers[0][0]), tuple(layers), pixel_bytes, dtype)

    @property
    def _width(self) -> int:
        return panel_columns(self.dtype)

    @property
    def _number(self) -> int:
        return NUMBER if self.dtype == "float64" else NUMBER // 2

    @property
    def _depth(self) -> int:
        return self.layers[-1][0]

    @property
    def _weights(self) -> int:
        """Numbers of all layers, padded."""
        return sum(inputs * padded(outputs, COLUMNS) + outputs for inputs, outputs in self.layers)

    @property
    def operations(self) -> int:
        return sum(inputs * outputs + 8 * outputs for inputs, outputs in self.layers) + 16

    @property
    def tables(self) -> int:
        # packed; the first and the last layer as they are, the last one again for the data
        last = self.layers[-1][0] * self.layers[-1][1]
        rounded = (NUMBER - self._number) * last
        return NUMBER * (self._weights + 2 * last + self.layers[0][0] * self.layers[0][1]) - rounded

    @property
    def making(self) -> int:
        last = self.layers[-1][0] * self.layers[-1][1]
        return self.tables + NUMBER * last * (5 if self.pixel_bytes == 8 else 1)

    @property
    def _states(self) -> int:
        """States of a wave."""
        return min(1 << wave_bits(self._depth, self.tiling), 1 << self.num_latents)

    @property
    def _waves(self) -> int:
        return -(-(1 << self.num_latents) // self._states)

    def terms(self, num_data: int) -> int:
        return NUMBER * num_data * (self._depth + 1)

    def _block(self) -> int:
        """Features and A of a wave; what a thread keeps of a few states in a forward pass."""
        rows = padded(self._states, ROWS)
        features = rows * (self._depth * self._number + NUMBER) + (rows // ROWS) * (4 * self._depth + NUMBER)
        widest = max(inputs for inputs, _ in self.layers)
        widths = sum(inputs for inputs, _ in self.layers) + widest
        own = padded(block_rows(widest, self.dtype), ROWS) * NUMBER * (widths + 4)
        return features + num_threads() * own

    def _wave_sums(self, num_data: int, numbers: int) -> int:
        """Sums of each part of a wave, and those merged over waves."""
        groups = -(-self._states // group_states(self.tiling))
        parts = -(-groups // PART_GROUPS)
        each = NUMBER * padded(num_data, self._width) * numbers
        return each * (parts + 1) + self.merged(num_data, numbers, self._waves)

    def _packed(self, num_data: int) -> int:
        """Terms as columns, kept while features are made."""
        return self._number * self._depth * padded(num_data, self._width)

    def _turned(self, num_data: int) -> int:
        """The transpose of terms on their way there."""
        return NUMBER * self._depth * num_data

    def _summed(self, num_data: int, numbers: int) -> int:
        passing = max(self._turned(num_data), self._wave_sums(num_data, numbers))
        return self.terms(num_data) + self._packed(num_data) + self._block() + passing

    def sums(self, num_data: int) -> int:
        return self._summed(num_data, 3)

    def moments(self, num_data: int) -> int:
        return self._summed(num_data, 3 + self.num_latents)

    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        packed = self._packed(num_data)
        tiles = num_threads() * NUMBER * self._states * (self._width + 2)  # log joints of a panel of data
        found = self.detailed(num_data, top_k, self._waves, pairwise=pairwise)
        passing = max(self._turned(num_data), tiles)
        return found + self.terms(num_data) + self._block() + packed + passing

    def state_moments(self, num_data: int) -> int:
        """Peak of ``network_gradient``, which takes fewer data at a time."""
        data, depth = min(num_data, network_gradient.CHUNK_DATA), self._depth
        pixels = self.layers[-1][1]
        flat = NUMBER * (data * depth + sum((i + 1) * o for i, o in self.layers) + self.num_latents)
        packed = NUMBER * (3 * self._weights + 2 * depth * padded(data, COLUMNS))
        widths = sum(inputs for inputs, _ in self.layers)
        # shares and outputs, both again where states are passed over; hidden layers and what is pulled back
        # through them
        own = NUMBER * min(TASK_STATES, self._states) * (2 * data + 2 * pixels + 4 * widths)
        tasks = min(TASKS_AT_ONCE, -(-self._states // TASK_STATES))
        whole = NUMBER * data * pixels * (2 if self.pixel_bytes == 1 else 6)  # of _of_parameters
        passes = packed + (tasks + 4) * flat + min(num_threads(), tasks) * own
        return self.terms(data) + max(passes, 3 * flat + whole)
