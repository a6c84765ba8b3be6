"""bench/report.py: from the JSON of a run to the tables of the documents."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

_PATH = Path(__file__).resolve().parents[2] / "bench" / "report.py"
_SPEC = importlib.util.spec_from_file_location("bench_report", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
report = importlib.util.module_from_spec(_SPEC)
sys.modules["bench_report"] = report
_SPEC.loader.exec_module(report)
JOBS = report.README_JOBS

PAGE = "# Title\n\ntext | with pipes\n\n<!-- bench:start -->\nold\n<!-- bench:end -->\n\nmore\n"


def _benchmark(median: float, **info: Any) -> dict[str, Any]:
    return {"stats": {"median": median}, "extra_info": info}


@pytest.fixture
def results() -> dict[str, Any]:
    """What pytest-benchmark and bench/conftest.py write, cut to what the report reads."""
    limits = {
        "cpu": "A CPU",
        "cpus": 2,
        "cores": 1,
        "target": "znver9",
        "load": 0.25,
        "system": "Linux-6",
        "multiplications": {
            "float64": {
                "per_second_1_thread": 10.25e9,
                "per_second_all_threads": 20e9,
                "separate_adders": True,
            },
            "float32": {
                "per_second_1_thread": 21e9,
                "per_second_all_threads": 40e9,
                "separate_adders": True,
            },
        },
        "dgemm_flops_1_thread": 18.25e9,
        "dgemm_flops_all_threads": 36.5e9,
        "read_bytes_per_second": 5.75e9,
        "blas": [{"internal_api": "openblas", "architecture": "Haswell"}] * 2,
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "settings": {"OPENBLAS_CORETYPE": "Haswell"},
    }
    return {
        "machine_info": {"limits": limits, "size": "full", "absent": ["torch"]},
        "benchmarks": [
            # 1.2e9 multiplications at 20e9 a second: 0.06 s
            _benchmark(
                0.08, job="exact", who="fastvi", work=1024, terms=1e9, multiply_adds=0.2e9, dtype="float64"
            ),
            _benchmark(8.0, job="exact", who="JAX", work=1024, measured_at="d = 10"),
            _benchmark(0.06, job="other", who="fastvi", work=1, bytes_read=0.1725e9, note="random"),
            _benchmark(0.5, job="exact", who="Python", work=16, measured_at="d = 4"),
            _benchmark(0.045, job="other", who="SciPy", work=1),
            _benchmark(99.0, job="start", who="fastvi", work=1, seconds=0.0004567),
        ],
    }


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of these tests' README."""
    monkeypatch.setattr(report, "README_JOBS", ("exact", "other (random)"))


def _main(
    tmp_path: Path, results: dict[str, Any], page: str, *options: str, readme: str | None = None
) -> tuple[int, str, str]:
    """Exit status, speed.md and README.md; what the README was is what the page was unless given."""
    texts = {"speed.md": page, "README.md": page if readme is None else readme}
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    places = ["--page", str(tmp_path / "speed.md"), "--readme", str(tmp_path / "README.md")]
    status = report.main([str(tmp_path / "results.json"), *places, *options])
    assert sorted(os.listdir(tmp_path)) == [
        "README.md",
        "results.json",
        "speed.md",
    ]  # nothing temporary is left
    return status, *((tmp_path / name).read_text(encoding="utf-8") for name in texts)


def _table(results: dict[str, Any]) -> list[str]:
    found = report.rows(results)
    return list(report.table(found, report.Limits(results["machine_info"]["limits"], found)))


def test_table(results: dict[str, Any]) -> None:
    assert _table(results) == [
        "| job | fastvi | share of the limit | peer | its time | ratio |",
        "|---|---|---|---|---|---|",
        "| exact | 80 ms | 75 % (arithmetic) | JAX | 8 s | 100x |",
        # 64 times the work in 0.5 s each
        "| | | | Python | 32 s, scaled from d = 4 | 400x |",
        "| other (random) | 60 ms | 50 % (memory) | SciPy | 45 ms | 0.75x |",
        # seconds takes the place of the median
        "| start | 457 µs | - | - | - | - |",
    ]


def test_a_job_done_in_two_ways_is_two_jobs_with_the_same_peers(results: dict[str, Any]) -> None:
    results["benchmarks"] = [
        _benchmark(0.5, job="fit", who="fastvi, from the prior", work=4),
        _benchmark(0.25, job="fit", who="fastvi, from four starts", work=4, note="all converged"),
        # who begins like fastvi's, and is a peer
        _benchmark(0.125, job="fit", who="fastvi.log_marginal, exact", work=4),
        _benchmark(1.0, job="fit", who="JAX", work=1, measured_at="d = 2"),
    ]
    assert _table(results)[2:] == [
        "| fit, from the prior | 500 ms | - | fastvi.log_marginal, exact | 125 ms | 0.25x |",
        "| | | | JAX | 4 s, scaled from d = 2 | 8x |",
        "| fit, from four starts (all converged) | 250 ms | - | fastvi.log_marginal, exact | 125 ms | 0.5x |",
        "| | | | JAX | 4 s, scaled from d = 2 | 16x |",
    ]


def _job(seconds: float, dtype: str = "float64") -> dict[str, Any]:
    """A thousand million terms."""
    return _benchmark(seconds, job="sum", who="fastvi", work=1, terms=1e9, multiply_adds=0, dtype=dtype)


def _shares(results: dict[str, Any]) -> list[str]:
    return [line.split(" | ")[2] for line in _table(results)[2:]]


def test_additions_count_where_they_take_the_multipliers(results: dict[str, Any]) -> None:
    results["benchmarks"] = [_job(0.2)]
    assert _shares(results) == ["25 % (arithmetic)"]  # 0.05 s at 20e9
    assert "its addition has units of its own" in report.report(results)
    results["machine_info"]["limits"]["multiplications"]["float64"]["separate_adders"] = False
    assert _shares(results) == ["50 % (arithmetic)"]
    assert "and one addition, which takes as long here" in report.report(results)


def test_the_dtype_s_own_limit(results: dict[str, Any]) -> None:
    results["benchmarks"] = [_job(0.2, "float32")]
    assert _shares(results) == ["12 % (arithmetic)"]  # 0.025 s at 40e9


def test_a_faster_matrix_product_is_the_limit(results: dict[str, Any]) -> None:
    results["machine_info"]["limits"]["dgemm_flops_all_threads"] = 80e9
    results["benchmarks"] = [_job(0.2)]
    assert _shares(results) == ["12 % (arithmetic)"]
    assert "float64 by the matrix product" in report.report(results)


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("seconds", [1e-6, 0.01, 0.05, 7.0])
def test_no_share_passes_the_limit(results: dict[str, Any], seconds: float, separate: bool) -> None:
    results["machine_info"]["limits"]["multiplications"]["float64"]["separate_adders"] = separate
    read = _benchmark(seconds, job="read", who="fastvi", work=1, bytes_read=1e9)
    slow = _job(10.0)
    slow["extra_info"]["job"] = "slow"
    results["benchmarks"] = [slow, _job(seconds), read]
    shares = [int(share.split()[0]) for share in _shares(results)]
    assert max(shares) <= 100
    if seconds < 0.04:  # faster than anything that was measured: it is the limit itself, and named
        assert shares[1:] == [100, 100]
        assert "float64 by sum, float32 by a loop of registers" in report.report(results)


def test_machine_lines_hold_every_figure(results: dict[str, Any]) -> None:
    text = report.report(results)
    for part in (
        "A CPU (znver9), 2 CPUs of 1 cores, Linux-6, load 0.2 before the run",
        "float64 10.2 * 10^9 multiplications a second on 1 thread and 20.0 on all, additions beside them",
        "float32 21.0 * 10^9 multiplications a second on 1 thread and 40.0 on all",
        "18.2 GFLOP/s on 1 thread and 36.5 on all",
        "openblas (Haswell kernels), OPENBLAS_CORETYPE=Haswell",
        "reading 5.8 GB/s on all threads",
        "python 3.11.7, numpy 2.4.6",
        "not measured: torch",
    ):
        assert part in text
    assert text.count("openblas") == 1
    results["machine_info"]["absent"] = []
    assert "not measured" not in report.report(results)


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


def test_documents_keep_everything_outside_the_markers(tmp_path: Path, results: dict[str, Any]) -> None:
    block = report.report(results)
    status, page, readme = _main(tmp_path, results, PAGE)
    assert status == 0
    assert page == PAGE.replace("old", block)
    assert readme == PAGE.replace("old", report.excerpt(block))
    assert _main(tmp_path, results, page, readme=readme) == (0, page, readme)  # twice is once


def test_the_readme_has_rows_of_the_table_with_the_fastest_peer(
    results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    results["benchmarks"].append(_benchmark(7.0, job="exact", who="PyTorch", work=1024))
    results["benchmarks"].append(_benchmark(0.01, job="exact", who="fastvi.log_marginal, exact", work=1024))
    assert report.excerpt(report.report(results)).splitlines() == [
        "| job | fastvi | share of the limit | peer | its time | ratio |",
        "|---|---|---|---|---|---|",
        "| exact | 80 ms | 75 % (arithmetic) | PyTorch | 7 s | 88x |",
        "| other (random) | 60 ms | 50 % (memory) | SciPy | 45 ms | 0.75x |",
    ]
    monkeypatch.setattr(report, "README_JOBS", ("start",))
    with pytest.raises(ValueError, match="results must hold the job 'start' and a peer of it"):
        report.excerpt(report.report(results))


def test_the_readme_s_rows_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    root = _PATH.parents[1]
    monkeypatch.setattr(report, "README_JOBS", JOBS)
    page, readme = (
        (root / name).read_text(encoding="utf-8").partition(report.START)[2].partition(report.END)[0]
        for name in ("fastvi/docs/speed.md", "README.md")
    )
    assert readme.strip() == report.excerpt(page)


def test_stdout_leaves_the_documents(
    tmp_path: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    results["machine_info"]["size"] = "smoke"
    assert _main(tmp_path, results, PAGE, "--stdout") == (0, PAGE, PAGE)
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
        (_smoke, "results must come from --size full to go into the documents, got --size smoke"),
        (_without_job, "results has no field 'job'"),
    ],
)
def test_wrong_results_leave_the_documents(
    tmp_path: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str], spoil: Any, text: str
) -> None:
    spoil(results)
    assert _main(tmp_path, results, PAGE) == (2, PAGE, PAGE)
    assert capsys.readouterr().err == f"report.py: {text}\n"


@pytest.mark.parametrize("name", ["speed.md", "README.md"])
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("no markers", "must hold the marker <!-- bench:start --> once, got 0"),
        (f"{PAGE}{PAGE}", "must hold the marker <!-- bench:start --> once, got 2"),
        ("<!-- bench:start -->", "must hold the marker <!-- bench:end --> once, got 0"),
        ("<!-- bench:end --><!-- bench:start -->", "must hold the marker <!-- bench:start --> before"),
    ],
)
def test_wrong_markers_leave_both_documents(
    tmp_path: Path,
    results: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    name: str,
    wrong: str,
    text: str,
) -> None:
    page, readme = (wrong, PAGE) if name == "speed.md" else (PAGE, wrong)
    assert _main(tmp_path, results, page, readme=readme) == (2, page, readme)
    assert f"{name} {text}" in capsys.readouterr().err


def test_missing_results_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path / "nothing.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
