"""The table of what models answer, against what really answers; a model from outside the package."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.memory.tiles import TileMemory
from fastvi.engine.states.softplus_form import softplus_form
from fastvi.rules.questions import QUESTIONS
from fastvi.rules.supported import EXAMPLES

pytestmark = pytest.mark.slow_without_jit


def data_of(model):
    """Three data."""
    if isinstance(model, fastvi.JointTable):
        return [0, 1, 1]
    if isinstance(model, fastvi.LogJoint):
        return np.array([[0.5], [1.0], [-1.0]])
    return np.asarray(model.sample(3, 1).x)


def q_of(model):
    """A q of the right kind."""
    d = getattr(model, "num_latents", 1)
    return (
        fastvi.Normal(np.zeros(d), np.ones(d))
        if rules_of(model, tables=True).real_latents
        else fastvi.Bernoulli(np.zeros(d))
    )


def encoder_of(model, x):
    family = "normal" if rules_of(model, tables=True).real_latents else "bernoulli"
    return fastvi.Encoder.random(
        *np.shape(x)[1:2] or (1,), 3, getattr(model, "num_latents", 1), family=family
    )


def annealed(model, x):
    machine = hasattr(model, "couplings") or hasattr(model, "hidden_bias")
    initial = {} if machine or not hasattr(model, "num_latents") else {"initial": q_of(model)}
    return fastvi.annealed_importance_sampling(
        model, None if machine else x, num_temperatures=2, num_chains=2, **initial
    )


def bidirectional(model, x):
    return fastvi.bidirectional_monte_carlo(model, 2, num_temperatures=2, num_chains=2, initial=q_of(model))


def fit_model(model, x, objective, **more):
    steps = {} if objective == "em" else {"batch_size": 2}
    return fastvi.fit_model(model, x, objective=objective, num_epochs=1, **steps, **more)


def fit_encoder(model, x, **more):
    return fastvi.fit_encoder(model, x, encoder_of(model, x), num_epochs=1, batch_size=2, **more)


def hidden(x):
    """A mask that hides the last pixel."""
    mask = np.ones(np.shape(x) or 1, bool) if np.ndim(x) > 1 else np.ones((len(x), 1), bool)
    mask[:, -1] = False
    return mask


ASK = {
    "log_marginal": fastvi.log_marginal,
    "log_marginal(observed=...)": lambda m, x: fastvi.log_marginal(m, x, observed=hidden(x)),
    "log_marginal_gradient": fastvi.log_marginal_gradient,
    "log_partition": lambda m, x: fastvi.log_partition(m),
    "exact_posterior": fastvi.exact_posterior,
    "plan": lambda m, x: fastvi.plan(m, 3),
    "estimate_log_marginal": lambda m, x: fastvi.estimate_log_marginal(
        m, x, proposal=q_of(m) if hasattr(m, "num_latents") else "uniform", num_samples=10
    ),
    "annealed_importance_sampling": annealed,
    "bidirectional_monte_carlo": bidirectional,
    "elbo": lambda m, x: fastvi.elbo(m, x, q_of(m)),
    "elbo(num_samples=...)": lambda m, x: fastvi.elbo(m, x, q_of(m), num_samples=4),
    "kl_to_posterior": lambda m, x: fastvi.kl_to_posterior(m, x, q_of(m)),
    "kl_from_posterior": lambda m, x: fastvi.kl_from_posterior(m, x, q_of(m)),
    "chi_square_bound": lambda m, x: fastvi.chi_square_bound(m, x, q_of(m)),
    "upper_bound": fastvi.upper_bound,
    "fit_posterior": fastvi.fit_posterior,
    "fit_posterior(objective='forward_kl')": lambda m, x: fastvi.fit_posterior(m, x, objective="forward_kl"),
    "fit_posterior(num_samples=...)": lambda m, x: fastvi.fit_posterior(m, x, num_samples=4),
    "fit_encoder": fit_encoder,
    "fit_encoder(objective='forward_kl')": lambda m, x: fit_encoder(m, x, objective="forward_kl"),
    "fit_encoder(num_samples=...)": lambda m, x: fit_encoder(m, x, num_samples=4),
    "fit_model": lambda m, x: fit_model(m, x, "exact"),
    "fit_model(objective='em')": lambda m, x: fit_model(m, x, "em"),
    "fit_model(objective='elbo')": lambda m, x: fit_model(
        m, x, "elbo", encoder=encoder_of(m, x), num_samples=2
    ),
    "fit_model(objective='importance_weighted')": lambda m, x: fit_model(
        m, x, "importance_weighted", encoder=encoder_of(m, x), num_samples=2
    ),
    "fit_model(objective='wake_sleep')": lambda m, x: fit_model(m, x, "wake_sleep", encoder=encoder_of(m, x)),
}


def test_every_question_is_asked():
    assert {*ASK, "log_marginal(device='cuda')"} == set(QUESTIONS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_the_table_says_is_what_answers(name):
    """A question is answered, or refused by one line of TypeError or ValueError, as the table says."""
    model = EXAMPLES[name]()
    x, answered, refusals = data_of(model), set(), []
    for question, ask in ASK.items():
        try:
            ask(model, x)
        except (TypeError, ValueError) as error:
            refusals.append(str(error))
        else:
            answered.add(question)
    assert not any("\n" in text for text in refusals)
    assert answered == set(fastvi.supported(model)) - {"log_marginal(device='cuda')"}


def test_the_table_has_a_column_for_every_model():
    table = fastvi.supported()
    assert table.answers.shape == (len(QUESTIONS), len(EXAMPLES))
    for n, make in enumerate(EXAMPLES.values()):
        own = {q for q, answer in zip(table.questions, table.answers[:, n], strict=True) if answer}
        assert own == set(fastvi.supported(make()))
    assert len(str(table).splitlines()) == 2 + len(QUESTIONS) + len(EXAMPLES)
    assert len(table.to_markdown().splitlines()) == 2 + len(QUESTIONS)
    with pytest.raises(TypeError, match=r"^model must be one with latents"):
        fastvi.supported(3)


class Tied(fastvi.Model):
    """p(x, z) of one weight: logits w z_i of pixel i, for as many pixels as latents, z fair coins."""

    def __init__(self, weight, size):
        self._set(weight=float(weight), num_pixels=size, num_latents=size)

    def arrays(self):
        return {"weight": np.array(self.weight), "size": np.array(self.num_pixels)}

    @classmethod
    def from_arrays(cls, arrays):
        return cls(arrays["weight"], int(arrays["size"]))

    def log_joint(self, x, z):
        raise NotImplementedError

    def sample(self, num, seed):
        raise NotImplementedError


class TiedRules(fastvi.Rules):
    """The three things that a model of binary latents has to give."""

    questions = frozenset({"log_marginal", "exact_posterior", "elbo", "kl_to_posterior"})
    is_probability = True

    def form(self, observed, dtype="float64"):
        weights = self.model.weight * np.eye(self.num_pixels)[observed]
        return softplus_form(weights, np.zeros(len(weights)), np.zeros(self.num_latents), dtype=dtype)

    def memory(self, observed, dtype="float64"):
        seen = int(observed.sum())
        return TileMemory.of(self.num_latents, seen, seen, dtype)


@pytest.fixture
def tied():
    fastvi.register(Tied, TiedRules)
    return Tied(1.5, 4)


def test_a_model_of_ones_own(tied):
    """Against sums over all states in pure Python, to rounding."""
    x = np.array([[0, 1, 1, 0], [1, 1, 1, 1]])
    weights, none = (tied.weight * np.eye(4)).tolist(), [0.0] * 4
    truth = [naive.sbn_log_marginal(weights, none, none, row) for row in x.tolist()]
    # errors of a sum of 16 states whose logarithms are below 10: a few units in the last place of 10
    np.testing.assert_allclose(fastvi.log_marginal(tied, x), truth, rtol=0, atol=1e-14)
    posterior = fastvi.exact_posterior(tied, x)
    network = fastvi.SigmoidBeliefNetwork(weights, none, none)
    assert np.array_equal(posterior.mean, fastvi.exact_posterior(network, x).mean)
    q = fastvi.Bernoulli(np.linspace(-1.0, 1.0, 4))
    gap = fastvi.log_marginal(tied, x) - fastvi.elbo(tied, x, q).value
    np.testing.assert_allclose(fastvi.kl_to_posterior(tied, x, q), gap, rtol=0, atol=1e-14)
    assert fastvi.supported(tied) == ("log_marginal", "exact_posterior", "elbo", "kl_to_posterior")


def test_a_model_of_ones_own_in_workers_and_pickles(tied):
    x = np.array([[0, 1, 1, 0]])
    with ThreadPoolExecutor(2) as executor:
        assert np.array_equal(fastvi.log_marginal(tied, x, executor=executor), fastvi.log_marginal(tied, x))
    posterior = pickle.loads(pickle.dumps(fastvi.exact_posterior(tied, x)))
    assert np.array_equal(posterior.sample(5, 1), fastvi.exact_posterior(tied, x).sample(5, 1))


def test_what_a_model_of_ones_own_does_not_give_is_refused(tied):
    for ask in (fastvi.log_marginal_gradient, fastvi.fit_posterior, fastvi.fit_model):
        with pytest.raises(TypeError, match=r"^model must "):
            ask(tied, [[0, 1, 1, 0]])


@pytest.mark.parametrize(
    ("model", "rules", "text"), [(3, TiedRules, "model must be a class"), (Tied, 3, "rules must be")]
)
def test_wrong_registration(model, rules, text):
    with pytest.raises(TypeError, match=f"^{text}"):
        fastvi.register(model, rules)


def test_rules_are_made_once_and_subclasses_have_them(tied):
    assert rules_of(tied) is rules_of(tied)

    class Same(Tied):
        pass

    assert isinstance(rules_of(Same(1.0, 3)), TiedRules)
