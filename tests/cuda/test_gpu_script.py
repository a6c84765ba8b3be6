"""bench/gpu.py: all of it runs here, compiled code in place of a GPU; a failure is said and survived."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from optional import needs_gcc

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(BENCH)
    import gpu

    yield gpu
    for name in ("gpu", "gpu_stages", "cuda_model"):
        sys.modules.pop(name, None)


@needs_gcc()
def test_the_whole_script(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-W", "ignore", str(BENCH / "gpu.py"), "--device", "ptx", "--size", "smoke"]
    # ten times the time of a GPU's machine: nothing here is a matter of how busy this one is
    result = subprocess.run(
        [*command, "--out", str(out), "--seconds", "4800"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    log = Path(f"{out}.log").read_text(encoding="utf-8")
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{log[-3000:]}"
    report = json.loads(out.read_text(encoding="utf-8"))
    assert list(report["stages"]) == ["machine", "checks", "measured", "peers", "pytest"]
    for name, stage in report["stages"].items():
        assert stage["ended"] == "done"
        assert {check["state"] for check in stage["checks"]} <= {"ok", "absent"}
        assert stage["checks"][0]["state"] == "ok", name
    for row in report["stages"]["measured"]["checks"]:
        if row["state"] == "absent":
            assert row["error"] == "CuPy is not installed"
            continue
        assert row["predicted"]["seconds"] > 0.0
        assert row["launches"] == sum(kernel["launches"] for kernel in row["kernels"].values()) > 0
        assert row["transfers"]["to"]["bytes"] > 0
        assert row["transfers"]["from"]["bytes"] > 0
    # who is not here is named, not failed; the table is what comes last
    assert "absent: network, cupy: " in result.stdout
    assert "| log p(x), d=8, D=16, N=20, float64 |" in result.stdout
    assert "FAILED" not in result.stdout


_CHILD = """
import argparse, os, sys
from pathlib import Path
sys.path.insert(0, {bench!r})
from gpu_stages import Checks
parser = argparse.ArgumentParser()
for name in ("--stage", "--lines", "--first"):
    parser.add_argument(name)
options = parser.parse_args()
checks = Checks(Path(options.lines), int(options.first))
if options.stage == "begun by nothing":
    raise SystemExit(9)
checks("crash", lambda: os._exit(7))
checks("after it", lambda: {{"value": 2}})
"""


def test_failures_are_written_down_and_the_rest_runs(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.os, "environ", dict(gpu.os.environ))  # which the stages' processes are given
    child = tmp_path / "child.py"
    child.write_text(_CHILD.format(bench=str(BENCH)), encoding="utf-8")
    options = argparse.Namespace(out=tmp_path / "out.json", seconds=480.0, device="ptx", size="smoke")
    stages = [
        gpu.Stage("begun by nothing", 100.0, 60.0),
        gpu.Stage("second", 100.0, 60.0),
        gpu.Stage("too late", -200.0, 60.0),
    ]
    report = gpu.run_all(options, [sys.executable, str(child)], stages)
    assert json.loads(options.out.read_text(encoding="utf-8")) == report
    assert [check["state"] for check in report["stages"]["second"]["checks"]] == ["failed", "ok"]
    assert gpu.failures(report) == [
        "begun by nothing: the process ended with status 9",
        "second: crash: the process ended with status 7",
        "too late: not begun: no time was left",
    ]
    assert "FAILED second: crash: the process ended with status 7" in gpu.table(report)


def test_shares_fill_the_time(gpu):
    assert sum(stage.share for stage in gpu.STAGES) <= gpu.SECONDS


@pytest.mark.parametrize("packaged", [True, False])
def test_a_toolkit_that_numba_cuda_does_not_find_is_named(gpu, tmp_path, monkeypatch, packaged):
    # NVRTC in a package and NVVM in the machine's toolkit alone: numba-cuda then wants CUDA_HOME
    (tmp_path / "bin").mkdir()
    (tmp_path / "nvvm").mkdir()
    compiler = tmp_path / "bin" / "nvcc"
    compiler.touch(mode=0o755)
    monkeypatch.setattr(gpu.shutil, "which", lambda name: str(compiler))
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)

    def distribution(name):
        if not packaged:
            raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    assert gpu.environment().get("CUDA_HOME") == (None if packaged else str(tmp_path))
    monkeypatch.setenv("CUDA_PATH", "/elsewhere")
    assert "CUDA_HOME" not in gpu.environment()
