"""Command ``fastvi study``: run studies, show their tables, write their files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.options import (
    FILE,
    INPUT_DATA,
    INPUT_FILE,
    SEED,
    DataFile,
    check_one_is_standard_input,
    load_model,
    reading_options,
)
from fastvi.cli.output import Output

if TYPE_CHECKING:
    from fastvi.cli.files.unfinished import UnfinishedRun
    from fastvi.studies.common.result import StudyResult
    from fastvi.studies.common.settings import Settings
    from fastvi.studies.common.subject import Subject

_STUDIES = ("table", "enumeration", "sampling", "bounds", "missing", "variance", "learning", "beyond")
_BY_NAME_ALONE = ("learning", "beyond")  # on digits the first takes as long as all others together


@click.command(cls=Command)
@click.argument("which", nargs=-1, type=click.Choice(_STUDIES), metavar="[STUDY]...")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Same seed, same numbers.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("results"),
    show_default=True, help="Folder for the results; each study gets a folder in it.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Toy sizes that finish in seconds; other sizes have to be given.")
@click.option(
    "--num-images", type=click.IntRange(2, 297), help="Held-out images in sampling and bounds. [default: 50]"
)
@click.option("--num-latents", type=click.IntRange(2, 14), help="Latents of the fitted model. [default: 12]")
@click.option(
    "--beyond-images", type=FILE,
    help="IDX file of images for beyond, as MNIST's; 128 and more is 1. [default: the package's digits]",
)  # fmt: skip
@click.option(
    "--beyond-latents", type=click.IntRange(2, 200), multiple=True,
    help="Latents in beyond; may be given several times. [default: 24]",
)  # fmt: skip
@click.option("--model", "model_path", type=INPUT_FILE, help="Look at this saved model, at no digits.")
@click.option("--data", "data_path", type=INPUT_DATA, help="Data that --model is to explain.")
@reading_options
@click.option("--force", is_flag=True, help="Discard what an interrupted run has left in --out.")
@click.pass_obj
def command(
    out: Output, which: tuple[str, ...], seed: int, folder: Path, quick: bool, num_images: int | None,
    num_latents: int | None, beyond_images: Path | None, beyond_latents: tuple[int, ...],
    model_path: str | None, data_path: str | None, key: str | None, threshold: float | None,
    limit: int | None, force: bool,
) -> None:  # fmt: skip
    """Compare exact enumeration, sampling and bounds, on digits or on your own model.

    A sigmoid belief network is fitted to 1,500 handwritten digits by exact maximum likelihood. Then, on
    held-out digits:

    \b
      table        every question, on a table that can be added up by hand
      enumeration  cost of exact log p(x) as latents are added, four ways
      sampling     how far Monte Carlo estimates are from the truth
      bounds       ELBO <= importance-weighted bound <= log p(x), and the gaps
      missing      the upper half of an image from its lower half
      variance     variances that reverse KL under- and forward KL overestimates
      learning     learning by a bound against exact maximum likelihood
      beyond       certified intervals around log p(x) at more latents

    Without a name all but the last two run. Tables go to the terminal; CSV, JSON and pictures to the folder
    --out. Numbers repeat with the seed; all that holds seconds is in files of its own.

    With --model and --data the studies look at your own: without a name all that the model can answer. They
    look at the first 50 data, or --num-images; enumeration at 100, missing at 12.
    --data are .npy, .npz, IDX, CSV, TSV or a folder of .png pictures. A run that was interrupted goes on
    where it was when the same command is given again.

    \b
    Examples:
      fastvi study
      fastvi study sampling bounds --seed 1 --out results_seed_1
      fastvi study bounds --num-images 200
      fastvi study --quick
      fastvi study beyond --beyond-images t10k-images-idx3-ubyte.gz
      fastvi study --model model.npz --data images.npy --threshold 128 --limit 50
      fastvi study sampling --model model.npz --data survey.csv --json
    """
    from fastvi.studies.common.settings import Settings

    settings = Settings.quick(seed) if quick else Settings(seed=seed)
    settings = replace(
        settings,
        num_images=num_images or settings.num_images,
        num_latents=num_latents or settings.num_latents,
        beyond_images=None if beyond_images is None else str(beyond_images),
        beyond_latents=beyond_latents or settings.beyond_latents,
    )
    own = None
    if model_path is not None and data_path is not None:
        check_one_is_standard_input({"--model": model_path, "--data": data_path})
        if beyond_images is not None:
            raise WrongInput("--beyond-images is for studies of images without --model, got both")
        own = _own(model_path, DataFile(data_path, key, threshold, limit, None))
    elif model_path is not None or data_path is not None:
        raise WrongInput("--model and --data come together, got one of them")
    elif key is not None or threshold is not None or limit is not None:
        raise WrongInput("--key, --threshold and --limit say how --data is read, got no --data")
    names = _chosen(tuple(name for name in _STUDIES if name in which), own, out)
    _run(names, settings, own, _Place(folder, force), out)


class _Place(NamedTuple):
    """Folder of the results, and whether unfinished work in it may be discarded."""

    folder: Path
    force: bool


def _own(model_path: str, data: DataFile) -> Subject:
    """Return the caller's model and data."""
    from fastvi.core.registry import rules_of
    from fastvi.studies.common.subject import own_subject

    model, rows = load_model(model_path, "--model"), data.read_rows()
    with as_wrong_input():
        rules_of(model).check_data(rows.x, None)
    if not len(rows.x):
        raise WrongInput(f"--data must hold at least 1 datum, got none in {data.path!r}")
    source = {"model_file": model_path, "model": repr(model), "data_file": data.path, **data.source()}
    return own_subject(model, rows.x, os.path.basename(data.path), source, rows.image_shape)


def module_of(name: str) -> Any:
    """Return the module that runs a study."""
    return import_module(f"fastvi.studies.{name}.study")


def _chosen(asked: tuple[str, ...], own: Subject | None, out: Output) -> tuple[str, ...]:
    """Return the studies to run. One that was named has to be able to look at the caller's own."""
    if own is None:
        return asked or ("model", *(name for name in _STUDIES if name not in _BY_NAME_ALONE))
    refused = {name: module_of(name).refusal(own) for name in asked or _STUDIES}
    refused = {name: reason for name, reason in refused.items() if reason is not None}
    for name, reason in refused.items():
        if asked:
            raise WrongInput(f"{name} cannot look at --model and --data: {reason}")
        out.note(f"{name}: {reason}", mark="not ")
    names = tuple(name for name in asked or _STUDIES if name not in refused)
    if not names:
        raise WrongInput(
            "no study can look at --model and --data: " + "; ".join(sorted(set(refused.values())))
        )
    return names


def _run(names: tuple[str, ...], settings: Settings, own: Subject | None, place: _Place, out: Output) -> None:
    """Run the named studies in order. Each one's files are written before the next begins."""
    from fastvi.cli.files.outputs import check_folders

    begin, folder = time.perf_counter(), place.folder
    check_folders(folder, names)  # said now rather than after the work
    if "beyond" in names and own is None:
        from fastvi.studies.beyond.study import images

        try:
            images(settings)
        except (ValueError, TypeError) as error:  # of the file that was given
            raise WrongInput(f"--beyond-images: {error}") from error
    facts: dict[str, Any] = {}
    with _unfinished(names, settings, own, place, out) as unfinished:
        for number, name in enumerate(names, start=1):
            facts[name] = unfinished.finished.get(name)
            if facts[name] is not None and all(os.path.exists(file) for file in facts[name]["files"]):
                out.note(f"{name}: finished before\n")
                continue
            with out.progress(name, (number, len(names))) as report:
                result: StudyResult = module_of(name).run(settings, report, own=own, kept=unfinished.kept)
                report("writing files and pictures", 0, 1)
                written = _write(result, settings, own, folder)
            facts[name] = {
                "findings": [finding.text for finding in result.findings],
                "files": [str(path) for path in written],
            }
            unfinished.finish(name, facts[name])
            _show(result, written, out)
    out.facts(studies=facts, out=str(folder), seconds=time.perf_counter() - begin)
    out.note(f"{len(names)} done in {time.perf_counter() - begin:.0f} s: {folder}")


@contextmanager
def _unfinished(
    names: tuple[str, ...], settings: Settings, own: Subject | None, place: _Place, out: Output
) -> Iterator[UnfinishedRun]:
    """Keep what is finished until all is. Results depend on settings, source, versions and processor."""
    from fastvi.cli.files.unfinished import UnfinishedRun
    from fastvi.studies.common.environment import environment

    found = environment()
    identity = {
        "studies": names,
        "settings": asdict(settings),
        "source": None if own is None else {**(own.source or {}), "sha256": _digest(own)},
        "images_sha256": settings.beyond_images and _file_digest(settings.beyond_images),
        "versions": found["versions"],
        "processor": f"{found['cpu']}, {found['system']}",
    }
    run = UnfinishedRun(place.folder, identity, replace=place.force)
    try:
        yield run
    except BaseException:
        if run.leave() and not out.quiet:
            click.echo("to go on: the same command", err=True)
        raise
    run.remove()


def _digest(own: Subject) -> str:
    """Return a digest of a model's parameters and of data."""
    digest = hashlib.sha256()
    for name, array in {**own.model.arrays(), "x": own.x}.items():
        digest.update(f"{name} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()


def _file_digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(result: StudyResult, settings: Settings, own: Subject | None, folder: Path) -> list[Path]:
    """Write a study's files, and the page of all results in the folder."""
    from fastvi.studies.common.output import write_result
    from fastvi.studies.common.page import write_page

    written = write_result(result, settings, folder, own)
    write_page(folder)
    return written


def _show(result: StudyResult, written: list[Path], out: Output) -> None:
    """Print a study's tables and findings."""
    folder = written[0].parent
    for title, table in result.shown.items():
        out.table(f"{result.name}: {title.replace('_', ' ')}", table, rest=f"{folder}/*.csv")
        out.say("")
    for finding in result.findings:
        out.finding(finding.text)
    pictures = ", ".join(path.name for path in written if path.suffix == ".png")
    out.note(f"{folder}: {len(written)} files, among them {pictures}", mark="  -> ")
    out.note("")
