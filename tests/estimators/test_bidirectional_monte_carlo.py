"""Bidirectional Monte Carlo: brackets enclose exact log p(x)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cases import decoder, linear_gaussian, network, sparse_coding

import fastvi

RNG = np.random.default_rng(13)
MODELS = {
    "network": network(8, 5, RNG),
    "sparse coding": sparse_coding(5, 4, RNG, 1.0),
    "linear": linear_gaussian(5, 2, RNG, 1.0),
    "decoder": decoder((1, 4, 6), "tanh", fastvi.Normal([0.5], [1.5]), seed=RNG),
    "deep network": fastvi.SigmoidBeliefNetwork(
        RNG.normal(size=(5, 3)), RNG.normal(size=5), prior=network(3, 2, RNG)
    ),
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", MODELS)
def test_brackets_enclose_the_truth(name):
    """On average, within 4.5 standard errors over data; and the sides are closer with more temperatures."""
    model, gaps = MODELS[name], []
    initial = fastvi.Uniform(3) if name == "deep network" else "prior"
    for num_temperatures in (2, 20):
        bracket = fastvi.bidirectional_monte_carlo(
            model, 60, num_temperatures=num_temperatures, num_chains=4, seed=2, initial=initial
        )
        truth = fastvi.log_marginal(model, bracket.x)
        for distance in (truth - bracket.lower.log_marginal, bracket.upper.log_marginal - truth):
            assert distance.mean() >= -4.5 * distance.std(ddof=1) / 60**0.5
        # Markov's inequality: beyond 7 nats on the wrong side with a probability of 0.001
        assert (bracket.lower.log_marginal - truth < 7.0).all()
        assert (truth - bracket.upper.log_marginal < 7.0).all()
        gaps.append(bracket.gap.mean())
    assert gaps[0] > gaps[1] > 0.0


def test_what_is_returned():
    model = MODELS["network"]
    bracket = fastvi.bidirectional_monte_carlo(model, 6, num_temperatures=5, num_chains=3, seed=9)
    z, x = model.sample(6, 9)
    assert np.array_equal(bracket.z, z)
    assert np.array_equal(bracket.x, x)
    arguments = {"num_temperatures": 5, "num_chains": 3, "seed": 9}
    lower = fastvi.annealed_importance_sampling(model, x, **arguments)
    upper = fastvi.annealed_importance_sampling(model, x, latents=z, **arguments)
    assert np.array_equal(bracket.lower.log_marginal, lower.log_marginal)
    assert np.array_equal(bracket.upper.log_marginal, upper.log_marginal)
    assert np.array_equal(bracket.gap, upper.log_marginal - lower.log_marginal)
    assert repr(bracket).startswith("Bracket(num_data=6, num_chains=3, mean lower=")
    assert repr(bracket).endswith(f"mean gap={bracket.gap.mean():.3g} nats)")
    with pytest.raises(dataclasses.FrozenInstanceError):
        bracket.x = x


def test_no_data():
    bracket = fastvi.bidirectional_monte_carlo(MODELS["linear"], 0, num_temperatures=2, num_chains=3)
    assert repr(bracket) == "Bracket(num_data=0, num_chains=3)"
    assert bracket.gap.shape == (0,)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": fastvi.LogJoint(lambda x, z: 0.0, 2)}, TypeError, r"^model must be a Sigmoid"),
        ({"model": fastvi.BoltzmannMachine([[0.0]], [0.0])}, TypeError, r"^model must be a Sigmoid"),
        ({"num_data": -1}, ValueError, r"^num_data must be an int >= 0, got -1"),
        ({"num_data": 2.0}, TypeError, r"^num_data must be an int >= 0, got 2\.0"),
        ({"seed": -1}, ValueError, r"^seed must be an int with 0 <= seed < 2\*\*64, got -1"),
        ({"num_chains": 0}, ValueError, r"^num_chains must be an int >= 1, got 0"),
        ({"model": MODELS["deep network"]}, ValueError, r"^initial must be a Bernoulli or Uniform"),
        ({"initial": fastvi.Uniform(2)}, ValueError, r"^initial must have parameters of shape \(5,\)"),
        ({"device": "cuda"}, RuntimeError, r"^device='cuda' is not available"),
    ],
)  # fmt: skip
def test_wrong_input(change, error, message):
    arguments = {"model": MODELS["network"], "num_data": 2, "num_temperatures": 2, "num_chains": 2, **change}
    with pytest.raises(error, match=message) as caught:
        fastvi.bidirectional_monte_carlo(arguments.pop("model"), arguments.pop("num_data"), **arguments)
    assert "\n" not in str(caught.value)
