"""A line for each proposal, as all pictures of the sampling study draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvi.studies.common.result import Table
from fastvi.studies.common.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, label_ends
from fastvi.studies.common.words import rounded
from fastvi.studies.sampling.findings import proposals_of, spoken_wide
from fastvi.studies.sampling.proposals import LEARNED, MEANS, PRIOR, UNIFORM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = {UNIFORM: RED, PRIOR: ORANGE, LEARNED: BLUE}
_TINY = 1e-12  # a logarithmic axis shows no error of 0


def color_of(proposal: str) -> str:
    """Colour of a proposal in all pictures."""
    return _COLORS.get(proposal, PURPLE if proposal.startswith(MEANS) else GREEN)


def series(table: Table, proposal: str, x: str, y: str) -> list[tuple[float, float]]:
    """Points of one proposal."""
    columns = zip(table["proposal"], table[x], table[y], strict=True)
    return [(a, b) for name, a, b in columns if name == proposal]


def lines(axes: Axes, table: Table, x: str, y: str, *, scale: float = 1.0) -> None:
    """One line a proposal, labelled beside the panel."""
    ends = []
    for proposal in proposals_of(table):
        points = [(a, scale * b) for a, b in series(table, proposal, x, y) if np.isfinite(b)]
        if axes.get_yscale() == "log":
            points = [(a, max(b, _TINY)) for a, b in points]
        if not points:
            continue
        color = color_of(proposal)
        axes.plot(*zip(*points, strict=True), "o-", color=color, markersize=4.5, linewidth=2)
        ends.append((*points[-1], proposal, color))
    low, high = min(table[x]), max(table[x])
    if axes.get_xscale() == "log":
        axes.set_xlim(right=high * (high / low) ** 0.012)
    else:
        axes.set_xlim(right=high + 0.012 * max(high - low, 1))
    label_ends(axes, ends)


def explain(figure: Figure, names: list[str]) -> None:
    """Say below the panels what the names of the proposals mean."""
    wide = names[-1].rpartition(" + ")[2]
    parts = []
    if LEARNED in names:
        parts.append(f"{LEARNED}: independent latents, smallest KL(q || p(z|x))")
    parts.append("exact means: independent latents with the means of p(z|x)")
    parts.append(f"+ {wide}: mixed with a tenth {spoken_wide(names)}")
    figure.supxlabel(";  ".join(parts), fontsize=9, color=GREY)


def spoken(table: Table, key: str, value: float, column: str, scale: float = 1.0) -> str:
    """Values of all proposals at one place, as text."""
    found = []
    for proposal in proposals_of(table):
        at = dict(series(table, proposal, key, column))[value]
        found.append(f"{proposal} {rounded(scale * at)}")
    return ", ".join(found)
