"""The documents: what they name exists, and they stay as short as they promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fastvi

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "fastvi" / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "fastvi" / "ARCHITECTURE.md", *PAGES]
FILES = {
    path.relative_to(ROOT).as_posix()
    for folder in ("fastvi", "tests", "bench")
    for path in (ROOT / folder, *(ROOT / folder).rglob("*"))
    if "__pycache__" not in path.parts
}


def prose(path: Path) -> list[str]:
    """Lines that are neither of a table nor written by a script."""
    text = re.sub("<!-- bench:start.*?bench:end -->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for line in text.splitlines() if not line.startswith("|")]


def test_the_reference_lists_every_public_name_once():
    reference = "\n".join(path.read_text(encoding="utf-8") for path in PAGES if path.parent.name == "api")
    # py:module: autodoc would import each bridge, and what it leads to, to ask for its members
    listed = re.findall(r"^\.\. (?:auto\w+|py:module):: fastvi\.(\w+)$", reference, flags=re.MULTILINE)
    assert sorted([*listed, "__version__"]) == sorted(fastvi.__all__)


def supported_block(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.partition("<!-- supported:start -->")[2].partition("<!-- supported:end -->")[0].strip()


def test_the_table_of_questions_is_the_one_that_the_package_makes():
    assert supported_block("fastvi/docs/contents.md") == fastvi.supported().to_markdown()


def test_the_readme_refuses_what_the_package_refuses():
    """Its rows join kinds that answer alike, its columns the ways of asking one function."""
    header, _, *rows = (line.strip("| ").split(" | ") for line in supported_block("README.md").splitlines())
    names = dict(
        zip(
            header[1:],
            ("log_marginal", "exact_posterior", "log_marginal_gradient", "estimate_log_marginal", "annealed",
             "elbo", "kl_to_posterior", "fit_posterior", "fit_encoder", "fit_model"),
            strict=True,
        )
    )  # fmt: skip
    table = fastvi.supported()
    for title, *cells in rows:
        kind = title.split("`")[1] + (
            " (Normal" if "normal" in title else " (Bernoulli" if "binary" in title else ""
        )
        (column, *_) = [n for n, model in enumerate(table.models) if model.startswith(kind)]
        for name, cell in zip(names.values(), cells, strict=True):
            found = [
                answer
                for question, answer in zip(table.questions, table.answers[:, column], strict=True)
                if question.startswith(name) and (name == "log_marginal_gradient") == ("gradient" in question)
            ]
            assert any(found) == (cell != "-"), (title, name)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_exist(path):
    """A name in backquotes that holds a slash or ends like a source, and the target of a link."""
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"`([\w.]+(?:/[\w.]+)*/?)`", re.sub("```.*?```", "", text, flags=re.DOTALL))
    named = [name for name in named if re.search(r"/|\.(py|c|json|md)$", name)]
    made = ("results/", ".tox/", "models/new.py", "rules/new.py")  # by commands, or by the reader
    for name in named:
        exists = any(f"/{file}/".endswith(f"/{name.rstrip('/')}/") for file in FILES)
        assert exists or name.startswith(made), name
    for target in re.findall(r"\]\(([\w./]+\.(?:md|png))\)", text):
        assert (path.parent / target).is_file(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_prose_is_wrapped(path):
    assert [line for line in prose(path) if len(line) > 110] == []


@pytest.mark.parametrize(("name", "most"), [("README.md", 150), ("fastvi/ARCHITECTURE.md", 110)])
def test_length(name, most):
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= most


def test_the_picture_is_small():
    assert (ROOT / "fastvi" / "docs" / "bounds.png").stat().st_size < 60_000
