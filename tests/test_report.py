"""bench/report.py: from the JSON of a run to the table of the README."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

_PATH = Path(__file__).resolve().parent.parent / "bench" / "report.py"
_SPEC = importlib.util.spec_from_file_location("bench_report", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
report = importlib.util.module_from_spec(_SPEC)
sys.modules["bench_report"] = report
_SPEC.loader.exec_module(report)

README = "# Title\n\ntext | with pipes\n\n<!-- bench:start -->\nold\n<!-- bench:end -->\n\nmore\n"


def _benchmark(median: float, **info: Any) -> dict[str, Any]:
    return {"stats": {"median": median}, "extra_info": info}


@pytest.fixture
def results() -> dict[str, Any]:
    """What pytest-benchmark and bench/conftest.py write, cut to what the report reads."""
    limits = {
        "cpu": "A CPU",
        "cpus": 2,
        "dgemm_flops_1_thread": 18.25e9,
        "dgemm_flops_all_threads": 36.5e9,
        "copy_bytes_per_second": 5.75e9,
        "blas": [{"internal_api": "openblas", "architecture": "Haswell"}] * 2,
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "settings": {"OPENBLAS_CORETYPE": "Haswell"},
    }
    return {
        "machine_info": {"limits": limits, "size": "full", "absent": ["torch"]},
        "benchmarks": [
            _benchmark(0.08, job="exact", who="fastvi", work=1024, limit="arithmetic", limit_seconds=0.06),
            _benchmark(8.0, job="exact", who="JAX", work=1024, measured_at="d = 10"),
            _benchmark(
                0.06, job="other", who="fastvi", work=1, limit="copy", limit_seconds=0.03, note="random"
            ),
            _benchmark(0.5, job="exact", who="Python", work=16, measured_at="d = 4"),
            _benchmark(0.045, job="other", who="SciPy", work=1),
            _benchmark(99.0, job="start", who="fastvi", work=1, seconds=0.0004567),
        ],
    }


def _main(tmp_path: Path, results: dict[str, Any], readme: str, *options: str) -> tuple[int, str]:
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    status = report.main([str(tmp_path / "results.json"), "--readme", str(tmp_path / "README.md"), *options])
    assert sorted(os.listdir(tmp_path)) == ["README.md", "results.json"]  # nothing temporary is left
    return status, (tmp_path / "README.md").read_text(encoding="utf-8")


def test_table(results: dict[str, Any]) -> None:
    assert report.table(report.rows(results)) == [
        "| job | fastvi | share of the limit | peer | its time | ratio |",
        "|---|---|---|---|---|---|",
        "| exact | 80 ms | 75 % (arithmetic) | JAX | 8 s | 100x |",
        # 64 times the work in 0.5 s each
        "| | | | Python | 32 s, scaled from d = 4 | 400x |",
        "| other (random) | 60 ms | 50 % (copy) | SciPy | 45 ms | 0.75x |",
        # seconds takes the place of the median
        "| start | 457 µs | - | - | - | - |",
    ]


def test_a_job_done_in_two_ways_is_two_jobs_with_the_same_peers() -> None:
    found = report.rows(
        {
            "benchmarks": [
                _benchmark(0.5, job="fit", who="fastvi, from the prior", work=4),
                _benchmark(0.25, job="fit", who="fastvi, from four starts", work=4, note="all converged"),
                # who begins like fastvi's, and is a peer
                _benchmark(0.125, job="fit", who="fastvi.log_marginal, exact", work=4),
                _benchmark(1.0, job="fit", who="JAX", work=1, measured_at="d = 2"),
            ]
        }
    )
    assert report.table(found)[2:] == [
        "| fit, from the prior | 500 ms | - | fastvi.log_marginal, exact | 125 ms | 0.25x |",
        "| | | | JAX | 4 s, scaled from d = 2 | 8x |",
        "| fit, from four starts (all converged) | 250 ms | - | fastvi.log_marginal, exact | 125 ms | 0.5x |",
        "| | | | JAX | 4 s, scaled from d = 2 | 16x |",
    ]


def test_machine_lines_hold_every_figure(results: dict[str, Any]) -> None:
    text = "\n".join(report.machine_lines(results["machine_info"]))
    for part in (
        "A CPU, 2 CPUs",
        "18.2 GFLOP/s on 1 thread and 36.5 on all",
        "openblas (Haswell kernels), OPENBLAS_CORETYPE=Haswell",
        "copy 5.8 GB/s",
        "python 3.11.7, numpy 2.4.6",
        "not measured: torch",
    ):
        assert part in text
    assert text.count("openblas") == 1
    results["machine_info"]["absent"] = []
    assert "not measured" not in "\n".join(report.machine_lines(results["machine_info"]))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2055.0, "2,055 s"),
        (100.0, "100 s"),
        (12.34, "12.3 s"),
        (0.99999, "1 s"),
        (0.0561, "56.1 ms"),
        (1e-5, "10 µs"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


def test_readme_keeps_everything_outside_the_markers(tmp_path: Path, results: dict[str, Any]) -> None:
    status, readme = _main(tmp_path, results, README)
    assert status == 0
    assert readme == README.replace("old", report.report(results))
    assert _main(tmp_path, results, readme) == (0, readme)  # twice is once


def test_stdout_leaves_the_readme(
    tmp_path: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    results["machine_info"]["size"] = "smoke"
    assert _main(tmp_path, results, README, "--stdout") == (0, README)
    assert capsys.readouterr().out == report.report(results) + "\n"


def _without_fastvi(results: dict[str, Any]) -> None:
    del results["benchmarks"][0]


def _twice(results: dict[str, Any]) -> None:
    results["benchmarks"].append(results["benchmarks"][-1])


def _smoke(results: dict[str, Any]) -> None:
    results["machine_info"]["size"] = "smoke"


def _without_job(results: dict[str, Any]) -> None:
    del results["benchmarks"][1]["extra_info"]["job"]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (
            _without_fastvi,
            "job 'exact' must have one benchmark of fastvi, or one of each variant, got []",
        ),
        (
            _twice,
            "job 'start' must have one benchmark of fastvi, or one of each variant, got ['fastvi', 'fastvi']",
        ),
        (_smoke, "results must come from --size full to go into README.md, got --size smoke"),
        (_without_job, "results has no field 'job'"),
    ],
)
def test_wrong_results_leave_the_readme(
    tmp_path: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str], spoil: Any, text: str
) -> None:
    spoil(results)
    assert _main(tmp_path, results, README) == (2, README)
    assert capsys.readouterr().err == f"report.py: {text}\n"


@pytest.mark.parametrize(
    ("readme", "text"),
    [
        ("no markers", "must hold the marker <!-- bench:start --> once, got 0"),
        (f"{README}{README}", "must hold the marker <!-- bench:start --> once, got 2"),
        ("<!-- bench:start -->", "must hold the marker <!-- bench:end --> once, got 0"),
        ("<!-- bench:end --><!-- bench:start -->", "must hold the marker <!-- bench:start --> before"),
    ],
)
def test_wrong_markers_leave_the_readme(
    tmp_path: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str], readme: str, text: str
) -> None:
    assert _main(tmp_path, results, readme) == (2, readme)
    assert text in capsys.readouterr().err


def test_missing_results_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path / "nothing.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
