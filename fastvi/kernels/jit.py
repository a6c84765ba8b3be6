"""The one place where compiler options are stated.

``nogil``: kernels run under a thread pool, so they let go of the interpreter lock. ``cache``: compiled code
is kept on disk; a directory that cannot be written only costs the compilation again.
``error_model="numpy"``: division by zero gives inf or nan, as IEEE 754 says, and costs no branch.
``fastmath``: never "nnan" or "ninf" (log space needs -inf and nan must stay visible). ``kernel`` allows
only the contraction of ``a * b + c`` to a fused multiply-add. ``reducing_kernel`` also lets a sum or a
product be reassociated, which is what vectorising a reduction takes; never use it where the order of
operations carries the accuracy (compensated sums, argument reduction).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numba

_LOG = logging.getLogger("fastvi")

JIT_DISABLED = bool(getattr(numba.config, "DISABLE_JIT"))  # noqa: B009 (a setting made at run time)


def _source_stamp() -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of all kernel sources that the CPU runs."""
    here = Path(__file__).parent
    paths = [path for path in here.rglob("*.py") if path.parent.name != "cuda"]
    found = sorted((path.relative_to(here).as_posix(), path.stat()) for path in paths)
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)


_STAMP = _source_stamp()


def _compile(function: Any, fastmath: set[str], **options: Any) -> Any:
    settings = {"nogil": True, "error_model": "numpy", "fastmath": fastmath, **options}
    try:
        compiled = numba.njit(cache=True, **settings)(function)
    except RuntimeError as error:  # Numba found no directory that it may write to
        if "cannot cache" not in str(error):
            raise
        _LOG.info("compiled code of %s is not kept on disk: %s", function.__name__, error)
        return numba.njit(**settings)(function)
    if not JIT_DISABLED:
        # Numba asks only whether the kernel's own file has changed, not those it calls into (measured: an
        # edited scalar function went on in its old form); so the stamp is that of all kernel files.
        # Private, hence tested.
        compiled._cache._cache_file._source_stamp = _STAMP
    return compiled


def kernel(function: Any) -> Any:
    """Compile a loop over arrays."""
    return _compile(function, {"contract"})


def reducing_kernel(function: Any) -> Any:
    """Compile a loop whose sums and products may be reassociated."""
    return _compile(function, {"contract", "reassoc", "nsz"})


def inline(function: Any) -> Any:
    """Compile a function that only kernels call: without the wrappers that make it callable from Python.

    Measured: half the time of a scalar function's compilation goes into those.
    """
    return _compile(function, {"contract"}, no_cpython_wrapper=True, no_cfunc_wrapper=True)
