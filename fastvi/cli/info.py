"""Command ``fastvi info``: facts about the machine for a report of a problem or a timing."""

from __future__ import annotations

from pathlib import Path

import click

import fastvi
from fastvi.cli.group import WrongInput
from fastvi.engine.cuda.device import state
from fastvi.engine.run.hardware import caches
from fastvi.kernels.host import CHOSEN
from fastvi.kernels.kept_code import kept_code
from fastvi.studies.common.environment import environment


def show_info() -> None:
    """Print versions, processor, caches, threads and GPU, one line each."""
    try:
        found = environment()
    except ValueError as error:  # FASTVI_NUM_THREADS
        raise WrongInput(str(error)) from error
    level1, level2 = caches()
    lines = {
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
    for name, value in lines.items():
        click.echo(f"{name:<10} {value}")


def _compiled() -> str:
    """Say how much compiled code there is."""
    try:
        kept = kept_code()
    except OSError as error:
        return str(error)
    return f"{kept.kernels} kernels, {kept.files} files, {kept.bytes / 1e6:.1f} MB in {kept.folder}"


def _shapes() -> str:
    """Say which register tiles the kernels have."""
    return ", ".join(f"{name} {'x'.join(map(str, tile))}" for name, tile in CHOSEN._asdict().items())


def show_model(path: Path) -> None:
    """Print the content of a model's file, and how it was made."""
    try:
        model = fastvi.load(path)
    except (ValueError, TypeError) as error:
        raise WrongInput(str(error)) from error
    click.echo(f"{model!r}")
    if not model.made:
        click.echo("the file does not say how it was made")
    for name, value in model.made.items():
        click.echo(f"{name:<16} {value}")
