"""Progress of a command, on standard error: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Report = Callable[[str, int, int], None]
"""Called as ``report(step, done, total)`` with whole numbers."""

EVERY = 30.0  # seconds between lines where there is no terminal
_COMPILING = "compiling, once"


def num_compiled() -> int:
    """Return how many kernels this process has begun to compile."""
    module = sys.modules.get("fastvi.kernels.compiled_code")  # which help and refusals never import
    cache = getattr(module, "KernelCache", None)  # nor is it there while its module is imported
    return 0 if cache is None else int(cache.num_compiled)


@dataclass
class State:
    """State of a part of the work: its step, and how much of that is done."""

    name: str
    begin: float = field(default_factory=time.monotonic)
    step: str = "starting"
    done: int = 0
    total: int = 1
    compiled: int = field(default_factory=num_compiled)

    def report(self, step: str, done: int, total: int) -> None:
        """Take what the work says of itself."""
        self.step, self.done, self.total, self.compiled = step, done, total, num_compiled()

    @property
    def doing(self) -> str:
        """The step, or that kernels are compiled: since the last report one was begun."""
        return self.step if num_compiled() == self.compiled else _COMPILING

    def line(self) -> str:
        """Return the state as one line."""
        return f"fastvi: {self.name}: {self.doing}, {self.done:,} of {self.total:,}"


@contextmanager
def progress_bar(name: str, *, part: tuple[int, int] | None = None, shown: bool = True) -> Iterator[Report]:
    """Yield ``report(step, done, total)``. ``part`` is (3, 6) of the third of six parts of a command."""
    state = State(name if part is None or part[1] == 1 else f"{name} ({part[0]} of {part[1]})")
    if not shown:
        yield state.report
        return
    console = Console(stderr=True, highlight=False)
    with _bar(state, console) if console.is_terminal else _lines(state) as report:
        yield report


class _Doing(ProgressColumn):
    """Column with the present step, asked for at each redrawing: a compilation reports nothing."""

    max_refresh = None

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def render(self, task: Task) -> Text:
        """Return the step as text."""
        return Text(self._state.doing)


@contextmanager
def _bar(state: State, console: Console) -> Iterator[Report]:
    """Bar of what, how far, time left; it is gone when the work is done."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(compact=True),
        _Doing(state),
        console=console,
        transient=True,
    )
    with bar, no_notice_of_compilation():
        task = bar.add_task(state.name, total=1)

        def report(step: str, done: int, total: int) -> None:
            if done < bar.tasks[task].completed or total != bar.tasks[task].total:
                bar.reset(task, total=total)  # another step: its time left has nothing to do with this one's
            state.report(step, done, total)
            bar.update(task, completed=done, total=total)

        yield report


@contextmanager
def no_notice_of_compilation() -> Iterator[None]:
    """Keep the library's line about it back: a bar says it already, or nobody wants to know."""
    from fastvi.kernels.first_compilation import say_that_it_compiles

    before, say_that_it_compiles.quiet = say_that_it_compiles.quiet, True
    try:
        yield
    finally:
        say_that_it_compiles.quiet = before


@contextmanager
def _lines(state: State) -> Iterator[Report]:
    """Line every 30 s, and one at the end of what took longer."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY):
            click.echo(state.line(), err=True)

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield state.report
    finally:
        ended.set()
        teller.join()
    taken = time.monotonic() - state.begin
    if taken >= EVERY:
        click.echo(f"fastvi: {state.name}: ended after {taken:.0f} s", err=True)
