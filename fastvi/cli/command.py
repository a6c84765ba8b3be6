"""Class of all commands: each has ``--json``, ``--quiet`` and ``--verbose``."""

from __future__ import annotations

from typing import Any

import click

from fastvi.cli.output import Output


def _output_options() -> list[click.Parameter]:
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object and nothing else."),
        click.Option(["-q", "--quiet"], is_flag=True, help="No progress and no notes: the answer alone."),
        click.Option(["-v", "--verbose"], count=True, help="Show the package's log; -vv all of it."),
    ]


class Command(click.Command):
    """Command that gets an :class:`Output` as its first argument (``click.pass_obj``)."""

    def __init__(self, name: str | None, params: list[click.Parameter], **options: Any) -> None:
        super().__init__(name, params=[*params, *_output_options()], **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run with an output of the kind that was asked for. Its JSON object is printed at the end."""
        names = ("as_json", "quiet", "verbose")
        as_json, quiet, verbose = (ctx.params.pop(name) for name in names)
        with Output(str(ctx.info_name), as_json=as_json, quiet=quiet, verbosity=verbose) as ctx.obj:
            return super().invoke(ctx)
