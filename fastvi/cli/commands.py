"""Arguments and options of the command ``fastvi``. Heavy imports wait until a command runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

import fastvi
from fastvi.cli.group import Group
from fastvi.core.options import QUESTIONS, Question

_STUDIES = ("table", "enumeration", "sampling", "bounds", "missing", "variance", "learning", "beyond")
_BY_NAME_ALONE = ("learning", "beyond")  # the first takes as long as all others together
_FILE = click.Path(path_type=Path, dir_okay=False)
# a str: of "./-", which is a file, Path makes "-", which is standard output
_OUTPUT = click.Path(dir_okay=False, readable=False, allow_dash=True)


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(fastvi.__version__, prog_name="fastvi")
@click.pass_context
def cli(context: click.Context) -> None:
    """Exact likelihoods, estimators and bounds for latent-variable models.

    \b
    Examples:
      fastvi study                              all studies on handwritten digits, two and a half minutes
      fastvi study bounds --quick               one of them at toy sizes, seconds
      fastvi evaluate model.npz digits.npz      log p(x) of a saved model on a data file
      fastvi fit digits.npy model.npz --latents 12    learn a model by exact maximum likelihood
      fastvi plan model.npz --num-data 10000    time and memory of that, before it is done
      fastvi info                               versions, processor, threads, compiled code
      fastvi warmup                             compile ahead, as in a container's image
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.argument("which", nargs=-1, type=click.Choice(_STUDIES), metavar=f"[{'|'.join(_STUDIES)}]...")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Same seed, same numbers."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True,
    help="Folder for the results; each study gets a folder in it.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Toy sizes that finish in seconds; other sizes have to be given.")
@click.option(
    "--num-images", type=click.IntRange(2, 297), help="Held-out images in sampling and bounds. [default: 50]"
)
@click.option("--num-latents", type=click.IntRange(2, 14), help="Latents of the fitted model. [default: 12]")
@click.option(
    "--beyond-images", type=_FILE,
    help="IDX file of images for beyond, as MNIST's; 128 and more is 1. [default: the package's digits]",
)  # fmt: skip
@click.option(
    "--beyond-latents", type=click.IntRange(2, 200), multiple=True,
    help="Latents in beyond; may be given several times. [default: 24]",
)  # fmt: skip
def study(
    which: tuple[str, ...], seed: int, out: Path, quick: bool, num_images: int | None,
    num_latents: int | None, beyond_images: Path | None, beyond_latents: tuple[int, ...],
) -> None:  # fmt: skip
    """Compare exact enumeration, sampling and bounds on real digits.

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
    from fastvi.cli.study import run_studies
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
    run_studies(tuple(name for name in _STUDIES if name in which) or usual, settings, out)


@cli.command()
@click.argument("data", type=_FILE)
@click.argument("out", type=_OUTPUT)
@click.option(
    "--latents",
    "num_latents",
    type=click.IntRange(1, 30),
    help="Begin with a new network of so many latents.",
)
@click.option("--start", type=_FILE, help="Begin with this saved model (.npz).")
@click.option("--key", help="Name of the array in an .npz DATA. [default: x, images or the only one]")
@click.option("--threshold", type=float, help="Make the data binary: 1 where a value is >= this.")
@click.option("--limit", type=click.IntRange(1), help="Use the first so many data only.")
@click.option(
    "--held-out", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True,
    help="Share of the data that is not trained on, and decides which epoch is kept.",
)  # fmt: skip
@click.option("--epochs", "num_epochs", type=click.IntRange(0), default=50, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=0.05, show_default=True)
@click.option("--patience", type=click.IntRange(1), help="Stop after so many epochs without a better one.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Same seed, same model."
)
@click.option("--checkpoint", type=_FILE, help="Keep what is finished in this file, and go on from it.")
@click.option("--force", is_flag=True, help="Replace OUT where it exists.")
def fit(
    data: Path,
    out: str,
    num_latents: int | None,
    start: Path | None,
    key: str | None,
    threshold: float | None,
    limit: int | None,
    held_out: float,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    patience: int | None,
    seed: int,
    checkpoint: Path | None,
    force: bool,
) -> None:
    """Learn a model from DATA (.npz, .npy, IDX or IDX.gz) by exact maximum likelihood; save it to OUT (.npz).

    Every step takes the exact gradient of log p(x), summed over all 2^d latent states. Ctrl-C and SIGTERM
    save the best model so far and the checkpoint (exit status 130 and 143). OUT may be - for standard output.

    \b
    Examples:
      fastvi fit digits.npy model.npz --latents 12
      fastvi fit t10k-images-idx3-ubyte.gz model.npz --latents 10 --threshold 128 --epochs 20
      fastvi fit digits.npy better.npz --start model.npz --learning-rate 0.01 --checkpoint run.npz
    """
    from fastvi.cli.fit import fit_file

    fit_file(
        data, out, start_path=start, num_latents=num_latents, key=key, threshold=threshold, limit=limit,
        held_out=held_out, num_epochs=num_epochs, batch_size=batch_size, learning_rate=learning_rate,
        patience=patience, seed=seed, checkpoint=checkpoint, force=force,
    )  # fmt: skip


@cli.command()
@click.argument("model", type=_FILE)
@click.argument("data", type=_FILE)
@click.option("--key", help="Name of the array in an .npz DATA. [default: x, images or the only one]")
@click.option("--threshold", type=float, help="Make the data binary: 1 where a value is >= this.")
@click.option("--limit", type=click.IntRange(1), help="Use the first so many data only.")
@click.option("--nan-missing", is_flag=True, help="NaN is a pixel that was not seen: it is summed out.")
@click.option(
    "--csv",
    "csv_path",
    type=_OUTPUT,
    help="Write log p(x) of each datum to this CSV file; - is standard output.",
)
@click.option("--checkpoint", type=_FILE, help="Keep what is finished in this file, and go on from it.")
@click.option("--unnormalized", is_flag=True, help="Leave out log Z of a Boltzmann machine.")
def evaluate(
    model: Path,
    data: Path,
    key: str | None,
    threshold: float | None,
    limit: int | None,
    nan_missing: bool,
    csv_path: str | None,
    checkpoint: Path | None,
    unnormalized: bool,
) -> None:
    """Print exact log p(x) of a saved MODEL (.npz) on DATA (.npz, .npy, IDX or IDX.gz).

    A model's save method writes MODEL. DATA holds one datum a row; images (N, height, width) are
    flattened. The sum runs over all 2^d latent states.

    \b
    Examples:
      fastvi evaluate results/model/model_12_latents.npz results/model/held_out.npz
      fastvi evaluate model.npz digits.npy --csv log_marginal.csv
      fastvi evaluate mnist_model.npz t10k-images-idx3-ubyte.gz --threshold 128 --limit 100
    """
    from fastvi.cli.evaluate import evaluate_file

    evaluate_file(
        model, data, key=key, threshold=threshold, nan_missing=nan_missing, limit=limit, csv_path=csv_path,
        checkpoint=checkpoint, normalized=not unnormalized,
    )  # fmt: skip


@cli.command()
@click.argument("model", type=_FILE)
@click.option("--num-data", type=click.IntRange(0), default=1, show_default=True, help="How many data.")
@click.option(
    "--question",
    type=click.Choice(QUESTIONS),
    default=QUESTIONS[0],
    show_default=True,
    help="Question that would be asked.",
)
def plan(model: Path, num_data: int, question: Question) -> None:
    """Predict states, memory, shards and time of an exact question about a saved MODEL (.npz).

    A moment of the work is measured and the rest extrapolated, right within a factor of two on a quiet
    machine.

    \b
    Examples:
      fastvi plan results/model/model_12_latents.npz --num-data 10000
      fastvi plan machine.npz --question log_partition
    """
    from fastvi.cli.plan import show_plan

    show_plan(model, num_data, question)


@cli.command()
@click.argument("model", type=_FILE, required=False)
def info(model: Path | None) -> None:
    """Show versions, processor, caches, threads, GPU, compiled code; of a MODEL (.npz) how it was made.

    \b
    Examples:
      fastvi info
      fastvi info model.npz
      FASTVI_NUM_THREADS=1 fastvi info
    """
    from fastvi.cli.info import show_info, show_model

    if model is None:
        show_info()
    else:
        show_model(model)


@cli.command()
@click.option("--all", "everything", is_flag=True, help="All models and questions: some minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def warmup(everything: bool, as_json: bool) -> None:
    """Compile ahead what the first calls would compile, and keep it on disk.

    For container images and clusters. Without --all: log p(x), posteriors, gradients, ELBOs, estimates and
    log Z of networks, decoders and Boltzmann machines. The code lies beside the sources, or in
    NUMBA_CACHE_DIR, and serves processors of one kind: NUMBA_CPU_NAME=generic with NUMBA_CPU_FEATURES= is
    for any.

    \b
    Examples:
      fastvi warmup
      fastvi warmup --all
      NUMBA_CACHE_DIR=/opt/fastvi fastvi warmup --json
    """
    from fastvi.cli.warmup import show_warmup

    show_warmup(everything=everything, as_json=as_json)
