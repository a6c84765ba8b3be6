"""Command ``fastvi estimate``: log p(x) by sampling, with its error."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import fastvi
from fastvi.cli.answers import check_answer_files, csv_option, show_summary, write_answers
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input, refuse_beside
from fastvi.cli.machines import check_normalized
from fastvi.cli.options import (
    SEED,
    DataFile,
    Run,
    check_one_is_standard_input,
    data_argument,
    files_of,
    load_model,
    load_q,
    model_argument,
    run_options,
)
from fastvi.cli.output import Output
from fastvi.core.options import PROPOSALS
from fastvi.weights.estimate import reliable_k

_FEW = 11  # samples below which no k-hat is small enough
_FIELDS = ("log_marginal", "std_error", "ess", "pareto_k", "max_weight_share", "num_samples")


@click.command(cls=Command)
@model_argument
@data_argument
@click.option(
    "--proposal", default=PROPOSALS[0], show_default=True, metavar="uniform|prior|fit|FILE",
    help="Where z is drawn from: fit is a q fitted to each datum, FILE a saved distribution or encoder.",
)  # fmt: skip
@click.option("--num-samples", type=click.IntRange(1), default=1000, show_default=True, help="Draws a datum.")
@click.option(
    "--target-std-error", type=click.FloatRange(0, min_open=True),
    help="Stop where the standard error is below it, nats; --num-samples is then the most.",
)  # fmt: skip
@click.option(
    "--target-ess", type=click.FloatRange(0, min_open=True), help="Stop at this effective sample size."
)
@click.option(
    "--num-temperatures", type=click.IntRange(1),
    help="Annealed importance sampling with so many temperatures; --num-samples are its chains.",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same estimates.")
@csv_option
@click.option("--unnormalized", is_flag=True, help="Leave out log Z of a Boltzmann machine.")
@run_options
@click.pass_obj
def command(
    out: Output, model_path: str, data: DataFile, proposal: str, num_samples: int,
    target_std_error: float | None, target_ess: float | None, num_temperatures: int | None, seed: int,
    csv_path: str | None, unnormalized: bool, run: Run,
) -> None:  # fmt: skip
    """Print estimates of log p(x) of DATA under a saved MODEL, with their errors.

    Importance sampling: the log of the mean weight p(x, z) / q(z). Each datum has its standard error,
    effective sample size (ESS) and k-hat (Pareto shape of the largest weights; above 0.7 the standard error
    does not describe the error; Vehtari et al. 2024).

    \b
    Examples:
      fastvi estimate model.npz digits.npy
      fastvi estimate model.npz digits.npy --proposal fit --num-samples 10000
      fastvi estimate model.npz digits.npy --proposal encoder.npz --target-std-error 0.01 --csv estimates.csv
      fastvi estimate model.npz digits.npy --num-temperatures 1000 --num-samples 100
    """
    if num_temperatures is not None:
        given = {
            "--proposal": proposal != PROPOSALS[0], "--target-std-error": target_std_error,
            "--target-ess": target_ess, "--observed": data.observed, "--executor": run.given["executor"],
            "--unnormalized": unnormalized,
        }  # fmt: skip
        refuse_beside("--num-temperatures", given, "importance sampling")
    from_file = proposal if proposal not in (*PROPOSALS, "fit") else None
    check_one_is_standard_input({"MODEL": model_path, "DATA": data.path, "--proposal": from_file})
    inputs = {"MODEL": model_path, **files_of(data), "--proposal": from_file}
    check_answer_files(out, inputs, csv_path)
    model = load_model(model_path)
    normalized = check_normalized(model, unnormalized=unnormalized)
    x, observed = data.read()
    with as_wrong_input(), run.started() as where, out.progress("estimate") as report:
        if num_temperatures is not None:
            found = _annealed(model, x, num_temperatures, num_samples, seed, where, report)
        else:
            q = _proposal(model, x, proposal, seed, observed)
            found = fastvi.estimate_log_marginal(
                model, x, proposal=q, num_samples=num_samples, seed=seed, observed=observed,
                target_std_error=target_std_error, target_ess=target_ess, normalized=normalized,
                progress=lambda done, total: report("samples", done, total), **where,
            )  # fmt: skip
    size = len(x)
    columns = {name: np.broadcast_to(np.asarray(getattr(found, name)), size) for name in _FIELDS}
    out.facts(model=repr(model), normalized=normalized)
    out.note(f"{model!r}: estimates for {size} data")
    write_answers(out, columns, csv_path)
    name = "log p(x) + log Z" if unnormalized else "log p(x)"
    shown = {name: columns["log_marginal"]} | {field: columns[field] for field in _FIELDS[1:]}
    show_summary(out, f"estimates of {name}, nats", shown)
    if size:
        _judge(out, columns["pareto_k"], columns["num_samples"])


def _judge(out: Output, k: NDArray[np.float64], num_samples: NDArray[np.int64]) -> None:
    """Say of how many data k-hat tells that the standard error is wrong, and of how many it tells nothing."""
    limit = np.asarray(reliable_k(num_samples))
    # up to ten samples the threshold is 0 or less; inf and nan: the largest weights give no tail to fit.
    # -inf: all weights are equal
    unjudged = (num_samples < _FEW) | np.isnan(k) | (k == np.inf)
    high, unknown = int(np.count_nonzero((k > limit) & ~unjudged)), int(np.count_nonzero(unjudged))
    out.facts(num_high_k=high, num_unjudged_k=unknown)
    if unknown:
        out.finding(
            f"{unknown} of {len(k)} have too few samples, or too few different weights, for k-hat to judge; "
            "look at ess and max_weight_share, or take more --num-samples"
        )
    if unknown < len(k):
        low, most = float(np.min(limit[~unjudged])), float(np.max(limit[~unjudged]))
        said = f"{low:.3g}" if low == most else f"{low:.3g} ... {most:.3g}, by their num_samples"
        out.finding(
            f"{high} of {len(k)} have a k-hat above {said}"
            + (": their standard errors cannot be relied on; take a better --proposal" if high else "")
        )


def _annealed(
    model: Any, x: Any, num_temperatures: int, num_chains: int, seed: int, where: dict[str, Any], report: Any,
) -> fastvi.Estimate:  # fmt: skip
    """Estimate by annealing, which takes no workers."""
    where = {name: value for name, value in where.items() if name != "executor"}
    return fastvi.annealed_importance_sampling(
        model, x, num_temperatures=num_temperatures, num_chains=num_chains, seed=seed,
        progress=lambda done, total: report("temperatures", done, total), **where,
    )  # fmt: skip


def _proposal(model: Any, x: Any, name: str, seed: int, observed: Any) -> Any:
    """Return the proposal of a name or a file."""
    if name in PROPOSALS:
        return name
    if name == "fit":
        if observed is not None:
            raise WrongInput("--proposal fit is for data that were seen whole, got --observed too")
        return fastvi.fit_posterior(model, x, seed=seed).q
    return load_q(name, "--proposal")
