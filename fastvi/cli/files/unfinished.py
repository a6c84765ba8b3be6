"""Unfinished runs of studies: the folder from which the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastvi.cli.errors import WrongInput
from fastvi.core.files import write_whole
from fastvi.studies.common.kept import Kept

_FOLDER, _LIST = ".unfinished", "run.json"


class UnfinishedRun:
    """Folder with the checkpoints of a run, and the list of its finished parts.

    ``identity`` is all that results depend on, as plain values: only a run of equal identity goes on. Another
    run's finished work is refused, unless ``replace``. Nothing outside the folder is looked at.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], *, replace: bool) -> None:
        self._folder = out / _FOLDER
        self._identity = json.loads(json.dumps(identity))
        self.finished: dict[str, Any] = {}
        if self._folder.is_symlink() or (self._folder.exists() and not self._folder.is_dir()):
            raise WrongInput(f"--out must hold no {_FOLDER} that is not a folder, got {str(self._folder)!r}")
        if self._folder.exists() and os.listdir(self._folder):
            self._take_up(replace=replace)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write()

    def _take_up(self, *, replace: bool) -> None:
        """Go on from what an equal run has left; remove what is nobody's loss, or may be removed."""
        found, shown = self._read(), repr(str(self._folder))
        if found is None:
            raise WrongInput(f"--out must hold no {_FOLDER} but of a study, got {shown}, which holds others")
        if found["identity"] == self._identity and not replace:
            self.finished = found["finished"]
        elif replace or self._is_empty(found["finished"]):
            self.remove()
        else:
            studies = ", ".join(found["identity"].get("studies", ()))
            raise WrongInput(
                f"--out must hold no unfinished work of another command, got {shown} of the studies "
                f"{studies}: give that command again to go on, or --force to discard it"
            )

    @property
    def kept(self) -> Kept:
        """Where parts of the work keep what is finished."""
        return Kept(self._folder)

    def finish(self, name: str, facts: Mapping[str, Any]) -> None:
        """Note that a part is finished, whose files are written, and what is to be said of it."""
        self.finished[name] = dict(facts)
        self._write()

    def leave(self) -> bool:
        """At an interruption: tell whether there is anything to go on from; if not, leave nothing."""
        if self._is_empty(self.finished):
            self.remove()
            return False
        return True

    def remove(self) -> None:
        """Remove the folder: the run is whole, or its work is discarded."""
        shutil.rmtree(self._folder)

    def _read(self) -> dict[str, Any] | None:
        """Return the list of a run, None where there is none: then the folder is somebody else's."""
        try:
            found = json.loads((self._folder / _LIST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        parts = ("identity", "finished")
        is_list = isinstance(found, dict) and all(isinstance(found.get(part), dict) for part in parts)
        return found if is_list else None

    def _write(self) -> None:
        content = {"identity": self._identity, "finished": self.finished}
        text = json.dumps(content, indent=2) + "\n"
        write_whole(self._folder / _LIST, lambda file: file.write(text.encode()))

    def _is_empty(self, finished: Mapping[str, Any]) -> bool:
        """Tell whether nothing is lost with the folder: no part is finished, and no checkpoint begun."""
        return not finished and set(os.listdir(self._folder)) <= {_LIST}
