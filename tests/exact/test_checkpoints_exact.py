"""Exact questions that are cut short: from where they were, with the same bits; Ctrl-C, SIGKILL, Dask."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import optional
import pytest
from cases import machine, network, random_bits, restricted, sparse_coding, strong_network, strongly_clamped

import fastvi
from fastvi.engine.run import checkpoints, threads
from fastvi.engine.run.runs import Run
from fastvi.engine.states.form import Form
from fastvi.engine.states.pair_form import PairForm

HERE = Path(__file__).parent


def log_marginal(model, x, observed, **options):
    return [fastvi.log_marginal(model, x, observed=observed, **options)]


def log_partition(model, x, observed, **options):
    return [np.float64(fastvi.log_partition(model, **options))]


def posterior(model, x, observed, **options):
    found = fastvi.exact_posterior(model, x, observed=observed, top_k=3, pairwise=True, **options)
    names = ("log_marginal", "mean", "second_moment", "entropy", "top_log_probs", "top_states")
    return [getattr(found, name) for name in names]


def gradient(model, x, observed, **options):
    return list(fastvi.log_marginal_gradient(model, x, observed=observed, **options).values())


def bits(question, case, **options):
    return b"".join(array.tobytes() for array in question(*case, **options))


def with_masks(model, num_data=5):
    """Two distinct masks, so that a run has several sums."""
    masks = np.arange(model.num_pixels) % 4 > np.arange(num_data)[:, None] % 2
    x = model.sample(num_data, 1)[1]
    return model, x, masks


CASES = {
    "a machine": lambda: with_masks(machine(13, exclusive=0.1)),
    "a restricted machine": lambda: with_masks(restricted(15, 12)),
    "sparse coding": lambda: with_masks(sparse_coding(6, 12)),
    "a network": lambda: with_masks(network(8, 12)),
    "a deep network": lambda: with_masks(network(8, 12, prior=machine(12))),
    "a network in log space": lambda: strong_network(12),
    "a machine in log space": lambda: strongly_clamped(15),
}
QUESTIONS = {
    "log_marginal": log_marginal,
    "log_partition": log_partition,
    "posterior": posterior,
    "gradient": gradient,
}
PAIRS = [
    (question, case)
    for question, case in itertools.product(QUESTIONS, CASES)
    if question != "log_partition" or "machine" in case
]


# a form that does not say for itself has what its base class says
_ORDINARY = [
    (form, name, vars(form).get(name)) for form in (PairForm, Form) for name in ("wave_tiles", "filled_tiles")
]
_SMALL = [3, 2, 3, 3]


def set_waves(*, small=True):
    """Several waves of every small problem, also in another process; or waves as they are."""
    for (form, name, ordinary), few in zip(_ORDINARY, _SMALL, strict=True):
        if small or ordinary is not None:
            setattr(form, name, few if small else ordinary)
        elif name in vars(form):
            delattr(form, name)


@pytest.fixture
def waves(monkeypatch):
    for (form, name, _), few in zip(_ORDINARY, _SMALL, strict=True):
        monkeypatch.setattr(form, name, few, raising=False)
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


class Stop(Exception):
    pass


class StopAfter:
    """Raises when it is called for the ``count``-th time."""

    def __init__(self, count):
        self.count = count

    def __call__(self, done, total):
        self.count -= 1
        if self.count <= 0:
            raise Stop


@pytest.fixture
def tasks_done(monkeypatch):
    """Numbers of tasks that runs with a checkpoint had left, one for each sum."""
    seen, results = [], Run._results

    def counting(self, tasks, work):
        if self._checkpoint is not None:
            seen.append(len(tasks))
        return results(self, tasks, work)

    monkeypatch.setattr(Run, "_results", counting)
    return seen


# ---- cut short and resumed --------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("waves", "each_report")
@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_an_interrupted_run_goes_on_with_the_same_bits(name, case, path, tasks_done):
    question, problem = QUESTIONS[name], CASES[case]()
    reports = []
    whole = bits(question, problem, progress=lambda *counts: reports.append(counts))
    assert len(reports) > 2, "too few waves to stop in the middle"
    assert reports[-1][0] == reports[-1][1]
    everything = sum(run_whole(question, problem, path.with_name("other.npz"), tasks_done, whole))
    for count in (1, len(reports) // 2 + 1, len(reports) - 1):
        path.unlink(missing_ok=True)
        with pytest.raises(Stop):
            bits(question, problem, checkpoint=path, progress=StopAfter(count))
        assert path.exists()
        tasks_done.clear()
        assert bits(question, problem, checkpoint=path) == whole
        assert 0 < sum(tasks_done) <= everything - count
    # cut short at every report, ten at a time
    path.unlink()
    while True:
        try:
            assert bits(question, problem, checkpoint=path, progress=StopAfter(11)) == whole
            break
        except Stop:
            pass


def run_whole(question, problem, path, tasks_done, whole):
    """Number of tasks of each sum; and the finished file gives the result without any."""
    tasks_done.clear()
    assert bits(question, problem, checkpoint=path) == whole
    seen = list(tasks_done)
    tasks_done.clear()
    content = path.read_bytes()
    assert bits(question, problem, checkpoint=path) == whole
    assert not any(tasks_done)
    assert path.read_bytes() == content
    return seen


@pytest.mark.usefixtures("waves")
@pytest.mark.parametrize(("name", "case"), [("log_marginal", "a machine"), ("posterior", "sparse coding")])
def test_a_finished_file_is_the_result(name, case, path, tasks_done):
    question, problem = QUESTIONS[name], CASES[case]()
    problem = problem[0], problem[1][:2], problem[2][:2]
    run_whole(question, problem, path, tasks_done, bits(question, problem))
    reports = []
    bits(question, problem, checkpoint=path, progress=lambda *counts: reports.append(counts))
    assert reports[-1][0] == reports[-1][1]


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("waves", "each_report")
@pytest.mark.parametrize("name", QUESTIONS)
def test_threads_and_executors_may_change_in_between(name, path, set_threads):
    question, problem = QUESTIONS[name], CASES["a machine"]()
    set_threads(1)
    whole = bits(question, problem)
    with ThreadPoolExecutor(3) as executor:
        with pytest.raises(Stop):
            bits(question, problem, checkpoint=path, executor=executor, progress=StopAfter(2))
        set_threads(2)
        with pytest.raises(Stop):
            bits(question, problem, checkpoint=path, progress=StopAfter(3))
        assert bits(question, problem, checkpoint=path, executor=executor) == whole


@pytest.mark.usefixtures("waves")
def test_what_takes_no_enumeration_makes_no_file(path):
    model, x = restricted(6, 3), random_bits(2, 6)
    fastvi.log_marginal(model, x, normalized=False, checkpoint=path)
    fastvi.log_marginal(network(3, 3), np.empty((0, 3)), checkpoint=path)
    assert not path.exists()


# ---- files of others --------------------------------------------------------------------------------------


def next_number(array, index=0):
    out = array.copy()
    out.flat[index] = np.nextafter(out.flat[index], np.inf)
    return out


def variations():
    """Each differs in one thing from ``ask()``."""
    model, x = network(5, 12), random_bits(3, 5)
    mask = np.array([True, True, False, True, True])
    weights, bias, prior = model.arrays().values()
    twin = fastvi.SigmoidBeliefNetwork(weights, bias, prior)
    ask = functools.partial(fastvi.log_marginal, model, x)
    other_x = x.copy()
    other_x[1, 1] ^= 1
    same = {"itself": ask, "a twin": functools.partial(fastvi.log_marginal, twin, x.astype(float))}

    def of(*parameters, **options):
        return functools.partial(fastvi.log_marginal, fastvi.SigmoidBeliefNetwork(*parameters, **options), x)

    return same, {
        "a weight": of(next_number(weights, 7), bias, prior),
        "a bias": of(weights, next_number(bias), prior),
        "a prior logit": of(weights, bias, next_number(prior)),
        "a deep prior": of(weights, bias, prior=machine(12)),
        "a model of another kind": functools.partial(
            fastvi.log_marginal, fastvi.RestrictedBoltzmannMachine(weights, bias, prior), x,
            observed=np.zeros(5, bool),
        ),
        "real data": functools.partial(
            fastvi.log_marginal, fastvi.BinarySparseCoding(weights, bias, 1.0, prior), x
        ),
        "a bit of the data": functools.partial(fastvi.log_marginal, model, other_x),
        "the order of the data": functools.partial(fastvi.log_marginal, model, x[[0, 2, 1]]),
        "the number of data": functools.partial(fastvi.log_marginal, model, x[:2]),
        "single precision": functools.partial(ask, dtype="float32"),
        "a mask": functools.partial(ask, observed=mask),
        "masks": functools.partial(ask, observed=np.array([mask, ~mask, mask])),
        "not normalised": functools.partial(ask, normalized=False),
        "posteriors": functools.partial(fastvi.exact_posterior, model, x),
        "more states kept": functools.partial(fastvi.exact_posterior, model, x, top_k=1),
        "pairs": functools.partial(fastvi.exact_posterior, model, x, pairwise=True),
        "a gradient": functools.partial(fastvi.log_marginal_gradient, model, x),
        "weights of data": functools.partial(
            fastvi.log_marginal_gradient, model, x, data_weights=[1.0, 2.0, 3.0]
        ),
    }  # fmt: skip


@pytest.mark.usefixtures("waves", "each_report")
@pytest.mark.parametrize("finished", [False, pytest.param(True, marks=pytest.mark.slow_without_jit)])
def test_files_of_other_questions_are_refused(path, finished):
    same, others = variations()
    if finished:
        same["itself"](checkpoint=path)
    else:
        with pytest.raises(Stop):
            same["itself"](checkpoint=path, progress=StopAfter(2))
    content = path.read_bytes()
    for name, ask in others.items():
        with pytest.raises(
            ValueError, match=r"^checkpoint must name a file of the same model, data and options"
        ):
            ask(checkpoint=path)
        assert path.read_bytes() == content, name
    for ask in same.values():
        assert ask(checkpoint=path).tobytes() == ask().tobytes()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.usefixtures("waves", "each_report")
def test_each_question_is_refused_the_other_ones_file(path, tmp_path):
    model, x = machine(12), np.zeros((1, 12), np.uint8)
    observed = np.arange(12) < 1
    asks = [
        functools.partial(fastvi.log_partition, model),
        functools.partial(fastvi.log_marginal, model),
        functools.partial(fastvi.log_marginal, model, normalized=False),
        functools.partial(fastvi.log_marginal, model, x, observed=observed),
        functools.partial(fastvi.log_marginal, model, x, observed=np.arange(12) == 1),
        functools.partial(fastvi.exact_posterior, model),
        functools.partial(fastvi.exact_posterior, model, top_k=1),
        functools.partial(fastvi.exact_posterior, model, top_k=2),
        functools.partial(fastvi.exact_posterior, model, pairwise=True),
        functools.partial(fastvi.exact_posterior, model, normalized=False),
        functools.partial(fastvi.log_marginal_gradient, model, x, observed=observed),
        functools.partial(fastvi.log_marginal_gradient, model, x, observed=observed, data_weights=[2.0]),
    ]
    files = [tmp_path / str(number) for number in range(len(asks))]
    for ask, file in zip(asks, files, strict=True):
        with pytest.raises(Stop):
            ask(checkpoint=file, progress=StopAfter(1))
    for (ask, own), (number, file) in itertools.product(zip(asks, files, strict=True), enumerate(files)):
        if own is file:
            continue
        content = file.read_bytes()
        with pytest.raises(ValueError, match=r"^checkpoint must name a file of the same model"):
            ask(checkpoint=file)
        assert file.read_bytes() == content, number


@pytest.mark.usefixtures("waves", "each_report")
def test_torn_files_are_refused(path):
    case = machine(12), None, None
    with pytest.raises(Stop):
        bits(log_marginal, case, checkpoint=path, progress=StopAfter(2))
    content = path.read_bytes()
    torn = [content[: len(content) // 2], content[:-1], b"", content + b"\0"]
    torn += [content[:100] + bytes([content[100] ^ 1]) + content[101:]]
    for wrong in torn:
        path.write_bytes(wrong)
        for question in (log_marginal, log_partition, posterior):
            with pytest.raises(ValueError, match=r"^checkpoint must name a whole file .*left as it is"):
                bits(question, case, checkpoint=path)
        assert path.read_bytes() == wrong
    path.write_bytes(content)
    assert bits(log_marginal, case, checkpoint=path) == bits(log_marginal, case)


# ---- SIGKILL ----------------------------------------------------------------------------------------------


def log_marginal_that_stands_still(path):
    """Until the fifth wave; the parent process is then told, and nothing is done any more."""
    set_waves()
    checkpoints.SAVE_SECONDS = 0.0
    problem, results, waves = CASES["a machine"](), Run._results, itertools.count(1)

    def standing(self, tasks, work):
        def stands(task):
            if next(waves) == 5:
                print("here", flush=True)
                sys.stdin.read()  # for ever, or until the parent ends
            return work(task)

        return results(self, tasks, stands)

    Run._results = standing
    bits(log_marginal, problem, checkpoint=path)


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("waves")
def test_same_bits_after_a_process_was_killed(path, tasks_done):
    text = f"import sys; sys.path[:0] = {sys.path!r}; import test_checkpoints_exact as t"
    command = [sys.executable, "-c", f"{text}; t.log_marginal_that_stands_still(sys.argv[1])", str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=HERE.parents[1], text=True, **pipes) as process:
        assert process.stdout.readline() == "here\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    problem = CASES["a machine"]()
    whole = bits(log_marginal, problem)
    assert bits(log_marginal, problem, checkpoint=path) == whole
    left = sum(tasks_done)
    assert left == sum(run_whole(log_marginal, problem, path.with_name("other"), tasks_done, whole)) - 4


# ---- Ctrl-C -----------------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("waves")
@pytest.mark.parametrize(("name", "case"), [pair for pair in PAIRS if pair[1] in ("a machine", "a network")])
def test_ctrl_c_ends_a_run_at_once(name, case, path, monkeypatch, set_threads, tasks_done):
    """Ctrl-C while this thread waits for others in the third wave: nothing is begun after it."""
    set_threads(2)
    question, problem = QUESTIONS[name], CASES[case]()
    whole = bits(question, problem)
    everything = sum(run_whole(question, problem, path.with_name("other"), tasks_done, whole))
    waves, results = [], Run._results

    def fire(which):
        if which == 0:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def firing(self, tasks, work):
        def fired(task):
            waves.append(task)
            if len(waves) == 3:
                threads.parallel_map(fire, range(2))
            return work(task)

        return results(self, tasks, fired)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_results", firing)
        with pytest.raises(KeyboardInterrupt):
            bits(question, problem, checkpoint=path)
    assert len(waves) == 3
    tasks_done.clear()
    assert bits(question, problem, checkpoint=path) == whole
    assert sum(tasks_done) == everything - 2


# ---- Dask -------------------------------------------------------------------------------------------------


@pytest.mark.needs_jit
# what a cluster warns of on its way out differs from version to version
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestDask:
    @pytest.fixture(scope="class")
    def client(self):
        distributed = optional.package("distributed")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.run(set_waves)
            yield client

    @pytest.mark.usefixtures("waves")
    @pytest.mark.parametrize("case", ["a machine", "a network"])
    @pytest.mark.parametrize("name", QUESTIONS)
    def test_same_bits(self, client, name, case, path):
        if (name, case) not in PAIRS:
            return
        question, problem = QUESTIONS[name], CASES[case]()
        executor = client.get_executor() if case == "a machine" else client  # which gives one itself
        assert bits(question, problem, executor=executor, checkpoint=path) == bits(question, problem)
        assert bits(question, problem, checkpoint=path) == bits(question, problem)

    @pytest.mark.usefixtures("each_report")
    def test_same_bits_though_a_worker_is_killed(self, client):
        """Waves of their real size: what is restarted knows of no other."""
        model = machine(30)
        workers = client.run(os.getpid)
        assert len(workers) == 2
        killed = []

        def report(done, total):
            if done >= total // 4 and not killed:
                killed.append(next(iter(workers.values())))
                os.kill(killed[0], signal.SIGKILL)

        client.run(set_waves, small=False)
        found = fastvi.log_partition(model, executor=client.get_executor(), progress=report)
        assert len(killed) == 1
        assert found == fastvi.log_partition(model)
        assert killed[0] not in client.run(os.getpid).values()
