"""How long a fresh process takes to import fastvi and to give a first result."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coldstart
import pytest
from problems import Size


def _measure(record: Any, size: Size, job: str, call: Callable[[], float], most: float) -> None:
    """Benchmark whole processes; what counts is the median of what they say of themselves."""
    record.describe(job, "fastvi", 1)
    seconds: list[float] = []
    record.benchmark.pedantic(lambda: seconds.append(call()), rounds=size.processes)
    record.info.update(seconds=statistics.median(seconds), note=f"median of {len(seconds)} processes")
    if size.name == "full":  # a smoke run says nothing about time
        assert record.info["seconds"] <= most


@pytest.fixture(scope="module")
def caches() -> list[str]:
    """Folders with compiled code, so that a test can go on with what the one before it compiled."""
    return []


def test_import(record: Any, size: Size) -> None:
    coldstart.import_seconds()  # the first one writes the .pyc files
    _measure(record, size, "import fastvi", coldstart.import_seconds, most=0.5)


def test_first_call_ever(
    record: Any, size: Size, caches: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def call() -> float:
        caches.append(str(tmp_path_factory.mktemp("cache")))
        return coldstart.first_call_seconds(caches[-1])

    _measure(record, size, "first call ever (compiles)", call, most=10.0)


def test_first_call_of_a_later_process(record: Any, size: Size, caches: list[str], tmp_path: Path) -> None:
    if not caches:  # this test runs alone
        caches.append(str(tmp_path))
        coldstart.first_call_seconds(caches[-1])
    job = "first call of a later process"
    _measure(record, size, job, lambda: coldstart.first_call_seconds(caches[-1]), most=1.5)
