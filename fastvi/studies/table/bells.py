"""Bells over the numbers of z: the q that reverse and forward KL fit to a row of a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import fastvi
from fastvi.distributions.categorical import Categorical

REVERSE, FORWARD = "reverse KL", "forward KL"


class Fit(NamedTuple):
    """Where a bell stands, and its q."""

    place: float
    q: Categorical


def bells(places: np.ndarray, num_z: int) -> Categorical:
    """Bells exp(-(z - m)^2 / 2) over z = 1 ... num_z, of ``places`` m (M,)."""
    return Categorical(-0.5 * np.square(np.arange(1, num_z + 1) - places[:, None]))


def fitted_bell(table: fastvi.JointTable, x: int, direction: str) -> Fit:
    """Find the bell of the least divergence: the best of a grid, and of finer ones around the best.

    Each grid has 257 points and an eighth of the width of the one before.
    """
    divergence = fastvi.kl_to_posterior if direction == REVERSE else fastvi.kl_from_posterior
    best, reach = 0.5 * (1 + table.num_z), 0.5 * table.num_z
    while reach > 1e-9:
        places = best + reach * np.linspace(-1.0, 1.0, 257)
        values = divergence(table, np.full(len(places), x), bells(places, table.num_z))
        best, reach = float(places[values.argmin()]), reach / 8.0
    return Fit(best, bells(np.array([best]), table.num_z))


def divergences_by_place(table: fastvi.JointTable, x: int) -> dict[str, list[float]]:
    """Table of both divergences of bells along z from the posterior of a row."""
    places = np.linspace(0.0, table.num_z + 1.0, 181)
    q, rows = bells(places, table.num_z), np.full(len(places), x)
    return {
        "place": places.tolist(),
        "kl_to_posterior": fastvi.kl_to_posterior(table, rows, q).tolist(),
        "kl_from_posterior": fastvi.kl_from_posterior(table, rows, q).tolist(),
    }
