"""Command ``fastvi posterior``: exact posteriors of a saved model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import fastvi
from fastvi.cli.answers import check_answer_files, csv_option, show_summary, write_answers
from fastvi.cli.command import Command
from fastvi.cli.errors import as_wrong_input
from fastvi.cli.files.arrays import write_arrays
from fastvi.cli.files.outputs import check_is_new, write_output
from fastvi.cli.machines import check_has_data, check_normalized
from fastvi.cli.options import (
    FILE,
    OUTPUT_FILE,
    SEED,
    DataFile,
    Run,
    files_of,
    load_model,
    model_argument,
    optional_data_argument,
    run_options_of,
)
from fastvi.cli.output import Output

_SUMMED = ("log_marginal", "entropy", "mode_log_prob")


@click.command(cls=Command)
@model_argument
@optional_data_argument
@click.option(
    "--top-k", type=click.IntRange(0), default=0, help="So many of the most probable states z, too."
)
@click.option("--pairwise", is_flag=True, help="The means of z_i z_j, too.")
@click.option("--draws", type=click.IntRange(0), default=0, help="So many exact draws of z for each datum.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same draws.")
@click.option("--out", "out_path", type=OUTPUT_FILE, help="Write all arrays to this .npz file.")
@csv_option
@click.option("--checkpoint", type=FILE, help="Keep what is finished in this file, and go on from it.")
@click.option("--unnormalized", is_flag=True, help="log p(x) without - log Z of a Boltzmann machine.")
@click.option("--force", is_flag=True, help="Replace --out where it exists.")
@run_options_of("device", "executor")
@click.pass_obj
def command(
    out: Output, model_path: str, data: DataFile | None, top_k: int, pairwise: bool, draws: int, seed: int,
    out_path: str | None, csv_path: str | None, checkpoint: Path | None, unnormalized: bool, force: bool,
    run: Run,
) -> None:  # fmt: skip
    """Print exact posteriors p(z | x) of a saved MODEL: means, entropy, mode.

    Means E[z_i | x], the entropy in nats, the most probable state and its log-probability, for each datum of
    DATA. A BoltzmannMachine has them without DATA, too (its marginals), and so has a JointTable (each row).
    Of one datum the latents are listed; of many they go to a file, or to --json. Models of real latents have
    no states to sum: fastvi evaluate and fastvi estimate are for them.

    \b
    Examples:
      fastvi posterior model.npz digits.npy
      fastvi posterior model.npz digits.npy --csv posteriors.csv --top-k 3
      fastvi posterior model.npz digits.npy --draws 1000 --out posteriors.npz
      fastvi posterior machine.npz --json
    """
    check_answer_files(
        out, {"MODEL": model_path, **files_of(data)}, csv_path,
        {"--out": out_path, "--checkpoint": checkpoint},
    )  # fmt: skip
    if out_path is not None:
        check_is_new(out_path, "--out", force=force)
    model = load_model(model_path)
    normalized = check_normalized(model, unnormalized=unnormalized)
    kinds = fastvi.BoltzmannMachine, fastvi.JointTable
    check_has_data(data, model, kinds, "a BoltzmannMachine or a JointTable")
    x, observed = (None, None) if data is None else data.read()
    with as_wrong_input(), run.started() as where, out.progress("posterior") as report:
        found = fastvi.exact_posterior(
            model, x, observed=observed, top_k=top_k, pairwise=pairwise, checkpoint=checkpoint,
            normalized=normalized, progress=lambda done, total: report("states", done, total), **where,
        )  # fmt: skip
        names = ["log_marginal", "mean" if hasattr(found, "mean") else "probabilities"]
        names += ["entropy", "mode", "mode_log_prob"]
        names += ["top_states", "top_log_probs"] if top_k else []
        columns: dict[str, Any] = {name: np.asarray(getattr(found, name)) for name in names}
        if pairwise and hasattr(found, "second_moment"):
            columns["second_moment"] = found.second_moment
        drawn = found.sample(draws, seed) if draws else None
    out.note(f"{model!r}: posteriors of {len(found)} data")
    summed = {name: columns[name] for name in _SUMMED}
    if unnormalized:
        summed["log_marginal + log Z"] = summed.pop("log_marginal")
    out.facts(model=repr(model), normalized=normalized)
    write_answers(out, columns, csv_path)
    show_summary(out, "exact posteriors, nats", summed)
    if len(found) == 1 and "mean" in columns:
        mean, mode = columns["mean"][0], columns["mode"][0]
        out.table("latents", {"z": [*range(len(mean))], "mean": mean.tolist(), "mode": mode.tolist()})
    if drawn is not None:
        out.facts(draws=drawn)
    if out_path is not None:
        arrays = columns if drawn is None else {**columns, "draws": drawn}
        write_output(out_path, partial(write_arrays, arrays=arrays, kind="npz"))
        out.note_written(out_path)
