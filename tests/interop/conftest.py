"""Files that only the environment `peers` can import are left to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Deselected tests would be imported all the same, and with them a program that is not installed."""
    if "not peers" not in config.getoption("markexpr") or collection_path.suffix != ".py":
        return None
    marked = r"^pytestmark = pytest\.mark\.peers$"
    return re.search(marked, collection_path.read_text(encoding="utf-8"), re.MULTILINE) is not None or None
