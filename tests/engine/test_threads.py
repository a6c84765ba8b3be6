"""Threads: how many, in which order, and what an exception does."""

from __future__ import annotations

import os
import threading
import warnings

import pytest

from fastvi.engine.run import slices, threads


def test_results_are_in_order_and_the_work_is_shared(set_threads):
    set_threads(3)
    meet = threading.Barrier(3)  # passes only when three tasks run at once

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


def in_a_thread(function):
    """What ``function()`` returns or raises, in a list that is filled once the thread has ended."""
    ended = []

    def run():
        try:
            ended.append(function())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_cancels_what_has_not_begun(set_threads, error):
    set_threads(2)
    begun, both, gate, started = [], threading.Barrier(2), threading.Event(), threading.Event()

    def task(item):
        begun.append(item)
        started.set()
        if item < 2:
            both.wait()  # one thread has item 0 and the other item 1
        if item == 0:
            raise error("stop")
        gate.wait()

    thread, ended = in_a_thread(lambda: threads.parallel_map(task, range(1000)))
    started.wait()
    # one of the two threads is free for this once item 0 has failed and nothing is left of the others
    threads.parallel_map(lambda _: gate.set(), range(2))
    thread.join()
    assert sorted(begun) == [0, 1]
    assert isinstance(ended[0], error)


def test_of_several_exceptions_the_first_is_raised(set_threads):
    set_threads(3)
    failed = [threading.Event() for _ in range(3)]

    def task(item):
        if item < 2:
            failed[item + 1].wait()  # in the order 2, 1, 0
        failed[item].set()
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        threads.parallel_map(task, range(3))


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastvi")]


def meet_all(count):
    """A map whose tasks are done only when ``count`` of them run at once; the threads they ran in."""
    meet = threading.Barrier(count)
    return set(threads.parallel_map(lambda _: (meet.wait(), threading.current_thread())[1], range(count)))


def test_one_pool_whatever_the_number_of_tasks(set_threads):
    """Every number of tasks up to 8 had a pool of its own, 35 threads in all."""
    set_threads(8)
    before = set(own_threads())
    for count in range(2, 9):
        assert len(meet_all(count)) == count
    assert len(set(own_threads()) - before) <= 8


def test_a_pool_is_replaced_where_the_number_of_threads_changed(set_threads):
    for count in (2, 5, 3):
        set_threads(count)
        used = meet_all(count)
        assert len(used) == count
        set_threads(count + 1)
        threads.parallel_map(lambda _: None, range(2))
        for thread in used:
            thread.join()  # they end: a pool that is not replaced would keep them for ever


def test_callers_at_once_share_the_threads(set_threads):
    """Two maps within two threads of the caller's: no more than three of ours, and both get through."""
    set_threads(3)
    threads.parallel_map(lambda _: None, range(3))
    callers = [
        in_a_thread(lambda: threads.parallel_map(lambda i: (i, threading.get_ident()), range(200)))
        for _ in range(4)
    ]
    for thread, _ in callers:
        thread.join()
    found = [ended[0] for _, ended in callers]
    assert all([item for item, _ in part] == list(range(200)) for part in found)
    assert len({ident for part in found for _, ident in part}) <= 3


def test_a_map_within_a_map_stays_in_its_thread(set_threads):
    set_threads(2)
    inner = lambda _: threads.parallel_map(lambda _: threading.get_ident(), range(3))  # noqa: E731
    assert all(len(set(idents)) == 1 for idents in threads.parallel_map(inner, range(4)))


def test_a_forked_child_has_threads_of_its_own(set_threads):
    set_threads(2)
    meet_all(2)
    with threads._POOL._lock, warnings.catch_warnings():  # which nobody lets go of in the child
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads and fork, from Python 3.12 on
        child = os.fork()
        if child == 0:
            os._exit(0 if len(meet_all(2)) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


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
    seen = [n for part in slices.data_slices(num_data) for n in range(num_data)[part]]
    assert seen == list(range(num_data))
