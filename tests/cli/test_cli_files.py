"""What the command line reads and writes: inputs are never outputs, NaN is no 0, SIGTERM saves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cases import network
from command_line import X, invoke, one_line
from naive import sbn_log_joint, states

import fastvi
from fastvi.cli.commands import fit as fit_command
from fastvi.cli.files.outputs import free_name
from fastvi.cli.signals import Terminated, sigterm

FIT = ["--latents", "2", "--epochs", "1", "--held-out", "0"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The present folder: m.npz, d.npy, and other names of them."""
    monkeypatch.chdir(tmp_path)
    network(4, 3).save("m.npz")
    np.save("d.npy", X)
    os.mkdir("below")
    for name in ("m.npz", "d.npy"):
        os.symlink(name, f"soft {name}")
        os.link(name, f"hard {name}")
    return tmp_path


def contents():
    return {name: Path(name).read_bytes() for name in sorted(os.listdir()) if os.path.isfile(name)}


def names_of(name):
    return [name, f"./{name}", f"below/../{name}", os.path.abspath(name), f"soft {name}", f"hard {name}"]


# ---- an output that is an input ----------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_outputs_that_are_inputs_are_refused():
    before = contents()
    for data in names_of("d.npy"):
        line = one_line(invoke("fit", "d.npy", data, *FIT, "--force"))
        assert "OUT must be another file than DATA, got" in line
        line = one_line(invoke("evaluate", "m.npz", "d.npy", "--csv", data))
        assert "--csv must be another file than DATA, got" in line
        line = one_line(invoke("fit", "d.npy", "new", *FIT, "--checkpoint", data))
        assert "--checkpoint must be another file than DATA, got" in line
    for model in names_of("m.npz"):
        line = one_line(invoke("evaluate", "m.npz", "d.npy", "--csv", model))
        assert "--csv must be another file than MODEL, got" in line
        line = one_line(invoke("fit", "d.npy", model, "--start", "m.npz", "--force"))
        assert "OUT must be another file than --start, got" in line
        line = one_line(invoke("evaluate", "m.npz", "d.npy", "--checkpoint", model))
        assert "--checkpoint must be another file than MODEL, got" in line
    assert contents() == before


@pytest.mark.usefixtures("folder")
def test_two_outputs_of_one_name_are_refused():
    before = contents()
    for other in ("new", "./new", "below/../new"):
        line = one_line(invoke("evaluate", "m.npz", "d.npy", "--csv", "new", "--checkpoint", other))
        assert "--checkpoint must be another file than --csv, got" in line
        line = one_line(invoke("fit", "d.npy", "new", *FIT, "--checkpoint", other))
        assert "--checkpoint must be another file than OUT, got" in line
    assert contents() == before


@pytest.mark.usefixtures("folder")
def test_models_and_data_are_not_overwritten_unasked():
    fastvi.Uniform(3).save("other.npz")
    before = contents()
    line = one_line(invoke("fit", "d.npy", "other.npz", *FIT))
    assert "OUT must be a new file or come with --force, got 'other.npz', which exists" in line
    for name in ("other.npz", "hard d.npy"):
        model, data = ("m.npz", "d.npy") if name == "other.npz" else ("other.npz", "other.npz")
        line = one_line(invoke("evaluate", model, data, "--csv", name))
        assert "--csv must be a new file or one of text, got" in line
    assert contents() == before
    os.chmod("other.npz", 0o600)
    assert invoke("fit", "d.npy", "other.npz", *FIT, "--force").exit_code == 0
    assert fastvi.load("other.npz").num_latents == 2
    assert stat.S_IMODE(os.stat("other.npz").st_mode) == 0o600


def test_a_model_that_appears_during_the_fit_stays(folder, monkeypatch):
    run = fastvi.fit_model

    def meanwhile(*rest, **options):
        fastvi.Uniform(5).save("new.npz")
        (folder / "new.npz.1").touch()
        return run(*rest, **options)

    monkeypatch.setattr(fit_command.fastvi, "fit_model", meanwhile)
    result = invoke("fit", "d.npy", "new.npz", *FIT)
    assert result.exit_code == 0
    assert "new.npz was made by another program meanwhile" in result.stderr
    assert fastvi.load("new.npz").num_latents == 5
    assert fastvi.load("new.npz.2").num_latents == 2
    assert free_name("new.npz") == "new.npz.3"


# ---- checked before the work -------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_places_that_cannot_be_written_are_named_before_the_work(monkeypatch):
    def never(*_, **__):
        raise AssertionError("it has begun")

    monkeypatch.setattr(fit_command.fastvi, "fit_model", never)
    monkeypatch.setattr(fit_command.fastvi, "log_marginal", never)
    monkeypatch.setattr(fit_command.fastvi, "load", never)
    os.mkfifo("pipe")
    for wrong in ("none/new", "d.npy/new"):
        line = one_line(invoke("fit", "d.npy", wrong, *FIT))
        assert f"OUT must name a file in a folder that exists, got {wrong!r}" in line
        line = one_line(invoke("evaluate", "m.npz", "d.npy", "--csv", wrong))
        assert f"--csv must name a file in a folder that exists, got {wrong!r}" in line
        line = one_line(invoke("evaluate", "m.npz", "d.npy", "--checkpoint", wrong))
        assert f"--checkpoint must name a file in a folder that exists, got {wrong!r}" in line
    line = one_line(invoke("fit", "d.npy", "new", *FIT, "--checkpoint", "pipe"))
    assert "--checkpoint must name a regular file, got 'pipe'" in line
    assert "is a directory" in one_line(invoke("fit", "d.npy", "below", *FIT))
    monkeypatch.setattr(os, "access", lambda path, how: not how & os.W_OK)  # root may write anywhere
    line = one_line(invoke("fit", "d.npy", "new", *FIT))
    assert "OUT must name a file in a folder that can be written, got 'new'" in line


@pytest.mark.usefixtures("folder")
def test_a_study_says_at_once_that_its_folders_cannot_be_written():
    os.mkdir("results")
    Path("results/bounds").touch()
    line = one_line(invoke("study", "bounds", "--quick", "--out", "results"))
    assert "--out must lead to folders that can be written, got 'results/bounds'" in line


@pytest.mark.usefixtures("folder")
def test_pipes_are_no_inputs():
    os.mkfifo("pipe")
    for arguments in (
        ["evaluate", "pipe", "d.npy"],
        ["evaluate", "m.npz", "pipe"],
        ["fit", "pipe", "x", *FIT],
    ):
        assert "must name a regular file, got 'pipe'" in one_line(invoke(*arguments))


@pytest.mark.usefixtures("folder")
def test_data_that_fit_in_no_memory_and_damaged_data_are_one_line(monkeypatch):
    np.savez("x.npz", x=X, other=np.zeros(1000))
    with zipfile.ZipFile("lzma.npz", "w", zipfile.ZIP_LZMA) as file:
        file.write("d.npy", "x.npy")
    assert invoke("evaluate", "m.npz", "x.npz").exit_code == 0
    assert "DATA must be a whole file, got 'lzma.npz'" in one_line(invoke("evaluate", "m.npz", "lzma.npz"))
    monkeypatch.setattr("fastvi.core.archives.free_memory", lambda: 4000)
    assert invoke("evaluate", "m.npz", "x.npz").exit_code == 0  # the other one is not read
    line = one_line(invoke("evaluate", "m.npz", "x.npz", "--key", "other"))
    assert "DATA must fit in memory, got 'x.npz': it declares 8,000 bytes and 4,000 are free" in line


# ---- standard output, pipes --------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_a_dash_is_standard_output():
    assert invoke("evaluate", "m.npz", "d.npy", "--csv", "out.csv").exit_code == 0
    result = invoke("evaluate", "m.npz", "d.npy", "--csv", "-")
    assert result.exit_code == 0
    assert result.stdout == Path("out.csv").read_text()
    assert "mean log p(x), nats" in result.stderr
    assert invoke("fit", "d.npy", "out.npz", *FIT).exit_code == 0
    result = invoke("fit", "d.npy", "-", *FIT)
    assert result.stdout_bytes == Path("out.npz").read_bytes()
    assert "written: -" in result.stderr
    assert not os.path.exists("-")
    assert invoke("fit", "d.npy", "./-", *FIT).exit_code == 0
    assert os.path.exists("-")


@pytest.mark.usefixtures("folder")
def test_a_pipe_gets_the_output():
    os.mkfifo("pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_text()))
    reader.start()
    result = invoke("evaluate", "m.npz", "d.npy", "--csv", "pipe")
    reader.join()
    assert result.exit_code == 0
    assert got[0].startswith("index,log_marginal\n0,")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


@pytest.mark.usefixtures("folder")
def test_a_log_that_is_appended_to_is_not_wiped():
    """What /dev/stdout leads to, by a link of the test's own."""
    own = "/proc/self/fd/1" if os.path.isdir("/proc/self/fd") else "/dev/fd/1"
    os.symlink(own, "stdout")
    with open("log", "w") as log:
        log.write("before\n")
    command = [sys.executable, "-m", "fastvi", "evaluate", "m.npz", "d.npy", "--csv"]
    with open("log", "a") as log:
        done = subprocess.run([*command, "stdout"], stdout=log, stderr=subprocess.PIPE, text=True, check=True)
    with open("log") as log:
        lines = log.read().splitlines()
    assert lines[:2] == ["before", "index,log_marginal"]
    assert len(lines) == 2 + len(X)
    assert "mean log p(x)" in done.stderr
    with open("log", "a") as log:  # the same file by its own name
        done = subprocess.run([*command, "log"], stdout=log, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "--csv must be another file than the output goes to" in done.stderr
    with open("log") as log:
        assert log.read().splitlines() == lines


# ---- NaN ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_nan_is_refused_or_not_seen(dtype):
    model, grey = fastvi.load("m.npz"), np.array([[0.0, 9, 9, 0], [9, np.nan, 0, 9], [0, 0, 0, 9]], dtype)
    np.save("grey.npy", grey)
    ask = ["evaluate", "m.npz", "grey.npy", "--threshold", "5"]
    line = one_line(invoke(*ask))
    assert "DATA must hold no NaN for --threshold, got one at index (1, 1)" in line
    assert "no NaN for --threshold" in one_line(invoke("fit", "grey.npy", "out", *FIT, "--threshold", "5"))
    result = invoke(*ask, "--nan-missing", "--csv", "-")
    assert result.exit_code == 0
    assert "1 pixels were not observed" in result.stderr
    values = [float(line.split(",")[1]) for line in result.stdout.splitlines()[1:]]

    def exact(x):
        terms = [
            np.exp(
                sbn_log_joint(model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist(), x, z)
            )
            for z in states(3)
        ]
        return sum(terms)

    expected = [exact([0, 1, 1, 0]), exact([1, 0, 0, 1]) + exact([1, 1, 0, 1]), exact([0, 0, 0, 1])]
    # sums of 8 or 16 positive terms, each right to a few units in the last place of logits of size 10
    np.testing.assert_allclose(values, np.log(expected), rtol=1e-13)
    np.save("seen.npy", grey[[0, 2]])
    result = invoke("evaluate", "m.npz", "seen.npy", *ask[3:], "--nan-missing")
    assert "pixels were not observed" not in result.output


@pytest.mark.usefixtures("folder")
def test_nan_without_a_threshold_and_where_there_are_no_pixels():
    np.save("bits.npy", np.where(X == 1, np.nan, 0.0))
    assert "x must contain only 0 and 1, got nan" in one_line(invoke("evaluate", "m.npz", "bits.npy"))
    assert invoke("evaluate", "m.npz", "bits.npy", "--nan-missing").exit_code == 0
    fastvi.JointTable([[0.5, 0.5]]).save("table.npz")
    np.save("rows.npy", np.array([0.0, np.nan]))
    line = one_line(invoke("evaluate", "table.npz", "rows.npy", "--nan-missing"))
    assert "--observed is for data of pixels, got shape (2,)" in line


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("threshold", ["nan", "inf", "-inf"])
def test_a_threshold_is_a_number(threshold):
    line = one_line(invoke("evaluate", "m.npz", "d.npy", f"--threshold={threshold}"))
    assert "--threshold must be finite, got" in line


# ---- what a model was made with ----------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_a_model_says_how_it_was_made():
    assert invoke("fit", "d.npy", "new.npz", *FIT, "--seed", "7", "--limit", "2").exit_code == 0
    with np.load("new.npz", allow_pickle=False) as archive:
        made = json.loads(archive["fastvi_made"].item())
    order = np.random.Generator(np.random.Philox(key=7)).permutation(2)
    assert made == fastvi.load("new.npz").made
    assert made["fastvi"] == fastvi.__version__
    assert (made["seed"], made["num_epochs"], made["epochs_done"], made["limit"]) == (7, 1, 1, 2)
    assert made["data_file_sha256"] == hashlib.sha256(contents()["d.npy"]).hexdigest()
    assert made["data_sha256"] == hashlib.sha256(X[:2][order].tobytes()).hexdigest()
    shown = invoke("info", "new.npz")
    assert shown.exit_code == 0
    assert repr(fastvi.load("new.npz")) in shown.stdout
    assert made["data_sha256"] in shown.stdout
    assert "not an .npz file" in one_line(invoke("info", "d.npy"))


# ---- SIGTERM -----------------------------------------------------------------------------------------------


def test_sigterm_is_an_interrupt_and_leaves_the_handler_as_it_was():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with sigterm() as received:
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the second does not cut the saving short
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
    assert received.terminated
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("own", [signal.SIG_IGN, lambda *_: None])
def test_a_handler_of_the_program_around_stays(own):
    before = signal.signal(signal.SIGTERM, own)
    try:
        with sigterm() as received:
            assert signal.getsignal(signal.SIGTERM) is own
            os.kill(os.getpid(), signal.SIGTERM)
        assert not received.terminated
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_signals_are_left_alone():
    seen = []

    def work():
        with sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_fit_that_is_stopped_saves_its_model_and_its_checkpoint(number, status):
    # a line of progress every hundredth of a second, where it would be 30
    code = "from fastvi.cli import main, progress; progress.EVERY = 0.01; main()"
    command = [sys.executable, "-c", code, "fit", "d.npy", "out.npz", "--checkpoint", "run.npz"]
    command += ["--latents", "2", "--epochs", "100000", "--held-out", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = b""
    while not re.search(rb"epochs, [1-9]", line):  # an epoch is done, and no save is due for seconds
        line = process.stderr.readline()
        assert line
    process.send_signal(number)
    stdout, stderr = process.communicate()
    assert process.returncode == status, stderr
    assert {143: b"fastvi: terminated", 130: b"fastvi: interrupted"}[status] in stderr
    assert b"to go on: the same command with --force" in stderr
    assert b"written: out.npz" in stdout
    done = fastvi.load("out.npz").made["epochs_done"]
    assert 0 < done < 100_000
    with np.load("run.npz", allow_pickle=False) as archive:
        ((tasks, saved, _),) = json.loads(archive["layout"].item())
    assert (tasks, saved) == (100_001, done + 1)
