"""What of a test's parameters interpreted loops run, too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def few_without_jit(values: Iterable[Any], few: Iterable[Any]) -> list[Any]:
    """All ``values`` of a parameter; those that are not among the ``few`` take long in interpreted loops."""
    few = list(few)
    return [
        value if value in few else pytest.param(value, marks=pytest.mark.slow_without_jit) for value in values
    ]
