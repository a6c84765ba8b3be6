"""What is said where a GPU cannot be used, and that "auto" says why it picks what."""

from __future__ import annotations

import importlib.util
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fastvi
from fastvi.engine.cuda import device as devices
from fastvi.engine.cuda.device import MissingDeviceError, NumbaDevice, state, use

NETWORK = fastvi.SigmoidBeliefNetwork([[1.0, 2.0]], [0.0], [0.0, 0.5])
X = [[1], [0]]


@pytest.fixture
def no_gpu(monkeypatch, on_gpu):
    if on_gpu:
        pytest.skip("there is a GPU")
    devices._found.cache_clear()
    yield monkeypatch
    devices._found.cache_clear()


def test_no_driver(no_gpu):
    with pytest.raises(
        RuntimeError, match=r"^device='cuda' is not available: no CUDA driver or device was found: \w+"
    ):
        fastvi.log_marginal(NETWORK, X, device="cuda")
    assert state().startswith("no CUDA driver or device was found")


def test_no_extra(no_gpu):
    find = importlib.util.find_spec
    no_gpu.setattr(devices, "find_spec", lambda name: None if name == "numba_cuda" else find(name))
    wanted = r"the extra is not installed: pip install 'fastvi\[cuda\]', or '\.\[cuda\]' in a clone"
    with pytest.raises(RuntimeError, match=rf"^device='cuda' is not available: {wanted}; use device='cpu'$"):
        fastvi.log_partition(fastvi.BoltzmannMachine([[0.0]], [1.0]), device="cuda")
    with pytest.raises(MissingDeviceError, match=wanted):
        devices.num_devices()


def test_auto_without_a_gpu(no_gpu, caplog):
    with caplog.at_level(logging.INFO, "fastvi"):
        got = fastvi.log_marginal(NETWORK, X, device="auto")
    assert "device='auto' picks 'cpu': no CUDA driver" in caplog.text
    np.testing.assert_array_equal(got, fastvi.log_marginal(NETWORK, X))


def test_auto_with_one(make_device, caplog):
    device = make_device()
    with use(device), caplog.at_level(logging.INFO, "fastvi"):
        fastvi.log_marginal(NETWORK, X, device="auto")
    assert "device='auto' picks 'cuda': 1 found" in caplog.text


def test_what_a_gpu_cannot_sum(make_device, caplog):
    layers = [(np.ones((4, 3)), np.zeros(4)), (np.ones((5, 4)), np.zeros(5))]
    decoder = fastvi.NeuralDecoder(layers, "tanh", fastvi.Bernoulli(np.zeros(3)))
    x = np.zeros((2, 5))
    with use(make_device()), caplog.at_level(logging.INFO, "fastvi"):
        with pytest.raises(
            RuntimeError, match=r"^device='cuda' sums networks of one layer of latents, .* not this model"
        ):
            fastvi.log_marginal(decoder, x, device="cuda")
        got = fastvi.log_marginal(decoder, x, device="auto")
        for function, arguments in (
            (fastvi.exact_posterior, ()),
            (fastvi.kl_to_posterior, (fastvi.Bernoulli([0.0, 0.0]),)),
        ):
            with pytest.raises(
                RuntimeError, match=r"this question is answered on the CPU only; use device='cpu'$"
            ):
                function(NETWORK, X, *arguments, device="cuda")
        with pytest.raises(RuntimeError, match=r"exact ELBO of networks of one layer of latents only"):
            fastvi.elbo(decoder, x, fastvi.Bernoulli(np.zeros(3)), device="cuda")
    assert "device='auto' picks 'cpu': device='cuda' sums networks of one layer" in caplog.text
    np.testing.assert_array_equal(got, fastvi.log_marginal(decoder, x))


def test_no_room_on_the_device(make_device, on_gpu):
    if on_gpu:
        pytest.skip("the GPU has room")
    with (
        use(make_device(free=10_000)),
        pytest.raises(MemoryError, match=r"free memory leaves 8,000 bytes, but at least [\d,]+ are"),
    ):
        fastvi.log_marginal(NETWORK, X, device="cuda")


def test_the_driver_s_lack_of_room_is_explained():
    def full(*_):
        raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    class Context:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    device = object.__new__(NumbaDevice)
    device.index, device._cuda = 0, SimpleNamespace(to_device=full, device_array=full, gpus=[Context()])
    for ask in (lambda: device.put(np.zeros(1000)), lambda: device.empty((10, 100), np.float64)):
        with pytest.raises(
            MemoryError, match=r"^the GPU has no room for 8,000 bytes more; give memory_limit="
        ):
            ask()


def test_a_question_to_the_cpu_imports_no_cuda():
    import subprocess

    code = (
        "import fastvi, sys; fastvi.log_marginal(fastvi.SigmoidBeliefNetwork([[1.0]], [0.0], [0.0]), [[1]]);"
        "assert not [name for name in sys.modules if name.startswith(('numba.cuda', 'fastvi.kernels.cuda'))]"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
