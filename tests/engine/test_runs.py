"""Runs: the same bits whoever computes the tasks, and however often the run was cut short."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import optional
import pytest

from fastvi.engine.run import checkpoints, progress, runs
from fastvi.engine.run.checkpoints import Checkpoint, digest
from fastvi.engine.run.progress import Reporter
from fastvi.engine.run.runs import Run
from fastvi.kernels.cpu.simd import host

HERE = Path(__file__).parent


class Toy(NamedTuple):
    """Its values depend on the order in which parts are merged."""

    total: np.ndarray
    count: np.ndarray
    nothing: np.ndarray

    @classmethod
    def zero(cls):
        return cls(np.zeros((2, 3), order="F"), np.array(0), np.empty((0, 4), np.float32))

    def merge(self, part):
        self.total[...] = 0.7 * self.total + part.total
        self.count[...] = 31 * self.count % 1000003 + part.count


def toy(task):
    return Toy(np.sin(task + np.arange(6.0).reshape(2, 3)), np.array(task + 1), np.empty((0, 4), np.float32))


def states(task):
    return 10 + task


TASKS = range(20)
PARTS = [range(4), range(0), [7, 1, 3], range(5)]  # several reductions of one run, one of them empty


def bits(*results):
    return b"".join(array.tobytes() for toy in results for array in toy)


def truth(tasks=TASKS):
    result = Toy.zero()
    for task in tasks:
        result.merge(toy(task))
    return bits(result)


def reduce(path=None, *, work=toy, tasks=TASKS, identity="me", **options):
    checkpoint = None if path is None else Checkpoint.open(path, identity)
    return bits(Run(checkpoint=checkpoint, **options).reduce(Toy.zero(), tasks, work, states))


class Stopping:
    """Computes ``toy`` until ``count`` tasks were asked for, then raises."""

    def __init__(self, count, error=ZeroDivisionError):
        self.count = count
        self.error = error
        self.seen = []

    def __call__(self, task):
        if len(self.seen) == self.count:
            raise self.error("stop")
        self.seen.append(task)
        return toy(task)


def never(task):
    raise AssertionError("nothing is left to do")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture
def save_always(monkeypatch):
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)


def test_the_toy_depends_on_the_order():
    assert truth(TASKS) != truth(TASKS[::-1])
    assert truth([0, 1, 2]) != truth([0, 2, 1])


# ---- executors --------------------------------------------------------------------------------------------


def test_zero_is_filled_in_place_and_returned():
    zero = Toy.zero()
    assert Run().reduce(zero, TASKS, toy, states) is zero
    assert bits(zero) == truth()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_same_bits_from_threads(workers):
    done = [threading.Event() for _ in TASKS]

    def work(task):
        if workers > 1 and task % 2 == 0:
            done[task + 1].wait()  # which another worker has in hand: results come out of order
        done[task].set()
        return toy(task)

    with ThreadPoolExecutor(workers) as executor:
        assert reduce(work=work, executor=executor) == truth()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_same_bits_from_processes(workers):
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        assert reduce(executor=executor) == truth()


class Fake(Executor):
    """Runs a task when its result is asked for; counts what is submitted and not yet asked for."""

    def __init__(self, workers=None, broken=None):
        if workers is not None:
            self._max_workers = workers
        self.broken = broken
        self.futures = []
        self.live = self.most = 0

    def submit(self, function, /, *args):
        outer = self

        class Asked(Future):
            def result(self, timeout=None):
                if self.cancelled():
                    return super().result()
                if outer.broken is not None and args[0] == outer.broken[0]:
                    raise outer.broken[1]
                outer.live -= 1
                self.set_running_or_notify_cancel()
                return function(*args)

        self.live += 1
        self.most = max(self.most, self.live)
        self.futures.append(Asked())
        return self.futures[-1]


@pytest.mark.parametrize(("workers", "window"), [(1, 2), (3, 6), (None, 64), (0, 64), (500, 1000)])
def test_submissions_are_a_sliding_window(workers, window):
    executor, tasks = Fake(workers), range(300)
    assert reduce(tasks=tasks, executor=executor) == truth(tasks)
    assert executor.most == min(window, 300)
    assert len(executor.futures) == 300


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_a_task_cancels_the_rest(error):
    executor = Fake(4)
    with pytest.raises(error, match="stop"):
        reduce(work=Stopping(5, error), executor=executor)
    assert len(executor.futures) == 13  # 5 merged, 8 in the window
    assert [future.cancelled() for future in executor.futures[6:]] == 7 * [True]


def test_ctrl_c_while_a_task_is_waited_for_cancels_it_too():
    executor = Fake(4, broken=(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        reduce(executor=executor)
    assert [future.cancelled() for future in executor.futures] == 2 * [False] + 8 * [True]


def test_an_exception_of_the_report_cancels_the_rest():
    executor = Fake(4)
    with pytest.raises(ZeroDivisionError):
        reduce(executor=executor, report=lambda count: 1 // 0)
    assert all(future.cancelled() for future in executor.futures[1:])


def fragile(task):
    if task == 12:
        os._exit(1)
    return toy(task)


def test_a_broken_executor_says_what_to_do_and_keeps_the_checkpoint(path, save_always):
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(2, mp_context=spawn) as executor,
        pytest.raises(
            RuntimeError, match=r"^executor must finish every task, but it broke: .*goes on from '.*run.npz'"
        ) as caught,
    ):
        reduce(path, work=fragile, executor=executor)
    assert "\n" not in str(caught.value)
    assert reduce(path) == truth()


def test_an_executor_that_cancels_is_told_of():
    executor = Fake(2)
    with pytest.raises(RuntimeError, match=r"^executor must .*cancelled a task; .* with checkpoint=PATH"):
        reduce(executor=executor, report=lambda count: [future.cancel() for future in executor.futures])


class Unlike(Executor):
    """Runs each task at once, as a machine with other register tiles would."""

    def submit(self, function, /, *args):
        future = Future()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                runs, "CHOSEN", host.TILES["generic"]._replace(matmul_64=host.RegisterTile(6, 2, 2))
            )
            try:
                future.set_result(function(*args))
            except RuntimeError as error:
                future.set_exception(error)
        return future


def test_a_worker_whose_code_is_cut_otherwise_is_refused():
    """What the caller packed for its tiles would be read out of bounds."""
    run = Run(executor=Unlike())
    with pytest.raises(
        RuntimeError, match=r"^executor must have workers with the caller's fastvi and register"
    ):
        run.reduce(Toy.zero(), TASKS, toy, states)


class Nonsense(Executor):
    """Gives ``answer(future)`` for a task, whose future holds ``value``."""

    def __init__(self, answer=lambda future: future, value=None):
        self.answer, self.value, self.futures = answer, value, []

    def submit(self, function, /, *args):
        self.futures.append(Future())
        self.futures[-1].set_result(self.value)
        return self.answer(self.futures[-1])


@pytest.mark.parametrize(
    ("executor", "text"),
    [
        (Nonsense(lambda future: None), r"a Future for every task, got None \(NoneType\)"),
        (Nonsense(lambda future: future.result), r"a Future for every task, got <bound method"),
        (Nonsense(), r"what its task does, a Toy, got None \(NoneType\)"),
        (Nonsense(value=tuple(Toy.zero())), r"what its task does, a Toy, got \("),
        (Nonsense(value=object()), r"what its task does, a Toy, got <object object"),
    ],
)
def test_an_executor_that_returns_nonsense_is_told_of(path, executor, text):
    with pytest.raises(TypeError, match=f"^executor must return {text}") as caught:
        reduce(path, executor=executor)
    assert "\n" not in str(caught.value)
    assert not path.exists()  # nothing was merged


def divides_by_zero(task):
    if task == 7:
        raise ZeroDivisionError(f"task {task}")
    return toy(task)


# none with the version at hand; what a cluster warns of on its way out differs from version to version
DASK_WARNINGS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def toy_behind_a_gate(task, gate):
    """From the sixth on it waits for a file: both workers have one in hand when one of them is killed."""
    while task > 4 and not gate.exists():
        time.sleep(0.001)
    return toy(task)


class TestDask:
    pytestmark = DASK_WARNINGS

    @pytest.fixture
    def client(self):
        distributed = optional.package("distributed")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client

    def test_same_bits(self, client):
        assert reduce(executor=client.get_executor()) == truth()

    def test_same_bits_though_a_worker_is_killed(self, client, tmp_path):
        gate, workers = tmp_path / "gate", client.run(os.getpid)
        assert len(workers) == 2
        killed = []

        def report(count):
            if count == states(4):
                killed.append(next(iter(workers.values())))
                os.kill(killed[0], signal.SIGKILL)
                gate.touch()

        work = functools.partial(toy_behind_a_gate, gate=gate)
        assert reduce(work=work, executor=client.get_executor(), report=report) == truth()
        assert len(killed) == 1
        assert killed[0] not in client.run(os.getpid).values()

    def test_errors_of_workers_come_through(self, client):
        with pytest.raises(ZeroDivisionError, match="task 7"):
            reduce(work=divides_by_zero, executor=client.get_executor())


# ---- going on from a checkpoint ---------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 5.0])
@pytest.mark.parametrize("pool", [False, True])
def test_same_bits_after_an_exception_at_every_task(tmp_path, monkeypatch, seconds, pool):
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", seconds)
    for stop in range(len(TASKS)):
        path, first, second = tmp_path / f"{stop}.npz", Stopping(stop), Stopping(100)
        with pytest.raises(ZeroDivisionError, match="stop"):
            reduce(path, work=first, executor=Fake(2) if pool else None)
        assert path.exists() == (stop > 0)
        assert reduce(path, work=second, executor=Fake(2) if pool else None) == truth()
        assert first.seen + second.seen == list(TASKS)


def several(checkpoint, work, report=None):
    run = Run(checkpoint=checkpoint, report=report)
    results = []
    for part in PARTS:
        result = run.reduce(Toy.zero(), part, work, states)
        results.append(bits(result))
        result.total[...] = np.nan  # what a caller does with a result does not reach the checkpoint
    return results


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_several_reductions_go_on_at_every_task(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", seconds)
    everything = [task for part in PARTS for task in part]
    for stop in range(len(everything)):
        path, first, second = tmp_path / f"{stop}.npz", Stopping(stop), Stopping(100)
        with pytest.raises(ZeroDivisionError, match="stop"):
            several(Checkpoint.open(path, "me"), first)
        assert several(Checkpoint.open(path, "me"), second) == [truth(part) for part in PARTS]
        assert first.seen + second.seen == everything


def test_a_run_cut_short_again_and_again(path):
    work = Stopping(0)
    for _ in TASKS:
        work.count += 1
        with pytest.raises(ZeroDivisionError, match="stop"):
            reduce(path, work=work, tasks=range(21))
    assert work.seen == list(TASKS)
    assert reduce(path, tasks=range(21)) == truth(range(21))


def test_a_finished_file_is_the_result(path):
    assert several(Checkpoint.open(path, "me"), toy) == [truth(part) for part in PARTS]
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert several(Checkpoint.open(path, "me"), never) == [truth(part) for part in PARTS]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_nothing_to_do_makes_no_file(path):
    assert reduce(path, tasks=[]) == truth([])
    assert not path.exists()


def test_an_executor_may_go_on_where_there_was_none(path):
    with pytest.raises(ZeroDivisionError):
        reduce(path, work=Stopping(7))
    with ThreadPoolExecutor(3) as executor:
        assert reduce(path, executor=executor) == truth()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_any_exception_keeps_what_is_finished(path, error):
    first, second = Stopping(9, error), Stopping(100)
    with pytest.raises(error, match="stop"):
        reduce(path, work=first)
    assert reduce(path, work=second) == truth()
    assert second.seen == list(TASKS[9:])


class Torn(Toy):
    """Ctrl-C comes in the middle of the third merge."""

    def merge(self, part):
        if part.count == 3:
            self.total[0] += part.total[0]
            raise KeyboardInterrupt
        super().merge(part)


@pytest.mark.parametrize(("seconds", "left"), [(0.0, TASKS[2:]), (5.0, TASKS)])
def test_a_merge_that_was_cut_short_is_not_saved(path, monkeypatch, seconds, left):
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", seconds)
    with pytest.raises(KeyboardInterrupt):
        Run(checkpoint=Checkpoint.open(path, "me")).reduce(Torn(*Toy.zero()), TASKS, toy, states)
    second = Stopping(100)
    assert reduce(path, work=second) == truth()
    assert second.seen == list(left)


def test_an_exception_of_the_report_keeps_the_task(path):
    def report(count):
        if count == states(5):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        reduce(path, report=report)
    second = Stopping(100)
    assert reduce(path, work=second) == truth()
    assert second.seen == list(TASKS[6:])


def stand_still(call, function):
    """``function``, but at its ``call``-th call the parent process is told, and nothing is done any more."""
    calls = itertools.count(1)

    def standing(*arguments):
        if next(calls) == call:
            print("here", flush=True)
            sys.stdin.read()  # for ever, or until the parent ends
        return function(*arguments)

    return standing


def run_that_stands_still(path, where, call):
    checkpoints.SAVE_SECONDS = 0.0
    if where == "before a file is renamed":
        os.replace = stand_still(call, os.replace)
    elif where == "within a file":
        os.fsync = stand_still(2 * call - 1, os.fsync)  # of each file, and then of its folder
    reduce(path, work=stand_still(call, toy) if where == "within a task" else toy, tasks=range(200))


@pytest.mark.parametrize("where", ["within a task", "within a file", "before a file is renamed"])
@pytest.mark.parametrize("call", [2, 9, 200])
def test_same_bits_after_a_process_was_killed(path, where, call):
    text = f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]; import test_runs"
    command = [
        sys.executable,
        "-c",
        f"{text}; test_runs.run_that_stands_still({str(path)!r}, {where!r}, {call})",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=HERE.parents[1], text=True, **pipes) as process:
        assert process.stdout.readline() == "here\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    second = Stopping(1000)
    assert reduce(path, work=second, tasks=range(200)) == truth(range(200))
    assert second.seen == list(range(call - 1, 200))


def test_ctrl_c_right_after_a_finished_sum_was_written(tmp_path, monkeypatch):
    checkpoint = Checkpoint.open(tmp_path / "run", "toy")
    checkpoint.save(0, 2, 2, (np.arange(3.0),))
    before = (tmp_path / "run").read_bytes()
    checkpoint.save(0, 2, 2, (np.arange(3.0),))  # what an exception between the save and its end does
    assert (tmp_path / "run").read_bytes() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a half-made ZipFile
def test_ctrl_c_at_any_line_of_reading(path):
    Checkpoint.open(path, "toy").save(0, 1, 2, (np.arange(3.0),))
    lines, stop, before = 0, 0, sys.gettrace()

    def trace(*_):
        nonlocal lines
        lines += 1
        if lines == stop:
            raise KeyboardInterrupt
        return trace

    while lines == stop:  # until it gets through
        lines, stop = 0, stop + 1
        sys.settrace(trace)
        try:
            Checkpoint.open(path, "toy")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        (array,) = Checkpoint.open(path, "toy")._saved[0].arrays
        assert array.tolist() == [0.0, 1.0, 2.0]
    assert stop > 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a half-made ZipFile
@pytest.mark.parametrize("seed", range(12))
def test_ctrl_c_at_any_moment(path, save_always, seed):
    """At lines drawn at random, also within merges and saves, until the run gets through."""
    generator, before = random.Random(seed), sys.gettrace()
    lines = stop = attempts = 0

    def trace(*_):
        nonlocal lines
        lines += 1
        if lines == stop:
            raise KeyboardInterrupt
        return trace

    result = b""
    while not result:
        attempts, lines, stop = attempts + 1, 0, generator.randrange(1, 6000)
        sys.settrace(trace)
        try:
            result = reduce(path, tasks=range(60))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
    assert result == truth(range(60))
    # it takes more lines than 6000 without an interruption: a save alone takes more than 100
    assert attempts > 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


# ---- when it is saved -------------------------------------------------------------------------------------


@pytest.fixture
def saves(monkeypatch):
    """The times at which something was saved, on a clock that stands still unless it is moved."""
    clock = SimpleNamespace(now=0.0, cost=0.0, saves=[])
    write = checkpoints.write_whole

    def timed(*arguments):
        clock.saves.append(clock.now)
        clock.now += clock.cost
        write(*arguments)

    monkeypatch.setattr(checkpoints, "write_whole", timed)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize(
    ("cost", "expected"),
    [(0.0, [6, 12, 18, 20]), (0.25, [6, 12.25, 18.5, 20.75]), (1.0, [6, 27])],
)
def test_saved_every_few_seconds_and_at_the_end(path, saves, cost, expected):
    """A task takes 2 seconds of the toy clock; a save that takes long is followed by a longer pause."""
    saves.cost = cost

    def work(task):
        saves.now += 2
        return toy(task)

    tasks = range(10 if cost < 1 else 13)
    assert reduce(path, work=work, tasks=tasks) == truth(tasks)
    assert saves.saves == expected


def test_what_is_saved_is_not_saved_again(path, saves):
    saves.now = -10.0
    checkpoint = Checkpoint.open(path, "me")
    saves.now = 0.0
    with pytest.raises(ZeroDivisionError):
        Run(checkpoint=checkpoint).reduce(Toy.zero(), TASKS, Stopping(1), states)
    assert saves.saves == [0.0]


def test_a_save_that_fails_at_the_end_is_told_of(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_whole", full)
    with pytest.raises(ZeroDivisionError) as caught:
        reduce(path, work=Stopping(3))
    assert re.search(r"checkpoint '.*' could not be saved: .*No space left", caught.value.__notes__[0])
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    with pytest.raises(OSError, match="No space left"):
        reduce(path)


def test_no_other_file_is_left(path, save_always):
    reduce(path)
    assert [file.name for file in path.parent.iterdir()] == ["run.npz"]


def test_the_file_is_found_again_after_a_change_of_folder(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)

    def work(task):
        os.chdir(tmp_path / "other")
        return toy(task)

    reduce("run.npz", work=work)
    assert (tmp_path / "run.npz").exists()


# ---- files that are refused -------------------------------------------------------------------------------


@pytest.fixture
def half(path):
    """A file with 6 of 20 tasks, and its bytes."""
    with pytest.raises(ZeroDivisionError):
        reduce(path, work=Stopping(6))
    return path.read_bytes()


def refused(path, match, error=ValueError, identity="me"):
    before = path.read_bytes()
    with pytest.raises(error, match=match) as caught:
        Checkpoint.open(path, identity)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_another_identity_is_refused(path, half):
    refused(
        path, r"^checkpoint must name a file of the same model, data and options, or none", identity="you"
    )
    assert reduce(path) == truth()


def test_a_file_larger_than_the_memory_is_not_read(path, half, monkeypatch):
    monkeypatch.setattr("fastvi.core.archives.free_memory", lambda: len(half) - 1)
    refused(path, r"^checkpoint must fit in memory, got .* bytes and .* are free")


def test_an_identity_of_bytes(path):
    reduce(path, identity=b"me")
    assert reduce(path, identity=b"me", work=never) == truth()
    refused(path, "same model", identity=b"you")


def test_a_file_cut_short_anywhere_is_refused(path, half):
    for length in range(len(half)):
        path.write_bytes(half[:length])
        refused(path, r"^checkpoint must name a whole file written by fastvi, or none, got .* cut short")


def test_a_file_with_any_byte_changed_is_refused(path, half):
    for index in range(len(half)):
        path.write_bytes(half[:index] + bytes([half[index] ^ (1 << index % 8)]) + half[index + 1 :])
        refused(path, r"^checkpoint must name a whole file written by fastvi, or none, got .* damaged")


def test_other_files_are_refused(path):
    path.write_text("x,y\n1,2\n" * 100)
    refused(path, "no checkpoint")
    np.savez(path, total=np.zeros(3))
    refused(path, "no checkpoint")
    path.write_bytes(b"")
    refused(path, "no checkpoint")


def test_a_newer_format_is_refused(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 2)
    reduce(path)
    monkeypatch.undo()
    refused(path, r"^checkpoint must name a file of format 1 \.\.\. 1 .* its format 2 is newer")


def test_a_sealed_file_of_other_contents_is_refused(path, monkeypatch):
    for names in (("_VERSION", "_LAYOUT"), ("_BYTES", "_IDENTITY"), ("_LAYOUT", "_IDENTITY")):
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(checkpoints, name, name)
            path.unlink(missing_ok=True)
            reduce(path)
        refused(path, r"^checkpoint must name a file of format 1 .* not a file in the archive")


def test_a_reduction_of_other_tasks_or_shapes_is_refused(path, half):
    with pytest.raises(
        ValueError, match=r"^checkpoint must .* same version and machine, .* 20 tasks and not 3"
    ):
        reduce(path, tasks=range(3))
    zero = Toy.zero()._replace(total=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"arrays of other shapes$"):
        Run(checkpoint=Checkpoint.open(path, "me")).reduce(zero, TASKS, never, states)
    assert path.read_bytes() == half


def test_the_file_is_a_plain_npz(path, half):
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == {"fastvi_checkpoint_version", "identity", "layout", "bytes"}
        assert archive["bytes"].size == 6 * 8 + 8


@pytest.mark.parametrize("wrong", [5, b"run.npz", True, ["run.npz"], object()])
def test_a_path_is_a_str_or_a_path(wrong):
    with pytest.raises(TypeError, match=r"^checkpoint must be None, a str or an os.PathLike, got"):
        Checkpoint.open(wrong, "me")


def test_paths_that_no_file_can_have(tmp_path):
    for wrong in ("", "a\0b"):
        with pytest.raises(ValueError, match=r"^checkpoint must name a file, got"):
            Checkpoint.open(wrong, "me")
    with pytest.raises(IsADirectoryError, match=r"^checkpoint must name a file, got the directory"):
        Checkpoint.open(tmp_path, "me")
    with pytest.raises(FileNotFoundError, match=r"^checkpoint must name a file in a folder that exists"):
        Checkpoint.open(tmp_path / "no" / "run.npz", "me")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"^checkpoint must name a regular file"):
        Checkpoint.open(tmp_path / "pipe", "me")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(
        PermissionError, match=r"^checkpoint must name a file in a folder that can be written"
    ):
        Checkpoint.open(tmp_path / "run.npz", "me")


# ---- progress ---------------------------------------------------------------------------------------------


def test_each_task_is_reported_once_merged():
    seen = []
    reduce(report=seen.append)
    assert seen == [states(task) for task in TASKS]


def test_what_was_done_before_is_reported_at_once(path, half, caplog):
    seen = []
    with caplog.at_level(logging.INFO, logger="fastvi"):
        reduce(path, report=seen.append)
    assert seen == [sum(map(states, TASKS[:6])), *map(states, TASKS[6:])]
    assert [record.getMessage() for record in caplog.records] == [
        f"checkpoint {str(path)!r}: going on after 0 sums and 6 of 20 tasks of the next"
    ]


def test_a_fresh_checkpoint_logs_nothing(path, caplog):
    with caplog.at_level(logging.INFO, logger="fastvi"):
        reduce(path)
    assert caplog.text == ""


def test_a_finished_file_reports_everything(path, caplog):
    several(Checkpoint.open(path, "me"), toy)
    seen = []
    with caplog.at_level(logging.INFO, logger="fastvi"):
        several(Checkpoint.open(path, "me"), never, seen.append)
    assert seen == [sum(map(states, part)) for part in PARTS if len(part)]
    assert "going on after 3 sums\n" in caplog.text


def test_the_rate_counts_what_this_process_did(path, half, capsys, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def work(task):
        clock.now += states(task) / 2.0
        return toy(task)

    total = sum(map(states, TASKS))
    assert reduce(path, work=work, report=Reporter(True, total)) == truth()
    lines = re.split(r"[\r\n]+", capsys.readouterr().err.strip())
    assert lines[0].strip() == "fastvi:  19.2% of 390 states (19.2% from a checkpoint)"
    assert lines[1].startswith("fastvi:  23.3% of 390 states, 2/s, 2 min left (19.2% from a checkpoint)")
    assert lines[-1].startswith("fastvi: 100.0% of 390 states, 2/s, 0.0 s left")
    assert len(lines) == 15


def test_progress_of_a_finished_file_is_told_to_functions_too(path):
    reduce(path)
    seen, total = [], sum(map(states, TASKS))
    reduce(path, work=never, report=Reporter(lambda *numbers: seen.append(numbers), total))
    assert seen == [(total, total)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (119, "119.0 s"), (130, "2 min"), (3599, "1 h 00 min"), (9e4, "25 h 00 min")],
)
def test_durations(seconds, text):
    assert progress._duration(seconds) == text


# ---- digests ----------------------------------------------------------------------------------------------

DIFFERENT = [
    (),
    (None,),
    (None, None),
    ((None, None),),
    ([None, None],),
    (True,),
    (1,),
    (-1,),
    (1.0,),
    ("1",),
    (b"1",),
    (0.0,),
    (-0.0,),
    (math.inf,),
    ("",),
    ("", ""),
    ("ab", "c"),
    ("a", "bc"),
    (("a",), "bc"),
    (("a", "bc"),),
    ({},),
    ({"a": 1},),
    ({"a": None},),
    ({"a": 1, "b": 2},),
    ({"a": 2, "b": 1},),
    ([("a", 1), ("b", 2)],),
    (2**64,),
    (np.zeros(4),),
    (np.zeros(4), 0),
    (0, np.zeros(4)),
    (np.zeros(4, np.float32),),
    (np.zeros(8, np.float32),),
    (np.zeros(4, np.int64),),
    (np.zeros(4, ">f8"),),
    (np.zeros((4, 1)),),
    (np.zeros((1, 4)),),
    (np.zeros((2, 2)),),
    (np.zeros(2), np.zeros(2)),
    (np.array(0.0),),
    (np.array([0.0]),),
    (np.arange(4.0),),
    (np.arange(4.0)[::-1],),
    (np.arange(4.0).reshape(2, 2),),
    (np.arange(4.0).reshape(2, 2).T,),
    (np.empty((0, 3)),),
    (np.empty((3, 0)),),
    (np.array([True, False]),),
    (np.array([1, 0], np.uint8),),
    (np.array(["a", "b"]),),
]


def test_digests_differ():
    seen = {}
    for parts in DIFFERENT:
        name = digest(*parts)
        assert re.fullmatch("[0-9a-f]{64}", name)
        assert name not in seen, f"{parts} has the digest of {seen[name]}"
        seen[name] = parts


def test_digests_of_equal_values_are_equal():
    array = np.arange(6.0).reshape(2, 3)
    wide = np.zeros((4, 6))
    wide[::2, ::2] = array
    assert digest(array) == digest(np.asfortranarray(array)) == digest(wide[::2, ::2])
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(3) == digest(np.int32(3))
    assert digest(0.5) == digest(np.float64(0.5)) == digest(np.float32(0.5))
    assert digest(True) == digest(np.bool_(True))
    assert digest(math.nan) == digest(math.nan)


def test_a_digest_does_not_change_from_version_to_version():
    parts = (np.arange(3.0), {"b": (1, None), "a": [0.5, "ä"]}, b"\0", True)
    assert digest(*parts) == "61b0da72d2a25908358cd9279ef32ecb272c93f0839a6f65994a6f081b377972"


@pytest.mark.parametrize("wrong", [object(), {1: 2}, {1, 2}, np.array([None]), 1j, np.datetime64("2020")])
def test_what_has_no_digest(wrong):
    for parts in ((wrong,), ({"a": [wrong]},)):
        with pytest.raises(TypeError, match=r"^parts of a digest must be .*, got"):
            digest(*parts)
