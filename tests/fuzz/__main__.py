"""``python -m tests.fuzz``: all cases, or those whose name holds a text, or some that a seed picks."""

from __future__ import annotations

import argparse
import collections
import random
import sys

from .runner import LIMIT_SECONDS, all_cases, run


def main() -> int:
    """Print what is wrong, by kind; 1 where anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--match", default="", help="cases whose name holds this: call/argument/odd value")
    parser.add_argument("--count", type=int, help="so many, picked by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds of a case")
    parser.add_argument("--list", action="store_true", help="names alone")
    parser.add_argument("--verbose", action="store_true", help="every case and what became of it")
    options = parser.parse_args()
    cases = [case for case in all_cases() if options.match in case]
    if options.count is not None and options.count < len(cases):
        cases = random.Random(options.seed).sample(cases, options.count)
    if options.list:
        print("\n".join(cases))
        return 0
    faults: dict[str, list[str]] = collections.defaultdict(list)
    num = refused = 0
    for finding in run(cases, options.workers, options.limit):
        num += 1
        refused += not finding.fault and finding.what != "answered"
        if finding.fault:
            faults[finding.fault].append(f"{finding.case}: {finding.what}")
            print(f"{finding.fault} | {finding.case} | {finding.what}", flush=True)
        elif options.verbose:
            print(f"ok | {finding.case} | {finding.what}", flush=True)
    wrong = sum(map(len, faults.values()))
    print(f"{num} cases: {num - refused - wrong} answered, {refused} refused, {wrong} wrong")
    for fault, found in sorted(faults.items(), key=lambda item: -len(item[1])):
        print(f"  {len(found)} {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
