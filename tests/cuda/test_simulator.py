"""The engine in Numba's simulator, a Python thread for each thread of a block: other bugs than PTX shows."""

from __future__ import annotations

import sys

import naive
import numpy as np
import pytest

import fastvi


@pytest.fixture(autouse=True)
def _short_turns():
    """Barriers of 256 Python threads take a tenth of the time where threads change more often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def test_a_network():
    rng = np.random.default_rng(0)
    model = fastvi.SigmoidBeliefNetwork(rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=3))
    x = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 1]])
    parameters = model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()
    want = [naive.sbn_log_marginal(*parameters, row) for row in x.tolist()]
    np.testing.assert_allclose(fastvi.log_marginal(model, x, device="cuda"), want, rtol=1e-13)


def test_log_z_with_a_pair_that_never_occurs():
    couplings = np.zeros((4, 4))
    couplings[0, 1] = couplings[1, 0] = -np.inf
    couplings[2, 3] = couplings[3, 2] = 1.5
    model = fastvi.BoltzmannMachine(couplings, [0.3, -0.2, 1.0, 0.0])
    want = naive.bm_log_partition(couplings.tolist(), model.bias.tolist())
    np.testing.assert_allclose(fastvi.log_partition(model, device="cuda"), want, rtol=1e-13)


def test_info_says_that_it_is_the_simulator():
    from fastvi.engine.cuda.device import state

    assert "simulator" in state()
