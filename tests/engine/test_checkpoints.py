"""Runs that are cut short, killed and interrupted, however often: the same bits; when they are saved."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from toy_run import PARTS, TASKS, Fake, Stopping, Toy, never, reduce, several, states, toy, truth

from fastvi.engine.run import checkpoints
from fastvi.engine.run.checkpoints import Checkpoint
from fastvi.engine.run.runs import Run


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


@pytest.mark.parametrize("where", ["within a task", "within a file", "before a file is renamed"])
@pytest.mark.parametrize("call", [2, 9, 200])
def test_same_bits_after_a_process_was_killed(path, where, call):
    text = f"import sys; sys.path[:0] = {sys.path!r}; import toy_run"
    command = [
        sys.executable,
        "-c",
        f"{text}; toy_run.run_that_stands_still({str(path)!r}, {where!r}, {call})",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
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
    """The files stay as they are, and what is read after all these interruptions is what was saved."""

    def files():
        return {file: file.read_bytes() for file in path.parent.iterdir()}

    Checkpoint.open(path, "toy").save(0, 1, 2, (np.arange(3.0),))
    Checkpoint.open(path, "toy")  # Python's first look at an encoding must not be the one that is interrupted
    saved, lines, stop, before = files(), 0, 0, sys.gettrace()

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
            opened = Checkpoint.open(path, "toy")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert files() == saved
    for found in (opened, Checkpoint.open(path, "toy")):
        (array,) = found._saved[0].arrays
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
