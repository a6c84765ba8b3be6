"""Reverse-KL mean-field fits for all data: one table of all states, shared; restarts; threads over data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.run.threads import num_threads, parallel_map
from fastvi.engine.states.tile_form import TileForm
from fastvi.kernels.cpu.mean_field.coordinate_ascent import fit_mean_field
from fastvi.kernels.cpu.states.state_sums import unpack_tiles


class MeanFieldFit(NamedTuple):
    """Logits (N, d) in the model's order; ELBO (N,); ELBO after each sweep (N, sweeps); converged (N,)."""

    logits: Array
    objective: Array
    history: Array
    converged: Array


def state_table(form: TileForm) -> Array:
    """Log weights of all states as a matrix (2^(outer + row bits), 2^column bits)."""
    tiling = form.tiling
    table = np.empty((1 << (tiling.outer_bits + tiling.row_bits), 1 << tiling.column_bits))
    for first in form.filled_starts():
        log_tiles, _ = form.fill_wave(first, in_log_space=True)
        unpack_tiles(log_tiles, tiling.row_bits, form.padded_rows, first, tiling.num_tiles, table)
    return table


def fit(form: TileForm, x: Array, starts: list[Array], max_sweeps: int, tolerance: float) -> MeanFieldFit:
    """The best fit of each datum over the starting logits ``starts``, each (N, d) in the model's order."""
    table = state_table(form)
    return best(fit_table(form, table, x, start, max_sweeps, tolerance) for start in starts)


def fit_table(
    form: TileForm, table: Array, x: Array, start: Array, max_sweeps: int, tolerance: float
) -> MeanFieldFit:
    """From logits ``start`` (N, d), with the form's ``state_table``."""
    terms = form.data.terms(x)
    num_rows = form.tiling.outer_bits + form.tiling.row_bits
    step = max(1, -(-len(x) // (8 * num_threads())))
    logits = np.ascontiguousarray(start[:, form.order])
    history = np.empty((len(x), max_sweeps))
    objective, converged = np.empty(len(x)), np.empty(len(x), bool)

    def task(first: int) -> None:
        part = slice(first, first + step)
        fit_mean_field(
            table, terms.linear[part], terms.constant[part], num_rows, max_sweeps, tolerance, logits[part],
            history[part], objective[part], converged[part],
        )  # fmt: skip

    parallel_map(task, range(0, len(x), step))
    ordered = np.empty_like(logits)
    ordered[:, form.order] = logits
    return MeanFieldFit(ordered, objective, history, converged)


def best(fits: Iterable[MeanFieldFit]) -> MeanFieldFit:
    """Fit with the largest ELBO for each datum, the first of equals."""
    found: MeanFieldFit | None = None
    for fit in fits:
        found = fit if found is None else _better(found, fit)
    if found is None:
        raise ValueError("starts must hold at least one array of logits, got none")
    return found


def _better(first: MeanFieldFit, second: MeanFieldFit) -> MeanFieldFit:
    take = second.objective > first.objective
    return MeanFieldFit(
        *(np.where(take if a.ndim == 1 else take[:, None], b, a) for a, b in zip(first, second, strict=True))
    )
