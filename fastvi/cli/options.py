"""Arguments and options that several commands share, packed into one argument of the command's function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.core.options import DEVICES, DTYPES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = click.Path(path_type=Path, dir_okay=False)
# a str: of "./-", which is a file, Path makes "-", which is standard output
OUTPUT_FILE = click.Path(dir_okay=False, readable=False, allow_dash=True)
SEED = click.IntRange(0, 2**63 - 1)

Function = Callable[..., Any]


def model_argument(function: Function) -> Function:
    """Add the argument MODEL: the function gets ``model_path``."""
    return click.argument("model_path", type=FILE, metavar="MODEL")(function)


def load_model(path: Path, name: str = "MODEL") -> Any:
    """Read a file that must hold a model. ``name`` is that of the argument."""
    import fastvi
    from fastvi.core.registry import find_rules

    with as_wrong_input():
        model = fastvi.load(path)
    if find_rules(model) is None:
        raise WrongInput(f"{name} must hold a model, got {model!r}")
    return model


class DataFile(NamedTuple):
    """DATA and the options that say how to read it."""

    path: Path
    key: str | None
    threshold: float | None
    limit: int | None
    nan_missing: bool

    def read(self) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return data, one a row, and where they are not NaN (None: everywhere)."""
        from fastvi.cli.files.data import observed_rows_of

        with as_wrong_input():
            return observed_rows_of(
                self.path, self.key, self.threshold, self.limit, nan_missing=self.nan_missing
            )


def data_argument(function: Function) -> Function:
    """Add the argument DATA with its options: the function gets ``data``, a :class:`DataFile`."""

    @click.argument("data_path", type=FILE, metavar="DATA")
    @click.option("--key", help="Name of the array in an .npz DATA. [default: x, images or the only one]")
    @click.option("--threshold", type=float, help="Make the data binary: 1 where a value is >= this.")
    @click.option("--limit", type=click.IntRange(1), help="Use the first so many data only.")
    @click.option("--nan-missing", is_flag=True, help="NaN is a pixel that was not seen: it is summed out.")
    @wraps(function)
    def with_data(
        *args: Any, data_path: Path, key: str | None, threshold: float | None, limit: int | None,
        nan_missing: bool, **options: Any,
    ) -> Any:  # fmt: skip
        return function(
            *args, data=DataFile(data_path, key, threshold, limit, nan_missing=nan_missing), **options
        )

    return with_data


class Run(NamedTuple):
    """Where and in which type a command computes."""

    device: str
    dtype: str
    executor: str | None

    @contextmanager
    def started(self) -> Iterator[dict[str, Any]]:
        """Yield the keyword arguments ``device``, ``dtype`` and ``executor`` of a public function."""
        yield {"device": self.device, "dtype": self.dtype}


def run_options(function: Function) -> Function:
    """Add ``--device``, ``--dtype`` and ``--executor``: the function gets ``run``, a :class:`Run`."""

    @click.option("--device", type=click.Choice(DEVICES), default=DEVICES[0], show_default=True)
    @click.option("--dtype", type=click.Choice(DTYPES), default=DTYPES[0], show_default=True)
    @click.option("--executor", metavar="processes:N|dask://HOST:PORT", help="Spread the work over workers.")
    @wraps(function)
    def with_run(*args: Any, device: str, dtype: str, executor: str | None, **options: Any) -> Any:
        return function(*args, run=Run(device, dtype, executor), **options)

    return with_run
