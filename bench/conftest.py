"""``pytest bench/ --size smoke|full``: sizes, peers and the limits of the machine, for every benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import machine
import memory
import numpy as np
import peers
import pytest
from problems import SIZES, Shape, Size

_LIMITS = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--size",
        choices=sorted(SIZES),
        default="full",
        help="full: the sizes of fastvi/docs/speed.md, minutes; smoke: all cases at tiny sizes, seconds",
    )


def pytest_configure(config: pytest.Config) -> None:
    if peers.required() and peers.missing():
        raise pytest.UsageError(
            f"FASTVI_REQUIRE_PEERS=1, but {' and '.join(peers.missing())} cannot be imported: "
            "install the extra `bench`"
        )


def pytest_report_header(config: pytest.Config) -> list[str]:
    lines = [f"bench: --size {config.getoption('--size')}"]
    lines += [f"bench: {name} is not installed, its cases are absent" for name in peers.missing()]
    return lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # the exact sums first, right after the limits are measured; whole processes last
    names = (
        "exact",
        "pairwise",
        "elimination",
        "posteriors",
        "fit_posterior",
        "learning",
        "interop_torch",
        "sampled_bound",
        "upper_bound",
        "beyond",
        "decoder",
        "programs",
        "estimators",
        "log_weights",
        "annealing",
        "interop_torch",
        "interop_jax",
        "interop_arviz",
        "small_calls",
        "plan",
        "memory",
    )
    order = [f"test_{name}.py" for name in (*names, "coldstart")]
    items.sort(key=lambda item: order.index(item.path.name) if item.path.name in order else -1)


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> Size:
    return SIZES[pytestconfig.getoption("--size")]


@pytest.fixture(scope="session", autouse=True)
def limits(pytestconfig: pytest.Config, size: Size) -> dict[str, Any]:
    """Rates of multiplications and of reading, measured before the first benchmark."""
    measured = machine.measure(size.dgemm, size.read_bytes, size.loop)
    pytestconfig.stash[_LIMITS] = measured
    return measured


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["limits"] = config.stash.get(_LIMITS, None)
    machine_info["size"] = config.getoption("--size")
    machine_info["absent"] = peers.missing()


class Record:
    """What report.py reads from a benchmark's extra_info. See there for the fields."""

    def __init__(self, benchmark: Any) -> None:
        self.benchmark = benchmark
        self.info: dict[str, Any] = benchmark.extra_info

    def describe(self, job: str, who: str, work: float, **more: Any) -> None:
        """job groups the rows, who is fastvi or the peer's label, rows of other work are scaled by work."""
        self.benchmark.group = job
        self.info.update(job=job, who=who, work=work, **more)

    def arithmetic_limit(self, terms: int = 0, multiply_adds: int = 0, dtype: str = "float64") -> None:
        """The least that the job takes: a multiplication and an addition a term, and multiply-adds."""
        self.info.update(terms=terms, multiply_adds=multiply_adds, dtype=dtype)

    def memory_limit(self, num_bytes: int) -> None:
        """The least that the job takes: to read so many bytes."""
        self.info["bytes_read"] = num_bytes

    def run(self, call: Callable[[], Any], rounds: int, warmup: Callable[[], Any] | None = None) -> Any:
        """Time rounds calls after one that does not count, and return the last result."""
        (warmup or call)()
        return self.benchmark.pedantic(call, rounds=rounds, iterations=1)

    def run_alone(self, question: str, shape: Shape, most: int) -> dict[str, np.ndarray]:
        """Ask a question of memory.py in a process of its own, and return its results.

        The seconds of the row are those of the call, from within. At most ``most`` bytes above the import.
        """
        answer = self.benchmark.pedantic(lambda: memory.measure_in_subprocess(question, shape), rounds=1)
        above = answer["peak_bytes"] - answer["bytes_after_import"]
        self.info.update(
            seconds=answer["seconds"],
            peak_bytes_above_import=above,
            note=f"in its own process, peak memory {above / 2**20:.0f} MiB above the import",
        )
        assert above <= most
        return answer["results"]

    def check(
        self,
        values: np.ndarray,
        expected: np.ndarray,
        tolerance: float | np.ndarray = 1e-9,
        scale: float | np.ndarray | None = None,
    ) -> None:
        """Every value within the tolerance of the oracle, relative to the scale or else to the value.

        The largest error of all checks is kept.
        """
        assert values.shape == expected.shape
        errors = np.abs(values - expected) / (np.abs(expected) if scale is None else scale)
        self.info["max_relative_error"] = max(float(np.max(errors)), self.info.get("max_relative_error", 0.0))
        assert np.all(errors <= tolerance)

    def check_all(
        self, values: Iterable[np.ndarray], expected: Iterable[np.ndarray], tolerance: float = 1e-9
    ) -> None:
        """Arrays, each relative to its largest entry."""
        for ours, right in zip(values, expected, strict=True):
            self.check(ours, right, tolerance, scale=float(np.max(np.abs(right))))


@pytest.fixture
def record(benchmark: Any) -> Record:
    return Record(benchmark)
