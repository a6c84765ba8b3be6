"""The constant of a Boltzmann machine: in all that is unnormalised, in nothing that is a probability."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest

import fastvi

RNG = np.random.default_rng(15)
D, CONSTANT = 4, -2.625
HALF = np.triu(RNG.normal(size=(D, D)), 1)
J, H = HALF + HALF.T, RNG.normal(size=D)
PLAIN, SHIFTED = fastvi.BoltzmannMachine(J, H), fastvi.BoltzmannMachine(J, H, CONSTANT)
STATES = np.array(list(itertools.product((0, 1), repeat=D)))
Q = fastvi.Bernoulli(RNG.normal(size=D))
MASK = np.array([True, False, True, False])
# sixteen terms of a few units each: some tens of roundings
CLOSE = {"rel": 0.0, "abs": 1e-13}


def log_weight(z):
    pairs = sum(J[i, j] * z[i] * z[j] for i in range(D) for j in range(i + 1, D))
    return CONSTANT + pairs + sum(H[i] * z[i] for i in range(D))


def log_sum(states):
    return math.log(math.fsum(math.exp(log_weight(z)) for z in states))


def completions(x):
    """All states that agree with x where the mask is set."""
    return [z for z in STATES if (z == x)[MASK].all()]


def test_unnormalised_answers_have_it():
    assert SHIFTED.constant == CONSTANT
    assert SHIFTED.log_joint(None, STATES) == pytest.approx([log_weight(z) for z in STATES], **CLOSE)
    assert fastvi.log_partition(SHIFTED) == pytest.approx(log_sum(STATES), **CLOSE)
    expected = [log_sum(completions(x)) for x in STATES[:5]]
    for observed, values in ((MASK, expected), (None, [log_weight(z) for z in STATES[:5]])):
        seen = {"observed": np.ones(D, bool) if observed is None else observed, "normalized": False}
        found = fastvi.log_marginal(SHIFTED, STATES[:5], **seen)
        assert found == pytest.approx(values, **CLOSE)
        assert fastvi.exact_posterior(SHIFTED, STATES[:5], **seen).log_marginal == pytest.approx(
            values, **CLOSE
        )
    nothing = fastvi.exact_posterior(SHIFTED, None, normalized=False)
    assert nothing.log_marginal[0] == pytest.approx(log_sum(STATES), **CLOSE)


def test_probabilities_have_their_bits_without_it():
    """A constant that swallows all digits of an energy changes no probability."""
    for constant in (CONSTANT, 1e300, -1e300):
        machine = fastvi.BoltzmannMachine(J, H, constant)
        for ask in (
            lambda m: fastvi.log_marginal(m, STATES, observed=MASK),
            lambda m: fastvi.log_marginal(m, STATES),
            lambda m: fastvi.exact_posterior(m, STATES, observed=MASK, pairwise=True).second_moment,
            lambda m: fastvi.exact_posterior(m, STATES, observed=MASK).log_marginal,
            lambda m: fastvi.exact_posterior(m, STATES, observed=MASK).log_prob(STATES[None, :]),
            lambda m: fastvi.elbo(m, None, Q).value,
            lambda m: fastvi.elbo(m, None, Q, num_samples=20).value,
            lambda m: fastvi.chi_square_bound(m, None, Q),
            lambda m: fastvi.kl_to_posterior(m, None, Q),
            lambda m: (
                fastvi.estimate_log_marginal(m, STATES, proposal=Q, num_samples=9, observed=MASK).log_marginal
            ),
            lambda m: m.sample(20, 3).z,
        ):
            assert np.array_equal(ask(machine), ask(PLAIN))


def test_unnormalised_bounds_and_estimates_have_it():
    probability = 1.0 / (1.0 + np.exp(-Q.logits))
    log_q = [
        sum(math.log(p if bit else 1.0 - p) for p, bit in zip(probability, z, strict=True)) for z in STATES
    ]
    expected = math.fsum(math.exp(s) * (log_weight(z) - s) for s, z in zip(log_q, STATES, strict=True))
    bound = fastvi.elbo(SHIFTED, None, Q, normalized=False)
    assert bound.value[0] == pytest.approx(expected, **CLOSE)
    mean = math.fsum(math.exp(s) * log_weight(z) for s, z in zip(log_q, STATES, strict=True))
    assert bound.expected_log_joint[0] == pytest.approx(mean, **CLOSE)
    for ask in (
        lambda m: fastvi.elbo(m, None, Q, num_samples=20, normalized=False).value,
        lambda m: fastvi.chi_square_bound(m, None, Q, normalized=False),
        lambda m: (
            fastvi.estimate_log_marginal(m, None, proposal=Q, num_samples=9, normalized=False).log_marginal
        ),
    ):
        assert ask(SHIFTED) == pytest.approx(ask(PLAIN) + CONSTANT, **CLOSE)


def test_annealed_estimates_of_log_z_have_it():
    ask = {"num_temperatures": 20, "num_chains": 30}
    for backward in ({}, {"latents": PLAIN.sample(30, 1).z}):
        found, plain = (fastvi.annealed_importance_sampling(m, **ask, **backward) for m in (SHIFTED, PLAIN))
        assert found.log_marginal == pytest.approx(plain.log_marginal + CONSTANT, **CLOSE)
        assert np.array_equal(found.std_error, plain.std_error)
    # the chains' own errors are far below the constant
    assert found.log_marginal[0] == pytest.approx(log_sum(STATES), abs=0.5)


def test_gradients_and_fits_leave_it_alone():
    x = STATES[[1, 5, 5, 14]]
    found, plain = (fastvi.log_marginal_gradient(m, x, observed=MASK) for m in (SHIFTED, PLAIN))
    assert set(found) == {"couplings", "bias"}
    for name, value in plain.items():
        assert np.array_equal(found[name], value)
    fitted, other = (fastvi.fit_model(m, x, objective="exact", num_epochs=3).model for m in (SHIFTED, PLAIN))
    assert fitted.constant == CONSTANT
    assert np.array_equal(fitted.couplings, other.couplings)


def test_a_prior_has_the_same_bits():
    weights, bias = RNG.normal(size=(3, D)), RNG.normal(size=3)
    x = np.array([[0, 1, 1], [1, 1, 0]])
    deep, plain = (fastvi.SigmoidBeliefNetwork(weights, bias, prior=m) for m in (SHIFTED, PLAIN))
    assert np.array_equal(fastvi.log_marginal(deep, x), fastvi.log_marginal(plain, x))
    assert np.array_equal(deep.log_joint(x[0], STATES), plain.log_joint(x[0], STATES))
    assert pickle.loads(pickle.dumps(deep)).prior.constant == CONSTANT


def test_it_is_saved_loaded_and_pickled(tmp_path):
    for machine in (SHIFTED, PLAIN):
        machine.save(tmp_path / "machine.npz")
        for same in (fastvi.load(tmp_path / "machine.npz"), pickle.loads(pickle.dumps(machine))):
            assert same.constant == machine.constant
            assert fastvi.log_partition(same) == fastvi.log_partition(machine)
    # files of machines without one are those of earlier versions
    assert set(PLAIN.arrays()) == {"couplings", "bias"}
    assert set(SHIFTED.arrays()) == {"couplings", "bias", "constant"}


def test_what_is_impossible_stays_so():
    never = -math.inf
    machine = fastvi.BoltzmannMachine([[0, never], [never, 0]], [0.0, 0.0], 5.0)
    assert machine.log_joint(None, [1, 1]) == never
    assert fastvi.log_marginal(machine, [[1, 1]], normalized=False)[0] == never
    assert fastvi.log_partition(machine) == pytest.approx(5.0 + math.log(3.0), **CLOSE)


@pytest.mark.parametrize(
    ("constant", "error", "came"),
    [(math.inf, ValueError, "inf"), (math.nan, ValueError, "nan"), ("1", TypeError, "'1'")],
)
def test_a_wrong_constant_is_refused(constant, error, came):
    with pytest.raises(error, match=rf"^constant must be a finite number, got {came}"):
        fastvi.BoltzmannMachine(J, H, constant)
