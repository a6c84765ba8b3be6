"""Settings that all tests share."""

from __future__ import annotations

import itertools
import os
from types import SimpleNamespace

import hypothesis
import pytest

# no deadline: the first example of a test compiles kernels
_EXAMPLES = int(os.environ.get("FASTVI_TEST_EXAMPLES", "50"))
hypothesis.settings.register_profile("fastvi", deadline=None, max_examples=_EXAMPLES)
hypothesis.settings.load_profile("fastvi")


@pytest.fixture
def each_report(monkeypatch):
    """Progress is told of every time, not ten times a second."""
    from fastvi.engine.run import progress

    clock = itertools.count()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))


@pytest.fixture
def set_threads(monkeypatch):
    """Set the number of threads, and have the smallest task worth one."""
    from fastvi.engine.run import threads

    monkeypatch.setattr(threads, "_WORTH_A_THREAD", 1e-3)
    return lambda count: monkeypatch.setenv("FASTVI_NUM_THREADS", str(count))
