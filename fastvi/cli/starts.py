"""Model and encoder that a fit begins with: saved ones, or new ones of sizes that are given."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

import fastvi
from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.options import FILE, Function, load_model, load_saved
from fastvi.core import validation
from fastvi.core.options import ACTIVATIONS, FAMILIES, LIKELIHOODS, MODEL_OBJECTIVES, Family, ModelObjective
from fastvi.core.registry import has_latents, rules_of
from fastvi.fitting.starting_models import STARTS, Sizes, binary_pixels, starting_model
from fastvi.rules import questions

_MOST_SUMMED = 30  # bits over which a fit may sum in each step

_ANSWERED_AS: dict[ModelObjective, str] = {
    "exact": questions.FIT_MODEL,
    "em": questions.FIT_MODEL_EM,
    "elbo": questions.FIT_MODEL_ELBO,
    "importance_weighted": questions.FIT_MODEL_WEIGHTED,
    "wake_sleep": questions.FIT_MODEL_WAKE_SLEEP,
    "reweighted_wake_sleep": questions.FIT_MODEL_WAKE_SLEEP,
}


def _widths(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Return the units of hidden layers, one number for each."""
    if value is None:
        return None
    words = value.split(",")
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 2**31 for word in words):
        raise click.BadParameter(f"must be whole numbers of at least 1, as 64 or 64,32, got {value!r}.")
    return tuple(int(word) for word in words)


class Start(NamedTuple):
    """Options that say what a fit begins with."""

    path: Path | None
    model_class: str | None
    num_latents: int | None
    hidden: tuple[int, ...] | None
    activation: str | None
    prior: str | None
    likelihood: str | None
    encoder_path: Path | None
    encoder_hidden: tuple[int, ...] | None

    @property
    def has_encoder(self) -> bool:
        """Whether an encoder is trained with the model."""
        return self.encoder_path is not None or self.encoder_hidden is not None

    def check(self, *, summed: bool) -> None:
        """Refuse options that do not go together. ``summed``: log p(x) is summed over all states."""
        name = self.model_class or next(iter(STARTS))
        if name == "BoltzmannMachine":
            if self.num_latents is not None:
                raise WrongInput("--latents must be left out for a BoltzmannMachine, whose units are pixels")
            if self.path is not None:
                raise WrongInput("--model-class is for a new model, got --start, too")
        elif (self.path is None) == (self.num_latents is None):
            raise WrongInput("fit takes exactly one of --start and --latents")
        of_decoder = {"--hidden": self.hidden, "--activation": self.activation, "--prior": self.prior,
                      "--likelihood": self.likelihood}  # fmt: skip
        if self.path is not None:
            of_new = {"--model-class": self.model_class, **of_decoder}
            if given := [option for option, value in of_new.items() if value is not None]:
                raise WrongInput(f"{given[0]} is for a new model, got --start, too")
        elif name != "NeuralDecoder":
            if given := [option for option, value in of_decoder.items() if value is not None]:
                raise WrongInput(f"{given[0]} is for --model-class NeuralDecoder, got {name}")
        elif self.hidden is None:
            raise WrongInput("--hidden must come with --model-class NeuralDecoder")
        in_bits = name != "LinearGaussian" and self.prior != "normal"
        if summed and in_bits and self.num_latents is not None and self.num_latents > _MOST_SUMMED:
            raise WrongInput(
                f"--latents must be at most {_MOST_SUMMED} where log p(x) is summed, got {self.num_latents}"
            )
        if self.encoder_path is not None and self.encoder_hidden is not None:
            raise WrongInput("fit takes at most one of --encoder and --encoder-hidden")

    def check_encoder(self, objective: ModelObjective, num_samples: int | None) -> None:
        """Refuse an objective that takes an encoder where there is none, and one that takes none."""
        exact_elbo = objective == "elbo" and num_samples is None  # with an encoder or without
        if not (exact_elbo or objective in ("exact", "em") or self.has_encoder):
            raise WrongInput(f"--objective {objective} must come with --encoder or --encoder-hidden")
        if self.has_encoder and objective in ("exact", "em"):
            raise WrongInput(f"--encoder is for bounds, got --objective {objective}")

    def model(
        self, x: NDArray[Any], observed: NDArray[np.bool_] | None, chosen: NDArray[np.intp], seed: int
    ) -> Any:
        """Return the model that a fit to the rows ``chosen`` begins with. All of ``x`` is checked."""
        if self.path is not None:
            model = load_model(self.path, "--start")
            if not has_latents(model):
                raise WrongInput(
                    f"--start must hold a model whose latents are bits or real numbers, got {model!r}"
                )
            with as_wrong_input():
                rules_of(model).check_data(x, observed, "DATA")
            return model
        if x.ndim != 2 or not len(chosen):
            raise WrongInput(f"DATA must hold at least 1 row to be trained on, got shape {x.shape}")
        name = self.model_class or next(iter(STARTS))
        if name == "BoltzmannMachine" and x.shape[1] > _MOST_SUMMED:
            raise WrongInput(
                f"DATA must have at most {_MOST_SUMMED} pixels for a BoltzmannMachine, whose log Z is a "
                f"sum over all their states, got {x.shape[1]}"
            )
        given = self._asdict()
        sizes = Sizes(**{field: given[field] for field in Sizes._fields if given[field] is not None})
        if binary_pixels(name, sizes):
            unseen = np.zeros(x.shape, bool) if observed is None else ~observed
            if not (np.isin(x, (0, 1)) | unseen).all():
                raise WrongInput(
                    f"DATA must hold 0 and 1 for a new {name}, got other numbers: use --threshold"
                )
        with as_wrong_input():
            if not binary_pixels(name, sizes):
                validation.real_matrix(x, "DATA", x.shape[1], observed=observed)
            seen = None if observed is None else observed[chosen]
            return starting_model(name, x[chosen], sizes, seed, seen)

    def encoder(self, model: Any, seed: int) -> Any:
        """Return the encoder that is trained with ``model``, None where none was asked for."""
        if self.encoder_path is not None:
            encoder = load_saved(self.encoder_path)
            if not isinstance(encoder, fastvi.Encoder):
                raise WrongInput(f"--encoder must hold an encoder, got {encoder!r}")
            return encoder
        if self.encoder_hidden is None:
            return None
        family: Family = "normal" if rules_of(model).real_latents else "bernoulli"
        return fastvi.Encoder.random(
            model.num_pixels, self.encoder_hidden, model.num_latents, seed, family=family
        )  # fmt: skip


def start_options(function: Function) -> Function:
    """Add the options of the model and the encoder that a fit begins with, packed as ``start``."""

    @wraps(function)
    def with_start(*args: Any, **options: Any) -> Any:
        start = Start(*(options.pop(name) for name in Start._fields))
        return function(*args, start=start, **options)

    for option in reversed((
        click.option(
            "--latents", "num_latents", type=click.IntRange(1),
            help="Begin with a new model of so many latents.",
        ),
        click.option("--start", "path", type=FILE, help="Begin with this saved model (.npz)."),
        click.option(
            "--model-class", type=click.Choice(tuple(STARTS)),
            help=f"Class of the new model. [default: {next(iter(STARTS))}]",
        ),
        click.option(
            "--hidden", metavar="N,N,...", callback=_widths, help="Hidden layers of a new decoder, as 64,32."
        ),
        click.option(
            "--activation", type=click.Choice(ACTIVATIONS), help="Activation of it. [default: tanh]"
        ),
        click.option(
            "--prior", type=click.Choice(FAMILIES),
            help="Of its latents: bits or real numbers. [default: bernoulli]",
        ),
        click.option(
            "--likelihood", type=click.Choice(LIKELIHOODS), help="Of its pixels. [default: bernoulli]"
        ),
        click.option("--encoder", "encoder_path", type=FILE, help="Train this saved encoder with the model."),
        click.option(
            "--encoder-hidden", metavar="N,N,...", callback=_widths,
            help="Train a new encoder of these hidden layers with the model.",
        ),
    )):  # fmt: skip
        with_start = option(with_start)
    return with_start


def check_objective(model: Any, objective: ModelObjective) -> None:
    """Refuse an objective by which such a model cannot be learned."""
    answered = fastvi.supported(model)
    allowed = [name for name in MODEL_OBJECTIVES if _ANSWERED_AS[name] in answered]
    if objective not in allowed:
        words = " or ".join(allowed)
        raise WrongInput(f"--objective must be {words} for a {type(model).__name__}, got {objective}")
