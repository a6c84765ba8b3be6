"""Registers, spills and occupancy of every kernel on real architectures, against the table that is kept.

``pytest tests/cuda/test_machine_code.py --record`` writes the table anew.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from functools import lru_cache
from pathlib import Path

import pytest
from harness import sass
from harness.offline import compile_ptx
from numba import types
from optional import needs

import fastvi.kernels.cuda
from fastvi.kernels.cuda.data_terms import terms_kernel
from fastvi.kernels.cuda.target import KERNELS
from fastvi.kernels.cuda.user_loops import user_sums

pytestmark = [
    pytest.mark.cuda_sass,
    needs("ptxas, of the wheel cuda-toolkit[nvcc],", sass.tool("ptxas")),
]
TABLE = Path(__file__).with_name("machine_code.json")

for _module in pkgutil.iter_modules(fastvi.kernels.cuda.__path__):
    importlib.import_module(f"fastvi.kernels.cuda.{_module.name}")


def product_of_both(x, z):
    return x[0] * z[0]


ALL = dict(KERNELS) | {
    "user_loop": user_sums(product_of_both, 20, types.float64, 2),
    "linear_terms": terms_kernel(types.uint8, real=False),
    "real_terms": terms_kernel(types.float64, real=True),
}


@lru_cache
def ptx_of(kernel):
    """For sm_80, which ptxas takes to the others: a second a kernel in place of three."""
    return compile_ptx(kernel.function, kernel.arguments, (8, 0), launch_bounds=kernel.launch_bounds)


@pytest.fixture(scope="module")
def table(request):
    """The table; written at the end where it is to be."""
    kept = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    record = request.config.getoption("--record", default=False)
    found = {} if record else kept
    yield found, record
    if record:
        lines = [f" {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
        TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@pytest.mark.parametrize("architecture", sass.ARCHITECTURES)
@pytest.mark.parametrize("name", sorted(ALL))
def test_resources(name, architecture, table):
    found, record = table
    used = sass.resources(ptx_of(ALL[name]), architecture)
    blocks, share = sass.occupancy(architecture, used, ALL[name].threads)
    assert used.spill_stores == used.spill_loads == 0, used
    if record:
        row = {"registers": used.registers, "stack": used.stack, "shared": used.shared, "blocks": blocks}
        found.setdefault(name, {})[architecture] = row | {"occupancy": round(share, 3)}
        return
    assert round(share, 3) >= found[name][architecture]["occupancy"], (
        used,
        "run with --record if it is meant",
    )
    assert used.stack <= found[name][architecture]["stack"]


@needs("nvdisasm, of the wheel nvidia-cuda-nvdisasm,", sass.tool("nvdisasm"))
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(
    ("name", "least"),
    [("multiply_64", 0.86), ("multiply_32", 0.86), ("tile_sums_64", 0.75), ("tile_sums_32", 0.75)],
)
def test_inner_loops_are_arithmetic(name, least, architecture):
    ptx = ptx_of(ALL[name])
    loop = sass.inner_loops(ptx, architecture)[0]
    assert loop.share >= least, loop
    used = sass.resources(ptx, architecture)
    assert sass.occupancy(architecture, used, ALL[name].threads)[1] >= 0.25


def test_occupancy_is_what_the_limits_leave():
    # 128 registers of 256 threads: 2 blocks by registers; 30 registers: 8 by threads; 100 KiB: 1 by shared
    # memory
    assert sass.occupancy("sm_80", sass.Resources(128, 0, 0, 0, 0), 256) == (2, 0.25)
    assert sass.occupancy("sm_80", sass.Resources(30, 0, 0, 0, 0), 256) == (8, 1.0)
    assert sass.occupancy("sm_80", sass.Resources(30, 0, 0, 0, 100 << 10), 256) == (1, 0.125)
    assert sass.occupancy("sm_89", sass.Resources(128, 0, 0, 0, 0), 256) == (2, 512 / 1536)


def test_every_kernel_is_in_the_table(request):
    if not request.config.getoption("--record", default=False):
        assert sorted(json.loads(TABLE.read_text())) == sorted(ALL)
