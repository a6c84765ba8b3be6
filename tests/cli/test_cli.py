"""The command line: what it prints and writes, and how it refuses wrong use."""

from __future__ import annotations

import csv
import gzip
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import cases
import click
import numpy as np
import pytest
from command_line import X, invoke, one_line

import fastvi
from fastvi.cli.tables import cell
from fastvi.kernels.jit import JIT_DISABLED
from fastvi.studies.variance.study import correlated


@pytest.fixture
def network(tmp_path):
    model = cases.network(4, 3)
    model.save(tmp_path / "model.npz")
    return model


def idx(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


# ---- help ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["study"], ["evaluate"], ["fit"], ["plan"], ["info"], ["warmup"]])
def test_help_has_examples(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert f"fastvi {' '.join(command)}" in result.stdout
    assert invoke(*command, "-h").stdout == result.stdout


def test_without_arguments_help_and_version():
    assert invoke().stdout == invoke("--help").stdout
    assert invoke().exit_code == 0
    assert fastvi.__version__ in invoke("--version").stdout


def test_help_is_cheap():
    code = (
        "import sys\n"
        "sys.argv = ['fastvi', 'study', '--help']\n"
        "from fastvi.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print({'numba', 'scipy', 'matplotlib', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", ["click", "rich", "matplotlib", "jinja2"])
def test_without_the_extra_one_line_says_what_to_install(name):
    code = (
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {name!r} else found(name, *rest)\n"
        "from fastvi.cli import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    how = "pip install 'fastvi[cli]', or '.[cli]' in a clone"
    assert done.stderr == f"fastvi: the command line needs {name}: {how}\n"
    assert done.stdout == ""


# ---- wrong use -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stud"], "No such command 'stud'"),
        (["--wrong"], "No such option"),
        (["study", "nothing"], "'nothing' is not one of 'table', 'enumeration', 'sampling', 'bounds'"),
        (["study", "--seed", "-1"], "-1 is not in the range"),
        (["study", "--seed", "x"], "'x' is not a valid integer range"),
        (["study", "--num-images", "1000"], "1000 is not in the range 2<=x<=297"),
        (["study", "--num-latents", "1"], "1 is not in the range 2<=x<=14"),
        (["evaluate"], "Missing argument 'MODEL'"),
        (["evaluate", "model.npz"], "Missing argument 'DATA'"),
        (["evaluate", "a", "b", "--limit", "0"], "0 is not in the range x>=1"),
        (["evaluate", "a", "b", "--threshold", "x"], "'x' is not a valid float"),
        (["info", "model.npz", "more"], "unexpected extra argument"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments, words):
    line = one_line(invoke(*arguments))
    assert words in line
    assert line.startswith("fastvi")
    assert "--help'" in line


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (None, [], "No such file or directory"),
        (b"text, not numbers", [], "DATA must hold a row of numbers in each line, got"),
        (
            b"",
            [],
            "DATA must be one of .npy, .npz, IDX or IDX.gz, CSV or TSV of numbers, or a folder of .png",
        ),
        (b"%PDF-1.7\x01", [], "which begins with 25 50 44 46"),
        (idx(X)[:-1], [], "truncated"),
        (gzip.compress(idx(X))[:-2], [], "truncated or damaged"),
        (X * 2, [], "x must contain only 0 and 1, got 2"),
        (X[:, :3], [], "x must have shape (num_data, 4), got shape (3, 3)"),
        (X[0], [], "pass x[None] for one datum"),
        (np.array("word"), [], "DATA must hold one datum a row"),
        (X.astype(str), [], "x must be an array of 0 and 1"),
        (np.array([{}], dtype=object), [], "DATA must be a whole file"),
        (X.astype(str), ["--threshold", "1"], "DATA must hold numbers"),
        (X, ["--key", "x"], "--key is for .npz files"),
        ({"a": X, "b": X}, [], "choose one of a, b by --key"),
        ({"a": X}, ["--key", "b"], "no array 'b': choose one of a by --key"),
    ],
)
def test_wrong_data_is_one_line_and_status_2(tmp_path, network, data, options, words):
    path = tmp_path / "data"
    if isinstance(data, bytes):
        path.write_bytes(data)
    elif data is not None:
        with path.open("wb") as file:
            np.savez(file, **data) if isinstance(data, dict) else np.save(file, data)
    assert words in one_line(invoke("evaluate", tmp_path / "model.npz", path, *options))


def test_wrong_models_are_one_line_and_status_2(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert "No such file" in one_line(invoke("evaluate", tmp_path / "none", tmp_path / "x.npy"))
    assert "not an .npz file" in one_line(invoke("evaluate", tmp_path / "x.npy", tmp_path / "x.npy"))
    assert "is a directory" in one_line(invoke("evaluate", tmp_path, tmp_path / "x.npy"))
    fastvi.Bernoulli([0.0]).save(tmp_path / "q.npz")
    assert "MODEL must hold a model" in one_line(invoke("evaluate", tmp_path / "q.npz", tmp_path / "x.npy"))


def test_places_that_cannot_be_written(tmp_path, network):
    (tmp_path / "file").write_text("")
    np.save(tmp_path / "x.npy", X)
    line = one_line(invoke("study", "bounds", "--quick", "--out", tmp_path / "file" / "below"))
    assert "Not a directory" in line
    result = invoke(
        "evaluate", tmp_path / "model.npz", tmp_path / "x.npy", "--csv", tmp_path / "none" / "a.csv"
    )
    assert "--csv must name a file in a folder that exists" in one_line(result)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_in_a_command_is_status_130(monkeypatch, error):
    def stop():
        raise error

    monkeypatch.setattr("fastvi.cli.commands.info.machine", stop)
    result = invoke("info")
    assert result.exit_code == 130
    assert result.stderr.strip() == "fastvi: interrupted"


INTERRUPTED_STUDY = """
import signal, sys
from fastvi.cli import main
import fastvi

fit_model = fastvi.fit_model

def interrupted(*arguments, progress, **options):
    def stop(done, total):
        progress(done, total)
        if 2 <= done < total:
            signal.raise_signal(signal.SIGINT)
    return fit_model(*arguments, progress=stop, **options)

fastvi.fit_model = interrupted
main()
"""


@pytest.mark.slow_without_jit
def test_ctrl_c_during_a_study(tmp_path):
    """In its first fit, after the second epoch."""
    command = [sys.executable, "-c", INTERRUPTED_STUDY, "study", "enumeration", "-q", "--out"]
    command += [tmp_path / "out"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 130
    assert process.stderr.strip() == "fastvi: interrupted"
    assert process.stdout == ""
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".unfinished"]


# ---- evaluate --------------------------------------------------------------------------------------------


def _save(path, kind):
    if kind == "npy":
        np.save(path, X)
    elif kind == "npz":
        np.savez(path, x=X, labels=np.arange(3))
    elif kind == "only":
        np.savez(path, digits=X)
    else:
        content = idx(X.reshape(3, 2, 2))
        path.write_bytes(gzip.compress(content) if kind == "idx.gz" else content)


@pytest.mark.parametrize("kind", ["npy", "npz", "only", "idx", "idx.gz"])
def test_evaluate_agrees_with_the_library(tmp_path, network, kind):
    # numpy.save would add a suffix to other names; what a file is follows from its content, not its name
    path = tmp_path / f"data.{'npz' if kind == 'only' else kind}"
    _save(path, kind)
    result = invoke("evaluate", tmp_path / "model.npz", path, "--csv", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    expected = fastvi.log_marginal(network, X)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == [0, 1, 2]
    assert [float(row["log_marginal"]) for row in rows] == expected.tolist()
    for name, value in (
        ("mean", expected.mean()),
        ("smallest", expected.min()),
        ("median", np.median(expected)),
    ):
        line = next(line for line in result.stdout.splitlines() if line.startswith(name))
        assert float(line.split()[-1]) == pytest.approx(value, abs=6e-7)


def test_evaluate_threshold_limit_and_key(tmp_path, network):
    np.savez(tmp_path / "grey.npz", a=X * 200, b=1 - X)
    model, data, out = tmp_path / "model.npz", tmp_path / "grey.npz", tmp_path / "out.csv"
    arguments = ["evaluate", model, data, "--csv", out]
    assert invoke(*arguments, "--key", "a", "--threshold", "128", "--limit", "2").exit_code == 0
    assert _values(out) == fastvi.log_marginal(network, X[:2]).tolist()
    assert invoke(*arguments, "--key", "b").exit_code == 0
    assert _values(out) == fastvi.log_marginal(network, 1 - X).tolist()


def _values(path):
    with Path(path).open(newline="") as file:
        return [float(row["log_marginal"]) for row in csv.DictReader(file)]


def test_evaluate_without_data(tmp_path, network):
    np.save(tmp_path / "x.npy", X[:0])
    result = invoke("evaluate", tmp_path / "model.npz", tmp_path / "x.npy", "--csv", tmp_path / "out.csv")
    assert result.exit_code == 0
    assert "0 data" in result.stdout
    assert (tmp_path / "out.csv").read_text() == "index,log_marginal\n"


def test_evaluate_goes_on_from_a_checkpoint(tmp_path, network):
    np.save(tmp_path / "x.npy", network.sample(3, 0)[1])
    data, kept = tmp_path / "x.npy", tmp_path / "part.npz"
    network.save(tmp_path / "model.npz")
    arguments = ["evaluate", tmp_path / "model.npz", data, "--checkpoint", kept]
    first, second = invoke(*arguments), invoke(*arguments)
    assert kept.exists()
    assert first.stdout == second.stdout


def test_plan_is_a_table(tmp_path, network):
    network.save(tmp_path / "model.npz")
    shown = invoke("plan", tmp_path / "model.npz", "--num-data", 7).stdout
    assert f"{2**network.num_latents:,} (2^{network.num_latents})" in shown
    assert "predicted time" in shown
    fastvi.Uniform(3).save(tmp_path / "q.npz")
    assert "MODEL must hold a model" in one_line(invoke("plan", tmp_path / "q.npz"))
    wrong = invoke("plan", tmp_path / "model.npz", "--question", "log_partition")
    assert "model must have a log Z" in one_line(wrong)


def test_evaluate_a_table(tmp_path):
    fastvi.JointTable([[0.1, 0.2], [0.3, 0.4]]).save(tmp_path / "table.npz")
    np.save(tmp_path / "x.npy", np.array([0, 1, 1]))
    result = invoke("evaluate", tmp_path / "table.npz", tmp_path / "x.npy", "--csv", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(_values(tmp_path / "out.csv"), np.log([0.3, 0.7, 0.7]), rtol=1e-14)


# ---- info and study --------------------------------------------------------------------------------------


def test_info(monkeypatch):
    monkeypatch.setenv("FASTVI_NUM_THREADS", "3")
    lines = dict(line.split(maxsplit=1) for line in invoke("info").stdout.splitlines())
    assert lines["fastvi"] == fastvi.__version__
    assert lines["numpy"] == np.__version__
    assert lines["threads"].startswith("3 ")
    # without the extra, without a driver, or what it is
    assert lines["GPU"].startswith(
        ("the extra is not installed: pip", "no CUDA driver or device", "1 x ", "2 x ")
    )
    assert {"python", "numba", "scipy", "processor", "cores", "caches", "tiles"} <= set(lines)
    expected = (
        r"nothing is compiled: NUMBA_DISABLE_JIT is set"
        if JIT_DISABLED
        else r"\d+ kernels, \d+ files, .* MB in /"
    )
    assert re.match(expected, lines["compiled"])
    monkeypatch.setenv("FASTVI_NUM_THREADS", "many")
    assert "FASTVI_NUM_THREADS must be" in one_line(invoke("info"))


def test_warmup(monkeypatch):
    ask = [("log_mean_exp", lambda: fastvi.log_mean_exp(np.zeros(3)))]
    monkeypatch.setattr("fastvi.warmup._calls", lambda everything: 2 * ask if everything else ask)
    if JIT_DISABLED:
        assert one_line(invoke("warmup")) == "fastvi: nothing is compiled: NUMBA_DISABLE_JIT is set"
        return
    result = invoke("warmup", "-q")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert re.fullmatch(r"\d+ compiled in \d+ s, by 1 calls\n\d+ kernels, [\d.]+ MB in .+\n", result.stdout)
    facts = json.loads(invoke("warmup", "--all", "--json").stdout)
    assert (facts["calls"], facts["compiled"]) == (2, 0)
    assert 0 < facts["kernels"] <= facts["files"] <= len(list(Path(facts["folder"]).rglob("*.nbc")))


@pytest.mark.slow_without_jit
def test_quick_study_of_everything(tmp_path, monkeypatch):
    if JIT_DISABLED:  # a climb on quadrature takes minutes in interpreted loops
        monkeypatch.setattr("fastvi.studies.variance.study.two_modes", correlated)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    result = invoke("study", "--quick", "--seed", 5)
    assert result.exit_code == 0, result.output
    folders = {path.name for path in (tmp_path / "results").iterdir() if path.is_dir()}
    assert folders == {"model", "table", "enumeration", "sampling", "bounds", "missing", "variance"}
    for name in folders:
        content = json.loads((tmp_path / "results" / name / "result.json").read_text())
        assert content["settings"]["seed"] == 5
        assert content["settings"]["num_latents"] == 4
        assert all(text in " ".join(result.stdout.split()) for text in content["findings"])
    for words in (
        "enumeration: largest difference",
        "compiled loop",
        "sampling: estimates of log p(x)",
        "learned q",
        "bounds: mean bounds on log p(x)",
    ):
        assert words in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    # the first command of the README leads to the second
    model, held_out = (
        tmp_path / "results" / "model" / name for name in ("model_4_latents.npz", "held_out.npz")
    )
    assert "297 data" in invoke("evaluate", model, held_out).stdout
    made = fastvi.load(model).made
    assert (made["fastvi"], made["study"]) == (fastvi.__version__, "model")
    assert made["settings"] == content["settings"]


def test_one_quick_study_with_sizes(tmp_path):
    arguments = ("study", "bounds", "--quick", "--num-images", 3, "--num-latents", 2, "--out", tmp_path)
    assert invoke(*arguments).exit_code == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["bounds"]
    with (tmp_path / "bounds" / "images.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    content = json.loads((tmp_path / "bounds" / "result.json").read_text())
    assert content["settings"]["num_latents"] == 2


def test_cells():
    assert [cell(v) for v in (None, True, 1234, -1.5, 1 / 3, "x")] == [
        "-",
        "yes",
        "1,234",
        "-1.5",
        "0.3333",
        "x",
    ]


# ---- fit -------------------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
def test_fit_agrees_with_the_library(tmp_path):
    x = fastvi.SigmoidBeliefNetwork(2 * np.eye(4), np.zeros(4), np.zeros(4)).sample(80, 1)[1]
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "fitted.npz"
    options = ["--latents", "3", "--epochs", "4", "--batch-size", "16", "--held-out", "0.25"]
    result = invoke("fit", tmp_path / "x.npy", out, *options, "--checkpoint", tmp_path / "run.npz")
    assert result.exit_code == 0, result.output
    fitted = fastvi.load(out)
    assert fitted.num_latents == 3
    assert (tmp_path / "run.npz").exists()
    order = np.random.Generator(np.random.Philox(key=0)).permutation(80)
    judged = x[order[:20]]
    value = fastvi.log_marginal(fitted, judged).mean()
    assert f"{value:.6f}" in result.stdout
    again = invoke("fit", tmp_path / "x.npy", tmp_path / "again.npz", *options)
    assert again.exit_code == 0
    assert np.array_equal(fastvi.load(tmp_path / "again.npz").weights, fitted.weights)
    better = ["--start", out, "--epochs", "2", "--held-out", "0"]
    assert invoke("fit", tmp_path / "x.npy", tmp_path / "better.npz", *better).exit_code == 0
    start, end = (fastvi.log_marginal(fastvi.load(p), x).mean() for p in (out, tmp_path / "better.npz"))
    assert end >= start


def test_fit_of_wrong_input(tmp_path, network):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "grey.npy", X * 7)
    data, out = tmp_path / "x.npy", tmp_path / "out.npz"
    assert "exactly one of --start and --latents" in one_line(invoke("fit", data, out))
    assert "DATA must hold 0 and 1" in one_line(invoke("fit", tmp_path / "grey.npy", out, "--latents", "2"))
    fastvi.Uniform(2).save(tmp_path / "q.npz")
    assert "--start must hold a model" in one_line(invoke("fit", data, out, "--start", tmp_path / "q.npz"))
    assert not out.exists()
