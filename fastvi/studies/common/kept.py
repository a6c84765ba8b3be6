"""What an interrupted run of studies leaves, for the same command to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Kept(NamedTuple):
    """Folder of checkpoints of an unfinished run; None where nothing is kept."""

    folder: Path | None

    def checkpoint(self, name: str) -> Path | None:
        """Return the file in which a part of the work keeps what is finished."""
        return None if self.folder is None else self.folder / f"{name}.npz"


NOTHING_KEPT = Kept(None)
