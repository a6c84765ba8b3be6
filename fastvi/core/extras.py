"""Installation of extras: the words of every error that misses one."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of this package, and what it is called in a clone."""
    return f"pip install 'fastvi[{extra}]', or '.[{extra}]' in a clone"
