"""PTX of a kernel without a driver."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from numba.cuda import dispatcher

from fastvi.kernels.cuda.target import cuda


@contextmanager
def _stand_in(capability: tuple[int, int]) -> Iterator[None]:
    """Device functions are typed for the current device, of which only its capability is asked."""
    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


def compile_ptx(
    function: Any, argument_types: Any, capability: tuple[int, int] = (9, 0), *, launch_bounds: Any = None
) -> str:
    """PTX of a Python function as a kernel of these argument types."""
    with _stand_in(capability), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ptx, _ = cuda.compile(
            function,
            tuple(argument_types),
            device=False,
            abi="numba",
            cc=capability,
            launch_bounds=launch_bounds,
        )
    return ptx
