"""What ``gpu.py`` looks at first: the machine, and the essential questions to a GPU, cheapest first."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import naive
import numpy as np
from gpu_stages import Absent, Checks
from models import bits, machine, network

import fastvi
from fastvi.engine.cuda.device import Device, use

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = (
    *("numpy", "scipy", "numba", "llvmlite", "numba-cuda", "cuda-bindings", "cuda-core", "cuda-pathfinder"),
    *("cuda-toolkit", "nvidia-nvvm", "nvidia-cuda-nvrtc", "nvidia-nvjitlink", "cupy-cuda13x", "cupy-cuda12x"),
    *("torch", "jax", "jax-cuda13-plugin", "pytest", "hypothesis"),
)
# cheapest first; test_predictions measures what gpu.py measures itself
_TEST_FILES = ("errors", "enumeration", "cublas", "device_arrays", "sampling")


def machine_stage(checks: Checks, device: Callable[[], Device], *, on_gpu: bool, small: bool) -> None:
    """Versions, the card, and where the compiler was found."""

    def versions() -> dict[str, Any]:
        found = {}
        for package in _PACKAGES:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
        return {
            "python": platform.python_version(),
            "packages": found,
            "settings": {
                name: value
                for name, value in os.environ.items()
                if name.startswith(("CUDA_", "NUMBA_", "FASTVI_"))
            },
        }

    def driver() -> dict[str, Any]:
        if shutil.which("nvidia-smi") is None:
            raise Absent("nvidia-smi is not there")
        query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,mig.mode.current"
        asked = ["nvidia-smi", f"--query-gpu={query}", "--format=csv"]
        result = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30)
        return {"smi": result.stdout.strip()}

    def toolkit() -> dict[str, Any]:
        from cuda import pathfinder

        found, missing = {}, []
        for name in ("nvvm", "nvrtc", "nvJitLink"):
            try:
                found[name] = pathfinder.load_nvidia_dynamic_lib(name).abs_path
            except Exception as error:
                missing.append(f"{name}: {str(error).splitlines()[0]}")
        if missing:
            raise RuntimeError(f"{'; '.join(missing)}; found: {found}")
        return found

    def card() -> dict[str, Any]:
        on = device()
        if not on_gpu:
            return {"card": on.name}
        from numba import cuda

        now = cuda.get_current_device()
        return {
            "card": on.name,
            "capability": list(now.compute_capability),
            "multiprocessors": now.MULTIPROCESSOR_COUNT,
            "clock_kHz": now.CLOCK_RATE,
            "second_level_cache": now.L2_CACHE_SIZE,
            "memory": list(on.memory()),
        }

    def copy() -> dict[str, Any]:
        on, array = device(), np.arange(1000.0)
        np.testing.assert_array_equal(on.get(on.put(array)), array)
        return {}

    checks("versions", versions)
    checks("driver", driver)
    checks("compiler's libraries", toolkit)
    checks("card", card)
    checks("an array goes there and back", copy)


def _close(got: Any, want: Any, tolerance: float) -> dict[str, Any]:
    """Within the tolerance; the largest error is kept."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        raise AssertionError(f"shape must be {want.shape}, got {got.shape}")
    error = float(np.max(np.abs(got - want), initial=0.0))
    if not error <= tolerance:
        raise AssertionError(f"largest error {error:.3g}, allowed {tolerance:.3g}")
    return {"error_nats": error, "allowed_nats": tolerance}


def _double(want: Any, largest: float = 1.0) -> float:
    """Sums of products of rounded factors: units in the last place of what enters."""
    return 64 * 2.0**-52 * max(largest, float(np.max(np.abs(want), initial=0.0)))


def checks_stage(checks: Checks, device: Callable[[], Device], *, on_gpu: bool, small: bool) -> None:
    """Answers of the GPU beside those of the CPU and of definitions."""

    def asked(question: Callable[[str], Any], largest: float = 1.0) -> dict[str, Any]:
        want = np.asarray(question("cpu"))
        with use(device()):
            return _close(question("cuda"), want, _double(want, largest))

    def marginal(d: int, num_pixels: int, num_data: int, scale: float = 1.0) -> dict[str, Any]:
        model, x = network(d, num_pixels, scale), bits(num_data, num_pixels)
        largest = d * num_pixels * scale if scale > 1.0 else 1.0
        return asked(lambda where: fastvi.log_marginal(model, x, device=where), largest)

    def definition() -> dict[str, Any]:
        model, x = network(4, 3), bits(8, 3)
        parameters = model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()
        want = [naive.sbn_log_marginal(*parameters, row) for row in x.tolist()]
        with use(device()):
            return _close(fastvi.log_marginal(model, x, device="cuda"), want, _double(want))

    def single(d: int, num_pixels: int, num_data: int) -> dict[str, Any]:
        model, x = network(d, num_pixels), bits(num_data, num_pixels)
        want = fastvi.log_marginal(model, x)
        with use(device()):
            got = fastvi.log_marginal(model, x, device="cuda", dtype="float32")
        return _close(got, want, (3 * (num_pixels + 1) + 192) * 2.0**-24)  # nats

    def partition(d: int) -> dict[str, Any]:
        model = machine(d)
        return asked(lambda where: fastvi.log_partition(model, device=where))

    def restricted() -> dict[str, Any]:
        of = network(9, 12)
        model = fastvi.RestrictedBoltzmannMachine(of.weights, of.bias, of.prior_logits)
        return asked(lambda where: fastvi.log_partition(model, device=where))

    def coding() -> dict[str, Any]:
        rng = np.random.default_rng(1)
        model = fastvi.BinarySparseCoding(
            rng.normal(size=(7, 9)), rng.normal(size=7), 0.5, rng.normal(size=9)
        )
        x = rng.normal(size=(5, 7))
        return asked(lambda where: fastvi.log_marginal(model, x, device=where), largest=1e3)

    def written_by_a_user() -> dict[str, Any]:
        model, x = fastvi.LogJoint(_log_joint, 7), bits(3, 7).astype(float)
        return asked(lambda where: fastvi.log_marginal(model, x, device=where))

    def bound() -> dict[str, Any]:
        model, x = network(9, 20), bits(5, 20)
        q = fastvi.Bernoulli(np.random.default_rng(1).normal(size=(5, 9)))
        return asked(lambda where: fastvi.elbo(model, x, q, device=where).value, largest=180.0)

    def estimate() -> dict[str, Any]:
        model, x = network(20, 70, 0.5), bits(3, 70)
        return asked(
            lambda where: (
                fastvi.estimate_log_marginal(model, x, num_samples=301, seed=3, device=where).log_marginal
            ),
            largest=1400.0,
        )

    def any_batch() -> dict[str, Any]:
        model, x = network(10, 11), bits(150, 11)
        with use(device()):
            whole = fastvi.log_marginal(model, x, device="cuda")
            again = fastvi.log_marginal(model, x, device="cuda")
            alone = fastvi.log_marginal(model, x[140:], device="cuda")
        np.testing.assert_array_equal(again, whole)
        np.testing.assert_array_equal(alone, whole[140:])
        return {}

    def arrays(library: str) -> dict[str, Any]:
        model, x = network(9, 6), bits(5, 6)
        want = fastvi.log_marginal(model, x)
        with use(device()):
            got = fastvi.log_marginal(model, _put(library, x, on_gpu), device="cuda")
        got = got.copy_to_host() if hasattr(got, "copy_to_host") else got
        return _close(got, want, _double(want))

    def by_cublas() -> dict[str, Any]:
        if find_spec("cupy") is None:
            raise Absent("CuPy is not installed")
        with mock.patch.dict(os.environ, FASTVI_CUBLAS="1"):
            return marginal(9 if small else 14, 11, 3)

    def registers_of_kernels() -> dict[str, Any]:
        if not on_gpu:
            raise Absent("registers are of a GPU")
        from fastvi.kernels.cuda import target

        registers, local = {}, {}
        for name, kernel in sorted(target.KERNELS.items()):
            if not kernel._compiled:
                continue  # another process's: to compile all would take its time
            of = kernel.dispatcher()
            registers[name] = max(of.get_regs_per_thread().values())
            local[name] = max(of.get_local_mem_per_thread().values())
        return {"registers": registers, "local_bytes": local}

    checks("log p(x), one latent, one pixel", lambda: marginal(1, 1, 1))
    checks("log p(x) against its definition", definition)
    checks("log p(x), some tiles of pixels", lambda: marginal(9, 19, 3))
    checks("log Z, a machine of 12 units", lambda: partition(12))
    checks("log p(x), float32", lambda: single(9, 19, 3))
    checks("log p(x), logits of hundreds", lambda: marginal(10, 40, 5, 300.0))
    checks(
        "log p(x), more than a block of data", lambda: marginal(*((9, 19, 130) if small else (16, 40, 1029)))
    )
    checks("same bits again, and in any batch", any_batch)
    if not small:
        checks("log p(x), several launches", lambda: marginal(23, 30, 3))
        checks("log Z, a machine of 24 units", lambda: partition(24))
        checks("log p(x), float32, several launches", lambda: single(23, 30, 3))
    checks("log Z, restricted machine", restricted)
    checks("log p(x), sparse coding", coding)
    checks("log p(x), a user's log joint", written_by_a_user)
    checks("exact ELBO", bound)
    checks("log p(x) by sampling", estimate)
    checks("log p(x) by cuBLAS", by_cublas)
    for library in ("numba", "cupy", "torch", "jax"):
        checks(f"data on the GPU, {library}", lambda library=library: arrays(library))
    checks("registers of the kernels so far", registers_of_kernels)


def _log_joint(x: Any, z: Any) -> float:
    total = 0.0
    for i in range(len(z)):
        total += z[i] * (x[i] - 0.5) - 0.3 * x[i]
    return total


def _put(library: str, x: Any, on_gpu: bool) -> Any:
    """x on the device as an array of the library."""
    if library == "numba":
        if on_gpu:
            from numba import cuda

            return cuda.to_device(x)
        interface = dict(x.__array_interface__, version=3)
        return SimpleNamespace(__cuda_array_interface__=interface, shape=x.shape, held=x)
    if find_spec(library) is None:
        raise Absent(f"{library} is not installed")
    if not on_gpu:
        raise Absent("there is no GPU")
    if library == "cupy":
        import cupy

        return cupy.asarray(x)
    if library == "torch":
        import torch

        return torch.from_numpy(x).cuda()
    import jax

    return jax.device_put(x, jax.devices("gpu")[0])


def pytest_stage(checks: Checks, device: Callable[[], Device], *, on_gpu: bool, small: bool) -> None:
    """The tests themselves, file by file, each until its first failure."""

    def run(path: Path) -> dict[str, Any]:
        for needed in ("pytest", "hypothesis"):
            if find_spec(needed) is None:
                raise Absent(f"{needed} is not installed")
        # numba-cuda warns of what the project's own versions do not: warnings are no failures here
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-W", "ignore", "-p", "no:cacheprovider"]
        command += [str(path), "--device", "cuda" if on_gpu else "ptx"]
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "FASTVI_TEST_EXAMPLES": "3"},
        )  # fmt: skip
        last = result.stdout.strip().splitlines()[-12:]
        if result.returncode:
            raise AssertionError(" | ".join(line for line in last if line) or result.stderr[-400:])
        return {"summary": last[-1]}

    files = [ROOT / "tests" / "cuda" / f"test_{name}.py" for name in _TEST_FILES]
    for path in [path for path in files if path.exists()][: 1 if small else None]:
        checks(path.name, lambda path=path: run(path))
