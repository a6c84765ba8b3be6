"""Arrays as files that commands write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SUFFIXES = ("npz", "npy", "csv")


def write_arrays(file: IO[bytes], arrays: Mapping[str, NDArray[Any]], kind: str) -> None:
    """Write arrays by name (.npz), or the only one (.npy; CSV, a datum a row, without a header)."""
    if kind == "npz":
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # of its own options none is an array
        return
    ((_, array),) = arrays.items()
    if kind == "npy":
        np.save(file, array)
        return
    rows = array.reshape(len(array), -1).tolist() if array.size else [[] for _ in array]
    file.write("".join(",".join(map(repr, row)) + "\n" for row in rows).encode())
