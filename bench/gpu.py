"""The first eight minutes with a GPU: what runs there, what it takes, and what others take.

``python bench/gpu.py`` on a machine with a GPU, Python 3.11 or newer, NumPy, SciPy, Numba and numba-cuda; the
rest (CuPy, PyTorch, JAX, pytest, hypothesis) is used where it is there, and nothing is fetched. Stages, in
order: the machine, checks (cheapest first), predicted beside measured, the same work by others, the tests of
``tests/cuda``. Each has a share of the time, and what one leaves the next may take. A failure is written down
and the next check runs, in a new process where the last one is of no use any more.

``--out`` is JSON, written anew after every check; a short table comes last. The status is 0 where nothing
failed. ``--device ptx --size smoke`` runs all of it on a machine without a GPU (needs gcc), as the tests do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_stages import Checks, Stage, run_stage

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
SECONDS = 480.0
_LAST = 5.0  # left over for the table

STAGES = (
    Stage("machine", 30.0, 60.0),
    Stage("checks", 150.0, 60.0),
    Stage("measured", 130.0, 90.0),
    Stage("peers", 80.0, 45.0),
    Stage("pytest", 85.0, 240.0),
)


def toolkit() -> str | None:
    """Folder of a CUDA toolkit that no package of Python's brings: numba-cuda finds NVVM in a package or in
    CUDA_HOME only, if NVRTC is in a package.
    """
    compiler = shutil.which("nvcc")
    beside = [Path(compiler).resolve().parent.parent] if compiler else []
    for folder in (*beside, Path("/usr/local/cuda")):
        if (folder / "nvvm").is_dir():
            return str(folder)
    return None


def environment() -> dict[str, str]:
    """Of the stages' processes."""
    paths = (ROOT, BENCH, *(ROOT / "tests" / name for name in ("", "oracles", "cuda")))
    before = os.environ.get("PYTHONPATH")
    found = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), *([before] if before else [])])}
    # else JAX takes three quarters of the card's memory at once
    found.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if "CUDA_HOME" not in found and "CUDA_PATH" not in found:
        from importlib.metadata import PackageNotFoundError, distribution

        try:
            distribution("nvidia-nvvm")
        except PackageNotFoundError:
            folder = toolkit()
            if folder is not None:
                found["CUDA_HOME"] = folder
    return found


def child(options: argparse.Namespace) -> None:
    """One stage's checks, in a process of their own."""
    import gpu_checks
    import gpu_timing

    on_gpu = options.device == "cuda"

    def make() -> Any:
        if on_gpu:
            from fastvi.engine.cuda.device import NumbaDevice

            return NumbaDevice(0)
        from ptx_device import PtxDevice

        return PtxDevice()

    held: list[Any] = []

    def device() -> Any:
        if not held:
            held.append(make())
        return held[0]

    run: Callable[..., None] = {
        "machine": gpu_checks.machine_stage,
        "checks": gpu_checks.checks_stage,
        "measured": gpu_timing.measured_stage,
        "peers": gpu_timing.peers_stage,
        "pytest": gpu_checks.pytest_stage,
    }[options.stage]
    checks = Checks(options.lines, options.first)
    run(checks, device, on_gpu=on_gpu, small=options.size == "smoke")


def write_whole(path: Path, text: str) -> None:
    """A reader sees the old text or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def run_all(options: argparse.Namespace, command: Sequence[str], stages: Sequence[Stage]) -> dict[str, Any]:
    """All stages within the seconds; the JSON is written after every check."""
    begin, report = time.monotonic(), {"device": options.device, "size": options.size, "stages": {}}
    scale = options.seconds / SECONDS
    os.environ.update(environment())
    with tempfile.TemporaryDirectory() as folder, open(f"{options.out}.log", "w", encoding="utf-8") as log:
        planned = 0.0
        for planned_stage in stages:
            stage = replace(planned_stage, each=planned_stage.each * max(1.0, scale))
            planned += stage.share * scale
            seconds = min(planned, options.seconds - _LAST) - (time.monotonic() - begin)
            print(f"{stage.name}: {max(seconds, 0.0):.0f} s at most", flush=True)
            if seconds <= 1.0:
                report["stages"][stage.name] = {"ended": "not begun: no time was left", "checks": []}
                continue

            def changed(checks: list[dict[str, Any]], name: str = stage.name) -> None:
                report["stages"][name] = {"ended": "running", "checks": checks}
                write_whole(options.out, json.dumps(report, indent=1))

            lines = Path(folder) / f"{stage.name}.jsonl"
            report["stages"][stage.name] = run_stage(stage, command, lines, log, seconds, changed)
            write_whole(options.out, json.dumps(report, indent=1))
    report["seconds"] = time.monotonic() - begin
    write_whole(options.out, json.dumps(report, indent=1))
    return report


def failures(report: dict[str, Any]) -> list[str]:
    """A line for all that failed."""
    found = []
    for name, stage in report["stages"].items():
        if stage["ended"] != "done":
            found.append(f"{name}: {stage['ended']}")
        for check in stage["checks"]:
            if check["state"] != "ok" and check["state"] != "absent":
                found.append(f"{name}: {check['name']}: {check.get('error', check['state'])}")
    return found


def table(report: dict[str, Any]) -> list[str]:
    """Predicted beside measured, the others, what was absent, what failed."""
    from cuda_model import shown

    stages = report["stages"]
    lines = [
        "| question | predicted | measured | kernels | launching | transfers | launches |",
        "|" + "---|" * 7,
    ]
    for row in stages.get("measured", {}).get("checks", []):
        if row["state"] != "ok":
            continue
        moved = sum(way["seconds"] for way in row["transfers"].values())
        predicted = "-" if row["predicted"] is None else shown(row["predicted"]["seconds"])
        times = (row["measured"], row["kernel_seconds"], row["launch_seconds"], moved)
        lines.append(
            f"| {row['title']} | {predicted} | {' | '.join(map(shown, times))} | {row['launches']} |"
        )
    lines += ["", "| question | who | measured | fastvi |", "|---|---|---|---|"]
    others = [row for row in stages.get("peers", {}).get("checks", []) if row["state"] == "ok"]
    own = {row["title"]: row["measured"] for row in others if row["who"] == "fastvi"}
    for row in others:
        beside = own.get(row["title"])
        ratio = "-" if beside is None else f"{row['measured'] / beside:.3g}x"
        lines.append(f"| {row['title']} | {row['who']} | {shown(row['measured'])} | {ratio} |")
    lines.append("")
    for name, stage in stages.items():
        right = sum(check["state"] == "ok" for check in stage["checks"])
        lines.append(f"{name}: {right} of {len(stage['checks'])} right, {stage['ended']}")
        lines += [
            f"  absent: {check['name']}: {check['error']}"
            for check in stage["checks"]
            if check["state"] == "absent"
        ]
    lines += [f"FAILED {line}" for line in failures(report)]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of all (default: %(default).0f)")
    parser.add_argument("--device", choices=("cuda", "ptx"), default="cuda")
    parser.add_argument("--size", choices=("full", "smoke"), default="full")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--lines", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.stage is not None:
        child(options)
        return 0
    if find_spec("numba_cuda") is None:
        print("gpu.py: numba-cuda is not installed: pip install 'fastvi[cuda]'", file=sys.stderr)
        return 2
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve())]
    command += ["--device", options.device, "--size", options.size]
    report = run_all(options, command, STAGES)
    print("\n".join(table(report)))
    return 1 if failures(report) else 0


if __name__ == "__main__":
    sys.exit(main())
