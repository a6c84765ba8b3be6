"""Reductions over waves, of which exact questions consist: executors, checkpoints, progress, Ctrl-C.

Partial results are merged strictly in order of tasks, whoever computed them. Hence the same bits without an
executor, with any executor of any number of workers, and for a run that went on from a checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from itertools import islice
from typing import Any, Protocol, Self, TypeVar

import fastvi
from fastvi.core.validation import shown, with_article
from fastvi.engine.run.checkpoints import Checkpoint
from fastvi.engine.run.progress import Report, Reporter
from fastvi.engine.run.workers import Missing, packed, perform
from fastvi.kernels.host import CHOSEN
from fastvi.kernels.shapes import name_of

WINDOW = 64  # tasks submitted and not yet merged, where an executor does not tell its number of workers


class Partial(Protocol):
    """A NamedTuple of arrays to which another of its kind can be added."""

    def merge(self, part: Self) -> None:
        """Add ``part`` in place."""

    def __iter__(self) -> Iterator[Any]: ...


P = TypeVar("P", bound=Partial)
T = TypeVar("T")
F = TypeVar("F")
R = TypeVar("R")
A = TypeVar("A", bound=tuple[Any, ...])  # a NamedTuple of arrays


def _window(executor: Executor) -> int:
    """Number of tasks that are submitted ahead: two a worker, so that none waits for the merge."""
    workers = getattr(executor, "_max_workers", None)  # pools of threads and processes, also loky's
    return 2 * workers if isinstance(workers, int) and workers > 0 else WINDOW


def _compiled_as() -> tuple[str, Any]:
    """Version, and the register tiles that arrays are packed for."""
    return fastvi.__version__, CHOSEN


def _work_alike(home: tuple[str, Any], work: Callable[[T], R], task: T) -> R:
    """``work(task)`` in a worker.

    One whose register tiles are others would read beyond what the caller packed, one of another version would
    have other bits.
    """
    here = _compiled_as()
    if here != home:
        raise RuntimeError(
            f"executor must have workers with the caller's fastvi and register tiles, {home}, got {here}: on "
            "machines that are not alike set NUMBA_CPU_NAME=generic and NUMBA_CPU_FEATURES to nothing on all"
        )
    return work(task)


class Run:
    """One call's reductions, numbered in the order in which they are asked for; of no use after an exception.

    Parameters
    ----------
    executor
        Where the tasks run. None: in this thread, one by one; their own work uses threads.
    checkpoint
        Where finished tasks are kept, and what is finished already.
    report
        Called with the number of states of each merged task, and at once with those of all tasks that the
        checkpoint holds.
    place
        Takes a form to the one that is summed on another device. None: all is summed on the CPU.
    """

    def __init__(
        self,
        *,
        executor: Executor | None = None,
        checkpoint: Checkpoint | None = None,
        report: Report | None = None,
        place: Callable[[Any], Any] | None = None,
    ) -> None:
        self._executor = executor
        self._checkpoint = checkpoint
        self._report = report
        self._place = place
        self._number = 0

    def placed(self, form: F) -> F:
        """The form as the run's device sums it."""
        return form if self._place is None else self._place(form)

    def reduce(self, zero: P, tasks: Sequence[T], work: Callable[[T], P], states: Callable[[T], int]) -> P:
        """``zero`` with ``work(task)`` merged into it for each task, in order.

        With a checkpoint, a call must ask for the same reductions in the same order whenever it is repeated.
        On any exception, Ctrl-C too, what is not yet begun is cancelled and what is merged is saved.

        Parameters
        ----------
        zero
            The neutral element; it is changed in place and returned.
        tasks
            What ``work`` is called with.
        work
            For executors of processes a function of a module or a ``functools.partial`` of one.
        states
            How many states a task stands for.

        Raises
        ------
        RuntimeError
            Where the executor broke (a worker died and the executor does not repeat its tasks) or cancelled
            a task.
        TypeError
            Where the executor returns something else than a Future, or than what the task returned.
        """
        if not len(tasks):
            return zero
        if self._executor is None and self._checkpoint is None:
            for task in tasks:
                zero.merge(work(task))
                if self._report is not None:
                    self._report(states(task))
            return zero
        return self._kept_reduction(zero, tasks, work, states)

    def _kept_reduction(
        self, zero: P, tasks: Sequence[T], work: Callable[[T], P], states: Callable[[T], int]
    ) -> P:
        """:meth:`reduce` with an executor or a checkpoint."""
        number, self._number = self._number, self._number + 1
        done = kept = self._restore(number, zero, tasks, states)
        whole = True  # no merge is half done
        try:
            with contextlib.closing(self._results(tasks[done:], work)) as parts:
                for part in parts:
                    self._check_part(part, zero)
                    whole = False
                    zero.merge(part)
                    done += 1
                    whole = True
                    if self._report is not None:
                        self._report(states(tasks[done - 1]))
                    if self._checkpoint is not None and (done == len(tasks) or self._checkpoint.due()):
                        self._checkpoint.save(number, done, len(tasks), tuple(zero))
                        kept = done
        except BaseException as error:
            # Ctrl-C within a merge leaves what the last save holds, a few seconds older
            if self._checkpoint is not None and whole and done > kept:
                self._save_after(error, number, done, len(tasks), zero)
            raise
        return zero

    def each(
        self, kind: type[A], tasks: Sequence[T], work: Callable[..., A], states: Callable[[T], int]
    ) -> Generator[A, None, None]:
        """Results of independent tasks in order, tuples ``kind`` of arrays of any shape.

        Without an executor ``work(task, begun, keep)`` gets what a checkpoint holds of a task that was under
        way, arrays or None, and a function that saves such arrays when that is due, or at once where its
        second argument says so. Executors get ``work(task)``.
        """
        checkpoint, first = self._checkpoint, self._number
        self._number += len(tasks)
        done = 0
        while checkpoint is not None and done < len(tasks):
            saved = checkpoint.kept(first + done)
            if saved is None or saved.done < saved.tasks:
                break
            self.skip(states(tasks[done]))
            yield kind(*saved.arrays)
            done += 1
        if self._executor is None:
            parts = self._each_here(tasks[done:], work, first + done)
        else:
            parts = self._results(tasks[done:], work)
        with contextlib.closing(parts):
            for task, part in zip(tasks[done:], parts, strict=True):
                if self._executor is not None and not isinstance(part, kind):
                    raise TypeError(
                        f"executor must return what its task does, {with_article(kind.__name__)}, got "
                        f"{shown(part)}"
                    )
                if checkpoint is not None:
                    checkpoint.finish(1, tuple(part))
                    if checkpoint.due():
                        checkpoint.flush()
                self.skip(states(task))
                yield part
        if checkpoint is not None and done < len(tasks):
            checkpoint.flush()

    def _each_here(self, tasks: Sequence[T], work: Callable[..., A], first: int) -> Generator[A, None, None]:
        for number, task in enumerate(tasks, first):
            checkpoint = self._checkpoint
            if checkpoint is None:
                yield work(task, None, None)
                continue
            saved = checkpoint.kept(number)

            def keep(
                arrays: Sequence[Any], now: bool = False, number: int = number, to: Checkpoint = checkpoint
            ) -> None:
                if now or to.due():
                    to.save(number, 0, 1, arrays)

            yield work(task, None if saved is None else saved.arrays, keep)

    def skip(self, states: int) -> None:
        """Report work that turned out not to be needed."""
        if states and self._report is not None:
            self._report(states)

    def _restore(self, number: int, zero: P, tasks: Sequence[T], states: Callable[[T], int]) -> int:
        if self._checkpoint is None:
            return 0
        done = self._checkpoint.restore(number, len(tasks), tuple(zero))
        if done and self._report is not None:
            before = sum(states(task) for task in tasks[:done])
            if isinstance(self._report, Reporter):
                self._report.done_before(before)
            else:
                self._report(before)
        return done

    def _save_after(self, error: BaseException, number: int, done: int, tasks: int, zero: Partial) -> None:
        """Save what ``error`` ends; where that fails too, ``error`` says so."""
        assert self._checkpoint is not None
        try:
            self._checkpoint.save(number, done, tasks, tuple(zero))
        except OSError as failure:
            error.add_note(f"checkpoint {self._checkpoint.shown!r} could not be saved: {failure}")

    def _results(self, tasks: Sequence[T], work: Callable[[T], R]) -> Generator[R, None, None]:
        """``work(task)`` in order of ``tasks``, from the executor where there is one."""
        if self._executor is None:
            for task in tasks:
                yield work(task)
            return
        alike = functools.partial(_work_alike, _compiled_as(), work)
        sent = packed(self._executor, alike, name_of(CHOSEN))
        waiting = iter(tasks)
        pending: deque[tuple[T, Future[R]]] = deque()

        def submit(task: T, *, whole: bool) -> tuple[T, Future[R]]:
            assert self._executor is not None
            if sent is None:
                return task, self._submitted(self._executor, alike, task)
            carried = functools.partial(perform, sent.digest, sent.content if whole else None, sent.tiles)
            return task, self._submitted(self._executor, carried, task)

        try:
            window = _window(self._executor)
            for number, task in enumerate(islice(waiting, window)):
                pending.append(submit(task, whole=2 * number < window))  # one for each worker
            while pending:
                task, future = pending[0]
                part = future.result()  # stays pending while it is waited for, so that Ctrl-C cancels it
                if isinstance(part, Missing):
                    pending[0] = submit(task, whole=True)
                    continue
                pending.popleft()
                for following in islice(waiting, 1):  # before the merge, so that no worker waits for it
                    pending.append(submit(following, whole=False))
                yield part
        except BrokenExecutor as error:
            raise RuntimeError(self._lost(f"broke: {' '.join(str(error).split())}")) from error
        except CancelledError as error:
            raise RuntimeError(self._lost("cancelled a task")) from error
        finally:
            for _, future in pending:
                future.cancel()

    @staticmethod
    def _submitted(executor: Executor, work: Callable[[T], R], task: T) -> Future[R]:
        future = executor.submit(work, task)
        if not all(callable(getattr(future, name, None)) for name in ("result", "cancel")):
            raise TypeError(f"executor must return a Future for every task, got {shown(future)}")
        return future

    def _check_part(self, part: Any, zero: Partial) -> None:
        """That an executor gave what its task returned."""
        alike = isinstance(part, type(zero)) or (hasattr(part, "merge") and isinstance(zero, type(part)))
        if self._executor is not None and not alike:
            wanted = with_article(type(zero).__name__)
            raise TypeError(f"executor must return what its task does, {wanted}, got {shown(part)}")

    def _lost(self, what: str) -> str:
        if self._checkpoint is None:
            advice = "call again with a new executor, and with checkpoint=PATH to keep what is finished"
        else:
            advice = f"call again with a new executor, and it goes on from {self._checkpoint.shown!r}"
        return f"executor must finish every task, but it {what}; {advice} (Dask repeats lost tasks by itself)"
