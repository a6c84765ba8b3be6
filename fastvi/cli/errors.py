"""Exit statuses, and the error of input that a command cannot work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130  # 128 + SIGINT, what shells report
NO_READER = 141  # 128 + SIGPIPE
TERMINATED = 143  # 128 + SIGTERM


class WrongInput(click.ClickException):
    """Input that a command cannot work on."""

    exit_code = WRONG_USE


@contextmanager
def as_wrong_input() -> Iterator[None]:
    """Take a ``ValueError`` or a ``TypeError`` of the library, which names the argument, for wrong input.

    So is a device that cannot be had, which is a ``RuntimeError`` there.
    """
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("device="):
            raise
        raise WrongInput(str(error)) from error


def refuse_beside(option: str, given: Mapping[str, Any], purpose: str) -> None:
    """Refuse options that were given beside one that ignores them; ``purpose`` says what they are for."""
    for name, value in given.items():
        if value:
            raise WrongInput(f"{name} is for {purpose}, got {option} too")
