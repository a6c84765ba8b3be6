"""What a call builds: a target once wherever its jobs run, and nothing that is left behind."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from cases import network

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.importance import jobs, softplus_target
from fastvi.engine.importance.proposals import BernoulliMixture
from fastvi.engine.sampling.run_jobs import run_job
from fastvi.rules import kept

MODEL, OTHER = network(6, 4), network(5, 3, 1)
X, X_OTHER = MODEL.sample(3, 1)[1], OTHER.sample(2, 1)[1]


@pytest.fixture
def targets(monkeypatch):
    """Weak references to all targets that were built; jobs of 64 weights, nothing stays with a model."""
    monkeypatch.setattr(jobs, "_JOB", 64)
    monkeypatch.setattr(kept, "MOST_BYTES", -1)
    for model in (MODEL, OTHER):
        vars(rules_of(model)).pop("_kept", None)
    built, build = [], softplus_target.ProductTarget.__init__

    def recorded(self, *arguments, **options):
        built.append(weakref.ref(self))
        build(self, *arguments, **options)

    monkeypatch.setattr(softplus_target.ProductTarget, "__init__", recorded)
    return built


def log_marginal(model, x, **options):
    return fastvi.estimate_log_marginal(model, x, num_samples=200, seed=3, **options).log_marginal


class Between(Executor):
    """Runs each task in this thread, after ``before()``."""

    def __init__(self, before=lambda: None, through=lambda value: value):
        self.before, self.through, self.count = before, through, 0

    def submit(self, function, /, *arguments):
        self.before()
        self.count += 1
        future = Future()
        future.set_result(self.through(self.through(function)(*self.through(arguments))))
        return future


def in_another_process(value):
    """What arrives there."""
    return pickle.loads(pickle.dumps(value))


def test_two_calls_at_once_build_one_target_each(targets):
    """A call between any two jobs of another: they evicted each other's target at every job."""
    want, alone = log_marginal(MODEL, X), log_marginal(OTHER, X_OTHER)
    inner = Between()
    targets.clear()

    def ask():
        assert np.array_equal(log_marginal(OTHER, X_OTHER, executor=inner), alone)

    outer = Between(ask)
    assert np.array_equal(log_marginal(MODEL, X, executor=outer), want)
    assert outer.count > 5
    assert inner.count > 5
    assert len(targets) == 1 + outer.count


def test_two_threads_that_estimate_at_once_build_one_target_each(targets):
    """Job by job side by side, on workers of one process."""
    asked = [(MODEL, X), (OTHER, X_OTHER)]
    want = [log_marginal(model, x) for model, x in asked]
    targets.clear()
    meet = threading.Barrier(len(asked))

    def ask(model, x):
        turns = iter([meet.wait] * 5)  # the first jobs of both callers take turns
        worker = Between(lambda: next(turns, bool)(), in_another_process)
        return log_marginal(model, x, executor=worker), worker.count

    with ThreadPoolExecutor(len(asked)) as callers:
        found = list(callers.map(ask, *zip(*asked, strict=True)))
    for (values, count), alone in zip(found, want, strict=True):
        assert np.array_equal(values, alone)
        assert count > 5
    assert len(targets) == len(asked)


@pytest.mark.parametrize("target_ess", [None, 150.0])
def test_a_worker_process_builds_a_call_s_target_once(targets, target_ess):
    want = log_marginal(MODEL, X, target_ess=target_ess)
    targets.clear()
    worker = Between(through=in_another_process)
    assert np.array_equal(log_marginal(MODEL, X, target_ess=target_ess, executor=worker), want)
    assert worker.count > 5
    assert len(targets) == 1


def test_calls_that_take_turns_on_a_worker_build_one_target_each(targets):
    """Four of them, job by job; what a worker keeps is bounded all the same."""
    jobs._kept.cache_clear()
    proposal = BernoulliMixture((np.zeros((1, 4)),), np.ones(1))
    build = partial(rules_of(MODEL).sampling_target, np.ones(6, bool), 0)
    sources = [jobs.Source(build) for _ in range(2 * jobs._KEPT)]
    samplers = [jobs.Sampler(source, X, np.arange(3), proposal, 7) for source in sources]
    for _ in range(3):
        for sampler in samplers[: jobs._KEPT]:
            run_job(in_another_process(jobs.Job(sampler, 0, 0, 5, 5)))
    assert len(targets) == jobs._KEPT
    for sampler in samplers:
        run_job(in_another_process(jobs.Job(sampler, 0, 0, 5, 5)))
    assert len(targets) == 2 * jobs._KEPT
    gc.collect()
    assert sum(target() is not None for target in targets) == jobs._KEPT


def test_threads_of_an_executor_share_one_target(targets):
    want = log_marginal(MODEL, X)
    targets.clear()
    with ThreadPoolExecutor(3) as executor:
        assert np.array_equal(log_marginal(MODEL, X, executor=executor), want)
    assert len(targets) == 1


@pytest.mark.parametrize("ends", ["well", "by an exception"])
def test_nothing_is_left_after_a_call(targets, ends):
    def stop(done, total):
        if ends != "well":
            raise ZeroDivisionError

    q = fastvi.Bernoulli(np.zeros(4))
    try:
        log_marginal(MODEL, X, progress=stop)
    except ZeroDivisionError:
        assert ends != "well"
    fastvi.elbo(MODEL, X, q, num_samples=20)
    assert len(targets) == 2
    gc.collect()
    assert [target() for target in targets] == [None, None]
