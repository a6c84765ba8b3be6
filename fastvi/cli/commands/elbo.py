"""Command ``fastvi elbo``: the evidence lower bound of a saved model and a q."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
import numpy as np

import fastvi
from fastvi.cli.answers import check_answer_files, csv_option, show_summary, write_answers
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.files.outputs import check_is_new, write_output
from fastvi.cli.machines import check_normalized
from fastvi.cli.options import (
    INPUT_FILE,
    OUTPUT_FILE,
    SEED,
    DataFile,
    Run,
    check_one_is_standard_input,
    data_argument,
    files_of,
    load_model,
    load_q,
    model_argument,
    run_options_of,
)
from fastvi.cli.output import Output
from fastvi.core.options import POSTERIOR_OBJECTIVES
from fastvi.core.storage import write_model

_FIELDS = ("value", "reconstruction", "kl_to_prior", "expected_log_joint", "entropy", "std_error")


@click.command(cls=Command)
@model_argument
@data_argument
@click.option(
    "--q", "q_path", type=INPUT_FILE, help="File of a saved distribution or encoder, q of each datum."
)
@click.option(
    "--fit", "objective", type=click.Choice(POSTERIOR_OBJECTIVES),
    help="Fit a q to each datum by this objective. [default: reverse_kl]",
)  # fmt: skip
@click.option("--save-q", type=OUTPUT_FILE, help="Write the fitted q to this .npz file.")
@click.option(
    "--num-samples",
    type=click.IntRange(1),
    help="Sample the expectation. [default: exact]",
)
@click.option("--gap", is_flag=True, help="Exact log p(x) and KL(q || p(z|x)), too.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same numbers.")
@csv_option
@click.option("--unnormalized", is_flag=True, help="Leave out log Z of a Boltzmann machine.")
@click.option("--force", is_flag=True, help="Replace --save-q where it exists.")
@run_options_of("device", "dtype")
@click.pass_obj
def command(
    out: Output, model_path: str, data: DataFile, q_path: str | None, objective: Any, save_q: str | None,
    num_samples: int | None, gap: bool, seed: int, csv_path: str | None, unnormalized: bool, force: bool,
    run: Run,
) -> None:  # fmt: skip
    """Print the ELBO of a saved MODEL on DATA, in its parts.

    ELBO = reconstruction - KL(q || prior) = expected log joint + entropy, and with --gap also
    = log p(x) - KL(q || p(z|x)); all in nats. Without --q a factorised q is fitted to each datum.

    \b
    Examples:
      fastvi elbo model.npz digits.npy
      fastvi elbo model.npz digits.npy --fit forward_kl --gap --csv elbo.csv
      fastvi elbo model.npz digits.npy --q encoder.npz --num-samples 1000
      fastvi elbo model.npz digits.npy --save-q q.npz --json
    """
    if q_path is not None and (objective is not None or save_q is not None):
        other = "--fit" if objective is not None else "--save-q"
        raise WrongInput(f"elbo takes one of --q and {other}, got both")
    check_one_is_standard_input({"MODEL": model_path, "DATA": data.path, "--q": q_path})
    check_answer_files(
        out, {"MODEL": model_path, **files_of(data), "--q": q_path}, csv_path, {"--save-q": save_q}
    )
    if save_q is not None:
        check_is_new(save_q, "--save-q", force=force)
    model = load_model(model_path)
    normalized = check_normalized(model, unnormalized=unnormalized)
    x, observed = data.read()
    if q_path is None and observed is not None:
        raise WrongInput("--observed comes with --q: a q is fitted to data that were seen whole")
    with as_wrong_input(), run.started() as where, out.progress("elbo") as report:
        if q_path is None:
            report("fitting q", 0, 2)
            q = _fitted_q(model, x, objective or "reverse_kl", seed)
        else:
            q = load_q(q_path, "--q")
        report("ELBO", 1, 2)
        found = fastvi.elbo(
            model, x, q, observed=observed, num_samples=num_samples, seed=seed,
            normalized=normalized, **where,
        )  # fmt: skip
        columns = {name: np.asarray(getattr(found, name)) for name in _FIELDS}
        if gap:
            columns["log_marginal"] = fastvi.log_marginal(
                model, x, observed=observed, normalized=normalized, device=where["device"]
            )
            columns["kl_to_posterior"] = fastvi.kl_to_posterior(model, x, q, observed=observed)
    out.note(f"{model!r}: ELBO of {len(x)} data")
    out.facts(model=repr(model), normalized=normalized)
    write_answers(out, columns, csv_path)
    name = "ELBO + log Z" if unnormalized else "ELBO"
    show_summary(out, f"{name} and its parts, nats", {name: columns["value"], **_rest(columns)})
    if save_q is not None:
        write_output(save_q, partial(write_model, q))
        out.note_written(save_q)


def _rest(columns: dict[str, Any]) -> dict[str, Any]:
    """Return the columns beside the value, without an error that is 0 everywhere."""
    return {
        name: values
        for name, values in columns.items()
        if name != "value" and (name != "std_error" or np.any(values))
    }


def _fitted_q(model: Any, x: Any, objective: Any, seed: int) -> Any:
    """Fit a q to each datum."""
    try:
        return fastvi.fit_posterior(model, x, objective=objective, seed=seed).q
    except TypeError as error:
        raise WrongInput(f"--q must be given where none is fitted: {error}") from error
