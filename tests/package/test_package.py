"""What `import fastvi` costs and offers, what pyproject.toml says of it, and where compiled code is kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastvi

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]

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
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "fastvi/__init__.py"
    assert fastvi.__version__ != "0.1.0"


def test_licences_are_those_of_the_code_and_of_the_digits():
    """As SPDX says them. PEP 639 takes no classifier of a licence beside them."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in PROJECT["license-files"]]
    code, digits = PROJECT["license"].split(" AND ")
    assert (code, digits) == ("MIT", "CC-BY-4.0")
    assert texts[0].startswith("MIT License")
    assert "CC BY 4.0" in texts[1]
    assert not [line for line in PROJECT["classifiers"] if line.startswith("License ::")]


def test_versions_of_python():
    """One after the other, from the least that is asked for, and the one that these tests run on."""
    versions = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    minors = [int(version.removeprefix("3.")) for version in versions]
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert sys.version_info[1] in minors


def test_an_extra_is_for_users_and_a_group_for_developers():
    groups = PYPROJECT["dependency-groups"]
    assert {"test", "lint", "docs", "package"} <= groups.keys()
    assert groups.keys() & PROJECT["optional-dependencies"].keys() == set()
    # what it is called on an index is not yet known: no tool of developers may ask an index for it
    lines = [line for group in groups.values() for line in group if isinstance(line, str)]
    assert [line for line in lines if line.startswith(PROJECT["name"])] == []


@pytest.mark.parametrize("group", ["lint", "package"])
def test_tools_that_decide_by_their_version_are_pinned(group):
    lines = PYPROJECT["dependency-groups"][group]
    assert [line for line in lines if not re.fullmatch(r"[\w-]+==[\d.]+", line)] == []


def test_the_page_of_citations_cites_this_version():
    page = (ROOT / "fastvi" / "docs" / "citation.md").read_text(encoding="utf-8")
    (bibtex, _), (cff,) = (re.findall(f"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("bibtex", "yaml"))
    (author,) = PROJECT["authors"]
    for text in (bibtex, cff):
        assert re.findall(r"version\W+([\w.]+)", text)[-1] == fastvi.__version__
        assert author["name"] in text
        (title,) = re.findall(r'title\W+fastvi: ([^"}]+)', text)
        assert PROJECT["description"].lower().startswith(title)
    assert PROJECT["license"] in bibtex
    assert re.findall("  - (.*)", cff)[1:] == PROJECT["keywords"]


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
