"""The group ``fastvi``: commands by section, errors of one line, exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import click

import fastvi
from fastvi.cli.errors import FAILED, INTERRUPTED, NO_READER, TERMINATED, WRONG_USE
from fastvi.cli.signals import sigterm

# the first line of each command's help, so that this list imports no command; a test compares them
SECTIONS = {
    "Studies": {
        "study": "Compare exact enumeration, sampling and bounds, on digits or on your own model.",
        "report": "Judge a q for a saved MODEL on DATA: truth, gaps, weights, calibration and cost.",
    },
    "Answers about a saved model": {
        "evaluate": "Print exact log p(x) of a saved MODEL on DATA.",
        "posterior": "Print exact posteriors p(z | x) of a saved MODEL: means, entropy, mode.",
        "elbo": "Print the ELBO of a saved MODEL on DATA, in its parts.",
        "estimate": "Print estimates of log p(x) of DATA under a saved MODEL, with their errors.",
        "bounds": "Print intervals that hold log p(x) of DATA for certain under a saved MODEL.",
        "partition": "Print log Z of a saved Boltzmann machine MODEL, exact or estimated.",
        "plan": "Predict states, memory, shards and time of an exact question about a saved MODEL.",
    },
    "Models and files": {
        "fit": "Learn a model from DATA and save it to OUT.",
        "sample": "Draw NUM data from a saved MODEL and save them to OUT.",
        "convert": "Convert a model or data from one kind of file to another.",
    },
    "Installation": {
        "info": "Show versions, processor, threads and compiled code, or how a MODEL was made.",
        "warmup": "Compile ahead what the first calls would compile, and keep it on disk.",
    },
}
_NAMES = [name for section in SECTIONS.values() for name in section]


class Group(click.Group):
    """Command group that prints ``fastvi: reason`` to standard error, no usage lines and no traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return _NAMES

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command when it is asked for."""
        if cmd_name not in _NAMES:
            return None
        found: click.Command = import_module(f"fastvi.cli.commands.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list for each section."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the command line, which prints the help that it asks for."""
        with _closed_pipes():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        with _closed_pipes():
            return super().invoke(ctx)

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
            return WRONG_USE if isinstance(error, _WRONG_PLACES) else FAILED
        # outside standalone mode click returns the status of Exit, as of --help, instead of exiting
        return status if isinstance(status, int) else 0


_ENDED_BY = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}
# of a path that was given; any other, as a full disk, is no fault of the caller
_WRONG_PLACES = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


@contextmanager
def _closed_pipes() -> Iterator[None]:
    """End quietly where the reader of a pipe has gone, as ``| head`` does. Click would end with status 1."""
    try:
        yield
    except BrokenPipeError as error:
        sys.stdout = None  # Python flushes it at the end, which would fail again
        raise click.exceptions.Exit(NO_READER) from error


def _say(text: str) -> None:
    """Print one line to standard error."""
    click.echo(" ".join(text.split()), err=True)


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit status:
  0    done
  1    failed: a full disk, an error inside fastvi
  2    wrong use: an option, a file or data that cannot be worked on
  130  interrupted (Ctrl-C), 143 terminated (SIGTERM): what can be saved is saved
  141  nobody reads the output any more (a closed pipe)

\b
Environment:
  FASTVI_NUM_THREADS     threads of the kernels. [default: all processors that this process may use]
  FASTVI_REGISTER_TILES  shapes of the innermost loops: of another processor, or as fastvi info prints them
  FASTVI_CUBLAS          1: products of a GPU by cuBLAS, through CuPy
  NUMBA_CACHE_DIR        folder of compiled code. [default: beside the sources]
""",
)
@click.version_option(fastvi.__version__, prog_name="fastvi")
@click.pass_context
def cli(context: click.Context) -> None:
    """Exact likelihoods, estimators and bounds for latent-variable models.

    \b
    Examples:
      fastvi study                              all studies on handwritten digits, a minute and a half
      fastvi study bounds --quick               one of them at toy sizes, seconds
      fastvi report model.npz digits.npz        truth, ELBO, gaps, weights and cost of a saved model
      fastvi evaluate model.npz digits.npz      log p(x) of a saved model on a data file
      fastvi fit digits.npy model.npz --latents 12    learn a model by exact maximum likelihood
      fastvi plan model.npz --num-data 10000    time and memory of that, before it is done
      fastvi info                               versions, processor, threads, compiled code
      fastvi warmup                             compile ahead, as in a container's image
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
