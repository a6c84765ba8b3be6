"""Peak memory of one exact question in a process of its own.

``python bench/memory.py --question log_marginal --latents 26 --pixels 784 --data 100 --tied 7`` prints one
JSON object: seconds of the call, bytes after the imports, the peak, and the results. Linux only: the peak is
VmHWM of /proc/self/status, since ru_maxrss of a child starts at its parent's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from problems import Shape, mild_problem, random_machine, random_problem

TOP_K = 10
BLOCKS = 3  # of a Boltzmann machine, so that there is an oracle


def status_bytes(name: str) -> int:
    """VmRSS (held now) or VmHWM (the most so far) of this process."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}: the peak cannot be measured on this system")
    return int(found.group(1)) * 1024


def _network(shape: Shape) -> tuple[Any, np.ndarray]:
    import fastvi

    *parameters, x = random_problem(shape)
    return fastvi.SigmoidBeliefNetwork(*parameters), x


def _log_marginal(shape: Shape) -> Callable[[], dict[str, Any]]:
    import fastvi

    model, x = _network(shape)
    return lambda: {"log_marginal": fastvi.log_marginal(model, x)}


def _means(shape: Shape) -> Callable[[], dict[str, Any]]:
    import fastvi

    model, x = _network(shape)
    return lambda: {"mean": fastvi.exact_posterior(model, x).mean}


def _posterior(shape: Shape) -> Callable[[], dict[str, Any]]:
    import fastvi

    model, x = _network(shape)

    def call() -> dict[str, Any]:
        posterior = fastvi.exact_posterior(model, x, top_k=TOP_K, pairwise=True)
        names = ("mean", "entropy", "top_log_probs", "second_moment")
        return {name: getattr(posterior, name) for name in names}

    return call


def _gradient(shape: Shape) -> Callable[[], dict[str, Any]]:
    import fastvi

    model, x = _network(shape)
    return lambda: fastvi.log_marginal_gradient(model, x)


def _log_partition(shape: Shape) -> Callable[[], dict[str, Any]]:
    import fastvi

    model = fastvi.BoltzmannMachine(*random_machine(shape.num_latents, BLOCKS))
    return lambda: {"log_partition": np.array(fastvi.log_partition(model))}


def _estimate(shape: Shape) -> Callable[[], dict[str, Any]]:
    import fastvi

    *parameters, x = mild_problem(shape)
    model = fastvi.SigmoidBeliefNetwork(*parameters)

    def call() -> dict[str, Any]:
        num_samples = shape.num_samples or 1000
        estimate = fastvi.estimate_log_marginal(model, x, proposal="prior", num_samples=num_samples)
        names = ("log_marginal", "std_error", "pareto_k")
        return {name: getattr(estimate, name) for name in names}

    return call


# each builds its model and gives the call that is measured; pixels and data are nothing to log_partition
QUESTIONS = {
    "log_marginal": _log_marginal,
    "means": _means,
    "posterior": _posterior,
    "gradient": _gradient,
    "log_partition": _log_partition,
    "estimate": _estimate,
}


def measure(question: str, shape: Shape) -> dict[str, Any]:
    """Run the call here, after a small one. Nothing else may have run before in this process."""
    import fastvi

    # names of fastvi are imported when they are first used
    _ = fastvi.log_marginal, fastvi.exact_posterior, fastvi.log_marginal_gradient, fastvi.log_partition
    _ = fastvi.SigmoidBeliefNetwork, fastvi.BoltzmannMachine, fastvi.estimate_log_marginal
    before = status_bytes("VmRSS")
    # compiled code is loaded and counted as memory, but not as time
    QUESTIONS[question](Shape(8, shape.num_pixels, 2))()
    call = QUESTIONS[question](shape)
    start = time.perf_counter()
    results = call()
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "bytes_after_import": before,
        "peak_bytes": status_bytes("VmHWM"),
        "results": {name: array.tolist() for name, array in results.items()},
    }


def measure_in_subprocess(question: str, shape: Shape) -> dict[str, Any]:
    """The same in a fresh interpreter, the results as arrays again."""
    command = [
        *(sys.executable, __file__, "--question", question, "--latents", str(shape.num_latents)),
        *("--pixels", str(shape.num_pixels), "--data", str(shape.num_data)),
    ]
    if shape.tied:
        command += ["--tied", str(shape.tied)]
    if shape.num_samples:
        command += ["--samples", str(shape.num_samples)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    answer: dict[str, Any] = json.loads(result.stdout)
    answer["results"] = {name: np.array(values) for name, values in answer["results"].items()}
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--question", choices=list(QUESTIONS), default="log_marginal")
    parser.add_argument("--latents", type=int, default=26)
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--data", type=int, default=100)
    parser.add_argument("--tied", type=int, help="number of distinct columns of the weights")
    parser.add_argument("--samples", type=int, help="of each datum, where it is sampled")
    options = parser.parse_args()
    shape = Shape(options.latents, options.pixels, options.data, options.tied, options.samples)
    print(json.dumps(measure(options.question, shape)))


if __name__ == "__main__":
    main()
