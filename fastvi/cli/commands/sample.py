"""Command ``fastvi sample``: draws from a saved model."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.files.arrays import SUFFIXES, write_arrays
from fastvi.cli.files.outputs import (
    check_files,
    check_is_new,
    is_standard_output,
    kind_of_output,
    write_output,
)
from fastvi.cli.options import OUTPUT_FILE, SEED, load_model, model_argument
from fastvi.cli.output import Output


@click.command(cls=Command)
@model_argument
@click.argument("num", type=click.IntRange(0), metavar="NUM")
@click.argument("out_path", type=OUTPUT_FILE, metavar="OUT")
@click.option(
    "--format", "suffix", type=click.Choice(SUFFIXES),
    help="Format of OUT. [default: by its name; csv for standard output]",
)  # fmt: skip
@click.option("--latents", is_flag=True, help="The latents z in place of x in an .npy or a CSV file.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same draws.")
@click.option("--force", is_flag=True, help="Replace OUT where it exists.")
@click.pass_obj
def command(
    out: Output, model_path: str, num: int, out_path: str, suffix: str | None, latents: bool, seed: int,
    force: bool,
) -> None:  # fmt: skip
    """Draw NUM data from a saved MODEL and save them to OUT.

    OUT is an .npz file with the data x and the latents z, an .npy or a CSV file of x alone, or - for standard
    output. fastvi posterior --draws draws z given data.

    \b
    Examples:
      fastvi sample model.npz 1000 draws.npz
      fastvi sample model.npz 20 - --seed 3
      fastvi sample model.npz 20 z.csv --latents
    """
    check_files({"MODEL": model_path}, {"OUT": out_path})
    check_is_new(out_path, "OUT", force=force)
    kind = kind_of_output(out_path, suffix, SUFFIXES, "csv", "draws")
    if latents and kind == "npz":
        raise WrongInput("--latents is for .npy and CSV files: an .npz file holds x and z")
    if is_standard_output(out_path):
        out.stand_aside()
    model = load_model(model_path)
    with as_wrong_input():
        drawn = model.sample(num, seed)
    arrays: dict[str, NDArray[Any]] = {"x": np.asarray(drawn.x), "z": np.asarray(drawn.z)}
    if kind != "npz":
        arrays = {"z": arrays["z"]} if latents else {"x": arrays["x"]}
    write_output(out_path, partial(write_arrays, arrays=arrays, kind=kind))
    out.facts(model=repr(model), num_data=num, written=out_path, seed=seed)
    out.note_written(out_path, f" ({num} data of {model!r})")
