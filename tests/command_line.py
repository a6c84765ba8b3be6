"""The command line as tests call it."""

from __future__ import annotations

import csv
import json

import numpy as np
from click.testing import CliRunner

from fastvi.cli.group import cli

X = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=np.uint8)


def invoke(*arguments):
    """The result of ``fastvi`` with these arguments."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="fastvi")


def one_line(result, status=2):
    """The only line of a refusal; nothing goes to standard output."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def facts(*arguments):
    """The JSON object of a command that succeeds, which prints nothing else."""
    result = invoke(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def assert_facts(found, expected):
    """Numbers of the JSON object, bit for bit: name -> what Python gives."""
    for name, value in expected.items():
        np.testing.assert_array_equal(np.array(found[name], dtype=float), np.asarray(value, float), name)


def columns_of(text):
    """Columns of a CSV file by name, as floats."""
    head, *rows = csv.reader(text.splitlines())
    return {name: [float(row[i]) for row in rows] for i, name in enumerate(head)}
