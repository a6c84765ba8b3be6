"""Certified intervals of sparse coding and of machines, through the public functions, against exact sums."""

import numpy as np
import pytest

import fastvi

pytestmark = pytest.mark.slow_without_jit


def check(model, x, observed=None):
    exact = fastvi.log_marginal(model, x, observed=observed)
    bounds = fastvi.log_marginal_bounds(model, x, observed=observed, tolerance=1e-3)
    possible = exact > -np.inf
    np.testing.assert_array_equal(bounds.upper > -np.inf, possible)
    # the exact sums' own roundings
    slack = 1e-12 * (1.0 + np.abs(exact[possible]))
    assert np.all(bounds.lower[possible] <= exact[possible] + slack)
    assert np.all(exact[possible] <= bounds.upper[possible] + slack)
    assert bounds.converged.all()


MASKS = [None, np.arange(12) % 3 > 0]


@pytest.mark.parametrize("observed", MASKS)
def test_sparse_coding(observed):
    rng = np.random.default_rng(0)
    model = fastvi.BinarySparseCoding(rng.normal(size=(12, 7)), rng.normal(size=12), 0.5, rng.normal(size=7))
    x = model.sample(3, 1).x
    check(model, x, observed)
    exact = fastvi.log_marginal(model, x, observed=observed)
    assert np.all(fastvi.upper_bound(model, x, observed=observed) >= exact)


@pytest.mark.parametrize("observed", MASKS)
def test_boltzmann_machine(observed):
    rng = np.random.default_rng(1)
    couplings = np.triu(rng.normal(size=(12, 12)), 1)
    couplings[2, 5] = -np.inf
    model = fastvi.BoltzmannMachine(couplings + couplings.T, rng.normal(size=12))
    x = rng.integers(0, 2, (3, 12)).astype(np.uint8)
    x[0, [2, 5]] = 1  # of probability 0 where both are seen
    check(model, x, observed)
    log_z = fastvi.log_partition(model)
    bounds = fastvi.log_marginal_bounds(model, None, normalized=False)
    assert bounds.lower[0] <= log_z + 1e-12 * abs(log_z) <= bounds.upper[0] + 2e-12 * abs(log_z)


@pytest.mark.parametrize("observed", MASKS)
@pytest.mark.parametrize("hidden", [5, 14])
def test_restricted_machine(observed, hidden):
    rng = np.random.default_rng(2)
    model = fastvi.RestrictedBoltzmannMachine(
        rng.normal(0.0, 0.5, (12, hidden)), rng.normal(size=12), rng.normal(size=hidden)
    )
    check(model, rng.integers(0, 2, (3, 12)).astype(np.uint8), observed)
