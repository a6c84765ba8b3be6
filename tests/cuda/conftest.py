"""CUDA tests run where numba-cuda is installed: on a GPU with ``--device cuda``, else as PTX on the CPU.

The simulator (NUMBA_ENABLE_CUDASIM=1) runs ``test_simulator.py`` only, the compiler all others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optional
import pytest

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"

if find_spec("numba_cuda") is None:
    collect_ignore_glob = ["test_*.py"]
elif SIMULATED:
    collect_ignore = [
        path.name for path in Path(__file__).parent.glob("test_*.py") if path.stem != "test_simulator"
    ]
else:
    collect_ignore_glob = ["test_simulator.py"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("ptx", "cuda"), default="ptx", help="cuda: a GPU of this machine")
    parser.addoption("--record", action="store_true", help="write the table of registers and occupancy anew")


@pytest.fixture(scope="session")
def on_gpu(request: pytest.FixtureRequest) -> bool:
    """Whether kernels run on a GPU."""
    return request.config.getoption("--device", default="ptx") == "cuda"


@pytest.fixture
def make_device(on_gpu: bool) -> Callable[..., Any]:
    """Makes a device; on a GPU, what it says of checks and schedules means nothing."""
    if on_gpu:
        from fastvi.engine.cuda.device import NumbaDevice

        return lambda **options: NumbaDevice(0)
    if shutil.which("gcc") is None and not optional.REQUIRED:
        pytest.skip("gcc is needed to run PTX on the CPU")
    from ptx_device import PtxDevice

    return PtxDevice


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # what is predicted is set beside what is measured before anything else
    items.sort(key=lambda item: item.path.name != "test_predictions.py")
