"""``fastvi convert``: what comes out is what went in, read by others than fastvi where they can."""

from __future__ import annotations

import io
import itertools
import json
import math

import numpy as np
import optional
import pytest
from click.testing import CliRunner
from command_line import invoke, one_line
from PIL import Image

import fastvi
from fastvi.cli.group import cli

COUPLINGS = np.array([[0.0, 1.5, 0.0], [1.5, 0.0, -0.3], [0.0, -0.3, 0.0]])
BIAS, CONSTANT = np.array([0.2, -1.0, 0.0]), 0.75
NAMES = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (6, 4), "2.bias": (6,)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fastvi.BoltzmannMachine(COUPLINGS, BIAS, CONSTANT).save("machine.npz")
    np.save("x.npy", np.array([[0.25, 1.0], [2.0, np.nan]]))
    return tmp_path


def converted(*arguments):
    result = invoke("convert", *arguments)
    assert result.exit_code == 0, result.stderr
    return result


def refusal(*arguments):
    return one_line(invoke("convert", *arguments))


# ---- Boltzmann machines ----------------------------------------------------------------------------------


def log_product(words, z):
    """The factors of a .uai file at one state, the last variable of a scope the fastest."""
    num = int(words[1])
    rest = iter(words[2 + num :])
    scopes = []
    for _ in range(int(next(rest))):
        scopes.append([int(next(rest)) for _ in range(int(next(rest)))])
    total = 0.0
    for scope in scopes:
        table = [float(next(rest)) for _ in range(int(next(rest)))]
        entry = table[int("".join(str(z[i]) for i in scope), 2)]
        total += math.log(entry) if entry else -math.inf
    assert next(rest, None) is None
    return total


@pytest.mark.parametrize("hard", [False, True])
def test_factors_are_those_of_the_machine(hard):
    couplings = np.where(hard & (COUPLINGS < 0), -np.inf, COUPLINGS)
    fastvi.BoltzmannMachine(couplings, BIAS, CONSTANT).save("machine.npz")
    converted("machine.npz", "machine.uai")
    with open("machine.uai", encoding="utf-8") as file:
        words = file.read().split()
    for z in itertools.product((0, 1), repeat=3):
        pairs = [couplings[i, j] for i, j in ((0, 1), (1, 2)) if z[i] and z[j]]
        wanted = CONSTANT + float(np.dot(BIAS, z)) + sum(pairs)
        assert log_product(words, z) == pytest.approx(wanted, abs=1e-14)
    converted("machine.uai", "back.npz")
    back = fastvi.load("back.npz")
    assert np.array_equal(np.isinf(back.couplings), np.isinf(couplings))
    finite = np.isfinite(couplings)
    assert back.couplings[finite] == pytest.approx(couplings[finite], abs=1e-15)
    assert (*back.bias, back.constant) == pytest.approx((*BIAS, CONSTANT), abs=1e-15)


def test_standard_input_and_output():
    converted("machine.npz", "machine.uai")
    with open("machine.npz", "rb") as file:
        content = file.read()
    text = CliRunner().invoke(cli, ["convert", "-", "-", "--format", "uai"], input=content)
    with open("machine.uai", "rb") as file:
        assert text.stdout_bytes == file.read()
    found = CliRunner().invoke(cli, ["convert", "-", "-"], input=text.stdout_bytes)
    converted("machine.uai", "back.npz")
    arrays = np.load(io.BytesIO(found.stdout_bytes))
    assert np.array_equal(arrays["couplings"], fastvi.load("back.npz").couplings)
    assert found.stderr == ""


def test_what_factors_cannot_hold_is_refused():
    fastvi.BoltzmannMachine([[0, 701], [701, 0]], [0, 0]).save("steep.npz")
    line = refusal("steep.npz", "steep.uai")
    assert "couplings must be -700 ... 700" in line
    assert "got 701.0 at index (0, 1)" in line
    fastvi.BoltzmannMachine([[0, 700], [700, 0]], [-700, 0]).save("steep.npz")
    converted("steep.npz", "steep.uai")
    assert fastvi.BoltzmannMachine.from_uai("steep.uai").bias[0] == pytest.approx(-700, abs=1e-13)


@pytest.mark.peers
@pytest.mark.parametrize("vartype", ["BINARY", "SPIN"])
def test_files_of_dimod(vartype):
    dimod = optional.package("dimod")
    converted("machine.npz", "machine.bqm")
    with open("machine.bqm", "rb") as file:
        bqm = dimod.BinaryQuadraticModel.from_file(file)
    # 0 and 2 are not coupled: the order of pairs is not that of units
    assert list(bqm.variables) == [0, 1, 2]
    for z in itertools.product((0, 1), repeat=3):
        wanted = CONSTANT + float(np.dot(BIAS, z)) + 1.5 * z[0] * z[1] - 0.3 * z[1] * z[2]
        assert -bqm.energy(list(z)) == pytest.approx(wanted, abs=1e-15)
    converted("machine.bqm", "back.npz")
    back = fastvi.load("back.npz")
    assert np.array_equal(back.couplings, COUPLINGS)
    assert np.array_equal(back.bias, BIAS)
    assert back.constant == CONSTANT

    with bqm.change_vartype(vartype, inplace=False).to_file() as made, open("two", "wb") as file:
        file.write(made.read())
    converted("two", "half.npz", "--beta", "0.5")  # known by its first bytes
    assert fastvi.load("half.npz").couplings == pytest.approx(COUPLINGS / 2, abs=1e-15)
    with open("two", "rb") as file:
        content = file.read()
    with open("cut.bqm", "wb") as file:
        file.write(content[:-8])
    assert "IN must be a whole .bqm file of dimod, got 'cut.bqm'" in refusal("cut.bqm", "new.npz")


# ---- networks of PyTorch ---------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return optional.package("torch")


def saved_states(torch, prefix="", **options):
    """State dict of a network 3 -> 4 -> 6, as arrays; it is saved as net.pt."""
    rng = np.random.default_rng(3)
    arrays = {name: rng.normal(size=shape) for name, shape in NAMES.items()}
    states = {prefix + name: torch.tensor(array) for name, array in arrays.items()}
    if prefix:
        states["other.weight"] = torch.ones(2)
    torch.save(states, "net.pt", **options)
    return arrays


@pytest.mark.peers
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("prior", ["bernoulli", "normal"])
def test_a_decoder_of_a_state_dict(torch, old, prior):
    arrays = saved_states(torch, "decoder.", _use_new_zipfile_serialization=not old)
    how = ["--as", "decoder", "--activation", "tanh", "--prior", prior, "--prefix", "decoder."]
    converted("net.pt", "net.npz", *how, "--likelihood", "gaussian", "--noise-std", "0.5")
    model = fastvi.load("net.npz")
    assert (model.activation, model.likelihood, model.noise_std) == ("tanh", "gaussian", 0.5)
    for (weight, bias), place in zip(model.layers, ("0", "2"), strict=True):
        assert np.array_equal(weight, arrays[f"{place}.weight"])
        assert np.array_equal(bias, arrays[f"{place}.bias"])
    kinds = {"bernoulli": fastvi.Bernoulli, "normal": fastvi.Normal}
    assert type(model.prior) is kinds[prior]
    # bits of probability 1/2, or standard normal
    at_zero = {"bernoulli": -3 * math.log(2.0), "normal": -1.5 * math.log(2.0 * math.pi)}
    assert model.prior.log_prob(np.zeros(3)) == pytest.approx(at_zero[prior], rel=1e-14)


@pytest.mark.peers
def test_an_encoder_of_a_state_dict(torch):
    arrays = saved_states(torch)
    converted("net.pt", "q.npz", "--as", "encoder", "--activation", "relu", "--prior", "normal")
    encoder = fastvi.load("q.npz")
    assert (encoder.num_pixels, encoder.num_latents, encoder.family) == (3, 3, "normal")
    assert np.array_equal(encoder.layers[1][0], arrays["2.weight"])


@pytest.mark.peers
def test_state_dicts_that_cannot_be_read(torch):
    how = ["--as", "decoder", "--activation", "relu", "--prior", "normal"]
    saved_states(torch, "decoder.")
    line = refusal("net.pt", "new.npz", *how)
    assert "IN['other.weight'] must be the weight (out, in) of a Linear layer" in line
    assert "--prefix must begin names of 'net.pt', got 'dec2' beside decoder.0.weight" in refusal(
        "net.pt", "new.npz", *how, "--prefix", "dec2"
    )
    assert "--as must come with a state dict" in refusal("net.pt", "new.npz")
    assert "--noise-std is for a decoder" in refusal(
        "net.pt", "new.npz", "--as", "encoder", *how[2:], "--noise-std", "1"
    )
    torch.save(torch.ones(2), "tensor.pt")
    assert "state dict, as torch.save(module.state_dict(), PATH) makes it, got 'tensor.pt'" in refusal(
        "tensor.pt", "new.npz", *how
    )
    torch.save(torch.nn.Linear(2, 2), "module.pt")  # a pickle of classes, which is never loaded
    assert "got 'module.pt', which torch refuses: UnpicklingError" in refusal("module.pt", "new.npz", *how)


# ---- data ------------------------------------------------------------------------------------------------


def test_data_there_and_back():
    converted("x.npy", "x.csv")
    with open("x.csv", encoding="utf-8") as file:
        assert file.read() == "0.25,1.0\n2.0,nan\n"
    converted("x.csv", "x.npz")
    converted("x.npz", "again.npy")
    assert np.array_equal(np.load("again.npy"), np.load("x.npy"), equal_nan=True)
    assert converted("x.csv", "-", "--limit", "1").stdout == "0.25,1.0\n"


def test_pictures_keep_their_shape(folder):
    grey = np.array([[[0, 200, 90], [255, 1, 128]]], np.uint8)
    (folder / "scans").mkdir()
    Image.fromarray(grey[0]).save(folder / "scans" / "a.png")
    converted("scans", "scans.npz")
    assert np.array_equal(np.load("scans.npz")["x"], grey)
    facts = json.loads(converted("scans", "bits.npy", "--threshold", "128", "--json").stdout)
    found = np.load("bits.npy")
    assert found.dtype == np.uint8
    assert np.array_equal(found, grey >= 128)
    assert facts == {
        "command": "convert", "read": "scans", "written": "bits.npy", "converted": "uint8 of shape (1, 2, 3)"
    }  # fmt: skip
    np.savez("two.npz", a=grey, b=1 - grey)
    assert converted("two.npz", "-", "--key", "a").stdout == "0,200,90,255,1,128\n"


def test_what_cannot_be_converted_is_one_line(folder):
    kinds = "IN must be one of a saved model, a .uai or .bqm file, a state dict, .npy, .npz"
    (folder / "junk").write_bytes(b"\1\2\3")
    (folder / "junk.npz").write_bytes(b"PK\1\2\3")
    np.save("words.npy", np.array([["a", "b"]]))
    for arguments, said in (
        (["junk", "new.npz"], kinds),
        (["junk.npz", "new.npz"], "IN must be a whole file, got 'junk.npz'"),
        (["nowhere.npz", "new.npz"], "nowhere.npz: No such file"),
        (["words.npy", "new.npz"], "IN must hold real numbers of at most 8 bytes, got dtype <U1"),
        (["machine.npz", "new.csv"], "OUT must end in .npz or .uai or .bqm for IN, which holds Boltzmann"),
        (
            ["x.npy", "new.uai"],
            "OUT must end in .npz or .npy or .csv for IN, which holds data, got 'new.uai'",
        ),
        (["x.npy", "new", "--format", "bqm"], "--format must be npz or npy or csv for IN"),
        (["x.npy", "new.csv", "--threshold", "1"], "IN must hold no NaN for --threshold"),
        (["machine.npz", "new.uai", "--limit", "3"], "--limit is for data, got IN that holds a model"),
        (["machine.npz", "new.uai", "--beta", "3"], "--beta is for a .bqm file, got IN that is none"),
        (["x.npy", "new.npy", "--as", "encoder"], "--as is for a state dict, got IN that is none"),
        (["x.npy", "x.npy", "--force"], "OUT must be another file than IN"),
        (["x.npy", "machine.npz"], "OUT must be a new file or come with --force"),
    ):
        assert said in refusal(*arguments)
    assert not [path for path in folder.iterdir() if path.name.startswith("new")]
    fastvi.SigmoidBeliefNetwork([[1.0]], [0.0], [0.0]).save("network.npz")
    assert "OUT must end in .npz for IN, which holds SigmoidBeliefNetwork" in refusal("network.npz", "n.uai")
    converted("x.npy", "machine.npz", "--force")
    assert np.load("machine.npz")["x"].shape == (2, 2)


@pytest.mark.parametrize("name", ["torch", "dimod"])
def test_packages_that_are_missing_are_named(folder, monkeypatch, name):
    monkeypatch.setattr("fastvi.cli.files.foreign.find_spec", lambda package: None)
    (folder / "in.pt").write_bytes(b"\x80\2")
    (folder / "in.bqm").write_bytes(b"DIMODBQM")
    file, how = {
        "torch": ("in.pt", ["--as", "decoder", "--activation", "relu", "--prior", "normal"]),
        "dimod": ("in.bqm", []),
    }[name]
    assert f"needs the package {name}: pip install 'fastvi[{name}]'" in refusal(file, "new.npz", *how)
