"""States that carry p(x), and those that a learned q leaves out: sums over all states."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.studies.common.result import array_name
from fastvi.studies.sampling.proposals import LEARNED, MEANS, PRIOR, UNIFORM, Setup, chi_square

SHARE = 0.99  # of p(x)
FACTOR = 100  # a state is left out where q gives it less than p(z | x) / 100
_BINS = 60
_GATHERED = 0.005  # of all states: those of the least log p(x, z) are gathered in the lowest bin


def states_table(setup: Setup, index: np.ndarray) -> dict[str, list[Any]]:
    """A row a datum: what fraction of the states matters, who draws it, and what a learned q leaves out."""
    p = np.exp(setup.log_posterior)
    order = np.argsort(-p, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
    needed = np.minimum((sums < SHARE).sum(axis=1) + 1, p.shape[1])
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(p.shape[1])[None], axis=1)
    important = rank < needed[:, None]
    table: dict[str, list[Any]] = {
        "index": index.tolist(),
        "log_marginal": setup.truth.tolist(),
        "num_states": [p.shape[1]] * len(p),
        "states_for_99_percent": needed.tolist(),
    }
    for name in setup.proposals:
        shares = np.where(important, np.exp(setup.log_q(name)), 0.0).sum(axis=1)
        table[f"drawn_by_{key(name)}"] = shares.tolist()
        table[f"one_weight_{key(name)}"] = chi_square(setup, name).tolist()
    if LEARNED in setup.proposals:
        log_q = setup.log_q(LEARNED)
        left_out = log_q < setup.log_posterior - np.log(FACTOR)
        terms = 2.0 * setup.log_posterior - log_q
        each, worst = np.arange(len(p)), terms.argmax(axis=1)
        largest = terms[each, worst]
        table["left_out"] = np.where(left_out, p, 0.0).sum(axis=1).tolist()
        table["worst_state"] = worst.tolist()
        table["worst_state_posterior"] = p[each, worst].tolist()
        table["worst_state_q"] = np.exp(log_q[each, worst]).tolist()
        table["worst_state_share"] = (1.0 / np.exp(terms - largest[:, None]).sum(axis=1)).tolist()
    return table


def key(name: str) -> str:
    """A proposal's name in names of columns."""
    return array_name(name).replace("_+_", "_and_")


def median_datum(table: dict[str, list[Any]]) -> int:
    """The datum whose number of important states is the (lower) median."""
    order = np.argsort(table["states_for_99_percent"], kind="stable")
    return int(order[(len(order) - 1) // 2])


def worst_datum(table: dict[str, list[Any]]) -> int:
    """The datum of the largest variance of one weight under a learned q."""
    return int(np.argmax(table[f"one_weight_{key(LEARNED)}"]))


def histogram(setup: Setup, n: int) -> dict[str, list[Any]]:
    """Share of draws by log p(x_n, z), in the limit of many draws: low and high of each bin, shares."""
    values = setup.log_posterior[n] + setup.truth[n]
    low = float(np.quantile(values, _GATHERED))
    edges = np.linspace(low, max(values.max(), low + 1e-6) + 1e-9, _BINS + 1)
    table = {"low": edges[:-1].tolist(), "high": edges[1:].tolist()}
    for name in (UNIFORM, PRIOR, LEARNED):
        if name in setup.proposals:
            weights = np.exp(setup.log_q(name)[n])
            shares = np.histogram(np.maximum(values, low), edges, weights=weights)[0]
            table[key(name)] = shares.tolist()
    return table


def left_out_arrays(setup: Setup, n: int) -> dict[str, np.ndarray]:
    """Of every state of one datum: log p(z | x), log q of the learned q and of the last mixture."""
    last = [name for name in setup.proposals if name.startswith(MEANS)][-1]
    return {
        "log_posterior": setup.log_posterior[n],
        "log_learned_q": setup.log_q(LEARNED)[n],
        "log_mixture": setup.log_q(last)[n],
        "mixture": np.array(last),
        "image": np.array(n),
    }
