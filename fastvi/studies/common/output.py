"""Writing a study's results: CSV, JSON, pictures, models. Every file is written whole and then renamed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

import fastvi
from fastvi.core.files import write_whole
from fastvi.studies.common.environment import environment
from fastvi.studies.common.result import Picture, StudyResult, Table
from fastvi.studies.common.subject import Subject

_DOTS_PER_INCH = 150


def csv_text(table: Table) -> str:
    """A table as CSV: floats in the shortest form that reads back the same, nothing for None."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return out.getvalue()


def _plain(value: Any) -> Any:
    """For JSON, which knows neither infinities nor NaN: those become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def json_text(content: dict[str, Any]) -> str:
    """Indented JSON with a newline at the end."""
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def write_result(result: StudyResult, settings: Any, out: Path, own: Subject | None = None) -> list[Path]:
    """Write a result into ``out / result.name``; returns the files in the order they were written.

    ``result.json`` and the CSV files of ``result.tables`` repeat byte for byte with the same settings on the
    same machine; all that holds seconds is in ``timings.json``, in the CSV files of ``result.timings`` and in
    pictures of those.
    """
    folder = out / result.name
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def put(name: str, write: Callable[[IO[bytes]], Any]) -> None:
        write_whole(folder / name, write)
        written.append(folder / name)

    def put_text(name: str, text: str) -> None:
        put(name, lambda file: file.write(text.encode()))

    drawn = result.figures(result)
    for name, table in {**result.tables, **result.timings}.items():
        put_text(f"{name}.csv", csv_text(table))
    made = {"fastvi": fastvi.__version__, "study": result.name, "settings": asdict(settings)}
    if own is not None and own.source is not None:
        made["source"] = dict(own.source)
    common = {**made, **environment()}
    put_text("result.json", json_text({**common, **_part(result, drawn, timed=False)}))
    timed = _part(result, drawn, timed=True)
    if any(timed.values()):
        put_text("timings.json", json_text({**common, **timed}))
    for name, model in result.models.items():
        model.made_by(made).save(folder / f"{name}.npz")
        written.append(folder / f"{name}.npz")
    for name, arrays in result.arrays.items():
        put(f"{name}.npz", lambda file, arrays=arrays: np.savez_compressed(file, **arrays))  # type: ignore[misc]
    for name, picture in drawn.items():
        # without its Software entry the file does not change with the version of matplotlib
        put(
            f"{name}.png",
            lambda file, figure=picture.figure: figure.savefig(  # type: ignore[misc]
                file, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None}
            ),
        )
    return written


def _part(result: StudyResult, drawn: dict[str, Picture], *, timed: bool) -> dict[str, Any]:
    """Findings, pictures and tables that hold seconds, or the others."""
    return {
        "findings": [finding.text for finding in result.findings if finding.timed == timed],
        "pictures": {
            f"{name}.png": {"caption": picture.caption, "alt": picture.alt}
            for name, picture in drawn.items()
            if picture.timed == timed
        },
        "tables": dict(result.timings if timed else result.tables),
    }
