"""Imports of the engine run one way: below it core and kernels alone, and no circle between its rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import fastvi

ENGINE = Path(fastvi.__file__).parent / "engine"
# each room imports from those before it
ROOMS = [
    "run", "linalg", "states", "posterior", "decoder", "importance", "annealing", "expectation",
    "quadrature", "mean_field", "memory", "cuda", "sampling",
]  # fmt: skip


def imported(file):
    """Modules of fastvi that a file imports, in functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastvi."):
            yield node.module.split(".")[1:]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1:] for alias in node.names if alias.name.startswith("fastvi."))


def test_every_room_has_its_place():
    assert sorted(ROOMS) == sorted(path.parent.name for path in ENGINE.glob("*/__init__.py"))


def test_rooms_import_from_rooms_before_them():
    for file in ENGINE.glob("*/*.py"):
        room = ROOMS.index(file.parent.name)
        for module in imported(file):
            allowed = ["core", "kernels"] if module[0] != "engine" else ROOMS[: room + 1]
            assert (module[1] if module[0] == "engine" else module[0]) in allowed, (file, module)


def test_files_of_a_room_do_not_import_each_other_in_a_circle():
    imports = {}
    for file in ENGINE.glob("*/*.py"):
        own = [m for m in imported(file) if m[0] == "engine" and len(m) > 2]
        imports[file.parent.name, file.stem] = {(m[1], m[2]) for m in own}
    while imports:
        free = [name for name, needed in imports.items() if not needed & imports.keys() - {name}]
        assert free, f"a circle within {sorted(imports)}"
        for name in free:
            del imports[name]
