"""Packages and programs that some tests need.

Without them a test skips; with FASTVI_REQUIRE_PEERS=1 it fails. tox sets the variable in all environments:
what an environment has to install cannot go missing unseen.
"""

from __future__ import annotations

import importlib
import os
import shutil
from typing import Any

import pytest

REQUIRED = os.environ.get("FASTVI_REQUIRE_PEERS") == "1"


def package(name: str) -> Any:
    """The package, imported."""
    return importlib.import_module(name) if REQUIRED else pytest.importorskip(name)


def needs(program: str, found: str | None) -> pytest.MarkDecorator:
    """A mark for tests that run a program, found at a path or not."""
    return pytest.mark.skipif(found is None and not REQUIRED, reason=f"{program} is needed and not installed")


def needs_gcc() -> pytest.MarkDecorator:
    """A mark for tests that run PTX on the CPU."""
    return needs("gcc", shutil.which("gcc"))
