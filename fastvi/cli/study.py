"""Command ``fastvi study``: run studies, show their tables, write their files."""

from __future__ import annotations

import os
import time
from importlib import import_module
from pathlib import Path

import click

from fastvi.cli.group import WrongInput
from fastvi.cli.terminal import print_table, progress_bar
from fastvi.studies.common.output import write_result
from fastvi.studies.common.result import StudyResult
from fastvi.studies.common.settings import Settings


def run_studies(names: tuple[str, ...], settings: Settings, out: Path) -> None:
    """Run the named studies in order. Each one's files are written before the next begins."""
    begin = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)  # said now rather than after the work
    for place in (out, *(out / name for name in names)):
        if place.exists() and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise WrongInput(f"--out must lead to folders that can be written, got {str(place)!r}")
    if "beyond" in names:
        from fastvi.studies.beyond.study import images

        try:
            images(settings)
        except (ValueError, TypeError) as error:  # of the file that was given
            raise WrongInput(f"--beyond-images: {error}") from error
    for name in names:
        with progress_bar(name) as report:
            result: StudyResult = import_module(f"fastvi.studies.{name}.study").run(settings, report)
            report("writing files and pictures", 0, 1)
            written = write_result(result, settings, out)
        _show(result, written)
    click.echo(f"{len(names)} done in {time.perf_counter() - begin:.0f} s: {out}")


def _show(result: StudyResult, written: list[Path]) -> None:
    """Print a study's tables and findings."""
    for title, table in result.shown.items():
        print_table(f"{result.name}: {title.replace('_', ' ')}", table)
        click.echo()
    for finding in result.findings:
        click.echo(f"  * {finding.text}")
    pictures = ", ".join(path.name for path in written if path.suffix == ".png")
    click.echo(f"  -> {written[0].parent}: {len(written)} files, among them {pictures}\n")
