"""Bugs planted in fastvi's own kernels, one at a time, and what finds each."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import replace

import numpy as np
import pytest

import fastvi
from fastvi.engine.cuda.device import use
from fastvi.kernels.cuda import log_sums, softplus_product, tile_sums

RNG = np.random.default_rng(0)
# products that leave the range of a double several times, and states that all count
STRONG, WEAK = (
    fastvi.SigmoidBeliefNetwork(scale * RNG.normal(size=(1200, 9)), RNG.normal(size=1200), RNG.normal(size=9))
    for scale in (2.0, 0.05)
)
X = (RNG.random((3, 1200)) < 0.5).astype(np.uint8)


@pytest.fixture
def gpu_stand_in(make_device, on_gpu):
    if on_gpu:
        pytest.skip("faults are looked for in PTX on the CPU")
    return make_device


def planted(kernel, factory, module, *changes):
    """The kernel made of its factory's source with some text replaced."""
    source = textwrap.dedent(inspect.getsource(factory if factory is not None else kernel.function))
    if factory is None:  # without its decorator
        source = source[source.index("def ") :]
    for old, new in changes:
        assert source.count(old) >= 1, old
        source = source.replace(old, new, 1)
    names: dict = {}
    exec(compile(source, "planted", "exec"), vars(module).copy(), names)
    (made,) = names.values()
    if factory is not None:
        made = made(**inspect.getclosurevars(kernel.function).nonlocals)
    return replace(kernel, function=made, _compiled=[])


class Planted:
    """A device that launches some kernels with a bug."""

    def __init__(self, device, kernel, changed):
        self._device, self._kernel, self._changed = device, kernel, changed

    def __getattr__(self, name):
        return getattr(self._device, name)

    def launch(self, kernel, grid, *arguments):
        self._device.launch(self._changed if kernel is self._kernel else kernel, grid, *arguments)


TERMS, MULTIPLY = softplus_product.KERNELS["float64"]
BIT_TABLES, TILE_SUMS = tile_sums.KERNELS["float64"]
MERGE = log_sums.merge_tile_sums


def result(device):
    with use(device):
        return np.concatenate([fastvi.log_marginal(model, X, device="cuda") for model in (STRONG, WEAK)])


@pytest.mark.parametrize(
    ("kernel", "factory", "module", "old", "new", "fault"),
    [
        pytest.param(
            MULTIPLY, softplus_product._multiply, softplus_product,
            "cuda.syncthreads()\n            if by_pixel and mode", "if by_pixel and mode",
            "race in shared memory", id="no barrier before the panels are read",
        ),
        pytest.param(
            MULTIPLY, softplus_product._multiply, softplus_product,
            "cuda.syncthreads()\n            chunk += np.uint64(1)", "chunk += np.uint64(1)",
            "race in shared memory", id="no barrier before the panels are filled again",
        ),
        pytest.param(
            MULTIPLY, softplus_product._multiply, softplus_product,
            "range(_LEFT // THREADS)", "range(_LEFT // THREADS + 1)",
            "out of bounds|race in shared memory", id="a panel filled one number too far",
        ),
        pytest.param(
            TILE_SUMS, tile_sums._tile_sums, tile_sums,
            "panel += np.uint64(1)", "panel += np.uint64(1) if thread > np.uint64(0) else np.uint64(2)",
            "divergent barrier|race", id="one thread ends its loop early",
        ),
        pytest.param(
            BIT_TABLES, tile_sums._bit_tables, tile_sums,
            "if row >= tables.shape[1]:", "if row > tables.shape[1]:",
            "race in global memory|out of bounds", id="one thread beyond the last row",
        ),
        pytest.param(
            MERGE, None, log_sums, "tops, totals)\n    cuda.syncthreads()\n", "tops, totals)\n",
            "race in shared memory",
            id="what a block merged is overwritten while it is read",
        ),
    ],
)  # fmt: skip
def test_faults_are_found(gpu_stand_in, kernel, factory, module, old, new, fault):
    from harness.ptx_kernel import PtxError

    changed = planted(kernel, factory, module, (old, new))
    with pytest.raises(PtxError, match=fault):
        result(Planted(gpu_stand_in(check=True, schedule=3), kernel, changed))


@pytest.mark.parametrize(
    ("kernel", "factory", "module", "old", "new"),
    [
        pytest.param(
            MULTIPLY, softplus_product._multiply, softplus_product,
            "exponents[at] += power\n", "exponents[at] = power\n", id="a lost exponent",
        ),
        pytest.param(
            MULTIPLY, softplus_product._multiply, softplus_product,
            "mode != GO_ON", "mode == SPLIT_EACH", id="products are never split",
        ),
        pytest.param(
            TERMS, softplus_product._tile_terms, softplus_product,
            "j >= num_pixels", "j >= num_pixels - 1", id="the last pixel is left out",
        ),
        pytest.param(
            TILE_SUMS, tile_sums._tile_sums, tile_sums,
            "for c in range(_ACROSS):", "for c in range(_ACROSS - 1):", id="the last columns are left out",
        ),
        pytest.param(
            MERGE, None, log_sums, "(thread + 1) * share):", "(thread + 1) * share - 1):",
            id="the last tile of each thread is left out",
        ),
    ],
)  # fmt: skip
def test_wrong_values_are_found(gpu_stand_in, kernel, factory, module, old, new):
    changed = planted(kernel, factory, module, (old, new))
    want = np.concatenate([fastvi.log_marginal(model, X) for model in (STRONG, WEAK)])
    np.testing.assert_allclose(result(gpu_stand_in()), want, rtol=1e-12)
    got = result(Planted(gpu_stand_in(), kernel, changed))
    assert not np.allclose(got, want, rtol=1e-9)
