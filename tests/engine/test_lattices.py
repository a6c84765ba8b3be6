"""Nested lattices, and that their shifted copies see what the lattices get wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastvi.engine.quadrature import lattices


@pytest.mark.parametrize("d", [1, 2, 3])
def test_each_level_holds_the_one_before(d):
    have = np.empty((0, d))
    for level in range(5):
        whole = {tuple(row) for row in lattices.lattice(d, level)}
        new = lattices.added(d, level)
        have = np.concatenate([have, new])
        assert {tuple(row) for row in have} == whole
        assert len(have) == len(whole) == lattices.num_nodes(d, level) == len(lattices.shifted(d, level))


def test_a_lattice_of_no_axes_is_one_node():
    assert lattices.lattice(0, 3).shape == lattices.shifted(0, 3).shape == (1, 0)
    assert lattices.num_nodes(0, 3) == 1


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize(("d", "shortest"), [(1, 2), (2, 8), (3, 18)])
def test_a_shifted_copy_sees_the_shortest_waves(d, shortest, level):
    """Applied to waves that the rule takes for constants, the two differ by a half at least."""
    nodes, copy = lattices.lattice(d, level), lattices.shifted(d, level)
    waves = np.array([m for m in itertools.product(range(-16, 17), repeat=d) if any(m)])
    waves = waves[np.argsort(np.square(waves).sum(axis=1), kind="stable")][:3000]
    mean = np.exp(2j * np.pi * nodes @ waves.T).mean(axis=0)
    blind = waves[np.abs(mean - 1) < 1e-9]
    sizes = np.square(blind).sum(axis=1)
    # on a line the half step sees all odd multiples, and is the next lattice
    seen = blind[:shortest] if d > 1 else blind[sizes == sizes[0]]
    assert len(seen) == shortest
    one, other = (np.exp(2j * np.pi * rule @ seen.T).mean(axis=0) for rule in (nodes, copy))
    assert (np.abs(one - other) >= lattices.SEEN - 0.01).all()
