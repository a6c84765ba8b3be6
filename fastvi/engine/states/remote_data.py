"""Data that do not lie on the host: their terms are computed where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.core.arrays import Array


class RemoteData(ABC):
    """Rows of data (N, D) in another memory; slices of them are of the same kind."""

    @abstractmethod
    def terms(self, data: Any) -> Any:
        """Return the ``Terms`` of these rows under ``data``, on the host."""

    @abstractmethod
    def on_host(self) -> NDArray[np.float64]:
        """Return a copy (N, D) on the host."""

    @abstractmethod
    def __getitem__(self, which: slice | Array) -> RemoteData: ...


def refuse_pixels(x: Any, why: str) -> None:
    """TypeError for data of a GPU where more is read of them than their terms."""
    if isinstance(x, RemoteData):
        raise TypeError(f"x must lie on the host {why}, got an array of a GPU")
