"""How much compiled code there is on disk, and where."""

from __future__ import annotations

import os
import pkgutil
from importlib import import_module
from typing import NamedTuple

from fastvi.kernels import cpu
from fastvi.kernels.compiled_code import KernelCache
from fastvi.kernels.jit import JIT_DISABLED


class KeptCode(NamedTuple):
    """Compiled code of this version of the sources, for any processor."""

    kernels: int
    files: int
    bytes: int
    folder: str  # the folder, or the one that holds all of them


def kept_code() -> KeptCode:
    """Look for the code of all kernels. It imports them, some tenths of a second.

    OSError where none is kept.
    """
    if JIT_DISABLED:
        raise OSError("nothing is compiled: NUMBA_DISABLE_JIT is set")
    for module in pkgutil.walk_packages(cpu.__path__, f"{cpu.__name__}."):
        import_module(module.name)
    files = [cache.files() for cache in KernelCache.made]
    folder = os.path.commonpath([cache.cache_path for cache in KernelCache.made])
    sizes = [file.stat().st_size for found in files for file in found]
    return KeptCode(sum(map(bool, files)), len(sizes), sum(sizes), folder)
