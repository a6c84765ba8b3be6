"""Work travels to a worker once; one that has none asks for it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

import fastvi
from fastvi.engine.run import workers
from fastvi.engine.run.workers import Missing, packed, perform
from fastvi.kernels.shapes import TILES, name_of


class Remote(Executor):
    """Workers that take tasks in turn, each with a memory of its own; what travels is pickled and counted."""

    def __init__(self, num_workers):
        self._max_workers = num_workers
        self.memories = [type(workers._kept)() for _ in range(num_workers)]
        self.sizes, self.answers = [], []

    def submit(self, function, /, *args):
        travels = pickle.dumps((function, args))
        future = Future()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers, "_kept", self.memories[len(self.sizes) % self._max_workers])
            call, given = pickle.loads(travels)
            answer = call(*given)
        self.sizes.append(len(travels))
        self.answers.append(answer)
        future.set_result(answer)
        return future


def problem():
    rng = np.random.default_rng(0)
    model = fastvi.SigmoidBeliefNetwork(rng.normal(size=(40, 18)), rng.normal(size=40), rng.normal(size=18))
    return model, (rng.random((5, 40)) < 0.5).astype(np.uint8)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num_workers", [1, 3])
def test_what_is_large_is_sent_once_to_a_worker(monkeypatch, num_workers):
    monkeypatch.setattr("fastvi.engine.states.form.WAVE_TILES", 1)  # many waves of a small problem
    model, x = problem()
    executor = Remote(num_workers)
    assert np.array_equal(fastvi.log_marginal(model, x, executor=executor), fastvi.log_marginal(model, x))
    whole = max(executor.sizes)
    assert len(executor.sizes) > 3 * num_workers
    assert sum(size > whole / 2 for size in executor.sizes) == num_workers
    assert not any(isinstance(answer, Missing) for answer in executor.answers)


@pytest.mark.slow_without_jit
def test_a_worker_that_was_sent_nothing_asks(monkeypatch):
    monkeypatch.setattr("fastvi.engine.states.form.WAVE_TILES", 1)
    model, x = problem()

    class Late(Remote):
        """A third worker takes over from the tenth task on."""

        def submit(self, function, /, *args):
            if len(self.sizes) == 9:
                self.memories = [type(workers._kept)() for _ in self.memories]
            return super().submit(function, *args)

    executor = Late(2)
    assert np.array_equal(fastvi.log_marginal(model, x, executor=executor), fastvi.log_marginal(model, x))
    assert sum(isinstance(answer, Missing) for answer in executor.answers) >= 1


def test_a_worker_keeps_the_last_two(monkeypatch):
    monkeypatch.setattr(workers, "_kept", type(workers._kept)())
    for number in range(4):
        assert perform(str(number), pickle.dumps(abs), "", -number) == number
    assert list(workers._kept) == ["2", "3"]
    assert perform("3", None, "", -7) == 7
    assert perform("0", None, "", -7) == Missing("0")


def test_what_cannot_be_pickled_is_left_to_the_executor():
    assert packed(Remote(1), lambda task: task, "") is None
    with ThreadPoolExecutor(1) as threads:
        assert packed(threads, abs, "") is None
    assert pickle.loads(packed(Remote(1), abs, "").content) is abs


def test_a_worker_that_begins_takes_the_callers_register_tiles():
    """Before its kernels are loaded: the caller's arrays are packed for those."""
    tiles = TILES["znver1"]
    code = (
        "import pickle, sys\n"
        "from fastvi.engine.run.workers import perform\n"
        "assert 'fastvi.kernels.host' not in sys.modules\n"
        f"found = perform('a', pickle.dumps(eval), {name_of(tiles)!r},"
        ' \'__import__("fastvi.kernels.host", fromlist=["a"]).CHOSEN\')\n'
        f"assert tuple(map(tuple, found)) == {tuple(map(tuple, tiles))}"
    )
    ours = {name: value for name, value in os.environ.items() if name != "FASTVI_REGISTER_TILES"}
    subprocess.run([sys.executable, "-c", code], check=True, env=ours)
