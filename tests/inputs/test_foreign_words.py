"""Errors in words of our own where NumPy or Python would speak: counts, executors, arrays of objects."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import pytest

import fastvi
from fastvi.core import validation

COUPLINGS = np.array([[0.0, 1.0], [1.0, 0.0]])
NETWORK = fastvi.SigmoidBeliefNetwork(np.zeros((4, 3)), np.zeros(4), np.zeros(3))
CODING = fastvi.BinarySparseCoding(np.ones((2, 2)), np.zeros(2), 1.0, np.zeros(2))
LINEAR = fastvi.LinearGaussian(np.ones((2, 1)), np.zeros(2), 1.0)
X = [[0, 1, 0, 1]]
SAMPLED = [
    NETWORK,
    fastvi.SigmoidBeliefNetwork(np.zeros((3, 4)), np.zeros(3), prior=NETWORK),
    fastvi.RestrictedBoltzmannMachine(np.zeros((2, 2)), np.zeros(2), np.zeros(2)),
    fastvi.BoltzmannMachine(COUPLINGS, np.zeros(2)),
    CODING,
    LINEAR,
    fastvi.NeuralDecoder([(np.ones((2, 1)), np.zeros(2))], "tanh", fastvi.Bernoulli([0.0])),
    fastvi.JointTable([[0.5, 0.5]]),
    fastvi.Bernoulli([0.0]),
    fastvi.Uniform(2),
    fastvi.Normal([0.0], [1.0]),
    fastvi.MultivariateNormal([0.0], [[1.0]]),
    fastvi.Categorical([0.5, 0.5]),
    fastvi.Mixture([fastvi.Bernoulli([0.0]), fastvi.Uniform(1)], [0.5, 0.5]),
    fastvi.exact_posterior(NETWORK, X),
    fastvi.exact_posterior(fastvi.JointTable([[0.5, 0.5]])),
]


def one_line(error, text, call):
    with pytest.raises(error, match=f"^{text}") as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("drawn", SAMPLED, ids=lambda drawn: type(drawn).__name__)
@pytest.mark.parametrize("num", [2**63, 2**100, np.uint64(2**63)])
def test_more_draws_than_there_are_numbers_for(drawn, num):
    one_line(ValueError, rf"num must be an int <= 2\*\*40, got {int(num)} ", lambda: drawn.sample(num, 0))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("num_data", lambda: fastvi.LogWeights(2**63)),
        ("tail_size", lambda: fastvi.LogWeights(3, 2**63)),
        ("num_latents", lambda: fastvi.Uniform(2**63)),
        ("num_samples", lambda: fastvi.estimate_log_marginal(NETWORK, X, num_samples=2**63)),
        ("num_samples", lambda: fastvi.elbo(NETWORK, X, fastvi.Uniform(3), num_samples=2**63)),
        ("num_data", lambda: fastvi.plan(NETWORK, 2**63)),
        ("top_k", lambda: fastvi.exact_posterior(NETWORK, X, top_k=2**63)),
    ],
)
def test_counts_beyond_all_machines(name, call):
    one_line(ValueError, rf"{name} must be an int <= 2\*\*40, got 9223372036854775808 ", call)


def test_limits_may_be_as_large_as_the_caller_likes():
    want = fastvi.log_marginal(NETWORK, X)
    assert np.array_equal(fastvi.log_marginal(NETWORK, X, max_states=2**100, memory_limit=2**100), want)
    assert validation.positive_int(2**40, "num") == 2**40
    assert validation.positive_int(7, "num", maximum=7) == 7
    one_line(
        ValueError,
        r"num must be an int <= 6, got 7 \(int\)$",
        lambda: validation.positive_int(7, "num", maximum=6),
    )


class Nullable:
    """What pandas' nullable types are to NumPy: objects, one of them no number."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[0, 1, None, 1]], dtype=object)


@pytest.mark.parametrize(("x", "kind"), [(Nullable(), "a Nullable"), (np.asarray(Nullable()), "an ndarray")])
def test_arrays_of_objects(x, kind):
    text = rf"x must be an array of 0 and 1 .*, got dtype object \(from {kind}\); convert it first, as by "
    one_line(TypeError, text, lambda: fastvi.log_marginal(NETWORK, x))
    text = rf"x must be an array of integers, got dtype object \(from {kind}\); convert .*, dtype=int\)$"
    one_line(TypeError, text, lambda: TABLE.log_joint(x, 0))
    text = rf"x must be an array of real .*, got dtype object \(from {kind}\); convert .*, dtype=float\)$"
    one_line(TypeError, text, lambda: CODING.log_joint(x, [0, 0]))


TABLE = fastvi.JointTable([[0.5, 0.5]])


@pytest.mark.parametrize(
    ("word", "phrase"),
    [
        ("Executor", "an Executor"), ("Encoder", "an Encoder"), ("int", "an int"), ("ndarray", "an ndarray"),
        ("Estimate", "an Estimate"), ("OwnNetwork", "an OwnNetwork"), ("NoneType", "a NoneType"),
        ("Uniform", "a Uniform"), ("UserModel", "a UserModel"), ("Bernoulli", "a Bernoulli"),
        ("LogWeights", "a LogWeights"),
    ],
)  # fmt: skip
def test_articles(word, phrase):
    assert validation.with_article(word) == phrase


def test_what_an_instance_must_be():
    one_line(
        TypeError,
        r"executor must be an Executor, got 3 \(int\)",
        lambda: validation.instance(3, "executor", Executor),
    )
    one_line(TypeError, "executor must be an Executor", lambda: fastvi.log_marginal(NETWORK, X, executor=3))
