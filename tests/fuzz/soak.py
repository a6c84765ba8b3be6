"""``python -m tests.fuzz.soak``: random models, sizes and questions against brute force, for as long as one
likes.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys
import time
import traceback
import warnings
from collections.abc import Iterator

import numpy as np

from .problems import random_problem
from .questions import QUESTIONS


def failures(seed: int, case: int) -> Iterator[str]:
    """What is wrong with one case; a pure function of (seed, case)."""
    rng = np.random.default_rng([seed, case])
    problem = random_problem(rng)
    question = QUESTIONS[rng.integers(len(QUESTIONS))]
    told = (
        f"seed {seed} case {case}: {question.__name__} of a {problem.kind}, d = {problem.num_latents}, "
        f"x {problem.x.shape}, observed {None if problem.observed is None else problem.observed.shape}"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for check in question(problem, rng):
                if not check.holds():
                    yield (
                        f"{told}: {check.name} is off by {check.error():.3g}, allowed {check.tolerance:.3g}: "
                        f"got {check.got!r}, want {check.want!r}"
                    )
    except Exception:
        yield f"{told}: {traceback.format_exc(limit=-3)}"


def main() -> int:
    """Print each failure; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="this one alone")
    parser.add_argument("--count", type=int, help="cases; without it until --seconds are over")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    if options.case is not None:
        cases: Iterator[int] = iter([options.case])
    else:
        cases = itertools.count() if options.count is None else iter(range(options.count))
    end, num, found = time.monotonic() + options.seconds, 0, collections.Counter[str]()
    for case in cases:
        if options.count is None and options.case is None and time.monotonic() > end:
            break
        num += 1
        for failure in failures(options.seed, case):
            print(failure, flush=True)
            found[failure.split(": ")[1]] += 1
    print(f"{num} cases, {sum(found.values())} wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
