"""Memory of forms in bytes: the questions that every one answers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from fastvi.engine.states.tiling import Tiling

NUMBER = 8  # bytes of a float64 or an int64


def padded(count: int, width: int) -> int:
    """``count`` in whole panels of ``width``."""
    return -(-count // width) * width


class FormMemory(ABC):
    """Bytes of one form; ``num_data`` are those of one chunk, and what is told is beside the tables.

    Each number is a sum of the buffers that live at the worst moment, read off the code beside which it
    stands. What kernels keep for themselves, a tile or two a thread, is counted as tiles.
    """

    tiling: Tiling
    pixel_bytes: int  # of a datum's pixel as the form reads it

    @property
    def num_latents(self) -> int:
        """Latents that are summed out."""
        return sum(self.tiling[:3])

    @property
    def num_states(self) -> int:
        """States that a datum's sum goes through."""
        return 1 << self.num_latents

    @property
    @abstractmethod
    def operations(self) -> int:
        """Operations a state, as ``Form.operations`` will say."""

    @property
    @abstractmethod
    def tables(self) -> int:
        """Bytes that a form holds for as long as it lives."""

    @property
    def weight(self) -> int:
        """Return the bytes of its tables, which speak against keeping the form for the next question."""
        return self.tables

    @property
    @abstractmethod
    def making(self) -> int:
        """Bytes that making it takes, its tables included."""

    @abstractmethod
    def sums(self, num_data: int) -> int:
        """Peak of ``Batch.sums`` over all waves, terms included."""

    @abstractmethod
    def moments(self, num_data: int) -> int:
        """Peak of ``Batch.moments``."""

    @abstractmethod
    def details(self, num_data: int, top_k: int, *, pairwise: bool) -> int:
        """Peak of ``details.details``, of the data of one chunk."""

    @abstractmethod
    def state_moments(self, num_data: int) -> int:
        """Peak of the gradient's second pass."""

    def terms(self, num_data: int) -> int:
        """t(x) and c(x)."""
        return NUMBER * num_data * (self.num_latents + 1)

    def merged(self, num_data: int, numbers: int, waves: int) -> int:
        """Running sums, those of a wave, and those of the wave before, of ``numbers`` a datum."""
        return NUMBER * num_data * numbers * (2 if waves == 1 else 3)

    def detailed(self, num_data: int, top_k: int, waves: int, *, pairwise: bool) -> int:
        """Bytes of merged ``Details``, beside the terms and offsets."""
        d = self.num_latents
        numbers = d + 1 + 2 * top_k + (d * d if pairwise else 0)
        return self.terms(num_data) + 3 * NUMBER * num_data + self.merged(num_data, numbers, waves)
