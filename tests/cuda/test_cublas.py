"""Sums over tiles by a matrix product of cuBLAS: what stands around it is run, it itself by NumPy.

``cupy`` in these tests is a stand-in of a few functions, unless there is a GPU and CuPy.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import naive
import numpy as np
import pytest
from models import bits, machine, network

import fastvi
from fastvi.engine.cuda import blas
from fastvi.engine.cuda.device import NumbaDevice, use


@pytest.fixture
def cupy(monkeypatch, on_gpu):
    """A stand-in that counts what it is asked; on a GPU CuPy itself."""
    if on_gpu:
        if find_spec("cupy") is None:
            pytest.skip("CuPy is not installed")
        monkeypatch.setenv("FASTVI_CUBLAS", "1")
        return None
    module = ModuleType("cupy")
    module.__spec__ = ModuleSpec("cupy", None)
    module.calls = []

    @contextlib.contextmanager
    def entered(*name):
        module.calls.append(("enter", *name))
        yield
        module.calls.append(("leave", *name))

    def matmul(a, b, out):
        module.calls.append(("matmul", a.shape, b.shape))
        np.matmul(a, b, out=out)

    module.asarray, module.matmul = lambda array: array, matmul
    module.cuda = SimpleNamespace(
        Device=lambda index: entered("device", index),
        Stream=SimpleNamespace(null=entered("null"), ptds=entered("ptds")),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setenv("FASTVI_CUBLAS", "1")
    return module


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks of rows at sizes that a test can run."""
    monkeypatch.setattr(blas, "_MOST_ROWS", 256)


@pytest.mark.parametrize("schedule", [0, 7])
@pytest.mark.parametrize(("d", "num"), [(1, 3), (9, 1), (14, 130)])
def test_networks(make_device, cupy, small_blocks, d, num, schedule):
    model, x = network(d, 11, 2.0), bits(num, 11)
    device = make_device(check=d < 14, schedule=schedule)
    with use(device):
        got = fastvi.log_marginal(model, x, device="cuda")
    np.testing.assert_allclose(got, fastvi.log_marginal(model, x), rtol=1e-12)
    if cupy is not None:
        assert device.launches.count("matmul") > 0
        assert "tile_sums_64" not in device.launches


def test_against_a_sum_over_states(make_device, cupy, small_blocks):
    model, x = network(5, 4, 2.0), bits(3, 4)
    want = [
        naive.sbn_log_marginal(model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist(), row)
        for row in x.tolist()
    ]
    own = model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()
    q, pairs = fastvi.Bernoulli(np.random.default_rng(0).normal(size=(3, 5))), machine(5)
    bounds = [naive.sbn_elbo(*own, row, t) for row, t in zip(x.tolist(), q.logits.tolist(), strict=True)]
    log_z = naive.bm_log_partition(pairs.couplings.tolist(), pairs.bias.tolist())
    with use(make_device()):
        np.testing.assert_allclose(fastvi.log_marginal(model, x, device="cuda"), want, rtol=1e-12)
        np.testing.assert_allclose(fastvi.elbo(model, x, q, device="cuda").value, bounds, rtol=1e-12)
        np.testing.assert_allclose(fastvi.log_partition(pairs, device="cuda"), log_z, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 12, 16])
def test_machines(make_device, cupy, small_blocks, d):
    model, device = machine(d), make_device(check=d < 16)
    with use(device):
        got = fastvi.log_partition(model, device="cuda")
    np.testing.assert_allclose(got, fastvi.log_partition(model), rtol=1e-12)


def test_the_exact_elbo(make_device, cupy, small_blocks):
    model, x = network(10, 11, 2.0), bits(4, 11)
    q = fastvi.Bernoulli(np.random.default_rng(0).normal(size=(4, 10)))
    with use(make_device()):
        got = fastvi.elbo(model, x, q, device="cuda")
    np.testing.assert_allclose(got.value, fastvi.elbo(model, x, q).value, rtol=1e-12)


def test_same_bits_in_any_batch(make_device, cupy, small_blocks):
    model, x = network(10, 11, 2.0), bits(300, 11)
    with use(make_device()):
        whole = fastvi.log_marginal(model, x, device="cuda")
        alone = fastvi.log_marginal(model, x[290:], device="cuda")
    np.testing.assert_array_equal(alone, whole[290:])


def test_float32_is_left_to_our_own(make_device, cupy):
    device = make_device()
    with use(device):
        fastvi.log_marginal(network(9, 11, 2.0), bits(3, 11), device="cuda", dtype="float32")
    if cupy is not None:
        assert "matmul" not in device.launches


def test_what_cupy_is_asked(cupy):
    if not hasattr(cupy, "calls"):
        pytest.skip("it is CuPy itself")

    device = object.__new__(NumbaDevice)
    device.index, device._cuda = 1, SimpleNamespace(gpus=[None, contextlib.nullcontext()])
    left, right, out = np.ones((4, 3)), np.full((2, 3, 5), 2.0), np.empty((2, 4, 5))
    device.matmul(left, right, out)
    assert (out == 6.0).all()
    assert cupy.calls == [
        ("enter", "device", 1), ("enter", "null"), ("matmul", (1, 4, 3), (2, 3, 5)),
        ("leave", "null"), ("leave", "device", 1),
    ]  # fmt: skip


def test_memory_is_counted(make_device, cupy, on_gpu):
    if on_gpu:
        pytest.skip("the GPU has room")
    model, x = network(14, 11, 2.0), bits(3, 11)
    with use(make_device(free=1 << 24)), pytest.raises(MemoryError, match="free memory leaves"):
        fastvi.log_marginal(model, x, device="cuda")  # own kernels have room, the products have not


def test_asked_for_in_other_words(make_device, monkeypatch):
    model, x = network(3, 2, 2.0), bits(1, 2)
    monkeypatch.setenv("FASTVI_CUBLAS", "yes")
    with use(make_device()), pytest.raises(ValueError, match=r"^FASTVI_CUBLAS must be 0 or 1, got 'yes'$"):
        fastvi.log_marginal(model, x, device="cuda")
    if find_spec("cupy") is None:
        monkeypatch.setenv("FASTVI_CUBLAS", "1")
        with (
            use(make_device()),
            pytest.raises(RuntimeError, match=r"^FASTVI_CUBLAS=1 needs CuPy, which is not"),
        ):
            fastvi.log_marginal(model, x, device="cuda")
