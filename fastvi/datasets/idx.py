"""IDX files, the format that MNIST and its relatives come in."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastvi.core.archives import DamagedError, TooLargeError, check_size, read_exactly
from fastvi.core.files import open_regular, path_text

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32  # what every NumPy since 1.26 can hold


def load_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, plain or compressed by gzip.

    The format: two zero bytes, a byte for the type, a byte for the number of axes, a big-endian uint32 for
    the size of each axis, and the values, big-endian, last axis fastest. Types: 0x08 uint8, 0x09 int8,
    0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64.

    Parameters
    ----------
    path
        Name of the file. Compression is recognised by the content, not by the name.

    Returns
    -------
    ndarray
        The shape and type in the file, in the byte order of this machine; writeable.

    Raises
    ------
    ValueError
        For a file that is not IDX, that has an unknown type, that ends too early or too late, whose gzip
        stream is damaged, that declares more than fits in memory, or that is a pipe or a device.
    OSError
        Where the file cannot be opened (FileNotFoundError where there is none).

    References
    ----------
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", section "File
    formats".
    """
    text = path_text(path, "path")
    if os.path.isdir(text):
        raise IsADirectoryError(f"path must name an IDX file, got the directory {text!r}")
    if not os.path.exists(text):
        raise FileNotFoundError(f"path must name an IDX file, got {text!r}, which does not exist")
    with open_regular(text, "path") as file:
        return read_idx(file, text)


def read_idx(file: IO[bytes], text: str) -> NDArray[Any]:
    """Return the array of an open file, which ``text`` names in errors."""
    size = os.fstat(file.fileno()).st_size
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not packed:
        return _array(file, text, size)
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            return _array(unpacked, text, size, packed=True)
    except (EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"path must name a whole gzip file, got {text!r}, truncated or damaged: {reason}"
        ) from error


def _array(stream: Any, text: str, size: int, *, packed: bool = False) -> NDArray[Any]:
    """Return the array of a file of ``size`` bytes. Its header decides how much is read."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        shown = start.hex(" ") or "nothing"
        raise ValueError(f"path must name an IDX file (two zero bytes first), got {text!r} with {shown}")
    code, num_axes = start[2], start[3]
    if code not in _DTYPES:
        known = ", ".join(f"0x{c:02x}" for c in _DTYPES)
        raise ValueError(
            f"path must name an IDX file of type {known}, got {text!r} with unknown type 0x{code:02x}"
        )
    if num_axes > _MOST_AXES:
        raise ValueError(
            f"path must name an IDX file of at most {_MOST_AXES} axes, got {text!r} with {num_axes}"
        )
    sizes = stream.read(4 * num_axes)
    header = 4 + 4 * num_axes
    if len(sizes) < 4 * num_axes:
        raise ValueError(
            f"path must name a whole IDX file, got {text!r}, truncated in its header: "
            f"{4 + len(sizes)} bytes instead of at least {header}"
        )
    shape = tuple(int(axis) for axis in np.frombuffer(sizes, ">u4"))
    dtype = np.dtype(_DTYPES[code])
    count = math.prod(shape) * dtype.itemsize  # Python's int: sizes that lie cannot overflow
    whole = f"path must name a whole IDX file, got {text!r}, "
    if not packed and size != header + count:
        what = "truncated" if size < header + count else "with trailing bytes"
        raise ValueError(f"{whole}{what}: {size} bytes instead of {header + count} for shape {shape}")
    try:
        check_size(count, size if packed else None)
        content = read_exactly(stream, count, header)
    except DamagedError as error:
        raise ValueError(f"{whole}{error} for shape {shape}") from error
    except TooLargeError as error:
        raise ValueError(f"path must name a file that fits in memory, got {text!r}: {error}") from error
    return content.view(dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape)
