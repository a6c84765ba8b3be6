"""Arrays from .npy and .npz files of unknown origin: headers first, and only what is asked for is unpacked.

Nothing is ever unpickled. What a header declares is compared with the size of the file and with the memory
before anything is allocated, and exactly that much is read, in pieces.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

_PIECE = 1 << 20
_LONGEST_HEADER = 10_000  # as in NumPy
_MOST_DEFLATED = 1032  # bytes that a byte of a deflate stream can stand for
# Arrays that are larger than this and were packed to so small a share are refused. Binary images packed as
# float64 reach 1 : 100; a file made to fill the memory reaches 1 : 1000.
_LARGE, _PACKED_SHARE = 1 << 28, 250
_SUFFIX = ".npy"


class DamagedError(ValueError):
    """A file that is not what it declares; the text is the reason."""


class TooLargeError(ValueError):
    """An array that is not read for its size; the text is the reason and what to do."""


def free_memory() -> int:
    """Bytes that this process can still take, as far as the system tells."""
    limits = []
    with contextlib.suppress(OSError, ValueError), open("/proc/meminfo", "rb") as file:
        limits += [int(line.split()[1]) << 10 for line in file if line.startswith(b"MemAvailable:")]
    for control in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError), open(control, "rb") as file:
            limits.append(int(file.read()))  # "max" is no number
    if not limits:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=1 << 62)


def check_size(declared: int, packed: int | None) -> None:
    """Refuse ``declared`` bytes that do not fit, or that ``packed`` bytes (None: not packed) cannot hold."""
    if packed is not None and declared > _MOST_DEFLATED * packed + _PIECE:
        raise DamagedError(f"declaring {declared:,} bytes, which {packed:,} packed ones cannot hold")
    free = free_memory()
    if declared > free:
        raise TooLargeError(f"it declares {declared:,} bytes and {free:,} are free; cut it into parts")
    if packed is not None and declared > _LARGE and declared > _PACKED_SHARE * packed:
        raise TooLargeError(
            f"{packed:,} bytes declare {declared:,}; unpack it if that is what it should hold"
        )


def read_exactly(stream: IO[bytes], count: int, before: int = 0) -> np.ndarray:
    """``count`` bytes as uint8, and the end of ``stream`` behind them; ``before`` were read before them."""
    try:
        content = np.empty(count, np.uint8)
    except MemoryError:
        raise TooLargeError(f"it declares {count:,} bytes, for which there is no memory") from None
    have = 0
    while have < count:
        piece = stream.read(min(_PIECE, count - have))
        if not piece:
            raise DamagedError(f"truncated: {before + have} bytes instead of {before + count}")
        content[have : have + len(piece)] = np.frombuffer(piece, np.uint8)
        have += len(piece)
    if stream.read(1):  # which also has a checksum compared
        raise DamagedError(f"with trailing bytes: more than {before + count} bytes")
    return content


class Header(NamedTuple):
    """Shape, dtype and size of an array, as the header of its .npy file declares them."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    length: int  # bytes of the header itself

    @property
    def size(self) -> int:
        """Bytes of the array; at least one an element, for types of no size."""
        return math.prod(self.shape) * max(1, self.dtype.itemsize)


def read_header(stream: IO[bytes]) -> Header:
    """The header of an .npy file."""
    start = stream.read(8)
    version = tuple(start[6:8])
    if start[:6] != b"\x93NUMPY" or version not in ((1, 0), (2, 0)):
        raise DamagedError(f"no .npy array of format 1 or 2 (it begins with {start.hex(' ') or 'nothing'})")
    kind = "<H" if version == (1, 0) else "<I"
    size = stream.read(struct.calcsize(kind))
    if len(size) < struct.calcsize(kind):
        raise DamagedError("cut short in its header")
    (length,) = struct.unpack(kind, size)
    if length > _LONGEST_HEADER:  # NumPy would read it first
        raise DamagedError(f"a header of {length:,} bytes, where at most {_LONGEST_HEADER:,} are read")
    text = io.BytesIO(size + stream.read(length))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(text)
    if dtype.hasobject:
        raise DamagedError("Python objects, which are never unpickled (allow_pickle=False)")
    if any(size < 0 for size in shape):
        raise DamagedError(f"a shape of {shape}")
    return Header(shape, fortran_order, dtype, len(start) + len(size) + length)


def read_array(stream: IO[bytes], header: Header) -> np.ndarray:
    """The array behind ``header``, and the end of ``stream`` behind it; writeable."""
    content = read_exactly(stream, math.prod(header.shape) * header.dtype.itemsize)
    if not len(content):
        return np.empty(header.shape, header.dtype)
    return content.view(header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Whatever zipfile, zlib and NumPy make of wrong bytes is a :class:`DamagedError`."""
    try:
        yield
    except (DamagedError, TooLargeError):
        raise
    except MemoryError as error:
        raise TooLargeError("there is no memory for what it declares") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedError(reason) from error


def read_npy(file: IO[bytes]) -> np.ndarray:
    """The array of an open .npy file."""
    with _damage():
        header = read_header(file)
        size = os.fstat(file.fileno()).st_size - header.length
        if header.size != size and header.dtype.itemsize:
            raise DamagedError(f"{size:,} bytes of data instead of {header.size:,} for shape {header.shape}")
        check_size(header.size, None)
        return read_array(file, header)


class Archive:
    """An open .npz file: names and headers of its arrays, and each array when it is asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        with _damage():
            self._zip = zipfile.ZipFile(file)
            members = [info for info in self._zip.infolist() if info.filename.endswith(_SUFFIX)]
            self._members = {info.filename.removesuffix(_SUFFIX): info for info in members}
            if len(self._members) < len(members):
                raise DamagedError("several arrays of one name")

    @property
    def names(self) -> list[str]:
        """Names of the arrays, in the file's order."""
        return list(self._members)

    def read(self, name: str, most: int | None = None) -> np.ndarray:
        """The array ``name``; of more than ``most`` bytes it is refused."""
        with _damage():
            info = self._checked(name)
            with self._zip.open(info) as stream:
                header = read_header(stream)
                if header.dtype.itemsize and header.length + header.size != info.file_size:
                    raise DamagedError(
                        f"{name} of {info.file_size:,} bytes, where its shape {header.shape} takes "
                        f"{header.length + header.size:,}"
                    )
                if most is not None and header.size > most:
                    raise DamagedError(f"{name} of {header.size:,} bytes, where at most {most:,} are read")
                check_size(header.size, info.compress_size if info.compress_type else None)
                return read_array(stream, header)

    def check_sizes(self) -> None:
        """Refuse an archive whose arrays do not fit all together, by what its directory declares."""
        with _damage():
            for name in self._members:
                self._checked(name)
            declared = sum(info.file_size for info in self._members.values())
            packed = sum(info.compress_size for info in self._members.values())
            check_size(declared, packed if declared > packed else None)

    def _checked(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise DamagedError(f"{name} is not a file in the archive")
        info = self._members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedError(f"{name} is packed by method {info.compress_type}, which NumPy never writes")
        if info.flag_bits & 1:
            raise DamagedError(f"{name} is encrypted")
        if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
            raise DamagedError(f"{name} is not packed, but of two sizes")
        assert self._zip.fp is not None
        self._zip.fp.seek(0, os.SEEK_END)
        if info.header_offset + info.compress_size > self._zip.fp.tell():
            raise DamagedError(f"{name} ends behind the end of the file")
        return info
