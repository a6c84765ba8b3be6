"""bench/gpu_stages.py: whatever ends a process, what was done is kept and the next checks run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"

_CHILD = """
import argparse, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {bench!r})
from gpu_stages import Absent, Checks

parser = argparse.ArgumentParser()
parser.add_argument("--stage")
parser.add_argument("--lines", type=Path)
parser.add_argument("--first", type=int)
options = parser.parse_args()

def fail(error):
    raise error

checks = Checks(options.lines, options.first)
checks("right", lambda: {{"value": 1.5}})
{body}
checks("last", lambda: None)
"""


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import gpu_stages

    yield gpu_stages
    sys.modules.pop("gpu_stages", None)


@pytest.fixture
def run(stages: Any, tmp_path: Path) -> Any:
    """Runs a stage whose child does ``body`` between a check that is right and a last one."""

    def _run(body: str, each: float = 60.0, seconds: float = 120.0, **more: Any) -> dict[str, Any]:
        child = tmp_path / "child.py"
        child.write_text(_CHILD.format(bench=str(BENCH), body=body), encoding="utf-8")
        stage = stages.Stage("a stage", seconds, each)
        with (tmp_path / "log").open("w") as log:
            found = stages.run_stage(
                stage, [sys.executable, str(child)], tmp_path / "lines", log, seconds, **more
            )
        return dict(found)

    return _run


def _states(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(check["name"], check["state"]) for check in found["checks"]]


def test_errors_and_what_is_absent(run: Any) -> None:
    told: list[int] = []
    body = """
checks("wrong", lambda: fail(ValueError("not\\nthis")))
checks("not there", lambda: fail(Absent("no such library")))
"""
    found = run(body, changed=lambda checks: told.append(len(checks)))
    assert found["ended"] == "done"
    assert _states(found) == [("right", "ok"), ("wrong", "failed"), ("not there", "absent"), ("last", "ok")]
    assert found["checks"][0]["value"] == 1.5
    assert found["checks"][1]["error"] == "ValueError: not this"
    assert found["checks"][1]["where"].startswith("child.py:")
    assert found["checks"][2]["error"] == "no such library"
    assert told[-1] == 4


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process ended with status -11"),
        ("os._exit(3)", "the process ended with status 3"),
    ],
)
def test_a_crash_costs_its_check_alone(run: Any, call: str, why: str) -> None:
    found = run(f'checks("crash", lambda: {call})')
    assert found["ended"] == "done"
    assert _states(found) == [("right", "ok"), ("crash", "failed"), ("last", "ok")]
    assert found["checks"][1]["error"] == why


def test_a_dead_context_is_left_behind(run: Any) -> None:
    body = """
checks("dead", lambda: fail(RuntimeError("[700] cuCtxSynchronize results in CUDA_ERROR_ILLEGAL_ADDRESS")))
assert options.first == 2  # in the process that runs the next check
"""
    found = run(body)
    assert _states(found) == [("right", "ok"), ("dead", "failed"), ("last", "ok")]
    assert "ILLEGAL_ADDRESS" in found["checks"][1]["error"]


class _Clock:
    """Time that passes while the check "hang" runs, a second a look; no test waits for a real one."""

    def __init__(self, lines: Path) -> None:
        self._lines, self._now = lines, 0.0

    def __call__(self) -> float:
        last = self._lines.read_text().rstrip().splitlines()[-1:] if self._lines.exists() else []
        if last and '"hang", "state": "begun"' in last[0]:
            self._now += 1.0
        return self._now


def test_a_check_that_hangs_is_ended(run: Any, tmp_path: Path) -> None:
    found = run('checks("hang", lambda: time.sleep(600))', each=2.0, clock=_Clock(tmp_path / "lines"))
    assert found["ended"] == "done"
    assert _states(found) == [("right", "ok"), ("hang", "failed"), ("last", "ok")]
    assert found["checks"][1]["error"] == "it took more than 2 s"


def test_the_stage_s_time(run: Any, tmp_path: Path) -> None:
    found = run('checks("hang", lambda: time.sleep(600))', seconds=4.0, clock=_Clock(tmp_path / "lines"))
    assert found["ended"] == "out of time: the stage's time was over"
    assert _states(found)[-1] == ("hang", "failed")


def test_a_child_that_begins_nothing(run: Any) -> None:
    found = run("raise SystemExit(5)")
    assert found["ended"] == "the process ended with status 5"
    assert _states(found) == [("right", "ok")]


def test_lines_that_were_cut_off(stages: Any, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    assert stages.read_checks(lines) == []
    whole = {"number": 0, "name": "a", "state": "ok"}
    lines.write_text(f'{json.dumps(whole)}\n{{"number": 1, "na', encoding="utf-8")
    assert stages.read_checks(lines) == [whole]
