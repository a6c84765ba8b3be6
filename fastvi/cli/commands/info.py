"""Command ``fastvi info``: facts about the machine for a report of a problem or a timing."""

from __future__ import annotations

from typing import Any

import click

from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput
from fastvi.cli.options import INPUT_FILE, load_saved
from fastvi.cli.output import Output


@click.command(cls=Command)
@click.argument("model_path", type=INPUT_FILE, required=False, metavar="[MODEL]")
@click.pass_obj
def command(out: Output, model_path: str | None) -> None:
    """Show versions, processor, threads and compiled code, or how a MODEL was made.

    \b
    Examples:
      fastvi info
      fastvi info model.npz
      FASTVI_NUM_THREADS=1 fastvi info
    """
    lines = machine() if model_path is None else model_facts(out, model_path)
    out.facts(**lines)
    for name, value in lines.items():
        out.say(f"{name:<{10 if model_path is None else 16}} {value}")


def machine() -> dict[str, Any]:
    """Return versions, processor, caches, threads and GPU by name."""
    from fastvi.engine.cuda.device import state
    from fastvi.engine.run.hardware import caches
    from fastvi.studies.common.environment import environment

    try:
        found = environment()
    except ValueError as error:  # FASTVI_NUM_THREADS
        raise WrongInput(str(error)) from error
    level1, level2 = caches()
    return {
        **found["versions"],
        "processor": found["cpu"],
        "system": found["system"],
        "cores": found["cores"],
        "threads": f"{found['threads']} (set FASTVI_NUM_THREADS for another number)",
        "caches": f"{level1 >> 10} KiB level 1 data, {level2 >> 10} KiB level 2, a core",
        "GPU": state(),
        "compiled": _compiled(),
        "tiles": f"{_shapes()} (rows x vectors x lanes)",
    }


def _compiled() -> str:
    """Say how much compiled code there is."""
    from fastvi.kernels.kept_code import kept_code

    try:
        kept = kept_code()
    except OSError as error:
        return str(error)
    return f"{kept.kernels} kernels, {kept.files} files, {kept.bytes / 1e6:.1f} MB in {kept.folder}"


def _shapes() -> str:
    """Say which register tiles the kernels have."""
    from fastvi.kernels.host import CHOSEN

    return ", ".join(f"{name} {'x'.join(map(str, tile))}" for name, tile in CHOSEN._asdict().items())


def model_facts(out: Output, path: str) -> dict[str, Any]:
    """Say what a model's file holds; return how it was made."""
    model = load_saved(path)
    out.facts(model=repr(model))
    out.say(f"{model!r}")
    if not model.made:
        out.say("the file does not say how it was made")
    return dict(model.made)
