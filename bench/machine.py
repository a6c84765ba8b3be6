"""What this machine can do at most: float64 matrix products and memory copies, measured through NumPy."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl

_PACKAGES = ("fastvi", "numpy", "scipy", "numba", "llvmlite", "jax", "torch", "dimod", "numpyro")
# settings that change what BLAS or the compilers do
_SETTINGS = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMBA_CPU_NAME",
    "XLA_FLAGS",
)


def num_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def best_of(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest call; one more goes before and does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def dgemm_flops(n: int, threads: int) -> float:
    """Operations a second of an (n, n) float64 matrix product on so many threads."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, n, n))
    out = np.empty((n, n))
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        return 2.0 * n**3 / best_of(lambda: np.matmul(a, b, out=out), 5)


def copy_bytes_per_second(num_bytes: int) -> float:
    """Bytes a second of copying an array of num_bytes (each byte is read once and written once)."""
    source = np.ones(num_bytes // 8)
    target = np.zeros_like(source)
    return source.nbytes / best_of(lambda: np.copyto(target, source), 5)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def measure(n: int = 2000, copy_bytes: int = 80_000_000) -> dict[str, Any]:
    """The limits of this machine, and what they were measured with."""
    return {
        "cpu": cpu_name(),
        "cpus": num_cpus(),
        "system": platform.platform(),
        "dgemm_n": n,
        "dgemm_flops_1_thread": dgemm_flops(n, 1),
        "dgemm_flops_all_threads": dgemm_flops(n, num_cpus()),
        "copy_bytes_per_second": copy_bytes_per_second(copy_bytes),
        "blas": [
            {
                key: info.get(key)
                for key in ("internal_api", "version", "architecture", "num_threads", "threading_layer")
            }
            for info in threadpoolctl.threadpool_info()
            if info["user_api"] == "blas"
        ],
        "versions": versions(),
        "settings": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
    }
