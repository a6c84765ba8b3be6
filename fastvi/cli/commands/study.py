"""Command ``fastvi study``: run studies, show their tables, write their files."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastvi.cli.command import Command
from fastvi.cli.errors import WrongInput
from fastvi.cli.options import FILE, SEED
from fastvi.cli.output import Output

if TYPE_CHECKING:
    from fastvi.studies.common.result import StudyResult
    from fastvi.studies.common.settings import Settings

_STUDIES = ("table", "enumeration", "sampling", "bounds", "missing", "variance", "learning", "beyond")
_BY_NAME_ALONE = ("learning", "beyond")  # the first takes as long as all others together


@click.command(cls=Command)
@click.argument("which", nargs=-1, type=click.Choice(_STUDIES), metavar=f"[{'|'.join(_STUDIES)}]...")
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
@click.pass_obj
def command(
    out: Output, which: tuple[str, ...], seed: int, folder: Path, quick: bool, num_images: int | None,
    num_latents: int | None, beyond_images: Path | None, beyond_latents: tuple[int, ...],
) -> None:  # fmt: skip
    """Compare exact enumeration, sampling and bounds, on digits or on your own model.

    A sigmoid belief network is fitted to 1,500 handwritten digits by exact maximum likelihood. Then, on
    held-out digits:

    \b
      table        a table: p(x), p(z | x), sampling, Jensen's inequality, the ELBO, both divergences
      enumeration  cost of exact log p(x) as latents are added, against Python, NumPy and a compiled loop
      sampling     distance of Monte Carlo estimates from the truth, as samples and latents grow
      bounds       ELBO <= importance-weighted bound <= log p(x), and the gap is the KL divergence
      missing      the upper half of an image from its lower half: all 2^32 ways to fill it in, summed
      variance     variances that reverse KL underestimates and forward KL overestimates
      learning     learning by a bound against exact maximum likelihood (two minutes)
      beyond       certified intervals around log p(x) at more latents than enumeration bears

    Without a name all but the last two run. Tables go to the terminal; CSV, JSON and pictures to the folder
    --out. Numbers repeat with the seed; all that holds seconds is in files of its own.

    \b
    Examples:
      fastvi study
      fastvi study sampling bounds --seed 1 --out results_seed_1
      fastvi study bounds --num-images 200
      fastvi study --quick
      fastvi study beyond --beyond-images t10k-images-idx3-ubyte.gz --beyond-latents 32
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
    usual = ("model", *(name for name in _STUDIES if name not in _BY_NAME_ALONE))
    _run(tuple(name for name in _STUDIES if name in which) or usual, settings, folder, out)


def _run(names: tuple[str, ...], settings: Settings, folder: Path, out: Output) -> None:
    """Run the named studies in order. Each one's files are written before the next begins."""
    from fastvi.studies.common.output import write_result

    begin = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)  # said now rather than after the work
    for place in (folder, *(folder / name for name in names)):
        if place.exists() and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise WrongInput(f"--out must lead to folders that can be written, got {str(place)!r}")
    if "beyond" in names:
        from fastvi.studies.beyond.study import images

        try:
            images(settings)
        except (ValueError, TypeError) as error:  # of the file that was given
            raise WrongInput(f"--beyond-images: {error}") from error
    facts: dict[str, object] = {}
    for name in names:
        with out.progress(name) as report:
            result: StudyResult = import_module(f"fastvi.studies.{name}.study").run(settings, report)
            report("writing files and pictures", 0, 1)
            written = write_result(result, settings, folder)
        facts[name] = {
            "findings": [finding.text for finding in result.findings],
            "files": [str(path) for path in written],
        }
        _show(result, written, out)
    out.facts(studies=facts, out=str(folder), seconds=time.perf_counter() - begin)
    out.note(f"{len(names)} done in {time.perf_counter() - begin:.0f} s: {folder}")


def _show(result: StudyResult, written: list[Path], out: Output) -> None:
    """Print a study's tables and findings."""
    for title, table in result.shown.items():
        out.table(f"{result.name}: {title.replace('_', ' ')}", table)
        out.say("")
    for finding in result.findings:
        out.say(f"  * {finding.text}")
    pictures = ", ".join(path.name for path in written if path.suffix == ".png")
    out.note(f"  -> {written[0].parent}: {len(written)} files, among them {pictures}\n")
