"""Runs: the same bits whoever computes the tasks."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import optional
import pytest
from toy_run import TASKS, Fake, Stopping, Toy, bits, reduce, states, toy, truth

from fastvi.engine.run import runs
from fastvi.engine.run.runs import Run
from fastvi.kernels import host


def test_the_toy_depends_on_the_order():
    assert truth(TASKS) != truth(TASKS[::-1])
    assert truth([0, 1, 2]) != truth([0, 2, 1])


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
