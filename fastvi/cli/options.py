"""Arguments and options that several commands share, packed into one argument of the command's function."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.workers import check_executor, started_executor
from fastvi.core.options import DEVICES, DTYPES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastvi.cli.files.data import Rows

FILE = click.Path(path_type=Path, dir_okay=False)
# a str: of "./-", which is a file, Path makes "-", which is standard input or output
INPUT_FILE = click.Path(dir_okay=False, allow_dash=True)
INPUT_DATA = click.Path(allow_dash=True)  # a folder of pictures, too
OUTPUT_FILE = click.Path(dir_okay=False, readable=False, allow_dash=True)
SEED = click.IntRange(0, 2**63 - 1)

Function = Callable[..., Any]


def model_argument(function: Function) -> Function:
    """Add the argument MODEL: the function gets ``model_path``."""
    return click.argument("model_path", type=INPUT_FILE, metavar="MODEL")(function)


def load_saved(path: str | os.PathLike[str]) -> Any:
    """Read what a model's or a distribution's ``save`` wrote. - is standard input."""
    import fastvi
    from fastvi.cli.files.inputs import named

    text = os.fspath(path)
    with named(text) as name, as_wrong_input():
        try:
            return fastvi.load(name)
        except ValueError as error:
            raise ValueError(str(error).replace(repr(name), repr(text))) from error


def load_model(path: str | os.PathLike[str], name: str = "MODEL") -> Any:
    """Read a file that must hold a model. ``name`` is that of the argument."""
    from fastvi.core.registry import find_rules

    model = load_saved(path)
    if find_rules(model) is None:
        raise WrongInput(f"{name} must hold a model, got {model!r}")
    return model


def load_q(path: str | os.PathLike[str], name: str) -> Any:
    """Read a file that must hold a distribution over z, or an encoder. ``name`` is that of the option."""
    import fastvi

    found = load_saved(path)
    if not isinstance(found, fastvi.Distribution | fastvi.Encoder | fastvi.Categorical):
        raise WrongInput(f"{name} must hold a distribution or an encoder, got {found!r}")
    return found


class DataFile(NamedTuple):
    """DATA and the options that say how to read it."""

    path: str
    key: str | None
    threshold: float | None
    limit: int | None
    observed: str | None

    def read(self) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return data, one a row, and where they were observed (None: everywhere)."""
        rows = self.read_rows()
        return rows.x, rows.observed

    def read_rows(self) -> Rows:
        """Return data, mask and, where the file holds pictures, their shape."""
        from fastvi.cli.files.data import read_rows

        with as_wrong_input():
            return read_rows(self.path, self.key, self.threshold, self.limit, self.observed)

    def source(self) -> dict[str, Any]:
        """Return how the data were read, as it goes into a file made of them. Only a file has a digest."""
        digest = None
        if self.path != "-" and os.path.isfile(self.path):
            with open(self.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        options = {name: value for name, value in self._asdict().items() if name != "path"}
        return {"data_file_sha256": digest, **options}


def files_of(data: DataFile | None) -> dict[str, str]:
    """Return the files that a command reads its data from, by argument: none of them may be an output."""
    if data is None:
        return {}
    masks = {} if data.observed in (None, "auto") else {"--observed": str(data.observed)}
    return {"DATA": data.path, **masks}


def reading_options(function: Function) -> Function:
    """Add ``--key``, ``--threshold`` and ``--limit``, which say how data are read."""
    for option in (
        click.option("--limit", type=click.IntRange(1), help="Use the first so many data only."),
        click.option("--threshold", type=float, help="Make the data binary: 1 where a value is >= this."),
        click.option("--key", help="Name of the array in an .npz DATA. [default: x, images or the only one]"),
    ):
        function = option(function)
    return function


def check_one_is_standard_input(paths: Mapping[str, str | None]) -> None:
    """Refuse - for two arguments: what is read once is gone."""
    names = [name for name, path in paths.items() if path == "-"]
    if len(names) > 1:
        raise WrongInput(f"only one argument may be - (standard input), got {' and '.join(names)}")


def _data_argument(*, required: bool) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        @click.argument(
            "data_path", type=INPUT_DATA, required=required, metavar="DATA" if required else "[DATA]"
        )
        @reading_options
        @click.option(
            "--observed", metavar="FILE|auto",
            help="Mask, 0 where a pixel was not seen: it is summed out. auto: it is NaN where it was not.",
        )  # fmt: skip
        @click.option("--nan-missing", is_flag=True, hidden=True, help="Another name of --observed auto.")
        @wraps(function)
        def with_data(
            *args: Any, data_path: str | None, key: str | None, threshold: float | None, limit: int | None,
            observed: str | None, nan_missing: bool, **options: Any,
        ) -> Any:  # fmt: skip
            if nan_missing and observed not in (None, "auto"):
                raise click.UsageError("--nan-missing is --observed auto, got both it and --observed FILE.")
            observed = "auto" if nan_missing else observed
            if data_path is None:
                given = {"--key": key, "--threshold": threshold, "--limit": limit, "--observed": observed}
                if names := [name for name, value in given.items() if value is not None]:
                    raise click.UsageError(f"{names[0]} is for DATA, which is not given.")
                return function(*args, data=None, **options)
            data = DataFile(data_path, key, threshold, limit, observed)
            check_one_is_standard_input(
                {"MODEL": options.get("model_path"), "DATA": data.path, "--observed": data.observed}
            )
            return function(*args, data=data, **options)

        return with_data

    return add


def data_argument(function: Function) -> Function:
    """Add the argument DATA with its options: the function gets ``data``, a :class:`DataFile`."""
    return _data_argument(required=True)(function)


def optional_data_argument(function: Function) -> Function:
    """Add DATA for a command that has an answer without it, too: ``data`` is None then."""
    return _data_argument(required=False)(function)


class Run(NamedTuple):
    """Where and in which type a command computes: the options that it has, by name."""

    given: Mapping[str, Any]

    @contextmanager
    def started(self) -> Iterator[dict[str, Any]]:
        """Yield them as keyword arguments of a public function, the executor at work."""
        given = dict(self.given)
        with started_executor(given.get("executor")) as executor:
            if "executor" in given:
                given["executor"] = executor
            yield given


_RUN_OPTIONS = {
    "device": click.option(
        "--device", type=click.Choice(DEVICES), default=DEVICES[0], show_default=True,
        help="Compute there; auto: on a GPU where there is one.",
    ),
    "dtype": click.option(
        "--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True,
        help="Type of the sums: float32 is faster and less exact.",
    ),
    "executor": click.option(
        "--executor", metavar="processes:N|dask://HOST:PORT", callback=check_executor,
        help="Spread the work over N processes of this machine, or the workers of a Dask cluster.",
    ),
}  # fmt: skip


def run_options_of(*names: str) -> Callable[[Function], Function]:
    """Return what adds some of ``--device``, ``--dtype`` and ``--executor``, packed as ``run``."""

    def add(function: Function) -> Function:
        @wraps(function)
        def with_run(*args: Any, **options: Any) -> Any:
            return function(*args, run=Run({name: options.pop(name) for name in names}), **options)

        for name in reversed(names):
            with_run = _RUN_OPTIONS[name](with_run)
        return with_run

    return add


run_options = run_options_of(*_RUN_OPTIONS)
