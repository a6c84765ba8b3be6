"""What is installed is what the checkout holds: no module and no file of data is left out of a wheel."""

from __future__ import annotations

from pathlib import Path

import fastvi

SOURCES = Path(__file__).parents[2] / "fastvi"


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.relative_to(folder).parts[0] != "docs"
    }


def test_every_file_is_there():
    installed, sources = files(Path(fastvi.__file__).parent), files(SOURCES)
    assert len(sources) > 200
    assert {name for name in installed.keys() | sources if installed.get(name) != sources.get(name)} == set()
