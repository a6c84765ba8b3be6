"""Class of all commands: each has ``--json``, ``--quiet`` and ``--verbose``."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from fastvi.cli.output import Output

_END = "Exit statuses and environment variables: fastvi --help"


def _output_options() -> list[click.Parameter]:
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object and nothing else."),
        click.Option(["-q", "--quiet"], is_flag=True, help="No progress and no notes: the answer alone."),
        click.Option(
            ["-v", "--verbose"], count=True,
            help="Show the package's log, and of an error where it arose; -vv: all of the log.",
        ),
    ]  # fmt: skip


class Command(click.Command):
    """Command that gets an :class:`Output` as its first argument (``click.pass_obj``)."""

    def __init__(self, name: str | None, params: list[click.Parameter], **options: Any) -> None:
        super().__init__(name, params=[*params, *_output_options()], **{"epilog": _END, **options})

    def invoke(self, ctx: click.Context) -> Any:
        """Run with an output of the kind that was asked for. Its JSON object is printed at the end."""
        names = ("as_json", "quiet", "verbose")
        as_json, quiet, verbose = (ctx.params.pop(name) for name in names)
        with _errors_as_lines(str(ctx.info_name), verbose=verbose > 0):
            out = Output(str(ctx.info_name), as_json=as_json, quiet=quiet, verbosity=verbose)
            with out as ctx.obj:
                return super().invoke(ctx)


@contextmanager
def _errors_as_lines(name: str, *, verbose: bool) -> Iterator[None]:
    """Turn what no command foresees into an error of one line; where it arose is said if ``verbose``."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except OSError:  # of a file: the group has words for it
        if verbose:
            traceback.print_exc()
        raise
    except Exception as error:
        if verbose:
            traceback.print_exc()
        kind = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
        text = f"{name} failed: {kind}"
        raise click.ClickException(f"{text}: {error}" if str(error) else text) from error
