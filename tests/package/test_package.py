"""What `import fastvi` costs, what it offers, and where compiled code is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastvi

# few kernels are compiled for it
FIRST_CALL = """
import logging, numpy, fastvi
logging.basicConfig(level=logging.INFO)
print(fastvi.log_mean_exp(numpy.zeros(5)))
"""


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stderr
    return result


def test_import_brings_in_neither_numba_nor_scipy():
    heavy = "[name for name in ('numba', 'scipy', 'matplotlib', 'llvmlite') if name in sys.modules]"
    assert run(f"import sys, fastvi; print({heavy})").stdout.strip() == "[]"


def test_the_version_has_one_source():
    """Neither that of a release that was made, nor written down twice."""
    import tomllib

    with open(Path(__file__).parents[2] / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "fastvi/__init__.py"
    assert fastvi.__version__ != "0.1.0"


def test_every_public_name_can_be_had():
    for name in fastvi.__all__:
        assert getattr(fastvi, name) is not None
        assert name in dir(fastvi)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fastvi.nothing  # noqa: B018


@pytest.mark.needs_jit
def test_a_cache_directory_that_cannot_be_written_is_no_error(tmp_path):
    """A path below a file can never be a directory, whoever asks: root may write to read-only ones."""
    (tmp_path / "file").write_text("")
    nowhere = str(tmp_path / "file" / "cache")
    code = f"""
import numba.core.caching as caching
def refuse(self): raise OSError("read-only")
for locator in list(vars(caching).values()):
    if isinstance(locator, type) and hasattr(locator, "ensure_cache_path"):
        locator.ensure_cache_path = refuse
{FIRST_CALL}"""
    result = run(code, NUMBA_CACHE_DIR=nowhere)
    assert float(result.stdout) == 0.0
    assert "is not kept on disk" in result.stderr


@pytest.mark.needs_jit
def test_compiled_code_is_kept(tmp_path):
    run(FIRST_CALL, NUMBA_CACHE_DIR=str(tmp_path))
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert any("weight_sums" in name for name in kept)
    run(FIRST_CALL, NUMBA_CACHE_DIR=str(tmp_path))
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept
