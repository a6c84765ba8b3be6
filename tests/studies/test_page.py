"""The page of a folder of results: well-formed, complete, and without a network."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import html5lib
import numpy as np
import pytest
from PIL import Image

from fastvi.cli.commands.study import command
from fastvi.studies.common import style
from fastvi.studies.common.output import write_result
from fastvi.studies.common.page import OPTIONS, write_page
from fastvi.studies.common.result import Finding, Picture, StudyResult
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import own_subject

NUMBERS = [0.1, -1234.5678901234, 1e-300, float("nan"), 3.0]
HOSTILE = '<script>alert("&")</script>'


def result(name="bounds", num_rows=5, caption="Two sentences. About it."):
    def figures(result):
        figure = style.new_figure(2, 1)
        return {
            "first": Picture(figure, caption, "A white page."),
            "timed": Picture(figure, "", "", timed=True),
        }

    table = {
        "name": [f"row {k}" for k in range(num_rows)],
        "value": [NUMBERS[k % 5] for k in range(num_rows)],
        "count": [10_000 + k for k in range(num_rows)],
        "good": [k % 2 == 0 for k in range(num_rows)],
    }
    return StudyResult(
        name=name, tables={"all of it": table}, findings=(Finding(HOSTILE), Finding("12 s", timed=True)),
        figures=figures, shown={}, timings={"seconds": {"step": ["a"], "seconds": [0.5]}}, models={},
        arrays={},
    )  # fmt: skip


def parsed(path):
    """The page's tree; the parser raises at the first thing that is not well-formed."""
    text = path.read_text(encoding="utf-8")
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def words(element):
    return " ".join("".join(element.itertext()).split())


def made(tree, name):
    """How each study was made, in one line."""
    names, values = tree.findall(".//dl/dt"), tree.findall(".//dl/dd")
    return [words(value) for key, value in zip(names, values, strict=True) if words(key) == name]


@pytest.fixture
def page(tmp_path):
    for name in ("bounds", "sampling"):
        write_result(result(name), Settings(seed=3), tmp_path)
    return parsed(write_page(tmp_path)), tmp_path


def test_the_page_holds_everything_and_refers_to_files_beside_it_alone(page):
    tree, folder = page
    images = tree.findall(".//img")
    assert len(images) == 4
    for image in images:
        assert image.get("alt").strip()
        assert image.get("src").startswith("data:image/png;base64,")
        assert (image.get("width"), image.get("height")) == ("300", "150")
    targets = {element.get("id") for element in tree.iter() if element.get("id")}
    links = [element.get("href") for element in tree.iter() if element.get("href")]
    assert len([link for link in links if link.endswith(".csv")]) == 4
    for link in links:
        assert (link[1:] in targets) if link.startswith("#") else (folder / unquote(link)).is_file(), link
    loading = {
        name
        for element in tree.iter()
        for name in element.attrib
        if name in ("src", "srcset", "action", "data")
    }
    assert loading == {"src"}  # of the images
    assert not tree.findall(".//link")
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)
    assert HOSTILE not in text


def test_words_and_pictures_of_each_study(page):
    tree, _ = page
    assert [words(title) for title in tree.findall(".//h2")] == ["Sampling", "Bounds"]
    sections = tree.findall(".//section")
    assert [words(item) for item in sections[0].findall("ul/li")] == [HOSTILE, "12 s"]
    assert [words(text) for text in sections[0].findall(".//figcaption")] == [
        "Two sentences. About it.", "timed.png"
    ]  # fmt: skip
    assert [image.get("alt") for image in sections[0].findall(".//img")] == [
        "A white page.",
        "Sampling: timed",
    ]
    labels = {element.get("aria-labelledby") for element in sections}
    assert labels <= {title.get("id") for title in tree.findall(".//h2")}


def test_tables_have_the_numbers_of_their_files(page):
    tree, folder = page
    table = tree.find(".//section").find(".//table")
    heads = table.findall("thead/tr/th")
    assert [words(head) for head in heads] == ["name", "value", "count", "good"]
    assert [head.get("class") for head in heads] == [None, "number", "number", None]
    assert all(head.find("button") is not None and head.get("scope") == "col" for head in heads)
    with open(folder / "sampling" / "all of it.csv", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    for row, truth in zip(table.findall("tbody/tr"), written, strict=True):
        cells = [cell.get("title") or words(cell) for cell in row]
        assert cells[0] == truth["name"]
        if np.isfinite(float(truth["value"])):
            assert float(cells[1]) == float(truth["value"])
            assert float(words(row[1])) == pytest.approx(float(truth["value"]), rel=1e-5)
        else:
            assert words(row[1]) == "\N{EN DASH}"
        assert int(cells[2]) == int(truth["count"])
        assert cells[3] == {"True": "yes", "False": "no"}[truth["good"]]


def test_long_tables_are_folded_and_cut(tmp_path):
    write_result(result(num_rows=501), Settings(), tmp_path)
    tree = parsed(write_page(tmp_path))
    long, short = tree.findall(".//details")
    assert (long.get("open"), short.get("open")) == (None, "")
    assert len(long.findall(".//tbody/tr")) == 500
    assert words(long.find("p")) == "The first 500 rows. all of it.csv has all rows and all digits."
    assert words(long.find("summary")) == "all of it (501 rows)"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (Settings(), "fastvi study bounds"),
        (Settings.quick(4), "fastvi study bounds --quick --seed 4"),
        (
            replace(Settings(seed=7), num_latents=10, beyond_latents=(14, 24)),
            "fastvi study bounds --seed 7 --num-latents 10 --beyond-latents 14 --beyond-latents 24",
        ),
        (replace(Settings(), num_draws=7), None),
    ],
)
def test_the_command_leads_to_the_settings(tmp_path, settings, line):
    write_result(result(), settings, tmp_path)
    tree = parsed(write_page(tmp_path))
    assert made(tree, "command") == ([] if line is None else [line])
    assert made(tree, "seed") == [str(settings.seed)]
    changed = "".join(made(tree, "settings that are not the defaults"))
    for name in ("num_draws", "num_latents", "beyond_latents"):
        assert (name in changed) == (getattr(settings, name) != getattr(Settings(), name))


def test_options_that_the_page_names_are_those_of_the_command():
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(OPTIONS.values()) <= known
    assert set(OPTIONS) <= set(Settings.__dataclass_fields__)


def test_model_and_data_of_the_caller_are_named(tmp_path):
    own = own_subject(
        None, np.zeros((2, 4)), "mine", {"command": "fastvi report m.npz x.npy", "data": "x.npy"}
    )
    write_result(result("report"), Settings(), tmp_path, own)
    tree = parsed(write_page(tmp_path))
    assert made(tree, "command") == ["fastvi report m.npz x.npy"]
    assert made(tree, "model and data") == ["data x.npy"]


def test_the_command_of_a_study_of_ones_own(tmp_path):
    source = {"model_file": "my model.npz", "data_file": "x.npy", "key": None, "threshold": 0.5, "limit": 7}
    own = own_subject(None, np.zeros((2, 4)), "mine", source)
    write_result(result(), Settings.quick(), tmp_path, own)
    assert made(parsed(write_page(tmp_path)), "command") == [
        "fastvi study bounds --quick --model 'my model.npz' --data x.npy --threshold 0.5 --limit 7"
    ]


def test_a_folder_of_an_older_run_still_shows(tmp_path):
    folder = tmp_path / "older & other"
    folder.mkdir()
    content = {"study": "older", "settings": {"seed": 5}, "findings": ["one"], "tables": {"t": {"a": [1]}}}
    (folder / "result.json").write_text(json.dumps(content))
    Image.new("RGB", (3, 2)).save(folder / "gap_of_all.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "result.json").write_text('{"study": "mine", "tables": [1, 2]}')
    tree = parsed(write_page(tmp_path))
    assert [words(title) for title in tree.findall(".//h2")] == ["older"]
    assert [image.get("alt") for image in tree.findall(".//img")] == ["older: gap of all"]
    assert made(tree, "settings that are not the defaults") == ["seed 5"]


def test_seconds_of_another_run_are_left_out(tmp_path):
    write_result(result(), Settings(), tmp_path)
    path = tmp_path / "bounds" / "timings.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    tree = parsed(write_page(tmp_path))
    assert len(tree.findall(".//table")) == 1
    assert [words(item) for item in tree.findall(".//section/ul/li")] == [HOSTILE]


def test_the_page_is_written_whole(tmp_path, monkeypatch):
    path = write_page(tmp_path)
    before = path.read_bytes()
    write_result(result(), Settings(), tmp_path)

    def no_room(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space"):
        write_page(tmp_path)
    assert path.read_bytes() == before
    assert [place.name for place in Path(tmp_path).iterdir() if place.suffix == ".html"] == ["index.html"]
