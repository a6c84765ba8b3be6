"""What a GPU of this machine takes, beside what is predicted on paper (``cuda_model.py``) and beside the
CPU.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import cuda_model
import numpy as np
import pytest
from problems import Size

import fastvi
from fastvi.engine.cuda.device import MissingDeviceError, num_devices


def _gpu() -> bool:
    try:
        return num_devices() > 0
    except MissingDeviceError:
        return False


pytestmark = pytest.mark.skipif(not _gpu(), reason="no GPU can be used here")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("num_latents", "num_data"), [(20, 10_000), (26, 1)])
def test_network(record: Any, size: Size, num_latents: int, num_data: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    model = fastvi.SigmoidBeliefNetwork(
        0.1 * rng.normal(size=(784, num_latents)), rng.normal(size=784), rng.normal(size=num_latents)
    )
    x = (rng.random((num_data, 784)) < 0.5).astype(np.uint8)
    predicted = cuda_model.network(cuda_model.this_card(), num_latents, 784, num_data, dtype)
    title = f"log p(x) on a GPU, d = {num_latents}, N = {num_data}, {dtype}"
    record.describe(f"{title} (predicted {cuda_model.shown(predicted.seconds)})", "fastvi", num_data)
    value = record.run(lambda: fastvi.log_marginal(model, x, device="cuda", dtype=dtype), size.rounds)
    few = slice(0, 3)
    tolerance = 1e-9 if dtype == "float64" else (3 * 785 + 192) * 2.0**-24
    record.check(np.asarray(value)[few], fastvi.log_marginal(model, x[few]), tolerance)


def test_network_by_cublas(record: Any, size: Size) -> None:
    if find_spec("cupy") is None or not cuda_model.this_card().tensor:
        pytest.skip("CuPy is not installed, or the card has no float64 tensor cores that are known here")
    rng = np.random.default_rng(0)
    model = fastvi.SigmoidBeliefNetwork(
        0.1 * rng.normal(size=(784, 20)), rng.normal(size=784), rng.normal(size=20)
    )
    x = (rng.random((10_000, 784)) < 0.5).astype(np.uint8)
    predicted = cuda_model.network_by_cublas(cuda_model.this_card(), 20, 784, 10_000)
    title = f"log p(x) on a GPU, d = 20, N = 10,000, cuBLAS (predicted {cuda_model.shown(predicted.seconds)})"
    record.describe(title, "fastvi", len(x))
    with cuda_model.cublas():
        value = record.run(lambda: fastvi.log_marginal(model, x, device="cuda"), size.rounds)
    record.check(np.asarray(value)[:3], fastvi.log_marginal(model, x[:3]), 1e-9)


@pytest.mark.parametrize("num_units", [30, 36])
def test_machine(record: Any, size: Size, num_units: int) -> None:
    rng = np.random.default_rng(0)
    couplings = np.triu(0.3 * rng.normal(size=(num_units, num_units)), 1)
    model = fastvi.BoltzmannMachine(couplings + couplings.T, rng.normal(size=num_units))
    predicted = cuda_model.machine(cuda_model.this_card(), num_units, "float64")
    title = f"log Z on a GPU, d = {num_units} (predicted {cuda_model.shown(predicted.seconds)})"
    record.describe(title, "fastvi", 1)
    value = record.run(lambda: fastvi.log_partition(model, device="cuda"), size.rounds)
    record.check(np.array(value), np.array(fastvi.log_partition(model)), 1e-9)
