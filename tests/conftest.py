"""Settings and fixtures that all tests share."""

from __future__ import annotations

import itertools
import os
from types import SimpleNamespace

import hypothesis
import pytest

# no deadline: the first example of a test compiles kernels
hypothesis.settings.register_profile("developer", deadline=None, max_examples=50)
_EXAMPLES = os.environ.get("FASTVI_TEST_EXAMPLES")
hypothesis.settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=int(_EXAMPLES or 25)
)
hypothesis.settings.load_profile("ci" if _EXAMPLES or os.environ.get("CI") == "true" else "developer")


@pytest.fixture
def each_report(monkeypatch):
    """Progress is told of every time, not ten times a second."""
    from fastvi.engine.run import progress

    clock = itertools.count()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))


def _set_threads(patch, count):
    from fastvi.engine.run import threads

    patch.setattr(threads, "_WORTH_A_THREAD", 1e-3)
    patch.setenv("FASTVI_NUM_THREADS", str(count))


@pytest.fixture
def set_threads(monkeypatch):
    """Set the number of threads, and have the smallest task worth one."""
    return lambda count: _set_threads(monkeypatch, count)


@pytest.fixture(scope="session")  # so that tests of many examples may take it
def same_bits():
    """``same_bits(ask)`` asks on several numbers of threads, compares, and returns the last answer."""
    from cases import bits

    def compare(ask, threads=(1, 2, 5)):
        found = []
        for count in threads:
            with pytest.MonkeyPatch.context() as patch:
                _set_threads(patch, count)
                answer = ask()
            found.append(bits(answer))
        assert len(set(found)) == 1
        return answer

    return compare


@pytest.fixture
def many_bits():
    """Numbers of mpmath with the digits that exact answers about small noise take."""
    import mpmath
    import naive_small_noise

    with mpmath.workprec(naive_small_noise.BITS):
        yield
