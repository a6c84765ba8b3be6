"""Checkpoints: what a run has finished, in one file that is whole or not there.

The file is an .npz without pickle: a version, whom it belongs to, a layout, and the bytes of all arrays one
after the other (an archive member an array would take seconds to write where thousands of data have masks of
their own). The archive's comment, the last 64 bytes, is a SHA-256 of all the rest, so that a file that was
cut short, damaged or edited anywhere is recognised before anything in it is believed.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import struct
import time
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.archives import Archive, TooLargeError, check_size
from fastvi.core.arrays import Array
from fastvi.core.files import check_writable, open_regular, path_text, write_whole

FORMAT_VERSION = 1
SAVE_SECONDS = 5.0  # between two saves, at least

_LOG = logging.getLogger("fastvi")
_VERSION, _IDENTITY, _LAYOUT, _BYTES = "fastvi_checkpoint_version", "identity", "layout", "bytes"
_NO_SEAL = b"-" * 64  # stands where the seal goes while it is computed
_KINDS = "biufcSU"  # dtypes that are their bytes


# ---- whom a checkpoint belongs to -------------------------------------------------------------------------


def _encoded(part: Any) -> Iterator[Any]:
    """``part`` as bytes that no other value has: a letter for its type, sizes before contents."""
    if isinstance(part, np.generic) and part.dtype.kind in "biuf":
        part = part.item()
    if part is None:
        yield b"N"
    elif isinstance(part, bool):
        yield b"B1" if part else b"B0"
    elif isinstance(part, int):
        yield b"I%d;" % part
    elif isinstance(part, float):
        yield b"F" + struct.pack("<d", part)  # its bits: 0.0 and -0.0 differ, NaN equals itself
    elif isinstance(part, str):
        text = part.encode("utf-8", "surrogatepass")
        yield b"S%d;" % len(text) + text
    elif isinstance(part, bytes):
        yield b"Y%d;" % len(part) + part
    elif isinstance(part, np.ndarray) and part.dtype.kind in _KINDS:
        yield f"A{part.dtype.str}{part.shape};".encode()
        yield _flat(part)
    elif isinstance(part, tuple | list):
        yield b"%s%d;" % (b"T" if isinstance(part, tuple) else b"L", len(part))
        for item in part:
            yield from _encoded(item)
    elif isinstance(part, dict) and all(isinstance(key, str) for key in part):
        yield b"D%d;" % len(part)
        for key in sorted(part):
            yield from _encoded(key)
            yield from _encoded(part[key])
    else:
        raise TypeError(
            "parts of a digest must be arrays of numbers, str, bytes, int, float, bool, None, or tuples, "
            f"lists and dicts with str keys of these, got {validation.shown(part)}"
        )


def digest(*parts: Any) -> str:
    """SHA-256, in hexadecimal, of ``parts``: the same in any process and on any machine.

    Parts are arrays, str, bytes, int, float, bool, None, and tuples, lists and dicts (str keys, in any order)
    of these. Values of different types, dtypes or shapes have different digests; the memory layout of an
    array does not enter.
    """
    sha = hashlib.sha256()
    for piece in _encoded(parts):
        sha.update(piece)
    return sha.hexdigest()


# ---- the file ---------------------------------------------------------------------------------------------


def _flat(array: Array) -> Array:
    """The bytes of ``array`` in C order; a copy only where they do not lie so."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class Saved(NamedTuple):
    """A reduction: the number of its tasks, how many of them are merged, and the arrays merged into."""

    tasks: int
    done: int
    arrays: tuple[Array, ...]


class _Hashing:
    """A file to write to from the beginning to the end, and the SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:  # zipfile's protocol has it; the file is its opener's to close
        pass


def _layout(tasks: int, done: int, arrays: Sequence[Array]) -> str:
    """A reduction without its bytes, as JSON."""
    return json.dumps([tasks, done, [[array.dtype.str, array.shape] for array in arrays]])


def _write(file: IO[bytes], identity: str, layouts: Sequence[str], pieces: Sequence[Any]) -> None:
    """Write a sealed checkpoint, whose bytes are ``pieces``, one after the other."""
    hashing = _Hashing(file)
    heads = {_VERSION: FORMAT_VERSION, _IDENTITY: identity, _LAYOUT: f"[{', '.join(layouts)}]"}
    size = sum(len(piece) for piece in pieces)
    archive = zipfile.ZipFile(hashing, "w")
    try:
        archive.comment = _NO_SEAL
        for name, head in heads.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.array(head), allow_pickle=False)
        with archive.open(f"{_BYTES}.npy", "w", force_zip64=True) as member:
            shape = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
            np.lib.format.write_array_header_1_0(member, shape)
            for piece in pieces:
                member.write(piece)
        archive.close()
    except BaseException:
        archive.fp = None  # given up, not closed: close() would make a ValueError of some Ctrl-Cs
        raise
    file.seek(-len(_NO_SEAL), os.SEEK_END)
    file.write(hashing.sha.hexdigest().encode())


def _version() -> str:
    import fastvi

    return fastvi.__version__


def _read(text: str, shown: str, identity: str) -> list[Saved]:
    """Read what the checkpoint ``text`` holds; ``shown`` is the caller's name of it."""
    with open_regular(text, "checkpoint") as file:
        try:
            check_size(os.fstat(file.fileno()).st_size, None)
        except TooLargeError as error:
            raise ValueError(f"checkpoint must fit in memory, got {shown!r}: {error}") from error
        content = file.read()
    sha = hashlib.sha256(memoryview(content)[: -len(_NO_SEAL)])
    sha.update(_NO_SEAL)
    if sha.hexdigest().encode() != content[-len(_NO_SEAL) :]:
        raise ValueError(
            f"checkpoint must name a whole file written by fastvi, or none, got {shown!r}, which is cut "
            "short, damaged or no checkpoint; it is left as it is"
        )
    try:
        archive = Archive(io.BytesIO(content))
        version = int(archive.read(_VERSION))
        if version > FORMAT_VERSION:
            raise ValueError(f"its format {version} is newer than {FORMAT_VERSION}, which is read here")
        # not str(array): a Ctrl-C within it can make NumPy print another array as "..." ever after
        owner, layout = archive.read(_IDENTITY).item(), json.loads(archive.read(_LAYOUT).item())
        data = archive.read(_BYTES)
        saved, offset = [], 0
        for tasks, done, arrays in layout:
            read = []
            for dtype, shape in arrays:
                count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
                read.append(data[offset : offset + count].view(dtype).reshape(shape))
                offset += count
            saved.append(Saved(tasks, done, tuple(read)))
    except (ValueError, TypeError) as error:
        # the seal is whole, so that it is another program's or another version's file
        reason = " ".join(str(error).split())
        raise ValueError(
            f"checkpoint must name a file of format 1 ... {FORMAT_VERSION} written by fastvi, or none, "
            f"got {shown!r}: {reason}; it is left as it is"
        ) from error
    if owner != identity:
        raise ValueError(
            f"checkpoint must name a file of the same model, data and options, or none, got {shown!r} of "
            f"others, or of another version than {_version()} or another machine; it is left as it is"
        )
    return saved


def _check_path(path: Any) -> tuple[str, str]:
    """The absolute path, symbolic links followed, and the path as the caller wrote it."""
    text = path_text(path, "checkpoint", optional=True)
    check_writable(text, "checkpoint", regular=True)  # found out now, not after the first seconds of work
    return os.path.realpath(text), text


class Checkpoint:
    """Finished work of one call: reductions in order, the last of them perhaps in part.

    One process at a time may use a file: two that do so at once overwrite each other's saves (the file stays
    whole, and what the other one had finished is computed again). A process that is killed within a save
    leaves the file of the save before, and beside it a file ``.NAME.*.tmp`` that the next save removes. The
    arrays of finished reductions are kept in memory a second time.
    """

    def __init__(self, target: str, shown: str, identity: str, saved: Sequence[Saved]) -> None:
        self.shown = shown
        self._target = target
        self._identity = identity
        self._saved = saved
        self._unsaved = False  # whether something finished is in no file
        finished = [s for s in saved if s.done == s.tasks]
        contents = b"".join(_flat(array).data for s in finished for array in s.arrays)
        self._finished = [_layout(*s) for s in finished], contents
        self._next = time.monotonic() + SAVE_SECONDS

    @classmethod
    def open(cls, path: Any, identity: bytes | str) -> Checkpoint:
        """The checkpoint ``path``, or a new one where there is no such file (none is made before a save).

        Parameters
        ----------
        path
            A str or an os.PathLike: a file in a folder that exists.
        identity
            The :func:`digest` of all that the results depend on, or bytes that say so.

        Raises
        ------
        TypeError
            Where ``path`` is neither a str nor an os.PathLike.
        ValueError
            Where the file is of another identity, cut short, damaged, edited, no checkpoint, or of a newer
            format. It is left as it is.
        OSError
            Where the path is a directory, the folder is missing or cannot be written, or the file cannot be
            read.
        """
        target, shown = _check_path(path)
        owner = identity if isinstance(identity, str) else digest(identity)
        if not os.path.exists(target):
            return cls(target, shown, owner, [])
        saved = _read(target, shown, owner)
        partial = [s for s in saved if s.done < s.tasks]
        rest = f" and {partial[0].done} of {partial[0].tasks} tasks of the next" if partial else ""
        _LOG.info("checkpoint %r: going on after %d sums%s", shown, len(saved) - len(partial), rest)
        return cls(target, shown, owner, saved)

    def restore(self, number: int, tasks: int, arrays: Sequence[Array]) -> int:
        """Fill ``arrays`` with what is saved of reduction ``number``; how many of its tasks that is."""
        if number >= len(self._saved):
            return 0
        saved = self._saved[number]
        have = [saved.tasks, *((a.dtype.str, a.shape) for a in saved.arrays)]
        if have != [tasks, *((a.dtype.str, a.shape) for a in arrays)]:
            raise ValueError(
                f"checkpoint must name a file of the same version and machine, got {self.shown!r}, whose sum "
                f"{number} has {saved.tasks} tasks and not {tasks}, or arrays of other shapes"
            )
        for array, kept in zip(arrays, saved.arrays, strict=True):
            array[...] = kept
        return saved.done

    def kept(self, number: int) -> Saved | None:
        """Return the saved part of reduction ``number``, of whatever shape; None where there is none."""
        return self._saved[number] if number < len(self._saved) else None

    def finish(self, tasks: int, arrays: Sequence[Array]) -> None:
        """Take a finished reduction in, which the next save or flush writes."""
        self._unsaved = True
        self._finished = self._finished_with(tasks, arrays)

    def flush(self) -> None:
        """Write what is finished and in no file yet."""
        if not self._unsaved:
            return
        layouts, contents = self._finished
        write_whole(self._target, lambda file: _write(file, self._identity, layouts, [contents]))
        self._unsaved = False
        self._next = time.monotonic() + SAVE_SECONDS

    def due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() >= self._next

    def save(self, number: int, done: int, tasks: int, arrays: Sequence[Array]) -> None:
        """Write all reductions before ``number``, and ``done`` of the ``tasks`` of this one."""
        begin = time.monotonic()
        layouts, contents = self._finished
        if len(layouts) > number and done == tasks:  # Ctrl-C came right after this was written
            return
        assert len(layouts) == number, "a checkpoint keeps the reductions of one run, in order"
        layouts = [*layouts, _layout(tasks, done, arrays)]
        pieces = [contents, *(_flat(array).data for array in arrays)]
        write_whole(self._target, lambda file: _write(file, self._identity, layouts, pieces))
        self._unsaved = False
        if done == tasks:
            self._finished = self._finished_with(tasks, arrays)
        now = time.monotonic()
        # where a save takes longer than a quarter of a second, one in 20 seconds of work goes into saves
        self._next = now + SAVE_SECONDS * max(1.0, 4.0 * (now - begin))

    def _finished_with(self, tasks: int, arrays: Sequence[Array]) -> tuple[list[str], bytes]:
        """The finished reductions and one more, for one assignment that Ctrl-C cannot split.

        Their bytes lie in one piece: thousands of small ones would take longer to hash than to write.
        """
        layouts, contents = self._finished
        more = b"".join([contents, *(_flat(array).data for array in arrays)])
        return [*layouts, _layout(tasks, tasks, arrays)], more
