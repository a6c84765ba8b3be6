"""Compiled kernels on disk: Numba's cache with stricter keys and a seal on each entry.

Numba's own cache asks only whether the kernel's file has changed, and trusts what it reads. Here

- an entry belongs to the text of its file and of all kernel files that this one imports, at whatever remove
  (measured: an edited scalar function went on in its old form in the kernels that call it), to Numba's
  target, and to what its key leaves out: the shapes of the register tiles, the fields of named tuples, and
  whether calls go to a vector library;
- an entry is sealed by a SHA-256. A damaged file is compiled again, replaced, and said in one INFO line:
  machine code that is not what was written must never run;
- a file's name follows from what it holds, so there is no index that could be damaged or lost. (Numba
  numbers its files: two processes that compile for unlike processors at a time could take one number.)

``FunctionCache`` is private to Numba; `tests/kernels/test_compiled_code.py` looks at each behaviour
relied on.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import logging
import pickle
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numba
from llvmlite import binding
from numba.core import types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.compiler import compile_result
from numba.core.runtime._nrt_python import c_helpers
from numba.core.serialize import dumps

from fastvi.kernels.compiler import InlineLibrary
from fastvi.kernels.first_compilation import say_that_it_compiles
from fastvi.kernels.host import CHOSEN

_LOG = logging.getLogger("fastvi")
_SEAL = hashlib.sha256().digest_size


_ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"^\s*from (fastvi[.\w]*) import (\([^)]*\)|.*)", re.MULTILINE)


@functools.cache
def _source(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Return the digest of a file's text, and the files of fastvi that it imports."""
    text, found = path.read_text(encoding="utf-8"), []
    for module, names in _IMPORT.findall(text):
        place = _ROOT.joinpath(*module.split("."))
        found += [place.with_suffix(".py"), *(place / f"{name}.py" for name in re.findall(r"\w+", names))]
    return hashlib.sha256(text.encode()).digest(), tuple(file for file in found if file.is_file())


@functools.cache
def stamp(path: Path) -> str:
    """Return a digest of a file and of all that it imports. A file's date does not matter."""
    found, left = set(), [path]
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += _source(file)[1]
    digest = hashlib.sha256()
    for file in sorted(found):
        digest.update(file.as_posix().removeprefix(_ROOT.as_posix()).encode() + _source(file)[0])
    return digest.hexdigest()[:16]


def _seal(path: Path, data: bytes) -> bytes:
    """Return the digest of an entry's content and name. Content of another entry is damage too."""
    return hashlib.sha256(path.name.encode() + b"\0" + data).digest()


def _remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(OSError):  # it is gone, or another process's to remove
        path.unlink()


class _SealedFiles:
    """One file for each compiled function and signature, with the methods that ``FunctionCache`` calls."""

    def __init__(self, folder: str, base: str, stamp: str) -> None:
        self._folder, self._base, self._stamp = Path(folder), base, stamp

    def _path(self, key: Any) -> Path:
        """Return the file of an entry. Its name follows from the key."""
        entry = hashlib.sha256(repr((numba.__version__, key)).encode()).hexdigest()
        return self._folder / f"{self._base}.{self._stamp}.{entry[:32]}.nbc"

    def load(self, key: Any) -> Any:
        """Return the object that ``save`` was given, or None without a sound entry."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        data = content[_SEAL:]
        if content[:_SEAL] != _seal(path, data):
            _LOG.info("compiled code in %s is damaged: it is compiled again", path)
            return None
        return pickle.loads(data)

    def save(self, key: Any, data: Any) -> None:
        """Write an entry whole and remove those of other versions of the sources."""
        path, content = self._path(key), dumps(data)
        unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            unfinished.write_bytes(_seal(path, content) + content)
            unfinished.replace(path)
        except BaseException:
            _remove(unfinished)
            raise
        for old in self._entries():
            if not old.name.startswith(f"{self._base}.{self._stamp}."):
                _remove(old)

    def flush(self) -> None:
        """Forget all entries, as ``Dispatcher.recompile`` asks."""
        for path in self._entries():
            _remove(path)

    def _entries(self) -> Iterator[Path]:
        """Yield the files of all entries of this function."""
        return self._folder.glob(f"{glob.escape(self._base)}.*.nbc")

    def current(self) -> Iterator[Path]:
        """Yield the files of this version of the sources."""
        return self._folder.glob(f"{glob.escape(self._base)}.{self._stamp}.*.nbc")


class _KeptFunction(CompileResultCacheImpl):
    """What of a compiled function is kept on disk, and in which folder."""

    def rebuild(self, target_context: Any, kept: Any) -> Any:
        """Return the compiled function."""
        code, descriptor, environment, signature, objectmode, lifted, annotation, on_load, others = kept
        if len(code) != len(("name", "bitcode")):  # a kernel's: name, kind and machine code
            return super().rebuild(target_context, kept)
        library = InlineLibrary.of_kept(target_context.codegen(), code)
        return compile_result(
            target_context=target_context, typing_context=target_context.typing_context, library=library,
            environment=environment, fndesc=descriptor, type_annotation=annotation, signature=signature,
            entry_point=target_context.get_executable(library, descriptor, environment),
            objectmode=objectmode, lifted=lifted, reload_init=on_load, referenced_envs=others,
        )  # fmt: skip


@functools.cache
def _runtime() -> None:
    """Tell the linker the functions of Numba's runtime, by which kernels allocate.

    Numba does it when it first compiles, together with the import of all that it can compile: half of what
    the first call of a process with compiled code took.
    """
    for name, address in c_helpers.items():
        binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


class KernelCache(FunctionCache):
    """Compiled code of one kernel, for all signatures.

    What reads the sources reads them now, as they were imported; the folder is looked for at the first call.
    """

    made: ClassVar[list[KernelCache]] = []  # one for each function of the modules that are imported
    num_loaded = num_compiled = 0  # in this process, of all

    def __init__(self, function: Any) -> None:
        self.made.append(self)
        self._name, self._py_func = repr(function), function
        self._stamp = stamp(Path(function.__code__.co_filename))
        self.enable()

    @functools.cached_property
    def _impl(self) -> Any:
        return _KeptFunction(self._py_func)

    @functools.cached_property
    def _cache_path(self) -> str:
        return str(self._impl.locator.get_cache_path())

    @functools.cached_property
    def _cache_file(self) -> Any:  # type: ignore[override]
        return _SealedFiles(self._cache_path, self._impl.filename_base, self._stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Return Numba's key with what it leaves out."""
        vector_library = bool(getattr(numba.config, "USING_SVML", False))
        fields = tuple(kind.fields for kind in sig if isinstance(kind, types.NamedTuple))
        return (*super()._index_key(sig, codegen), CHOSEN, fields, vector_library)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None where it is to be compiled."""
        try:
            _runtime()
            with self._guard_against_spurious_io_errors():
                found = self._load_overload(sig, target_context)
            if found is not None:
                KernelCache.num_loaded += 1
                return found
        except Exception as error:
            if "cannot cache" in str(error):  # Numba found no folder that it may write to
                self.disable()
                _LOG.info("compiled code of %s is not kept on disk: %s", self._name, error)
            else:  # a sound file of another llvmlite, a folder that cannot be read
                _LOG.info("compiled code of %s cannot be loaded and is compiled again: %s", self._name, error)
        say_that_it_compiles()
        KernelCache.num_compiled += 1
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function. Where that fails, the next process compiles it again."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _LOG.info("compiled code of %s is not kept on disk: %s", self._name, error)

    def files(self) -> list[Path]:
        """Return the files that hold this kernel's code, of this version of the sources.

        OSError where Numba finds no folder that it may write to.
        """
        try:
            return list(self._cache_file.current())
        except RuntimeError as error:
            raise OSError(
                "compiled code is not kept: no folder for it can be written, set NUMBA_CACHE_DIR"
            ) from error
