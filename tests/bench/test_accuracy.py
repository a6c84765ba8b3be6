"""bench/accuracy.py: fastvi against 50 digits at small sizes, and the table that the page shows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_USUAL = 2.0**-40  # where no bound is stated: 4,096 roundings of a number around 1


@pytest.fixture(scope="module")
def accuracy():
    bench = str(_ROOT / "bench")
    spec = importlib.util.spec_from_file_location("bench_accuracy", f"{bench}/accuracy.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, bench)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(bench)
    return module


@pytest.fixture(scope="module")
def cases(accuracy):
    return list(accuracy.cases(d=3, num_pixels=5))


def allowed(case):
    largest = max(abs(float(value)) for value in case.wanted["log"])
    return _USUAL * max(1.0, largest) if case.stated is None else case.stated


def test_errors_are_within_what_is_stated(accuracy, cases):
    for case in cases:
        row = accuracy.row_of(case)
        assert row.nats <= allowed(case), row
        for value in (row.mean, row.elbo, row.kl, row.slopes):
            assert value is None or value <= _USUAL, row


def test_an_error_is_found(accuracy, cases):
    for case in cases:
        wrong = case._replace(found={**case.found, "log": case.found["log"] + 2 * allowed(case)})
        assert accuracy.row_of(wrong).nats > allowed(case), (case.model, case.inputs)


def test_the_page_shows_these_cases(cases):
    page = (_ROOT / "fastvi" / "docs" / "accuracy.md").read_text(encoding="utf-8")
    block = page.partition("<!-- bench:start -->")[2].partition("<!-- bench:end -->")[0]
    first, second = (
        [line.strip("| ").split(" | ")[:2] for line in table.splitlines()[2:]]
        for table in block.strip().split("\n\n")[1:]
    )
    assert first == [[case.model, case.inputs] for case in cases]
    assert second == [[case.model, case.inputs] for case in cases if "mean" in case.found]
