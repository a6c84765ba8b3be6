"""Command ``fastvi convert``: models and data from one kind of file to another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import IO, Any

import click
import numpy as np

import fastvi
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.files import foreign
from fastvi.cli.files.arrays import SUFFIXES, write_arrays
from fastvi.cli.files.data import KINDS
from fastvi.cli.files.inputs import named
from fastvi.cli.files.outputs import (
    check_files,
    check_is_new,
    is_standard_output,
    kind_of_output,
    write_output,
)
from fastvi.cli.options import INPUT_DATA, OUTPUT_FILE, DataFile, load_saved, reading_options
from fastvi.cli.output import Output
from fastvi.core.options import ACTIVATIONS, FAMILIES, LIKELIHOODS
from fastvi.core.storage import write_model

_FORMATS = (*SUFFIXES, foreign.UAI, foreign.BQM)
_MACHINE_FORMATS = ("npz", foreign.UAI, foreign.BQM)
_ROLES = ("decoder", "encoder")
_MODELS = "a saved model, a .uai or .bqm file, a state dict"


@click.command(cls=Command)
@click.argument("in_path", type=INPUT_DATA, metavar="IN")
@click.argument("out_path", type=OUTPUT_FILE, metavar="OUT")
@click.option(
    "--format", "suffix", type=click.Choice(_FORMATS),
    help="Format of OUT. [default: by its name; npz of models and csv of data for standard output]",
)  # fmt: skip
@reading_options
@click.option("--beta", type=float, help="Inverse temperature of a .bqm IN. [default: 1]")
@click.option("--as", "role", type=click.Choice(_ROLES), help="Meaning of a state dict.")
@click.option("--activation", type=click.Choice(ACTIVATIONS), help="Activation between its layers.")
@click.option(
    "--prior", type=click.Choice(FAMILIES),
    help="Of a decoder: bits of probability 1/2, or standard normal. Of an encoder the family of its q.",
)  # fmt: skip
@click.option("--likelihood", type=click.Choice(LIKELIHOODS), help="Of a decoder. [default: bernoulli]")
@click.option("--noise-std", type=float, help="Standard deviation of a pixel, where that is gaussian.")
@click.option("--prefix", help="Take the entries whose names begin so, as decoder. does.")
@click.option("--force", is_flag=True, help="Replace OUT where it exists.")
@click.pass_obj
def command(
    out: Output, /, in_path: str, out_path: str, suffix: str | None, key: str | None, threshold: float | None,
    limit: int | None, force: bool, **how: Any,
) -> None:  # fmt: skip
    """Convert a model or data from one kind of file to another.

    \b
    IN                                          OUT
    Boltzmann machine: saved .npz, .uai, .bqm   .npz, .uai, .bqm
    state dict of PyTorch (.pt, .pth)           .npz: a NeuralDecoder or an Encoder
    data of any kind that evaluate reads        .npz, .npy, .csv

    What IN is follows from its first bytes, of a .uai, .pt or .pth file also from its name. A .bqm file is
    dimod's own, by BinaryQuadraticModel.to_file, and holds the energy -log p. - is standard input and output.

    \b
    Examples:
      fastvi convert grid.uai grid.npz
      fastvi convert machine.npz machine.bqm
      fastvi convert vae.pt decoder.npz --as decoder --prefix decoder. --activation relu --prior normal
      fastvi convert t10k-images-idx3-ubyte.gz digits.npz --threshold 128 --limit 100
      fastvi convert scans/ - | head -1
    """
    check_files({"IN": in_path}, {"OUT": out_path})
    check_is_new(out_path, "OUT", force=force)
    if is_standard_output(out_path):
        out.stand_aside()
    reading = {"--key": key, "--threshold": threshold, "--limit": limit}
    with named(in_path) as path:
        try:
            with as_wrong_input():
                kind = foreign.kind_of(path, "IN")
                _refuse_others(kind, reading, how)
                if kind == foreign.DATA:
                    what, write = _data(DataFile(path, key, threshold, limit, None), out_path, suffix)
                else:
                    what, write = _model(_read(kind, path, how), out_path, suffix)
        except WrongInput as error:
            text = error.message.replace("DATA ", "IN ").replace(KINDS, f"{_MODELS}, {KINDS}")
            raise WrongInput(text.replace(repr(path), repr(in_path))) from error
    write_output(out_path, write)
    out.facts(read=in_path, written=out_path, converted=what)
    out.note_written(out_path, f" ({what})")


_Writer = Callable[[IO[bytes]], Any]
_OPTIONS = {
    "--beta": ("beta", foreign.BQM, "a .bqm file"),
    "--as": ("role", foreign.STATES, "a state dict"),
    "--activation": ("activation", foreign.STATES, "a state dict"),
    "--prior": ("prior", foreign.STATES, "a state dict"),
    "--likelihood": ("likelihood", foreign.STATES, "a state dict"),
    "--noise-std": ("noise_std", foreign.STATES, "a state dict"),
    "--prefix": ("prefix", foreign.STATES, "a state dict"),
}


def _refuse_others(kind: str, reading: dict[str, Any], how: dict[str, Any]) -> None:
    """Refuse options of files of another kind, and a state dict without what it does not say."""
    if kind != foreign.DATA:
        for name, value in reading.items():
            if value is not None:
                raise WrongInput(f"{name} is for data, got IN that holds a model")
    for name, (key, its_kind, what) in _OPTIONS.items():
        if how[key] is not None and kind != its_kind:
            raise WrongInput(f"{name} is for {what}, got IN that is none")
    if kind == foreign.STATES:
        for name in ("--as", "--activation", "--prior"):
            if how[_OPTIONS[name][0]] is None:
                raise WrongInput(f"{name} must come with a state dict, which does not say it")
        for name in ("--likelihood", "--noise-std"):
            if how["role"] == "encoder" and how[_OPTIONS[name][0]] is not None:
                raise WrongInput(f"{name} is for a decoder, got --as encoder")


def _read(kind: str, path: str, how: dict[str, Any]) -> Any:
    """Return the model, or the distribution, in a file of a kind that holds one."""
    if kind == foreign.SAVED:
        return load_saved(path)
    if kind == foreign.UAI:
        return fastvi.BoltzmannMachine.from_uai(path)
    if kind == foreign.BQM:
        return foreign.read_bqm(path, 1.0 if how["beta"] is None else how["beta"])
    return foreign.read_states(
        path,
        foreign.Network(
            how["role"], how["activation"], how["prior"], how["likelihood"] or LIKELIHOODS[0],
            how["noise_std"], how["prefix"] or "",
        ),
    )  # fmt: skip


def _model(model: Any, out_path: str, suffix: str | None) -> tuple[str, _Writer]:
    """Return what a model is, and what writes it to an open file."""
    is_machine = isinstance(model, fastvi.BoltzmannMachine)
    kind = kind_of_output(
        out_path, suffix, _MACHINE_FORMATS if is_machine else ("npz",), "npz", f"IN, which holds {model!r}"
    )
    if kind == "npz":
        return repr(model), partial(write_model, model)
    content = foreign.machine_content(model, kind)
    return repr(model), lambda file: file.write(content)


def _data(data: DataFile, out_path: str, suffix: str | None) -> tuple[str, _Writer]:
    """Return what data are, and what writes them to an open file. Pictures keep their rows and columns."""
    kind = kind_of_output(out_path, suffix, SUFFIXES, "csv", "IN, which holds data")
    rows = data.read_rows()
    x = rows.x.astype(np.uint8) if rows.x.dtype == bool else rows.x
    if x.dtype.kind not in "iuf" or x.dtype.itemsize > 8:
        raise WrongInput(f"IN must hold real numbers of at most 8 bytes, got dtype {x.dtype}")
    if rows.image_shape is not None:
        x = x.reshape(len(x), *rows.image_shape)
    return f"{x.dtype} of shape {x.shape}", partial(write_arrays, arrays={"x": x}, kind=kind)
