"""The command line as tests call it."""

from __future__ import annotations

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
