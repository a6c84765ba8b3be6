"""The documents: what they name exists, and they stay as short as they promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fastvi
from fastvi.docs.offline import loaded, not_with_the_site

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "fastvi" / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "fastvi" / "ARCHITECTURE.md", *PAGES]
EXAMPLES = sorted((ROOT / "fastvi" / "docs" / "examples").glob("plot_*.py"))
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


def shown(script):
    """Lines of code of each part of a script that becomes a page, without those that are hidden there."""
    hidden = '^r?""".*?"""$|^# sphinx_gallery_start_ignore$.*?^# sphinx_gallery_end_ignore$'
    for part in re.sub(hidden, "", script, flags=re.DOTALL | re.MULTILINE).split("# %%"):
        yield [line for line in part.splitlines() if line.strip() and not line.startswith("#")]


def test_each_claim_of_the_lecture_is_shown_by_ten_lines():
    parts = list(shown((ROOT / "fastvi/docs/lecture/plot_lecture.py").read_text(encoding="utf-8")))
    assert len(parts) > 12
    assert [part for part in parts if len(part) > 10] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(path):
    (code,) = shown(path.read_text(encoding="utf-8"))
    assert 10 <= len(code) <= 40


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://cdn.example/a.js"></script>', ["https://cdn.example/a.js"]),
        ('<link rel="preload stylesheet" href="//fonts.example/a.css">', ["//fonts.example/a.css"]),
        ('<link rel="next" href="https://a.example/"><a href="https://a.example/">paper</a>', []),
        ('<img src="a.png" srcset="a.png 1x, https://a.example/b.png 2x">',
         ["a.png", "a.png", "https://a.example/b.png"]),
        ("<style>@import 'https://a.example/c.css'; p {background: url(d.png)}</style>",
         ["https://a.example/c.css", "d.png"]),
        ('<p style="background: url(\'https://a.example/e.png\')">', ["https://a.example/e.png"]),
        ('<svg><use xlink:href="https://a.example/f.svg#g"/></svg>', ["https://a.example/f.svg#g"]),
        ('<iframe src="http://a.example"></iframe>', ["http://a.example"]),
        ("<pre>url(https://a.example/g.png)</pre>", []),
    ],
)  # fmt: skip
def test_what_a_page_loads(html, found):
    assert loaded(html) == found


def test_a_site_that_needs_a_network_is_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.png").write_bytes(b"")
    page = tmp_path / "sub" / "page.html"
    page.write_text(
        '<img src="a%20b.png?v=1"><img src="data:,"><svg><use href="#x"/></svg>', encoding="utf-8"
    )
    assert list(not_with_the_site(tmp_path)) == []
    page.write_text('<img src="gone.png"><script src="https://a.example/b.js"></script>', encoding="utf-8")
    (tmp_path / "c.css").write_text("@font-face {src: url(https://a.example/f.woff)}", encoding="utf-8")
    assert list(not_with_the_site(tmp_path)) == [
        "c.css loads https://a.example/f.woff",
        "sub/page.html loads gone.png",
        "sub/page.html loads https://a.example/b.js",
    ]


def test_the_picture_is_small():
    assert (ROOT / "fastvi" / "docs" / "bounds.png").stat().st_size < 60_000
