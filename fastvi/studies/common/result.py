"""Result of a study: tables, findings, and a function that draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastvi.models.boltzmann_machine import BoltzmannMachine
    from fastvi.models.joint_table import JointTable
    from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

Table: TypeAlias = Mapping[str, list[Any]]
"""Column name -> one value a row. All columns have the same length."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called as ``progress(step, done, total)`` with whole numbers."""


class Picture(NamedTuple):
    """Figure of a study, understood alone by somebody who has only heard the lecture.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        Its title says the finding with its number.
    caption : str
        Two plain sentences: what is drawn, and what it shows.
    alt : str
        The picture in words, for those who cannot see it.
    timed : bool
        Whether figure, caption or alternative text hold seconds, so that another run differs.
    """

    figure: Figure
    caption: str
    alt: str
    timed: bool = False


class Finding(NamedTuple):
    """One line of text. ``timed`` says that it holds seconds, so that another run may word it otherwise."""

    text: str
    timed: bool = False


@dataclass(frozen=True)
class StudyResult:
    """Result of one study.

    Attributes
    ----------
    name : str
        Also the name of its folder.
    tables : mapping of str to table
        Same seed, same numbers.
    timings : mapping of str to table
        All that holds seconds; kept apart because no two runs agree on it.
    findings : tuple of Finding
        What the tables show, one line each.
    shown : mapping of str to table
        What a terminal shows: some of the tables, by title, or a shorter form of them.
    figures : function
        Given the result, draws its pictures: file name without suffix -> picture.
    models : mapping of str to model
        Models to save beside the tables: file name without suffix -> model.
    arrays : mapping of str to mapping of str to array
        Data to save beside the tables: file name without suffix -> arrays of an .npz file.
    """

    name: str
    tables: Mapping[str, Table]
    findings: tuple[Finding, ...]
    figures: Callable[[StudyResult], dict[str, Picture]]
    shown: Mapping[str, Table]
    timings: Mapping[str, Table]
    models: Mapping[str, SigmoidBeliefNetwork | BoltzmannMachine | JointTable]
    arrays: Mapping[str, Mapping[str, Any]]

    def table(self, name: str) -> Table:
        """A table by name, timed or not."""
        return self.timings[name] if name in self.timings else self.tables[name]


def no_progress(step: str, done: int, total: int) -> None:
    """For callers that do not care."""


def rows_to_table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Rows of equal length as columns."""
    return {name: [row[i] for row in rows] for i, name in enumerate(columns)}


def array_name(text: str) -> str:
    """A model's or a method's name in names of arrays."""
    return text.lower().replace(" ", "_").replace(",", "").replace("-", "_")
