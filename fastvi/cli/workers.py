"""Workers that ``--executor`` names: processes of this machine, or a cluster of Dask."""

from __future__ import annotations

import multiprocessing
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import click

from fastvi.core.extras import how_to_install

_PROCESSES = re.compile(r"processes:([1-9]\d{0,3})")
_DASK = re.compile(r"dask://([\w.-]+|\[[0-9A-Fa-f:]+\]):(\d{1,5})")


def check_executor(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse, before any work, text that names no workers, and Dask where it is not installed."""
    if value is None or _PROCESSES.fullmatch(value):
        return value
    if not _DASK.fullmatch(value):
        allowed = "processes:N with N = 1 ... 9999 or dask://HOST:PORT"
        raise click.BadParameter(f"must be {allowed}, got {value!r}.")
    if find_spec("distributed") is None:
        raise click.BadParameter(f"dask://... needs the package distributed: {how_to_install('dask')}.")
    return value


@contextmanager
def started_executor(text: str | None) -> Iterator[Executor | None]:
    """Yield an executor of the workers that ``text`` names, None for None; end it when the work is done."""
    if text is None:
        yield None
    elif found := _PROCESSES.fullmatch(text):
        # spawned: a fork would copy locks that threads hold. Ctrl-C goes to all processes: this one minds it
        pool = ProcessPoolExecutor(
            int(found[1]), multiprocessing.get_context("spawn"), signal.signal,
            (signal.SIGINT, signal.SIG_IGN),
        )  # fmt: skip
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
    else:
        with _client("tcp://" + text.removeprefix("dask://")) as client:
            yield client.get_executor()


def _client(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, set_as_default=False)
    except (OSError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise click.ClickException(f"--executor: no scheduler answers at {address}: {reason}") from error
