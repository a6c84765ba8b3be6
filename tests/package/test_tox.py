"""tox.ini names files that exist, and leaves no test out."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sections():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini", encoding="utf-8")
    return {name: dict(parser[name]) for name in parser.sections()}


def named(text):
    """Paths into this checkout."""
    return [ROOT / path for path in re.findall(r"\b(?:tests|bench)\b[\w/.]*(?<!\.)", text)]


def test_every_path_exists():
    paths = {path for section in sections().values() for value in section.values() for path in named(value)}
    assert len(paths) > 20
    assert [str(path) for path in sorted(paths) if not path.exists()] == []


def test_every_environment_is_run():
    every = sections()
    listed = every["tox"]["env_list"].replace(",", " ").split()
    assert {f"testenv:{name}" for name in listed} - {"testenv:py"} == {
        name for name in every if name.startswith("testenv:")
    }


def test_the_oldest_dependencies_are_tried():
    """Those of the environment `lowest` are the least that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(line.split("==") for line in sections()["testenv:lowest"]["deps"].split())
    least = dict(re.match(r"(\w+)>=([\d.]+)", line).groups() for line in project["dependencies"])
    assert pins.keys() == least.keys()
    for name, version in least.items():
        assert f"{pins[name]}.".startswith(f"{version}."), name


def test_what_the_others_leave_to_peers_is_run_there():
    commands = sections()["testenv:peers"]["commands"]
    folders = named(commands)
    marked = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"mark\.peers\b", path.read_text(encoding="utf-8")) and path != Path(__file__)
    ]
    assert len(marked) > 5
    assert [path for path in marked if not any(path.is_relative_to(folder) for folder in folders)] == []
