"""Entropy and most probable states that come from products, against the definition in 50 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from cases import network, random_bits, states, strong_network
from tolerances import EPS, posterior_rounding

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.posterior import details, posteriors
from fastvi.engine.run.runs import Run
from fastvi.engine.states import form as forms


def exact(model, x):
    """(entropy, standard deviation of log p(z | x), its range) of each datum."""
    with mpmath.workdps(50):
        w, bias, prior = (
            [[mpmath.mpf(v) for v in row] for row in np.atleast_2d(array).tolist()]
            for array in (model.weights, model.bias, model.prior_logits)
        )
        logits = [
            [bias[0][j] + mpmath.fsum(w[j][i] for i in np.flatnonzero(z)) for j in range(len(w))]
            for z in states(model.num_latents)
        ]
        from_all = [
            mpmath.fsum(prior[0][i] for i in np.flatnonzero(z))
            - mpmath.log(mpmath.fprod(1 + mpmath.exp(e) for e in eta))
            for z, eta in zip(states(model.num_latents), logits, strict=True)
        ]
        found = []
        for row in x:
            ones = np.flatnonzero(row)
            logs = [mpmath.fsum([eta[j] for j in ones]) + a for eta, a in zip(logits, from_all, strict=True)]
            total = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in logs))
            logs = [v - total for v in logs]
            entropy = -mpmath.fsum(mpmath.exp(v) * v for v in logs)
            square = mpmath.fsum(mpmath.exp(v) * (v + entropy) ** 2 for v in logs)
            found.append((entropy, mpmath.sqrt(square), max(logs) - min(logs)))
    return found


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0])
def test_entropy(scale):
    """A weight is a product of D + d factors: its logarithm is off by (D + d) EPS at most.

    By such changes e(z) of log p(z | x), H moves by their covariance, at most max |e| times the standard
    deviation. log sum w and E[log w], of the size of the range of log p(z | x), are rounded some times.
    """
    model, x = network(150, 7, scale=scale), random_bits(4, 150)
    entropy = fastvi.exact_posterior(model, x).entropy
    for value, (expected, deviation, size) in zip(entropy, exact(model, x), strict=True):
        allowed = EPS * ((150 + 7) * deviation + 8 * (1 + size))
        assert abs(mpmath.mpf(value) - expected) <= allowed


def by_states(model, x, top_k):
    form = rules_of(model).form(np.ones(model.num_pixels, bool))
    evidence = fastvi.log_marginal(model, x)
    found = posteriors.details_of(form, form.data.terms(x), evidence, top_k, Run())
    return found, posteriors.unpack_states(form, found.states)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("top_k", [1, 40])
def test_several_waves(monkeypatch, top_k):
    monkeypatch.setattr(forms, "WAVE_TILES", 3)
    model, x = network(9, 13), random_bits(6, 9)
    found = fastvi.exact_posterior(model, x, top_k=top_k)
    expected, best = by_states(model, x, top_k)
    slack = posterior_rounding(model, x)
    assert np.abs(found.entropy - expected.entropy).max() <= slack * (1 + np.abs(expected.log_probs).max())
    assert np.abs(found.top_log_probs - expected.log_probs).max() <= slack
    # states whose probabilities are closer than rounding may change places
    apart = (np.abs(np.diff(expected.log_probs, prepend=0.0)) > slack) & (
        np.abs(np.diff(expected.log_probs, append=-np.inf)) > slack
    )
    assert np.array_equal(found.top_states[apart], best[apart])


@pytest.mark.slow_without_jit
def test_a_datum_has_the_same_bits_in_any_company():
    model, x = network(20, 11), random_bits(9, 20)
    together = fastvi.exact_posterior(model, x, top_k=5)
    for n in (0, 4, 8):
        alone = fastvi.exact_posterior(model, x[n : n + 1], top_k=5)
        for name in ("entropy", "top_log_probs", "top_states"):
            assert getattr(alone, name)[0].tobytes() == getattr(together, name)[n].tobytes()


def test_states_that_a_tile_has_lost_are_found():
    """State 1 has the probability exp(-800) of the other: it is 0 in a tile, and not in log space."""
    model = fastvi.SigmoidBeliefNetwork([[800.0]], [0.0], [0.0])
    posterior = fastvi.exact_posterior(model, [[0]], top_k=2)
    expected = [0.0, np.log(2.0) - 800.0]
    np.testing.assert_allclose(posterior.top_log_probs[0], expected, rtol=0, atol=800 * 2 * EPS)
    assert posterior.top_states[0].tolist() == [[0], [1]]


def test_what_products_cannot_hold_is_visited(monkeypatch):
    model, x, observed = strong_network()
    who = []
    visit = details.details_of

    def counting(form, terms, *arguments, **options):
        who.append(len(terms.constant))
        return visit(form, terms, *arguments, **options)

    monkeypatch.setattr(details, "details_of", counting)
    posterior = fastvi.exact_posterior(model, x, observed=observed)
    assert np.isfinite(posterior.entropy).all()
    assert who
    assert who[0] > 0


@pytest.mark.slow_without_jit
def test_ties_are_of_the_first_state():
    """All states are equally probable: the order is that of the form's tiles, as without products."""
    model = fastvi.SigmoidBeliefNetwork(np.zeros((4, 10)), np.ones(4), np.zeros(10))
    x = random_bits(2, 4)
    found = fastvi.exact_posterior(model, x, top_k=6)
    assert np.array_equal(found.top_states, by_states(model, x, 6)[1])
    np.testing.assert_allclose(found.entropy, 10 * np.log(2.0), rtol=8 * EPS)
