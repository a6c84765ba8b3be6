"""A kernel's PTX as a function of the CPU: translated to C, built by gcc, launched block by block."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.ptx_translation import Translation

_MACHINE = Path(__file__).with_name("machine.c")
# floating-point numbers as PTX has them: fused only where it says so, wrapping integers
_FLAGS = ("-O1", "-std=gnu11", "-w", "-shared", "-fPIC", "-mfma", "-ffp-contract=off", "-fwrapv")
_FLAGS += ("-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-fno-stack-protector")


def _kept() -> Path:
    """The folder of what was compiled."""
    folder = Path(tempfile.gettempdir()) / "fastvi-ptx"
    folder.mkdir(exist_ok=True)
    return folder


def kept_text(name: str, make: Callable[[], str]) -> str:
    """The text that is kept by this name, made where there is none."""
    path = _kept() / f"{name}.ptx"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as own:
            made = Path(own) / "made"
            made.write_text(make())
            made.rename(path)
    return path.read_text()


class PtxError(RuntimeError):
    """A fault of a kernel: a race, a divergent barrier, an access out of bounds."""


class PtxKernel:
    """One kernel; ``check`` looks at every access, and takes about ten times as long."""

    def __init__(self, ptx: str, *, check: bool = False) -> None:
        translated = Translation(ptx)
        self._parameters = translated.parameters
        definitions = translated.definitions(check=check)
        source = f"{definitions}\n{_MACHINE.read_text()}\n{translated.source}\n"
        folder = _kept()
        name = hashlib.sha256((source + " ".join(_FLAGS)).encode()).hexdigest()[:24]
        library = folder / f"{name}.so"
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=folder) as own:
                code, built = Path(own) / "kernel.c", Path(own) / "kernel.so"
                code.write_text(source)
                subprocess.run(["gcc", *_FLAGS, str(code), "-o", str(built), "-lm"], check=True)
                built.rename(library)
        self._library = ctypes.CDLL(str(library))

    def launch(self, grid: Any, block: Any, arguments: Any, *, schedule: int = 0) -> None:
        """Run all blocks; ``schedule`` other than 0 seeds another order of the threads."""
        sizes = _three(grid)
        if sizes[0] >= 1 << 31 or max(sizes[1:]) > 65535 or not all(sizes):
            raise PtxError(f"a grid of {list(sizes)} blocks cannot be launched")
        values: list[int] = []
        regions: list[int] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                begin, end = np.lib.array_utils.byte_bounds(argument)
                values += [0, 0, argument.size, argument.itemsize, argument.ctypes.data]
                values += [*argument.shape, *(stride % 2**64 for stride in argument.strides)]
                if argument.size:
                    regions += [begin, end, int(not argument.flags.writeable)]
            elif isinstance(argument, float | np.floating):
                values.append(int(np.float64(argument).view(np.uint64)))
            else:
                values.append(int(argument) % 2**64)
        if len(values) != len(self._parameters):
            raise TypeError(f"the kernel takes {len(self._parameters)} parameters, got {len(values)}")
        error = ctypes.create_string_buffer(600)
        failed = self._library.launch(
            sizes, _three(block), _words(values), _words(regions), len(regions) // 3,
            ctypes.c_uint64(schedule), error, len(error),
        )  # fmt: skip
        if failed:
            raise PtxError(error.value.decode())


def _words(values: list[int]) -> Any:
    return (ctypes.c_uint64 * max(1, len(values)))(*values)


def _three(sizes: Any) -> Any:
    given = sizes if isinstance(sizes, tuple) else (sizes,)
    return (ctypes.c_uint32 * 3)(*given, *(1,) * (3 - len(given)))
