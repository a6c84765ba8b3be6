"""Versions, processor and threads that the numbers were computed with."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import fastvi


def versions() -> dict[str, str]:
    """Versions of fastvi, Python and the core dependencies, without importing any of them."""
    found = {"fastvi": fastvi.__version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in ("numba", "numpy", "scipy")}


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    if sys.platform.startswith("linux"):
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def environment() -> dict[str, Any]:
    """Versions, processor and threads, as they go into a study's JSON file."""
    from fastvi.engine.run.threads import num_threads

    return {
        "versions": versions(),
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": num_threads(),
    }
