"""Peak memory of one exact log_marginal in a process of its own.

``python bench/memory.py --latents 26 --pixels 784 --data 100 --tied 7`` prints one JSON object: seconds
of the call, bytes after the imports, the peak, and log p(x_n). Linux only: the peak is VmHWM of
/proc/self/status, since ru_maxrss of a child starts at its parent's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from problems import Shape, random_problem


def status_bytes(name: str) -> int:
    """VmRSS (held now) or VmHWM (the most so far) of this process."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}: the peak cannot be measured on this system")
    return int(found.group(1)) * 1024


def measure(shape: Shape) -> dict[str, Any]:
    """Run the call here, after a small one. Nothing else may have run before in this process."""
    import fastvi

    compute, build = fastvi.log_marginal, fastvi.SigmoidBeliefNetwork
    before = status_bytes("VmRSS")
    # compiled code is loaded and counted as memory, but not as time
    *parameters, x = random_problem(Shape(8, shape.num_pixels, 2))
    compute(build(*parameters), x)
    *parameters, x = random_problem(shape)
    model = build(*parameters)
    start = time.perf_counter()
    values = compute(model, x)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "bytes_after_import": before,
        "peak_bytes": status_bytes("VmHWM"),
        "log_marginal": values.tolist(),
    }


def measure_in_subprocess(shape: Shape) -> dict[str, Any]:
    """The same in a fresh interpreter."""
    command = [
        sys.executable,
        __file__,
        "--latents",
        str(shape.num_latents),
        "--pixels",
        str(shape.num_pixels),
    ]
    command += ["--data", str(shape.num_data)]
    if shape.tied:
        command += ["--tied", str(shape.tied)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latents", type=int, default=26)
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--data", type=int, default=100)
    parser.add_argument("--tied", type=int, help="number of distinct columns of the weights")
    options = parser.parse_args()
    print(json.dumps(measure(Shape(options.latents, options.pixels, options.data, options.tied))))


if __name__ == "__main__":
    main()
