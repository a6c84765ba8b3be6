"""Tables and findings in a terminal: no number and no word is broken, whatever its width."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import invoke

from fastvi.cli.output import Output
from fastvi.cli.tables import cell, table_lines, wrapped_item

WIDTHS = [40, 80, 120]


def made_up(num_rows):
    """Like those of the studies: names, counts, floats, missing values, estimates marked by ~."""
    rng = np.random.Generator(np.random.Philox(key=num_rows))
    floats = (10.0 ** rng.uniform(-9, 9, num_rows)).tolist()
    rows = range(num_rows)
    return {
        "num_latents": [2 + n for n in rows],
        "method": [("uniform", "learned q", "the best factorised q of each image")[n % 3] for n in rows],
        "mean_log_marginal": [-value for value in floats],
        "standard_error": [None, *floats[1:]],
        "seconds": [f"~{value:.2g}" for value in floats],
        "effective_sample_size_share": floats,
        "pareto_k_above_threshold": [True] * num_rows,
        "difference_to_exact_enumeration": [float("nan")] * num_rows,
        "largest": [float("inf")] * num_rows,
        "largest_number_of_states": [2**40] * num_rows,
    }  # fmt: skip


def words_of(columns):
    """All that a table holds, as it is shown."""
    texts = [cell(value) for values in columns.values() for value in values]
    return sorted(word for text in texts for word in text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("num_rows", [1, 3, 20])
@pytest.mark.parametrize("num_columns", [1, 2, 3, 10])
def test_all_is_shown_and_nothing_is_broken(width, num_rows, num_columns):
    columns = dict(list(made_up(num_rows).items())[:num_columns])
    lines = table_lines(columns, width)
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines).split()
    headers = [word for name in columns for word in name.split("_")]
    for word in words_of(columns):
        shown.remove(word)  # of each one as many as there are
    while shown:  # the rest is headers, once, or once a record
        assert shown[0] in headers
        shown.pop(0)


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_stand_to_the_right_and_text_to_the_left(width):
    columns = {"name": ["a", "long name"], "seconds": ["~0.5", "~1,200"], "value": [1.5, -20.25]}
    assert table_lines(columns, width) == [
        "name       seconds   value",
        "a             ~0.5     1.5",
        "long name   ~1,200  -20.25",
    ]


def test_headers_and_text_are_wrapped_before_columns_are_left_out():
    columns = {"method": ["the best q of each image", "uniform"], "mean_log_marginal": [-1.5, -22.25]}
    assert table_lines(columns, 24) == [
        "                mean log",
        "method          marginal",
        "the best q          -1.5",
        "of each",
        "image",
        "uniform           -22.25",
    ]


def test_columns_that_do_not_fit_are_left_to_a_file():
    lines = table_lines(made_up(20), 80, rest="results/bounds/means.csv")
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "(too wide for here, in results/bounds/means.csv: " in text
    assert text.endswith("largest number of states)")
    assert "1,099,511,627,776" not in text
    # the columns from the left come whole
    assert all(cell(value) in text for value in made_up(20)["mean_log_marginal"])


def test_a_few_records_are_blocks():
    columns = {"a_name": ["x" * 30], "another_name": ["y" * 30]}
    assert table_lines(columns, 50) == [f"a name        {'x' * 30}", f"another name  {'y' * 30}"]


def test_text_is_no_markup():
    assert table_lines({"shape": ["[1, 2]"], "[bold]": [":smile:"]}, 80) == [
        "shape   [bold]",
        "[1, 2]  :smile:",
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_findings_are_wrapped_at_words(width):
    text = "log p(x) - ELBO - KL is 0 within 1e-13 for every image, and the weighted bound closes 0.97"
    lines = wrapped_item(text, width).splitlines()
    assert lines[0].startswith("  * log p(x)")
    assert all(line.startswith("    ") for line in lines[1:])
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()) == f"* {text}"


def test_a_table_without_rows():
    assert table_lines({"a": [], "b": []}, 80) == ["a  b"]


def test_the_answer_goes_where_no_file_is(capsys):
    out = Output("evaluate", as_json=False, quiet=True, verbosity=0)
    out.stand_aside()
    out.table("title", {"a": [1]})
    out.finding("found")
    assert capsys.readouterr() == ("", "title\na\n1\n  * found\n")


def test_info_at_forty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert invoke("info").exit_code == 0
