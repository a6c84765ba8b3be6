"""Command ``fastvi bounds``: intervals that hold log p(x) for certain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

import fastvi
from fastvi.cli.answers import check_answer_files, csv_option, show_summary, write_answers
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input, refuse_beside
from fastvi.cli.machines import check_has_data, check_normalized
from fastvi.cli.options import (
    FILE,
    DataFile,
    Run,
    files_of,
    load_model,
    model_argument,
    optional_data_argument,
    run_options_of,
)
from fastvi.cli.output import Output


@click.command(cls=Command)
@model_argument
@optional_data_argument
@click.option(
    "--tolerance", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True,
    help="Stop where an interval is at most so wide, nats.",
)  # fmt: skip
@click.option(
    "--max-bounds", type=click.IntRange(1), default=100_000, show_default=True,
    help="Stop after so many bounds of a datum.",
)  # fmt: skip
@click.option("--upper", is_flag=True, help="The upper bound of the root alone, without a search.")
@csv_option
@click.option("--checkpoint", type=FILE, help="Keep what is finished in this file, and go on from it.")
@click.option("--unnormalized", is_flag=True, help="Leave out log Z of a Boltzmann machine.")
@run_options_of("executor")
@click.pass_obj
@click.pass_context
def command(
    context: click.Context, out: Output, model_path: str, data: DataFile | None, tolerance: float,
    max_bounds: int, upper: bool, csv_path: str | None, checkpoint: Path | None, unnormalized: bool, run: Run,
) -> None:  # fmt: skip
    """Print intervals that hold log p(x) of DATA for certain under a saved MODEL.

    A best-first search over groups of latent states, for models of more latents than can be enumerated.
    Ctrl-C ends the search, and the intervals found so far are printed. Without DATA: log Z of a
    BoltzmannMachine.

    \b
    Examples:
      fastvi bounds model.npz digits.npy --limit 10
      fastvi bounds model.npz digits.npy --tolerance 0.1 --max-bounds 10000 --csv bounds.csv
      fastvi bounds model.npz digits.npy --upper
      fastvi bounds machine.npz --max-bounds 5000 --json
    """
    if data is None and (upper or unnormalized):
        raise WrongInput(f"{'--upper' if upper else '--unnormalized'} is for DATA, which is not given")
    if upper:
        _refuse_search_options(context, checkpoint, unnormalized, run)
    check_answer_files(out, {"MODEL": model_path, **files_of(data)}, csv_path, {"--checkpoint": checkpoint})
    model = load_model(model_path)
    normalized = check_normalized(model, unnormalized=unnormalized)
    check_has_data(data, model, (fastvi.BoltzmannMachine,), "a BoltzmannMachine")
    x, observed = (None, None) if data is None else data.read()
    if upper:
        assert x is not None  # as it was said above
        with as_wrong_input():
            columns: dict[str, Any] = {"upper": fastvi.upper_bound(model, x, observed=observed)}
        out.facts(model=repr(model))
        write_answers(out, columns, csv_path)
        show_summary(out, "upper bounds on log p(x), nats", columns)
        return
    with as_wrong_input(), run.started() as where, out.progress("bounds") as report:
        found = fastvi.log_marginal_bounds(
            model, x, observed=observed, tolerance=tolerance, max_bounds=max_bounds, checkpoint=checkpoint,
            normalized=normalized and data is not None,
            progress=lambda done, total: report("bounds", done, total), **where,
        )  # fmt: skip
    out.facts(model=repr(model))
    if data is not None:
        out.facts(normalized=normalized)
    columns = {
        "lower": found.lower, "upper": found.upper, "gap": found.gap, "num_bounds": found.num_bounds,
        "converged": found.converged,
    }  # fmt: skip
    write_answers(out, columns, csv_path)
    name = "log Z" if data is None else "log p(x)"
    show_summary(
        out,
        f"intervals that hold {name}{' + log Z' if unnormalized and data is not None else ''}, nats",
        {name: columns[name] for name in ("lower", "upper", "gap", "num_bounds")},
    )
    if len(found):
        closed = int(np.count_nonzero(found.converged))
        out.say(f"{closed} of {len(found)} are at most {tolerance:g} nats wide")


def _refuse_search_options(
    context: click.Context, checkpoint: Path | None, unnormalized: bool, run: Run
) -> None:
    """Refuse what the bound of the root does not take."""
    default = click.core.ParameterSource.DEFAULT
    given = {
        "--tolerance": context.get_parameter_source("tolerance") is not default,
        "--max-bounds": context.get_parameter_source("max_bounds") is not default,
        "--checkpoint": checkpoint is not None, "--unnormalized": unnormalized,
        "--executor": run.given["executor"] is not None,
    }  # fmt: skip
    refuse_beside("--upper", given, "a search")
