"""How tests are laid out: what several of them use lies in files that are no tests."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def imported(source):
    """Names of the modules that a source imports, the parts of each apart."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (part for name in node.names for part in name.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
            yield from (name.name for name in node.names)


def test_no_test_module_is_imported():
    modules = {path.stem for path in TESTS.rglob("test_*.py")}
    found = {
        f"{path.relative_to(TESTS)} imports {name}"
        for path in TESTS.rglob("*.py")
        for name in imported(path.read_text(encoding="utf-8"))
        if name in modules
    }
    assert len(modules) > 50
    assert found == set()
