"""Help and the page about the command line: they say what the code does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from command_line import invoke

from fastvi.cli import errors
from fastvi.cli.files.data import KINDS
from fastvi.cli.group import _NAMES, SECTIONS, cli

ROOT = Path(__file__).parents[2] / "fastvi"
PAGE = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
HELP = invoke("--help").stdout


def rows(title):
    """Cells of a table's rows, under the heading ``title``."""
    part = PAGE.partition(f"# {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def options(name):
    found = cli.get_command(click.Context(cli), name).params
    return {text for option in found for text in (*option.opts, *option.secondary_opts)}


def test_the_page_lists_every_command():
    assert [name for name, _ in rows("Command line")] == _NAMES


def commands():
    """Commands that help and the page show, as words."""
    blocks = re.findall(r"```\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [example for _, example in rows("Command line")]
    lines += [line for name in _NAMES for line in invoke(name, "--help").stdout.splitlines()]
    found = [match[1] for line in lines if (match := re.match(r".*?\b(fastvi [a-z][^|>]*)", line))]
    return [words for text in found if (words := shlex.split(text.split("  ")[0]))[1] in _NAMES]


def test_examples_use_options_that_there_are():
    shown = commands()
    assert len(shown) > 2 * len(_NAMES)
    assert {words[1] for words in shown} == set(_NAMES)
    for words in shown:
        given = {word.partition("=")[0] for word in words[2:] if word.startswith("-") and word != "-"}
        assert given <= options(words[1]), words


def test_exit_statuses_are_those_of_the_code():
    statuses = {0, *(value for value in vars(errors).values() if isinstance(value, int))}
    assert {int(status) for status, _ in rows("Exit status")} == statuses
    in_help = HELP.partition("Exit status:\n")[2].partition("Environment:")[0]
    assert {int(number) for number in re.findall(r"\b(\d+) ", in_help)} == statuses


def test_variables_of_the_environment_are_those_that_the_sources_read():
    sources = [path for path in ROOT.rglob("*.py") if "cli" not in path.relative_to(ROOT).parts]
    read = {name for path in sources for name in re.findall(r"FASTVI_[A-Z_]+", path.read_text("utf-8"))}
    assert read
    assert set(re.findall(r"FASTVI_[A-Z_]+", HELP)) == read
    documented = {name for name, _ in rows("Environment")}
    assert documented == read | {"NUMBA_CACHE_DIR"}
    assert "NUMBA_CACHE_DIR" in HELP


@pytest.mark.parametrize("name", _NAMES)
def test_the_help_of_each_command_begins_as_the_list_and_leads_to_the_statuses(name):
    text = invoke(name, "--help").stdout
    (line,) = [section[name] for section in SECTIONS.values() if name in section]
    command = cli.get_command(click.Context(cli), name)
    assert command.help.splitlines()[0] == line
    assert "Examples:\n" in text
    assert "fastvi --help" in " ".join(text.split())


def test_kinds_of_data_are_on_the_page():
    named = " ".join(kind for kind, _ in rows("Files"))
    assert all(kind in named for kind in re.findall(r"\.np[yz]|IDX(?:\.gz)?|CSV|TSV|folder", KINDS))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_as_the_page_says(shell, tmp_path):
    assert f"_FASTVI_COMPLETE={shell}_source fastvi" in PAGE
    code = "from fastvi.cli import main; main()"
    environment = {"_FASTVI_COMPLETE": f"{shell}_complete", "COMP_WORDS": "fastvi ev", "COMP_CWORD": "1"}
    if shell == "fish":
        environment["COMP_CWORD"] = "ev"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=environment | {"PYTHONPATH": str(ROOT.parent)},
    )  # fmt: skip
    assert "evaluate" in done.stdout, done.stderr
