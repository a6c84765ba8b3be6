"""Mean-field coordinate ascent of decoders: each datum has a table of log p(x, z) over all states.

Data go in groups whose tables are 128 MiB together. A forward pass over the states serves all data and all
starts of a group.
"""

from __future__ import annotations

import numpy as np

from fastvi.engine.decoder.block_form import BlockForm, packed_data
from fastvi.engine.decoder.network_block import Block
from fastvi.engine.mean_field.mean_field import MeanFieldFit, best
from fastvi.engine.run.threads import parallel_map
from fastvi.kernels.cpu.mean_field.coordinate_ascent import fit_mean_field
from fastvi.kernels.cpu.states.block_sums import block_logs
from fastvi.kernels.host import COLUMNS

_TABLE_BITS = 24  # log joints of a group: 2^24, 128 MiB


def log_joint_tables(form: BlockForm, linear: np.ndarray) -> np.ndarray:
    """Log p(x_n, z) less c(x_n), (N, 2^d), bit i of a state's number latent ``form.latents[i]``.

    ``linear`` is t(x), (N, hidden units).
    """
    states, depth, data = form.tiling.tile_states, form.network.depth, packed_data(linear)
    tables, where = np.empty((len(linear), form.tiling.num_tiles, states)), np.arange(states)
    for first in range(0, form.tiling.num_tiles, form.wave_tiles):
        count = min(form.wave_tiles, form.tiling.num_tiles - first)
        block, groups = form.block(first, count), count * states // form.group_states

        def task(
            panel: int, block: Block = block, groups: int = groups, first: int = first, count: int = count
        ) -> None:
            into = tables[panel * COLUMNS : (panel + 1) * COLUMNS, first : first + count]
            own = np.empty(into.shape)
            block_logs(*block, form.group_states, groups, depth, data, panel, where, own)
            into[...] = own

        cost = 1.0 * block.minus.size * len(linear) * (depth + 16)
        parallel_map(task, range(-(-len(linear) // COLUMNS)), cost)
    return tables.reshape(len(linear), 1 << form.num_latents)


def ascend(
    form: BlockForm, x: np.ndarray, starts: list[np.ndarray], max_sweeps: int, tolerance: float
) -> MeanFieldFit:
    """The best fit of each datum over the starting logits ``starts``, each (N, d) in the model's order."""
    d = form.num_latents
    step = max(1, (1 << _TABLE_BITS) >> d)
    # low bits of a state's number are columns, and rows come first in a kernel's logits
    num_columns = d - d // 2
    latents = form.order[form.latents]
    order = np.concatenate([latents[num_columns:], latents[:num_columns]])
    # without data there is one group, of none
    groups = [slice(first, first + step) for first in range(0, max(len(x), 1), step)]
    parts = [_of_group(form, x[g], [s[g] for s in starts], order, max_sweeps, tolerance) for g in groups]
    return MeanFieldFit(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _of_group(
    form: BlockForm, x: np.ndarray, starts: list[np.ndarray], order: np.ndarray, max_sweeps: int,
    tolerance: float,
) -> MeanFieldFit:  # fmt: skip
    terms, num_rows = form.data.terms(x), form.num_latents // 2
    tables = log_joint_tables(form, terms.linear).reshape(len(x), 1 << num_rows, 1 << (order.size - num_rows))

    def fit(start: np.ndarray) -> MeanFieldFit:
        logits, no_linear = np.ascontiguousarray(start[:, order]), np.zeros((1, order.size))
        history = np.empty((len(x), max_sweeps))
        objective, converged = np.empty(len(x)), np.empty(len(x), bool)

        def task(n: int) -> None:
            own = slice(n, n + 1)
            fit_mean_field(
                tables[n], no_linear, terms.constant[own], num_rows, max_sweeps, tolerance, logits[own],
                history[own], objective[own], converged[own],
            )  # fmt: skip

        parallel_map(task, range(len(x)))
        ordered = np.empty_like(logits)
        ordered[:, order] = logits
        return MeanFieldFit(ordered, objective, history, converged)

    return best(fit(start) for start in starts)
