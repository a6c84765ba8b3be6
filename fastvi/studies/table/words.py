"""Words for the rows and columns of a table, in pictures and findings."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """Names of the values of x, and the words for x and z."""

    rows: tuple[str, ...]
    x: str
    z: str
    of_row: str  # a row's name in a sentence
    shown: int  # the row that single pictures look at: one without zeros
    panels: tuple[int, ...]  # rows that have a panel each

    def row(self, x: int) -> str:
        """Name of a row in a sentence."""
        return self.of_row.format(self.rows[x])


COLOURS = ("brown", "blue", "green")
BLUE = 1  # a row without zeros, of two modes
EYES = Words(COLOURS, "eye colour x", "nationality z", "{} eyes", BLUE, (0, 1, 2))


def numbered(num_x: int, shown: int, panels: tuple[int, ...]) -> Words:
    """Words for a table whose values have no names; rows and columns are counted from 1."""
    return Words(tuple(str(x + 1) for x in range(num_x)), "x", "z", "x = {}", shown, panels)
