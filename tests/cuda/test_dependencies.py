"""What numba-cuda and NumPy of other versions than ours would trip over."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_kernels_compile_where_numpy_has_no_row_stack():
    # NumPy 2.5 took the name away, numba-cuda 0.30 says it at its first compilation
    code = (
        "import numpy as np\n"
        "import numba.np.arrayobj, scipy.linalg\n"  # which go by the version of NumPy
        "if 'row_stack' in vars(np): del np.row_stack\n"
        "from fastvi.kernels.cuda import target\n"
        "assert not hasattr(np, 'row_stack')\n"
        "from harness.offline import compile_ptx\n"
        "from fastvi.kernels.cuda.tile_sums import KERNELS\n"
        "kernel = KERNELS['float64'][0]\n"
        "assert '.entry' in compile_ptx(kernel.function, kernel.arguments)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=Path(__file__).parent)


def test_extras_cap_nothing_by_themselves():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, own in (("cuda", "cu13"), ("cuda12", "cu12")):
        assert [line.partition(">=")[0] for line in extras[name]] == [f"numba-cuda[{own}]"]
        assert not any("<" in line or "==" in line for line in extras[name])
