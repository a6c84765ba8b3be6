"""The chi-square upper bound: the identity with chi^2, and the Renyi bound of order -1 of many samples.

Its definition is checked for every model beside the divergences, in ``test_kl_from_posterior``.
"""

from __future__ import annotations

import numpy as np
import pytest
from cases import MODELS, data_of

import fastvi

MODEL = MODELS["network"]


def near_posterior(x, step):
    mean = fastvi.exact_posterior(MODEL, x).mean
    return fastvi.Bernoulli(np.log(mean) - np.log1p(-mean) + step)


def test_the_gap_is_half_the_logarithm_of_one_plus_chi_square():
    x = data_of(MODEL)
    q = near_posterior(x, 0.5)
    z = ((np.arange(16)[:, None] >> np.arange(4)) & 1)[:, None]
    p = np.exp(MODEL.log_joint(x, z) - fastvi.log_marginal(MODEL, x))
    mass = np.exp(q.log_prob(z))
    chi_square = (np.square(p - mass) / mass).sum(axis=0)
    gap = fastvi.chi_square_bound(MODEL, x, q) - fastvi.log_marginal(MODEL, x)
    np.testing.assert_allclose(gap, 0.5 * np.log1p(chi_square), rtol=0, atol=1e-13)
    assert (gap > 1e-3).all()


def test_chain_of_bounds():
    """The gaps of the two sides are of second order in q's distance from the posterior."""
    x = data_of(MODEL)
    truth = fastvi.log_marginal(MODEL, x)
    widths = []
    for step in (2.0, 1.0, 0.0):
        q = near_posterior(x, step)
        low, high = fastvi.elbo(MODEL, x, q).value, fastvi.chi_square_bound(MODEL, x, q)
        assert (low <= truth).all()
        assert (truth <= high).all()
        # Renyi divergences rise with their order: KL(p || q) <= log(1 + chi^2)
        assert (0.5 * fastvi.kl_from_posterior(MODEL, x, q) <= high - truth + 1e-13).all()
        widths.append(high - low)
    assert (widths[0] > widths[1]).all()
    assert (widths[1] > widths[2]).all()


@pytest.mark.slow_without_jit
def test_many_samples_give_it_as_the_renyi_bound_of_order_minus_one():
    x = data_of(MODEL)
    q = near_posterior(x, 0.3)
    z = q.sample(40000, 5)
    log_w = (MODEL.log_joint(x, z) - q.log_prob(z)).T
    exact = fastvi.chi_square_bound(MODEL, x, q)
    w = np.exp(2 * (log_w - exact[:, None]))  # of mean 1
    error = 0.5 * w.std(axis=1) / 200
    assert (error < 0.05).all()
    # half the logarithm of a mean that is off by 2 delta: within delta / (1 - 2 delta)
    allowed = 4.5 * error / (1 - 9 * error)
    assert (np.abs(fastvi.renyi_bound(log_w, -1) - exact) <= allowed).all()
