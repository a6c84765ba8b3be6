"""Command ``fastvi report``: model, data and q judged in one go."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource

import fastvi
from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.options import (
    FILE,
    SEED,
    DataFile,
    Run,
    data_argument,
    load_model,
    load_saved,
    model_argument,
    run_options,
)
from fastvi.cli.output import Output
from fastvi.core.options import Device, DType


@click.command(cls=Command)
@model_argument
@data_argument
@click.option("--encoder", "encoder_path", type=FILE, help="Judge the q(z | x) of this saved encoder.")
@click.option("--q", "q_path", type=FILE, help="Judge this saved q: a Bernoulli, Normal or Categorical.")
@click.option(
    "--num-samples", type=click.IntRange(10, 1_000_000), default=1_000, show_default=True,
    help="Samples from q for each datum.",
)  # fmt: skip
@click.option(
    "--max-states", type=click.IntRange(1, 2**40), default=2**24, show_default=True,
    help="Sum so many states at most for exact log p(x); beyond, certified intervals or estimates.",
)  # fmt: skip
@click.option(
    "--max-bounds", type=click.IntRange(1), default=10_000, show_default=True,
    help="Bounds that a datum's certified interval may take.",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same numbers.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("report"),
    show_default=True, help="Folder for the page index.html and for the folder report of its files.",
)  # fmt: skip
@run_options
@click.pass_obj
@click.pass_context
def command(
    context: click.Context, out: Output, model_path: str, data: DataFile, encoder_path: Path | None,
    q_path: Path | None, num_samples: int, max_states: int, max_bounds: int, seed: int, folder: Path,
    run: Run,
) -> None:  # fmt: skip
    """Judge a q for a saved MODEL on DATA: truth, gaps, weights, calibration and cost.

    The truth is exact log p(x), a certified interval where too many states would have to be summed, or an
    estimate; the report says which. Against it stand the ELBO of q, the gap KL(q || p(z|x)), what the best q
    of each datum would reach, importance-weighted bounds, the effective sample size and k-hat of the weights,
    bias and coverage of estimates, and the seconds. Without --encoder or --q the best q itself is judged.

    \b
    Examples:
      fastvi report results/model/model_12_latents.npz results/model/held_out.npz
      fastvi report model.npz digits.npy --encoder encoder.npz --limit 200
      fastvi report large.npz digits.npy --max-bounds 100000 --out large_report
    """
    from fastvi.cli.files.outputs import check_folders
    from fastvi.studies.common.output import write_result
    from fastvi.studies.common.page import write_page
    from fastvi.studies.common.subject import own_subject
    from fastvi.studies.report import study
    from fastvi.studies.report.settings import ReportSettings

    if encoder_path is not None and q_path is not None:
        raise WrongInput("report takes at most one of --encoder and --q")
    model = load_model(model_path)
    q = _load_q(encoder_path, q_path)
    x, observed = data.read()
    if observed is not None:
        raise WrongInput("DATA must be seen whole for a report, got --observed")
    settings = ReportSettings(
        seed=seed, num_samples=num_samples, max_states=max_states, max_bounds=max_bounds,
        device=cast(Device, run.given["device"]), dtype=cast(DType, run.given["dtype"]),
    )  # fmt: skip
    source = {
        "command": _command_line(context), "model_file": model_path, "model": repr(model),
        "data_file": data.path, **data.source(), "num_data": len(x), "q": "fitted" if q is None else repr(q),
    }  # fmt: skip
    own = own_subject(model, x, os.path.basename(data.path), source)
    check_folders(folder, ["report"])
    with as_wrong_input(), run.started() as where, out.progress("report") as report:
        where = {name: value for name, value in where.items() if name != "dtype"}
        result = study.run(settings, report, own=own, q=q, where=where)
        report("writing files and pictures", 0, 1)
        written = [*write_result(result, settings, folder, own), write_page(folder)]
    means = result.table("means")
    out.facts(
        model=repr(model), means=dict(zip(means["quantity"], means["mean"], strict=True)),
        tables=result.tables,
        findings=[finding.text for finding in result.findings], files=[str(path) for path in written],
    )  # fmt: skip
    out.note(f"{model!r} on {len(x)} data of {data.path}")
    out.table("means over the data, nats", means)
    out.say("")
    for finding in result.findings:
        out.finding(finding.text)
    out.note(f"written: {written[-1]} and {len(written) - 1} files in {folder / result.name}")


def _load_q(encoder_path: Path | None, q_path: Path | None) -> Any:
    """Return the encoder or the distribution that is to be judged; None where none was given."""
    path = encoder_path if q_path is None else q_path
    if path is None:
        return None
    found = load_saved(path)
    if q_path is None and not isinstance(found, fastvi.Encoder):
        raise WrongInput(f"--encoder must hold an Encoder, got {found!r}")
    if q_path is not None and not isinstance(found, fastvi.Bernoulli | fastvi.Normal | fastvi.Categorical):
        raise WrongInput(f"--q must hold a Bernoulli, Normal or Categorical, got {found!r}")
    return found


def _command_line(context: click.Context) -> str:
    """Return the command as it was given, without the place of its results, on which they do not depend."""
    words = ["fastvi", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) != ParameterSource.COMMANDLINE or name not in context.params:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif name != "folder":
            words += [parameter.opts[0]] if value is True else [parameter.opts[0], str(value)]
    return shlex.join(words)
