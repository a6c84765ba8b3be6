"""Fixtures of tests of runs."""

from __future__ import annotations

import pytest
from toy_run import Stopping, reduce

from fastvi.engine.run import checkpoints


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture
def save_always(monkeypatch):
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)


@pytest.fixture
def half(path):
    """A file with 6 of 20 tasks, and its bytes."""
    with pytest.raises(ZeroDivisionError):
        reduce(path, work=Stopping(6))
    return path.read_bytes()
