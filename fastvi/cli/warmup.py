"""Command ``fastvi warmup``: compile ahead."""

from __future__ import annotations

import json

import click

from fastvi.cli.group import WrongInput
from fastvi.cli.terminal import progress_bar
from fastvi.warmup import warm_up


def show_warmup(*, everything: bool, as_json: bool) -> None:
    """Compile with a progress bar, and print what was done."""
    try:
        with progress_bar("warmup") as report:
            done = warm_up(everything=everything, report=report)
    except OSError as error:
        raise WrongInput(str(error)) from error
    if as_json:
        facts = {"calls": done.calls, "compiled": done.compiled, "seconds": done.seconds}
        click.echo(json.dumps({**facts, **done.kept._asdict()}))
        return
    click.echo(
        f"{done.compiled} compiled in {done.seconds:.0f} s, by {done.calls} calls\n"
        f"{done.kept.kernels} kernels, {done.kept.bytes / 1e6:.1f} MB in {done.kept.folder}"
    )
