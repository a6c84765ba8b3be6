"""Command ``fastvi partition``: log Z of a Boltzmann machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import fastvi
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input, refuse_beside
from fastvi.cli.files.outputs import check_files
from fastvi.cli.machines import load_machine
from fastvi.cli.options import FILE, SEED, Run, model_argument, run_options
from fastvi.cli.output import Output
from fastvi.core.options import METHODS, Method


@click.command(cls=Command)
@model_argument
@click.option(
    "--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True,
    help="Way of summing; auto takes the one of the fewest operations.",
)  # fmt: skip
@click.option(
    "--num-temperatures", type=click.IntRange(1),
    help="Estimate log Z by annealed importance sampling with so many temperatures.",
)  # fmt: skip
@click.option("--num-chains", type=click.IntRange(1), help="Chains of it. [default: 1000]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same estimate.")
@click.option("--checkpoint", type=FILE, help="Keep what is finished in this file, and go on from it.")
@run_options
@click.pass_obj
def command(
    out: Output, model_path: str, method: Method, num_temperatures: int | None, num_chains: int | None,
    seed: int, checkpoint: Path | None, run: Run,
) -> None:  # fmt: skip
    """Print log Z of a saved Boltzmann machine MODEL, exact or estimated.

    MODEL is an .npz file that a machine's save method wrote, or a .uai file. Machines of few couplings are
    summed by elimination, others by enumeration of all states. An estimate by annealing has its standard
    error beside it, and an interval (low, high) of 95 % that holds log Z where the estimate is nearly normal.

    \b
    Examples:
      fastvi partition machine.npz
      fastvi partition grid.uai --method elimination
      fastvi partition rbm.npz --num-temperatures 1000 --num-chains 500 --json
    """
    if num_temperatures is not None:
        _refuse_exact_options(method, checkpoint, run)
    elif num_chains is not None:
        raise WrongInput("--num-chains comes with --num-temperatures, which is not given")
    check_files({"MODEL": model_path}, {"--checkpoint": checkpoint})
    model = load_machine(model_path)
    out.facts(model=repr(model))
    if num_temperatures is None:
        with as_wrong_input(), run.started() as where, out.progress("partition") as report:
            value = fastvi.log_partition(
                model, method=method, checkpoint=checkpoint,
                progress=lambda done, total: report("states", done, total), **where,
            )  # fmt: skip
        out.facts(log_partition=value)
        out.note(f"{model!r}")
        out.say(f"log Z, nats  {value!r}")
        return
    with as_wrong_input(), out.progress("partition") as report:
        found = fastvi.annealed_importance_sampling(
            model, num_temperatures=num_temperatures, num_chains=num_chains or 1000, seed=seed,
            device=run.given["device"], dtype=run.given["dtype"],
            progress=lambda done, total: report("temperatures", done, total),
        )  # fmt: skip
    low, high = (float(value[0]) for value in found.interval())
    numbers = {
        "log_partition": float(found.log_marginal[0]), "std_error": float(found.std_error[0]),
        "ess": float(found.ess[0]), "pareto_k": float(found.pareto_k[0]), "low": low, "high": high,
    }  # fmt: skip
    out.facts(**numbers)
    out.note(f"{model!r}")
    out.table("log Z, estimated, nats", {name: [value] for name, value in numbers.items()})


def _refuse_exact_options(method: Method, checkpoint: Path | None, run: Run) -> None:
    """Refuse what an estimate does not take."""
    given: dict[str, Any] = {
        "--method": method != METHODS[0], "--checkpoint": checkpoint, "--executor": run.given["executor"]
    }  # fmt: skip
    refuse_beside("--num-temperatures", given, "exact log Z")
