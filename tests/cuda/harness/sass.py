"""Machine code of real architectures: registers, spills, occupancy, and what an inner loop consists of.

ptxas and nvdisasm are those of the toolkit's wheels (``cuda-toolkit[nvcc]``, ``nvidia-cuda-nvdisasm``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")

# threads, blocks and bytes of shared memory of a multiprocessor: CUDA C++ Programming Guide 13.0, table
# "Technical specifications per compute capability"; 65,536 registers, given out to warps in units of 256; 1
# KiB of shared memory of each block is the system's
_THREADS = {"sm_80": 2048, "sm_86": 1536, "sm_89": 1536, "sm_90": 2048, "sm_100": 2048, "sm_120": 1536}
_BLOCKS = {"sm_80": 32, "sm_86": 16, "sm_89": 24, "sm_90": 32, "sm_100": 32, "sm_120": 24}
_SHARED = {"sm_80": 164, "sm_86": 100, "sm_89": 100, "sm_90": 228, "sm_100": 228, "sm_120": 100}  # KiB

_FLOAT = {"DADD", "DMUL", "DFMA", "FADD", "FMUL", "FFMA", "FADD2", "FMUL2", "FFMA2"}


class Resources(NamedTuple):
    """Of one kernel on one architecture; bytes of a thread, but for shared memory."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


class Loop(NamedTuple):
    """A loop without a loop inside."""

    instructions: int
    floating: int
    operations: Counter[str]

    @property
    def share(self) -> float:
        return self.floating / self.instructions


def tool(name: str) -> str | None:
    """Path of a program of the toolkit: of the wheels, else of the machine."""
    for folder in sys.path:
        found = Path(folder) / "nvidia" / "cu13" / "bin" / name
        if found.exists():
            return str(found)
    return shutil.which(name)


def _assemble(ptx: str, architecture: str, folder: Path) -> tuple[Path, str]:
    source, cubin = folder / "kernel.ptx", folder / "kernel.cubin"
    source.write_text(ptx)
    command = [tool("ptxas") or "ptxas", "-v", f"-arch={architecture}", "-O3", str(source), "-o", str(cubin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ptxas: {done.stderr}")
    return cubin, done.stderr


def resources(ptx: str, architecture: str) -> Resources:
    """What ptxas says that a kernel takes."""
    with tempfile.TemporaryDirectory() as folder:
        _, said = _assemble(ptx, architecture, Path(folder))

    def number(pattern: str) -> int:
        found = re.search(pattern, said)
        return int(found[1]) if found else 0

    return Resources(
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes spill stores"),
        number(r"(\d+) bytes spill loads"),
        number(r"(\d+) bytes smem"),
    )


def occupancy(architecture: str, used: Resources, threads: int) -> tuple[int, float]:
    """Blocks of a multiprocessor, and the share of its threads that they are."""
    warps = -(-threads // 32)
    of_warp = -(-used.registers * 32 // 256) * 256
    by_registers = 65536 // 4 // of_warp * 4 // warps  # each of four schedulers has a quarter
    shared = -(-(used.shared + 1024) // 128) * 128
    by_shared = (_SHARED[architecture] << 10) // shared
    blocks = min(_BLOCKS[architecture], _THREADS[architecture] // (32 * warps), by_registers, by_shared)
    return blocks, blocks * 32 * warps / _THREADS[architecture]


def inner_loops(ptx: str, architecture: str) -> list[Loop]:
    """The loops of the machine code that hold no other, most floating-point instructions first."""
    with tempfile.TemporaryDirectory() as folder:
        cubin, _ = _assemble(ptx, architecture, Path(folder))
        program = tool("nvdisasm") or "nvdisasm"
        os.chmod(program, 0o755)  # the wheel's file may come without the right to run
        text = subprocess.run([program, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
    instructions, labels, jumps = [], {}, []
    for line in text.split("\n"):
        if found := re.match(r"\s*(\.L_x_\d+):", line):
            labels[found[1]] = len(instructions)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            if target := re.search(r"BRA.*?(\.L_x_\d+)", found[1]):
                jumps.append((len(instructions), target[1]))
            instructions.append(re.sub(r"^@!?\w+\s+", "", found[1]).split()[0].split(".")[0])
    spans = [(labels[name], last + 1) for last, name in jumps if labels.get(name, last + 1) <= last]
    inner = [
        span
        for span in spans
        if not any(span != other and span[0] <= other[0] < other[1] <= span[1] for other in spans)
    ]
    loops = []
    for first, last in inner:
        operations = Counter(instructions[first:last])
        loops.append(Loop(last - first, sum(operations[name] for name in _FLOAT), operations))
    return sorted(loops, key=lambda loop: -loop.floating)
