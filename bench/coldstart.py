"""Seconds in a fresh process: the import, the first call ever, the first call of a later process.

``python bench/coldstart.py`` prints one JSON object with a list of seconds for each. A first call is timed
from after ``import fastvi`` to its result, so it holds the imports that fastvi leaves until then, the
compilation or the loading of compiled code, and the call itself (log_marginal at d = 8, D = 16, N = 5).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile

_IMPORT = """
import time
start = time.perf_counter()
import fastvi
print(time.perf_counter() - start)
"""

_FIRST_CALL = """
import time
import numpy as np
import fastvi
rng = np.random.default_rng(0)
weights, bias, prior_logits = rng.standard_normal((16, 8)), rng.standard_normal(16), np.zeros(8)
x = (rng.random((5, 16)) < 0.5).astype(np.float64)
start = time.perf_counter()
fastvi.log_marginal(fastvi.SigmoidBeliefNetwork(weights, bias, prior_logits), x)
print(time.perf_counter() - start)
"""


def _seconds(code: str, cache: str | None = None) -> float:
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is where people work
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment
    )
    if result.returncode:
        raise RuntimeError(f"a fresh process failed:\n{result.stderr}")
    return float(result.stdout)


def import_seconds() -> float:
    """``import fastvi`` in a fresh process."""
    return _seconds(_IMPORT)


def first_call_seconds(cache: str) -> float:
    """The first call of a fresh process whose compiled code lives in the folder cache."""
    return _seconds(_FIRST_CALL, cache)


def first_call_ever_seconds() -> float:
    """The first call of a fresh process with an empty folder for compiled code."""
    with tempfile.TemporaryDirectory() as cache:
        return first_call_seconds(cache)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=5, help="fresh processes for each figure")
    processes = parser.parse_args().processes
    with tempfile.TemporaryDirectory() as cache:
        first_call_seconds(cache)
        answer = {
            "import": [import_seconds() for _ in range(processes)],
            "first_call_ever": [first_call_ever_seconds() for _ in range(processes)],
            "first_call_of_a_later_process": [first_call_seconds(cache) for _ in range(processes)],
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
