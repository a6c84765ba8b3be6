"""An estimate's bits are those of its datum alone: not of how many are asked about, nor of the device that
device="auto" picks.
"""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
import strategies
from cases import network, random_bits, restricted
from hypothesis import given
from hypothesis import strategies as st

import fastvi
from fastvi.engine.cuda.device import use
from fastvi.engine.importance import softplus_target
from fastvi.engine.importance.proposals import Ancestral, AncestralDraws


def bits(estimate):
    """Of each datum what every array says of it."""
    arrays = [getattr(estimate, field.name) for field in fields(estimate) if field.name != "num_samples"]
    return [b"".join(array[n].tobytes() for array in arrays) for n in range(len(estimate.log_marginal))]


# weights of 300 take pixels out of the products' range
ELEMENTS = st.one_of(st.floats(-4, 4), st.sampled_from([-300.0, 0.0, 300.0]))


@st.composite
def models(draw, kinds=("network", "deep network", "machine above", "restricted machine")):
    """A model whose softplus sums are sampled, of 1 to 4 latents and up to 5 pixels."""
    kind, num_latents = draw(st.sampled_from(kinds)), draw(st.integers(1, 4))
    num_pixels = draw(st.integers(kind == "restricted machine", 5))
    weights = draw(strategies.floats((num_pixels, num_latents), ELEMENTS))
    bias = draw(strategies.floats(num_pixels, ELEMENTS))
    above = draw(strategies.floats(num_latents, st.floats(-4, 4)))
    if kind == "network":
        return fastvi.SigmoidBeliefNetwork(weights, bias, above)
    if kind == "restricted machine":
        return fastvi.RestrictedBoltzmannMachine(weights, bias, above)
    if kind == "machine above":
        couplings = np.subtract.outer(above, above)
        prior = fastvi.BoltzmannMachine(np.abs(couplings), above)
    else:
        prior = fastvi.SigmoidBeliefNetwork(np.stack([above, -above], axis=1), above, [0.5, -1.0])
    return fastvi.SigmoidBeliefNetwork(weights, bias, prior=prior)


@pytest.mark.slow_without_jit
@given(models(), st.data())
def test_a_batch_and_its_prefix(model, data):
    """16 states at most: from 1 datum of 1 sample, fewer than a table holds, to 5 of 20, more than enough."""
    x = data.draw(strategies.bits((5, model.num_pixels)))
    observed = data.draw(st.one_of(st.none(), st.just(np.arange(model.num_pixels) % 2 == 0)))
    options = {"num_samples": data.draw(st.integers(1, 20)), "seed": 1, "observed": observed}
    q = fastvi.Bernoulli(np.linspace(-1.0, 1.0, model.num_latents))
    whole = bits(fastvi.estimate_log_marginal(model, x, proposal=q, normalized=False, **options))
    for num in (1, 2, 4):
        part = fastvi.estimate_log_marginal(model, x[:num], proposal=q, normalized=False, **options)
        assert bits(part) == whole[:num]
    sampled = {"num_samples": options["num_samples"], "observed": observed, "normalized": False}
    for decomposition in ("joint", "log_ratio"):
        many = fastvi.elbo(model, x, q, decomposition=decomposition, **sampled)
        few = fastvi.elbo(model, x[:1], q, decomposition=decomposition, **sampled)
        assert few.value.tobytes() == many.value[:1].tobytes()
        assert few.std_error.tobytes() == many.std_error[:1].tobytes()


@pytest.mark.slow_without_jit
@given(models(kinds=("network", "deep network", "machine above")), st.data())
def test_auto_where_a_gpu_cannot(model, data):
    """A GPU that nothing is asked of: it draws from no mixture, and samples no prior that is a model."""
    x = data.draw(strategies.bits((3, model.num_pixels)))
    shift = np.linspace(-1.0, 1.0, model.num_latents)
    q = fastvi.Mixture([fastvi.Bernoulli(shift), fastvi.Bernoulli(-shift)], [0.5, 0.5])
    options = {"proposal": q, "num_samples": data.draw(st.integers(1, 20)), "seed": 2}
    want = bits(fastvi.estimate_log_marginal(model, x, **options))
    with use(object()):
        assert bits(fastvi.estimate_log_marginal(model, x, device="auto", **options)) == want


@pytest.mark.slow_without_jit
@given(models(), st.data())
def test_a_table_of_states_is_what_it_stands_in_for(model, data):
    x = data.draw(strategies.bits((2, model.num_pixels)))
    options = {"num_samples": 40, "seed": 5, "normalized": False}
    q = fastvi.Uniform(model.num_latents)
    with_table = bits(fastvi.estimate_log_marginal(model, x, proposal=q, **options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softplus_target, "_TABLE_LATENTS", 0)
        assert bits(fastvi.estimate_log_marginal(model, x, proposal=q, **options)) == with_table


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("d", "num_data"), [(13, 3), (17, 1)])
def test_a_table_of_several_tasks(monkeypatch, same_bits, d, num_data):
    model, x = network(33, d, seed=d), random_bits(num_data, 33)
    options = {"proposal": "prior", "num_samples": 1 << d, "seed": 3}
    found = []
    for most in (20, 0):
        monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", most)
        found.append(bits(same_bits(lambda: fastvi.estimate_log_marginal(model, x, **options))))
    assert found[0] == found[1]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_draws_of_layers_for_any_number_of_samples(d_top, d, seed):
    """Logits of a layer that differ in their last bit would flip a draw once in 10^16."""
    rng = np.random.default_rng(seed)
    layer = rng.normal(size=(d, d_top)), rng.normal(size=d)
    draws = AncestralDraws(Ancestral(rng.normal(size=d_top), (layer,)), 1)
    z = rng.integers(0, 2, (9, d_top)).astype(np.float64)
    (packed,) = draws._layers
    whole = packed.product(z)
    # a sum of d_top terms and a bias, in any order
    slack = 2.0**-52 * (d_top + 1) * (np.abs(layer[0]).sum(axis=1) + np.abs(layer[1]))
    assert (np.abs(whole - [(layer[0] * row).sum(axis=1) + layer[1] for row in z]) <= slack).all()
    for num in (1, 2, 5):
        assert packed.product(z[:num]).tobytes() == whole[:num].tobytes()


@pytest.mark.parametrize("num_latents", [3, 8, 11])
def test_log_probabilities_of_some_states_or_many(num_latents):
    """Of a machine some of whose visible units were not seen: BLAS was asked for <t, z>."""
    rng = np.random.default_rng(0)
    model = restricted(9, num_latents, rng)
    x, z = rng.integers(0, 2, (3, 9)), rng.integers(0, 2, (50, 3, num_latents))
    posterior = fastvi.exact_posterior(model, x, observed=np.arange(9) < 7)
    whole = posterior.log_prob(z)
    for num, first in itertools.product((1, 2, 5), range(0, 40, 7)):
        part = slice(first, first + num)
        assert posterior.log_prob(z[part]).tobytes() == whole[part].tobytes()
    assert posterior.log_prob(z[:, None]).tobytes() == whole.tobytes()
