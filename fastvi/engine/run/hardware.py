"""Cache sizes of the host, from which tile sizes follow."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Caches(NamedTuple):
    """Bytes of the first- and second-level data cache of one core."""

    level1: int
    level2: int


# what every 64-bit core of the last decade has at least; used where the system does not tell
_ASSUMED = Caches(32 << 10, 256 << 10)


def _linux() -> dict[int, int]:
    sizes = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (index / "type").read_text().strip() in ("Data", "Unified"):
            text = (index / "size").read_text().strip()
            unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1], 1)
            sizes[int((index / "level").read_text())] = int(text.rstrip("KM")) * unit
    return sizes


def _mac() -> dict[int, int]:
    command = ["sysctl", "-n", "hw.l1dcachesize", "hw.l2cachesize"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {level + 1: int(size) for level, size in enumerate(answer)}


@cache
def caches() -> Caches:
    """Cache sizes of the first core; assumed ones where the system does not tell."""
    try:
        sizes = _linux() if sys.platform.startswith("linux") else _mac() if sys.platform == "darwin" else {}
    except (OSError, ValueError, subprocess.SubprocessError):
        sizes = {}
    return Caches(sizes.get(1) or _ASSUMED.level1, sizes.get(2) or _ASSUMED.level2)
