"""Command ``fastvi warmup``: compile ahead."""

from __future__ import annotations

import click

from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput
from fastvi.cli.output import Output


@click.command(cls=Command)
@click.option("--all", "everything", is_flag=True, help="All models and questions: some minutes.")
@click.pass_obj
def command(out: Output, everything: bool) -> None:
    """Compile ahead what the first calls would compile, and keep it on disk.

    For container images and clusters. Without --all: log p(x), posteriors, gradients, ELBOs, estimates and
    log Z of networks, decoders and Boltzmann machines. The code lies beside the sources, or in
    NUMBA_CACHE_DIR, and serves processors of one kind: NUMBA_CPU_NAME=generic with NUMBA_CPU_FEATURES= is
    for any.

    \b
    Examples:
      fastvi warmup
      fastvi warmup --all
      NUMBA_CACHE_DIR=/opt/fastvi fastvi warmup --json
    """
    from fastvi.warmup import warm_up

    try:
        with out.progress("warmup") as report:
            done = warm_up(everything=everything, report=report)
    except OSError as error:
        raise WrongInput(str(error)) from error
    out.facts(calls=done.calls, compiled=done.compiled, seconds=done.seconds, **done.kept._asdict())
    out.say(
        f"{done.compiled} compiled in {done.seconds:.0f} s, by {done.calls} calls\n"
        f"{done.kept.kernels} kernels, {done.kept.bytes / 1e6:.1f} MB in {done.kept.folder}"
    )
