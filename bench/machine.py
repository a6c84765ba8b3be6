"""What this machine can do at most, and what it is: multiplications a second (``arithmetic.py``), matrix
products through NumPy, bytes read a second.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import arithmetic
import numpy as np
import threadpoolctl
from llvmlite import binding

_PACKAGES = ("fastvi", "numpy", "scipy", "numba", "llvmlite", "jax", "torch", "dimod", "numpyro")
# settings that change what BLAS, the compilers or fastvi do
_SETTINGS = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_ENABLE_AVX",
    "FASTVI_NUM_THREADS",
    "FASTVI_REGISTER_TILES",
    "XLA_FLAGS",
)


def num_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processors() -> list[dict[str, str]]:
    """What Linux says of each CPU; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            blocks = file.read().strip().split("\n\n")
    except OSError:
        return []
    lines = [[line.partition(":") for line in block.splitlines()] for block in blocks]
    return [{name.strip(): value.strip() for name, _, value in block} for block in lines]


def cpu_name() -> str:
    names = [found["model name"] for found in _processors() if "model name" in found]
    return names[0] if names else platform.processor() or platform.machine()


def num_cores() -> int | None:
    """Cores whose CPUs this process may run on, where Linux says: two CPUs of one core share its
    multipliers.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    found = [
        (cpu["physical id"], cpu["core id"])
        for cpu in _processors()
        if "core id" in cpu and "physical id" in cpu and int(cpu["processor"]) in allowed
    ]
    return len(set(found)) or None


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


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def multiplications(length: int) -> dict[str, Any]:
    """Of each dtype, the rates of the loops of ``arithmetic.py`` and what follows from them."""
    found = {}
    for dtype in ("float64", "float32"):
        one, every = arithmetic.rates(dtype, (1, num_cpus()), length).values()
        found[dtype] = {
            "per_second_1_thread": one.best,
            "per_second_all_threads": every.best,
            # what else runs makes pairs slower, hardly ever everything but them
            "separate_adders": one.separate_adders or every.separate_adders,
            "loops_1_thread": one._asdict(),
            "loops_all_threads": every._asdict(),
        }
    return found


def measure(n: int = 2000, read_bytes: int = 80_000_000, length: int = 3_000_000) -> dict[str, Any]:
    """The limits of this machine, and what they were measured with."""
    return {
        "cpu": cpu_name(),
        "cpus": num_cpus(),
        "cores": num_cores(),
        "target": binding.get_host_cpu_name(),
        # what else ran then: the limits are lower, and shares higher, than of an idle machine
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "multiplications": multiplications(length),
        "dgemm_n": n,
        "dgemm_flops_1_thread": dgemm_flops(n, 1),
        "dgemm_flops_all_threads": dgemm_flops(n, num_cpus()),
        "read_bytes_per_second": arithmetic.read_bytes_per_second(read_bytes, num_cpus()),
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
