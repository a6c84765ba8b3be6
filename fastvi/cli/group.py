"""Click group whose errors are one line and whose exit statuses are 0, 2, 130 and 143."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from fastvi.cli.signals import sigterm

WRONG_USE = 2
INTERRUPTED = 130  # 128 + SIGINT, what shells report
TERMINATED = 143  # 128 + SIGTERM


class WrongInput(click.ClickException):
    """Input that a command cannot work on."""

    exit_code = WRONG_USE


class Group(click.Group):
    """Command group that prints ``fastvi: reason`` to standard error, no usage lines and no traceback."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run a command and end the process with its status."""
        options["standalone_mode"] = False
        with sigterm() as received:
            status = self._run(*args, **options)
            if status == INTERRUPTED and received.terminated:
                status = TERMINATED
            if status in _ENDED_BY:
                _say(f"fastvi: {_ENDED_BY[status]}")
        sys.exit(status)

    def _run(self, *args: Any, **options: Any) -> int:
        """Run a command and return its exit status."""
        try:
            status = super().main(*args, **options)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "fastvi"
            _say(f"{where}: {error.format_message()} See '{where} --help'.")
            return WRONG_USE
        except click.ClickException as error:
            _say(f"fastvi: {error.format_message()}")
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            return INTERRUPTED
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            _say(f"fastvi: {name}{error.strerror or error}")
            return WRONG_USE
        # outside standalone mode click returns the status of --help and --version instead of exiting
        return status if isinstance(status, int) else 0


_ENDED_BY = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}


def _say(text: str) -> None:
    """Print one line to standard error."""
    click.echo(" ".join(text.split()), err=True)
