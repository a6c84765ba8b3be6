"""Progress of a command, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fastvi.cli.tables import console

Report = Callable[[str, int, int], None]
"""Called as ``report(step, done, total)`` with whole numbers."""


@contextmanager
def progress_bar(name: str, *, shown: bool = True) -> Iterator[Report]:
    """Yield ``report(step, done, total)``, which moves a bar on standard error.

    There is no bar in a file or pipe.
    """
    screen = console(stderr=True)
    bar = Progress(
        TextColumn("{task.fields[study]}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=screen,
        transient=True,
        disable=not (shown and screen.is_terminal),
    )
    with bar:
        task = bar.add_task("starting", total=1, study=name)
        yield lambda step, done, total: bar.update(task, description=step, completed=done, total=total)
