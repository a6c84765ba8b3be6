"""``pytest bench/ --size smoke|full``: sizes, peers and the limits of the machine, for every benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import peers
import pytest
from problems import SIZES, Size

_LIMITS = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--size",
        choices=sorted(SIZES),
        default="full",
        help="full: the sizes of the README's table, minutes; smoke: all cases at tiny sizes, seconds",
    )


def pytest_configure(config: pytest.Config) -> None:
    if peers.required() and peers.missing():
        raise pytest.UsageError(
            f"FASTVI_BENCH_REQUIRE_PEERS=1, but {' and '.join(peers.missing())} cannot be imported: "
            "install the extra `bench`"
        )


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = [f"bench: --size {config.getoption('--size')}"]
    lines += [f"bench: {name} is not installed, its cases are absent" for name in peers.missing()]
    return lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # the exact sums first, right after the limits are measured; whole processes last
    order = ["test_exact.py", "test_estimators.py", "test_coldstart.py"]
    items.sort(key=lambda item: order.index(item.path.name) if item.path.name in order else -1)


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    return SIZES[pytestconfig.getoption("--size")]


@pytest.fixture(scope="session", autouse=True)
def limits(pytestconfig: pytest.Config, size: Size) -> dict[str, Any]:
    """dgemm rate and copy bandwidth, measured before the first benchmark."""
    measured = machine.measure(size.dgemm, size.copy_bytes)
    pytestconfig.stash[_LIMITS] = measured
    return measured


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["limits"] = config.stash.get(_LIMITS, None)
    machine_info["size"] = config.getoption("--size")
    machine_info["absent"] = peers.missing()


class Record:
    """What report.py reads from a benchmark's extra_info. See there for the fields."""

    def __init__(self, benchmark: Any, limits: dict[str, Any]) -> None:
        self.benchmark = benchmark
        self.limits = limits
        self.info: dict[str, Any] = benchmark.extra_info

    def describe(self, job: str, who: str, work: float, **more: Any) -> None:
        """job groups the rows, who is fastvi or the peer's label, rows of other work are scaled by work."""
        self.benchmark.group = job
        self.info.update(job=job, who=who, work=work, **more)

    def arithmetic_limit(self, operations: int) -> None:
        """Fused multiply-adds and multiplies, one instruction each, at the rate of dgemm on all threads."""
        self.info["limit"] = "arithmetic"
        self.info["limit_seconds"] = operations / (self.limits["dgemm_flops_all_threads"] / 2.0)

    def copy_limit(self, num_bytes: int) -> None:
        self.info["limit"] = "copy"
        self.info["limit_seconds"] = num_bytes / self.limits["copy_bytes_per_second"]

    def run(self, call: Callable[[], Any], rounds: int, warmup: Callable[[], Any] | None = None) -> Any:
        """Time rounds calls after one that does not count, and return the last result."""
        (warmup or call)()
        return self.benchmark.pedantic(call, rounds=rounds, iterations=1)

    def check(self, values: np.ndarray, expected: np.ndarray, tolerance: float | np.ndarray = 1e-9) -> None:
        """Every value within the relative tolerance of the oracle; the largest error is kept."""
        assert values.shape == expected.shape
        errors = np.abs(values - expected) / np.abs(expected)
        self.info["max_relative_error"] = float(np.max(errors))
        assert np.all(errors <= tolerance)


@pytest.fixture
def record(benchmark: Any, limits: dict[str, Any]) -> Record:
    return Record(benchmark, limits)
