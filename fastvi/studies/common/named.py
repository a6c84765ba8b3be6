"""Result of a study of a caller's own model and data, with their name on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import GREY
from fastvi.studies.common.subject import Subject


def named(result: StudyResult, own: Subject | None) -> StudyResult:
    """Return the result with the subject's title before each finding and on each picture."""
    if own is None:
        return result
    findings = tuple(found._replace(text=f"{own.title}: {found.text}") for found in result.findings)
    return replace(result, findings=findings, figures=partial(_drawn, result.figures, own.title))


def _drawn(
    figures: Callable[[StudyResult], dict[str, Picture]], title: str, result: StudyResult
) -> dict[str, Picture]:
    found = figures(result)
    for picture in found.values():
        picture.figure.supxlabel(title, x=0.99, ha="right", fontsize=8.5, color=GREY)
    return {name: picture._replace(caption=f"{title}: {picture.caption}") for name, picture in found.items()}
