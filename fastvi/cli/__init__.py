"""Command line. Its packages come with the extra ``cli``.

Without them one line says so.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from fastvi.core.extras import how_to_install

_NEEDED = ("click", "rich", "matplotlib", "jinja2", "PIL")


def main() -> None:
    """Run the console script ``fastvi``."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        text = f"the command line needs {', '.join(missing)}: {how_to_install('cli')}"
        print(f"fastvi: {text}", file=sys.stderr)
        sys.exit(2)
    from fastvi.cli.group import cli

    cli(prog_name="fastvi")
