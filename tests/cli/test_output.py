"""What a command prints: errors and warnings of one line, the log, JSON, a closed pipe, progress."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings

import cases
import click
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import X, invoke, one_line

import fastvi
from fastvi.cli import progress
from fastvi.cli.command import Command
from fastvi.cli.group import _NAMES, cli
from fastvi.cli.output import Output
from fastvi.engine.cuda.device import MissingDeviceError


@pytest.fixture
def ask(tmp_path):
    """Arguments of ``fastvi evaluate`` on a small model."""
    cases.network(4, 3).save(tmp_path / "m.npz")
    np.save(tmp_path / "d.npy", X)
    return ["evaluate", str(tmp_path / "m.npz"), str(tmp_path / "d.npy")]


# ---- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ZeroDivisionError("division\nby zero"), "ZeroDivisionError: division by zero"),
        (RuntimeError(), "RuntimeError"),
        (MemoryError(), "out of memory"),
        (MemoryError("the tables take 9 GB"), "out of memory: the tables take 9 GB"),
    ],
)
def test_an_error_that_nobody_foresaw_is_one_line_and_status_1(monkeypatch, ask, error, text):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("fastvi.log_marginal", fail)
    assert one_line(invoke(*ask), status=1) == f"fastvi: evaluate failed: {text}"
    shown = invoke(*ask, "-v").stderr
    assert "Traceback (most recent call last)" in shown
    assert shown.splitlines()[-1] == f"fastvi: evaluate failed: {text}"
    result = invoke(*ask, "--json")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_full_disk_is_one_line_and_status_1(monkeypatch, ask):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", "out.csv")

    monkeypatch.setattr("fastvi.log_marginal", fail)
    assert one_line(invoke(*ask), status=1) == "fastvi: out.csv: No space left on device"
    assert "Traceback" in invoke(*ask, "-v").stderr


@pytest.mark.parametrize("command", [["--help"], ["evaluate", "m.npz", "d.npy", "--csv", "-"]])
def test_a_pipe_without_a_reader_is_status_141(ask, command, tmp_path):
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fastvi", *command],
            stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


# ---- warnings and the log --------------------------------------------------------------------------------


def test_a_warning_is_shown_once_as_one_line(monkeypatch, ask):
    def warn(*_, **__):
        for _ in range(2):
            warnings.warn("the sum lost\ndigits", fastvi.AccuracyWarning, stacklevel=1)
        logging.getLogger("fastvi").warning("a line of the log")
        return np.zeros(3)

    monkeypatch.setattr("fastvi.log_marginal", warn)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = invoke(*ask)
    assert result.exit_code == 0
    expected = ["fastvi: AccuracyWarning: the sum lost digits", "fastvi: a line of the log"]
    assert result.stderr.splitlines() == expected
    assert warnings.showwarning is before


def test_the_log_is_shown_as_far_as_asked(monkeypatch, ask):
    def tell(*_, **__):
        log = logging.getLogger("fastvi")
        log.info("what is done")
        log.debug("every detail")
        return np.zeros(3)

    monkeypatch.setattr("fastvi.log_marginal", tell)
    log = logging.getLogger("fastvi")
    before = log.level, list(log.handlers)
    assert invoke(*ask).stderr == ""
    assert invoke(*ask, "-v").stderr == "fastvi: what is done\n"
    assert invoke(*ask, "-vv").stderr == "fastvi: what is done\nfastvi: every detail\n"
    assert (log.level, log.handlers) == before


# ---- JSON ------------------------------------------------------------------------------------------------


def test_json_is_one_object_and_infinities_read_back(tmp_path):
    fastvi.JointTable([[1.0, 0.0], [0.0, 0.0]]).save(tmp_path / "table.npz")
    np.save(tmp_path / "x.npy", np.array([0, 1]))
    result = invoke("evaluate", tmp_path / "table.npz", tmp_path / "x.npy", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert [float(value) for value in facts["log_marginal"]] == [0.0, -np.inf]
    assert facts["command"] == "evaluate"
    assert result.stdout.count("\n") == 1


def test_every_command_has_the_options_of_output():
    for name in _NAMES:
        command = cli.get_command(click.Context(cli), name)
        assert isinstance(command, Command)
        assert {"as_json", "quiet", "verbose"} <= {option.name for option in command.params}


def test_quiet_leaves_the_answer_alone(ask):
    shown = invoke(*ask, "--quiet").stdout
    assert "mean log p(x), nats" in shown
    assert "3 data of" not in shown
    assert "3 data of" in invoke(*ask).stdout


# ---- progress --------------------------------------------------------------------------------------------


class Heard(io.StringIO):
    """Standard error that tells when a line has come."""

    def __init__(self):
        super().__init__()
        self.line = threading.Event()

    def write(self, text):
        count = super().write(text)
        self.line.set()
        return count


def test_where_there_is_no_terminal_lines_come_now_and_then(monkeypatch):
    heard = Heard()
    monkeypatch.setattr(progress, "EVERY", 1e-3)
    monkeypatch.setattr(sys, "stderr", heard)
    with progress.progress_bar("bounds", part=(3, 6)) as report:
        report("fitting", 1_000, 2_000)
        heard.line.clear()
        assert heard.line.wait(60)
    lines = heard.getvalue().splitlines()
    assert "fastvi: bounds (3 of 6): fitting, 1,000 of 2,000" in lines
    assert lines[-1].startswith("fastvi: bounds (3 of 6): ended after ")


def test_work_that_is_soon_done_or_not_to_be_shown_says_nothing(monkeypatch, capsys):
    with progress.progress_bar("bounds") as report:
        report("fitting", 1, 2)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with Output("study", as_json=False, quiet=True, verbosity=0).progress("bounds") as report:
        report("fitting", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_compilation_is_named_until_the_next_report(monkeypatch):
    from fastvi.kernels.compiled_code import KernelCache

    state = progress.State("evaluate")
    state.report("states", 1, 4)
    assert state.line() == "fastvi: evaluate: states, 1 of 4"
    monkeypatch.setattr(KernelCache, "num_compiled", KernelCache.num_compiled + 1)
    assert state.line() == "fastvi: evaluate: compiling, once, 1 of 4"
    state.report("states", 2, 4)
    assert state.line() == "fastvi: evaluate: states, 2 of 4"


def test_a_terminal_gets_a_bar(monkeypatch):
    """One that is redrawn: what it says is there, whatever marks stand between."""
    from fastvi.kernels.first_compilation import say_that_it_compiles

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    heard = Terminal()
    monkeypatch.setattr(sys, "stderr", heard)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(say_that_it_compiles, "quiet", False)
    with progress.progress_bar("bounds", part=(1, 6)) as report:
        assert say_that_it_compiles.quiet
        report("weighing samples", 1, 2)
        report("fitting", 3, 10)
    assert not say_that_it_compiles.quiet
    shown = heard.getvalue()
    assert "bounds (1 of 6)" in shown
    assert "3 of 10" in shown
    assert "fitting" in shown


# ---- workers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["processes", "processes:0", "processes:x", "dask://host", "threads:2", ""])
def test_wrong_executors_are_refused_before_the_work(monkeypatch, ask, text):
    monkeypatch.setattr("fastvi.load", None)
    line = one_line(invoke(*ask, "--executor", text))
    assert f"must be processes:N with N = 1 ... 9999 or dask://HOST:PORT, got {text!r}" in line


def test_a_device_that_is_not_there_is_one_line(monkeypatch, ask):
    def none():
        raise MissingDeviceError("no CUDA driver or device")

    monkeypatch.setattr("fastvi.engine.cuda.device.num_devices", none)
    line = one_line(invoke(*ask, "--device", "cuda"))
    assert line.startswith("fastvi: device='cuda' is not available: no CUDA driver or device")
    assert invoke(*ask, "--device", "auto").exit_code == 0


def test_dask_that_is_not_installed_is_one_line(monkeypatch, ask):
    monkeypatch.setattr("fastvi.cli.workers.find_spec", lambda name: None)
    line = one_line(invoke(*ask, "--executor", "dask://localhost:8786"))
    assert "pip install 'fastvi[dask]', or '.[dask]' in a clone" in line


@pytest.mark.slow_without_jit
def test_processes_give_the_same_values(ask):
    alone = invoke(*ask, "--csv", "-", "-q")
    spread = invoke(*ask, "--csv", "-", "-q", "--executor", "processes:1")
    assert spread.exit_code == 0, spread.output
    assert spread.stdout == alone.stdout


# ---- standard input --------------------------------------------------------------------------------------


def piped(content, *arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=content)


def test_a_dash_is_standard_input(ask, tmp_path):
    expected = invoke(*ask, "--csv", "-", "-q").stdout
    model, data = (tmp_path / name for name in ("m.npz", "d.npy"))
    assert piped(data.read_bytes(), "evaluate", model, "-", "--csv", "-", "-q").stdout == expected
    assert piped(model.read_bytes(), "evaluate", "-", data, "--csv", "-", "-q").stdout == expected
    assert (
        piped(b"0,1,1,0\n1,1,1,1\n0,0,0,0\n", "evaluate", model, "-", "--csv", "-", "-q").stdout == expected
    )
    line = one_line(piped(b"", "evaluate", "-", "-"))
    assert "only one argument may be - (standard input), got MODEL and DATA" in line
    line = one_line(piped(b"no archive", "evaluate", "-", data))
    assert "got '-'" in line
