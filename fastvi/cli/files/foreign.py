"""Models as files of other programs: networks of factors, quadratic models of dimod, networks of PyTorch."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from typing import IO, Any, NamedTuple

import numpy as np

from fastvi.cli.errors import WrongInput
from fastvi.core.files import open_regular
from fastvi.core.options import Activation, Family, Likelihood
from fastvi.formats.quadratic import Quadratic
from fastvi.formats.uai import uai_content

SAVED, UAI, BQM, STATES, DATA = "saved", "uai", "bqm", "states", "data"
_BY_SUFFIX = {"uai": UAI, "bqm": BQM, "pt": STATES, "pth": STATES}
_BQM_START = b"DIMODBQM"


def kind_of(path: str, name: str) -> str:
    """Tell what a file holds: by its first bytes, of text and of old files of PyTorch by its suffix.

    What nothing else knows is taken for data, whose reader refuses it.
    """
    if os.path.isdir(path):
        return DATA
    with open_regular(path, name) as file:
        start = file.read(len(_BQM_START))
        if start == _BQM_START:
            return BQM
        if start[:2] == b"PK":
            return _kind_of_archive(file)
    return _BY_SUFFIX.get(path.rpartition(".")[2].lower(), UAI if start.split()[:1] == [b"MARKOV"] else DATA)


def _kind_of_archive(file: IO[bytes]) -> str:
    try:
        names = zipfile.ZipFile(file).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # its reader says what is wrong
        return DATA
    if "fastvi_class.npy" in names:
        return SAVED
    return STATES if any(name.endswith("/data.pkl") for name in names) else DATA


class Network(NamedTuple):
    """Facts about a network that its state dict does not hold."""

    role: str  # "decoder" or "encoder"
    activation: Activation
    prior: Family
    likelihood: Likelihood
    noise_std: float | None
    prefix: str


def read_states(path: str, network: Network) -> Any:
    """Return the decoder or encoder whose layers the state dict in a file of PyTorch holds."""
    import fastvi

    layers = _layers(path, network.prefix)
    try:
        if network.role == "encoder":
            return fastvi.Encoder.from_torch(layers, network.prior, activation=network.activation)
        shape: tuple[int, ...] = getattr(next(iter(layers.values())), "shape", ())
        if len(shape) != 2:
            raise ValueError("module must begin with the weight (out, in) of a Linear layer")
        zero = np.zeros(shape[1])
        prior = fastvi.Normal(zero, zero + 1.0) if network.prior == "normal" else fastvi.Bernoulli(zero)
        return fastvi.NeuralDecoder.from_torch(
            layers, prior, network.likelihood, network.noise_std, activation=network.activation
        )
    except (ValueError, TypeError) as error:
        text = str(error).partition("; pass the module itself")[0]  # there is none on a command line
        raise WrongInput("IN" + text.removeprefix("module") if text.startswith("module") else text) from error


def _layers(path: str, prefix: str) -> dict[str, Any]:
    """Return the tensors whose names begin with ``prefix``. Nothing but tensors is ever unpickled."""
    _check_installed("torch", "a state dict")
    import torch

    wrong = f"IN must hold a state dict, as torch.save(module.state_dict(), PATH) makes it, got {path!r}"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of pickles, archives and storages, with advice on how to unpickle anything
        raise WrongInput(f"{wrong}, which torch refuses: {type(error).__name__}") from error
    if not isinstance(found, Mapping):
        raise WrongInput(f"{wrong} with a {type(found).__name__}")
    layers = {str(key): value for key, value in found.items() if str(key).startswith(prefix)}
    if not layers:
        names = ", ".join(map(str, list(found)[:6])) or "none"
        raise WrongInput(f"--prefix must begin names of {path!r}, got {prefix!r} beside {names}")
    return layers


def read_bqm(path: str, beta: float) -> Any:
    """Return the machine of a dimod file: p proportional to exp(-beta E)."""
    import fastvi

    _check_installed("dimod", "a .bqm file")
    import dimod

    with open_regular(path, "IN") as file:
        content = file.read()
    try:
        bqm = dimod.BinaryQuadraticModel.from_file(content)
    except Exception as error:  # of headers, JSON and arrays
        reason = " ".join(str(error).split())[:120]
        raise WrongInput(f"IN must be a whole .bqm file of dimod, got {path!r}: {reason}") from error
    return fastvi.BoltzmannMachine.from_bqm(bqm, beta)


def machine_content(machine: Any, kind: str) -> bytes:
    """Return the file of a Boltzmann machine as ``UAI`` or as ``BQM``."""
    if kind == UAI:
        return uai_content(Quadratic(machine.couplings, machine.bias, machine.constant))
    _check_installed("dimod", "a .bqm file")
    with machine.to_bqm().to_file() as made:
        content: bytes = made.read()
    return content


def _check_installed(package: str, what: str) -> None:
    if find_spec(package) is None:
        raise WrongInput(f"{what} needs the package {package}: pip install 'fastvi[{package}]'")
