"""Threads: how many, in which order, and what an exception does."""

from __future__ import annotations

import threading
import time

import pytest

from fastvi.engine import threads


def test_results_are_in_order_and_the_work_is_shared(set_threads):
    set_threads(3)
    meet = threading.Barrier(3, timeout=20)  # passes only when three tasks run at once

    def task(item):
        if item < 3:
            meet.wait()
        return item, threading.get_ident()

    results = threads.parallel_map(task, range(50))
    assert [item for item, _ in results] == list(range(50))
    assert len({thread for _, thread in results}) == 3
    assert threading.get_ident() not in {thread for _, thread in results}


@pytest.mark.parametrize(("count", "operations"), [(1, 1e12), (8, 0.0), (8, 1e5)])
def test_one_thread_or_little_work_starts_none(monkeypatch, count, operations):
    monkeypatch.setenv("FASTVI_NUM_THREADS", str(count))
    idents = threads.parallel_map(lambda _: threading.get_ident(), range(5), operations)
    assert set(idents) == {threading.get_ident()}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_cancels_what_has_not_begun(set_threads, error):
    set_threads(2)
    begun = []

    def task(item):
        begun.append(item)
        if item == 0:
            raise error("stop")
        time.sleep(0.01)

    with pytest.raises(error, match="stop"):
        threads.parallel_map(task, range(1000))
    assert len(begun) < 1000


def test_number_of_threads(monkeypatch):
    monkeypatch.setenv("FASTVI_NUM_THREADS", "5")
    assert threads.num_threads() == 5
    for wrong in ("0", "-1", "two", "1.5", ""):
        monkeypatch.setenv("FASTVI_NUM_THREADS", wrong)
        with pytest.raises(ValueError, match=r"^FASTVI_NUM_THREADS must be a whole number >= 1, got"):
            threads.num_threads()
    monkeypatch.delenv("FASTVI_NUM_THREADS")
    assert threads.num_threads() >= 1


@pytest.mark.parametrize("num_data", [0, 1, 7, 1000])
def test_slices_cover_all_data_once(num_data):
    seen = [n for part in threads.data_slices(num_data) for n in range(num_data)[part]]
    assert seen == list(range(num_data))
