"""Limits of states and memory: what every public function does with them, and with nonsense."""

from __future__ import annotations

import numpy as np
import pytest

import fastvi

BITS, REALS = np.array([[0, 1]], np.uint8), np.array([[0.5, 1.0]])
NETWORK = fastvi.SigmoidBeliefNetwork([[1.0], [0.5]], [0.0, 0.0], [0.0])
MACHINE = fastvi.BoltzmannMachine([[0.0, 1.0], [1.0, 0.0]], [0.0, 0.0])
RESTRICTED = fastvi.RestrictedBoltzmannMachine([[1.0], [0.5]], [0.0, 0.0], [0.0])
LINEAR = fastvi.LinearGaussian([[1.0], [0.5]], [0.0, 0.0], 1.0)
TABLE = fastvi.JointTable([[0.5, 0.25], [0.25, 0.0]])
DECODER = fastvi.NeuralDecoder([([[1.0], [0.5]], [0.0, 0.0])], "tanh", fastvi.Normal([0.0], [1.0]))
CODING = fastvi.BinarySparseCoding([[1.0], [0.5]], [0.0, 0.0], 1.0, [0.0])
Q, PAIR, NORMAL = fastvi.Bernoulli([0.0]), fastvi.Bernoulli([0.0, 0.0]), fastvi.Normal([0.0], [1.0])

# every public function that takes the two, with every kind of model that it takes
CALLS = {
    "log_marginal": lambda **more: fastvi.log_marginal(NETWORK, BITS, **more),
    "log_marginal of a closed form": lambda **more: fastvi.log_marginal(LINEAR, REALS, **more),
    "log_marginal by quadrature": lambda **more: fastvi.log_marginal(DECODER, BITS, **more),
    "log_marginal of a restricted machine": lambda **more: fastvi.log_marginal(RESTRICTED, BITS, **more),
    "log_marginal of a table": lambda **more: fastvi.log_marginal(TABLE, **more),
    "log_marginal_gradient": lambda **more: fastvi.log_marginal_gradient(NETWORK, BITS, **more),
    "gradient of a closed form": lambda **more: fastvi.log_marginal_gradient(LINEAR, REALS, **more),
    "log_marginal_gradient of a table": lambda **more: fastvi.log_marginal_gradient(TABLE, **more),
    "exact_posterior": lambda **more: fastvi.exact_posterior(NETWORK, BITS, **more),
    "log_partition": lambda **more: fastvi.log_partition(MACHINE, **more),
    "elbo": lambda **more: fastvi.elbo(NETWORK, BITS, Q, **more),
    "elbo by a formula": lambda **more: fastvi.elbo(CODING, REALS, Q, **more),
    "elbo of real latents": lambda **more: fastvi.elbo(LINEAR, REALS, NORMAL, **more),
    "elbo by sampling": lambda **more: fastvi.elbo(NETWORK, BITS, Q, num_samples=3, **more),
    "kl_to_posterior": lambda **more: fastvi.kl_to_posterior(NETWORK, BITS, Q, **more),
    "kl_to_posterior of a closed form": lambda **more: fastvi.kl_to_posterior(LINEAR, REALS, NORMAL, **more),
    "kl_from_posterior": lambda **more: fastvi.kl_from_posterior(NETWORK, BITS, Q, **more),
    "kl_from_posterior of a product": lambda **more: fastvi.kl_from_posterior(RESTRICTED, BITS, Q, **more),
    "chi_square_bound": lambda **more: fastvi.chi_square_bound(NETWORK, BITS, Q, **more),
}  # fmt: skip


class Odd:
    """An index that no format string takes a comma for."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("argument", ["memory_limit", "max_states"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("1 GiB", TypeError), (True, TypeError),
     (np.ones(2), TypeError), (object(), TypeError)],
)  # fmt: skip
def test_nonsense_is_refused(name, argument, value, error):
    with pytest.raises(error, match=f"^{argument} must be an int >= 1, got ") as caught:
        CALLS[name](**{argument: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CALLS)
def test_what_suffices_changes_nothing(name):
    """Anything that is an int will do, as long as it is large."""
    CALLS[name](memory_limit=Odd(1 << 40), max_states=Odd(1 << 40))


def test_the_words_of_an_odd_int():
    with pytest.raises(ValueError, match=r"^memory_limit is 1,000 bytes, but 1 data under 2\^1 states of 2"):
        fastvi.log_marginal(NETWORK, BITS, memory_limit=Odd(1000))
    with pytest.raises(ValueError, match=r"^max_states is 1 \(2\^40 unless raised\), but the model has 2\^1"):
        fastvi.log_marginal(NETWORK, BITS, max_states=Odd(1))


def test_a_closed_form_has_a_limit_too():
    with pytest.raises(ValueError, match=r"^memory_limit is 10 bytes, but 1 data of 2 pixels would take "):
        fastvi.log_marginal(LINEAR, REALS, memory_limit=10)


def test_formulas_and_samples_have_none():
    fastvi.elbo(CODING, REALS, Q, memory_limit=1, max_states=1)
    fastvi.elbo(NETWORK, BITS, Q, num_samples=3, memory_limit=1, max_states=1)


@pytest.mark.parametrize("question", ["elbo", "chi_square_bound"])
def test_log_z_of_a_bound_has_the_callers_limits(question):
    """The data see everything, so that no states but those of log Z are summed."""
    q, seen = PAIR, np.ones(2, bool)
    with pytest.raises(ValueError, match=r"^max_states is 3 .*; log Z under 2\^2 states"):
        getattr(fastvi, question)(MACHINE, BITS, q, observed=seen, max_states=3)


def test_sizes_of_a_bound_are_checked_before_log_z(monkeypatch):
    """Nothing is summed before all is found to be small enough."""
    from fastvi.inputs import variational

    monkeypatch.setattr(variational, "exact_log_z", lambda *args: pytest.fail("log Z was summed"))
    with pytest.raises(ValueError, match=r"^max_states is 3 .*; 1 data under 2\^2 states"):
        fastvi.chi_square_bound(MACHINE, None, PAIR, max_states=3)


@pytest.mark.parametrize("function", [fastvi.log_marginal, fastvi.log_marginal_gradient])
def test_a_table_has_no_checkpoint(function, tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(ValueError, match=r"^checkpoint must be None for a JointTable, .*, got ") as caught:
        function(TABLE, checkpoint=path)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def _out_of_reach():
    machine = fastvi.BoltzmannMachine(1.0 - np.eye(60), np.zeros(60))
    restricted = fastvi.RestrictedBoltzmannMachine(np.zeros((64, 64)), np.zeros(64), np.zeros(64))
    deep = fastvi.SigmoidBeliefNetwork(np.zeros((2, 60)), np.zeros(2), prior=machine)
    deeper = fastvi.SigmoidBeliefNetwork(np.zeros((2, 2)), np.zeros(2), prior=deep)
    return {"machine": machine, "restricted": restricted, "deep": deep, "deeper": deeper}


@pytest.mark.parametrize("name", _out_of_reach())
@pytest.mark.parametrize("num", [0, 3, 1 << 40])  # refused before any room is made
def test_draws_out_of_reach_are_refused(name, num):
    with pytest.raises(ValueError, match=r"^model must have at most 2\^40 states to be drawn from") as caught:
        _out_of_reach()[name].sample(num, 0)
    assert "Gibbs sampling" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_draws_need_the_smaller_layer_only():
    model = fastvi.RestrictedBoltzmannMachine(np.zeros((64, 2)), np.zeros(64), np.zeros(2))
    z, x = model.sample(3, 0)
    assert z.shape == (3, 2)
    assert x.shape == (3, 64)
