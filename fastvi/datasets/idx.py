"""IDX files, the format that MNIST and its relatives come in."""

from __future__ import annotations

import gzip
import math
import os
import zlib

import numpy as np

from fastvi import validation

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32  # what every NumPy since 1.26 can hold


def load_idx(path: str | os.PathLike[str]) -> np.ndarray:
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
        For a file that is not IDX, that has an unknown type, that ends too early or too late, or whose gzip
        stream is damaged.
    OSError
        Where the file cannot be opened (FileNotFoundError where there is none).

    References
    ----------
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", section "File
    formats".
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or an os.PathLike, got {validation.shown(path)}")
    text = os.fspath(path)
    if os.path.isdir(text):
        raise IsADirectoryError(f"path must name an IDX file, got the directory {text!r}")
    if not os.path.exists(text):
        raise FileNotFoundError(f"path must name an IDX file, got {text!r}, which does not exist")
    content = _content(text)
    if len(content) < 4 or content[:2] != b"\0\0":
        start = content[:4].hex(" ") or "nothing"
        raise ValueError(f"path must name an IDX file (two zero bytes first), got {text!r} with {start}")
    code, num_axes = content[2], content[3]
    if code not in _DTYPES:
        known = ", ".join(f"0x{c:02x}" for c in _DTYPES)
        raise ValueError(
            f"path must name an IDX file of type {known}, got {text!r} with unknown type 0x{code:02x}"
        )
    if num_axes > _MOST_AXES:
        raise ValueError(
            f"path must name an IDX file of at most {_MOST_AXES} axes, got {text!r} with {num_axes}"
        )
    header = 4 + 4 * num_axes
    if len(content) < header:
        raise ValueError(
            f"path must name a whole IDX file, got {text!r}, truncated in its header: "
            f"{len(content)} bytes instead of at least {header}"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", num_axes, 4))
    dtype = np.dtype(_DTYPES[code])
    expected = header + math.prod(shape) * dtype.itemsize  # Python's int: sizes that lie cannot overflow
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "with trailing bytes"
        raise ValueError(
            f"path must name a whole IDX file, got {text!r}, {what}: "
            f"{len(content)} bytes instead of {expected} for shape {shape}"
        )
    return np.frombuffer(content, dtype, offset=header).astype(dtype.newbyteorder("=")).reshape(shape)


def _content(text: str) -> bytes:
    """All bytes of the file, decompressed where it is a gzip stream."""
    with open(text, "rb") as file:
        content = file.read()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"path must name a whole gzip file, got {text!r}, truncated or damaged: {reason}"
        ) from error
