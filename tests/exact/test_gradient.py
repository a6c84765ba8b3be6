"""Gradients of exact log p(x) against finite differences and against automatic differentiation."""

from __future__ import annotations

import functools
import logging

import naive
import numpy as np
import optional
import pytest
from cases import (
    NEVER,
    far_off_data,
    linear_gaussian,
    machine,
    masks_of,
    network,
    random_bits,
    random_data,
    restricted,
    sparse_coding,
    strong_deep_network,
    strong_network,
    strong_restricted,
    strongly_clamped,
)
from hypothesis import given
from hypothesis import strategies as st
from tolerances import posterior_rounding, rounding

import fastvi
from fastvi.engine.run import slices

SMALL = {
    "a machine": lambda: machine(5),
    "a machine with hard constraints": lambda: machine(5, 4, exclusive=0.3),
    "a restricted machine": lambda: restricted(4, 3),
    "more latents than pixels": lambda: restricted(3, 4),
    "sparse coding": lambda: sparse_coding(4, 3),
    "a network": lambda: network(4, 3),
    "network above network": lambda: network(4, 3, prior=network(3, 2, 1)),
    "three layers": lambda: network(3, 3, prior=network(3, 2, 1, prior=network(2, 2, 2))),
    "machine above network": lambda: network(4, 3, prior=machine(3, 1)),
    "machine above two networks": lambda: network(3, 3, prior=network(3, 4, 1, prior=machine(4, 1))),
    "hard constraints above": lambda: network(4, 4, prior=machine(4, 2, exclusive=0.4)),
    "one latent": lambda: network(2, 1),
    "one unit": lambda: machine(1),
    "no pixels": lambda: network(0, 3),
    "linear Gaussian": lambda: linear_gaussian(5, 2, noise_std=0.8),
}
each_small_model = pytest.mark.parametrize("name", SMALL)


def moved(model, name, index, by):
    """The model with one number of one parameter changed; a coupling keeps its mirror image."""
    arrays = {key: array.copy() for key, array in model.arrays().items()}
    arrays[name][index] += by
    if name.endswith("couplings"):
        arrays[name][index[::-1]] += by
    return type(model).from_arrays(arrays)


def value(model, x, weights, observed):
    return float(weights @ fastvi.log_marginal(model, x, observed=observed))


def slack_of_value(model, x, weights):
    if isinstance(model, fastvi.LinearGaussian):
        return 1e-13 * np.abs(weights).sum() * (1 + np.abs(x).max())
    return np.abs(weights).sum() * posterior_rounding(model, x)


def entries(gradient):
    """Each number of each parameter; of couplings one of two mirror images, with the sum of both."""
    for name, array in gradient.items():
        for index in np.ndindex(array.shape):
            if not name.endswith("couplings"):
                yield name, index, array[index]
            elif index[0] < index[1]:
                yield name, index, array[index] + array[index[::-1]]


def check_by_differences(model, x, weights, observed, step=1e-4):
    """Central differences with two steps: their errors are as 4 to 1, so that the difference is above
    the smaller one; and rounding, divided by the step.
    """
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=weights, observed=observed)
    arrays = model.arrays()
    assert {name: array.shape for name, array in gradient.items()} == {
        name: array.shape for name, array in arrays.items() if array.dtype.kind == "f"
    }
    slack = slack_of_value(model, x, weights)
    for name, index, found in entries(gradient):
        if arrays[name][index] == NEVER:
            assert found == 0
            continue
        one, two = (
            (value(moved(model, name, index, h), x, weights, observed)
             - value(moved(model, name, index, -h), x, weights, observed)) / (2 * h)
            for h in (step, 2 * step)
        )  # fmt: skip
        assert abs(found - one) <= abs(one - two) + 8 * slack / step, (name, index)


WEIGHTS = np.array([1.0, -0.7, 0.0, 2.5])


@pytest.mark.slow_without_jit
@each_small_model
@pytest.mark.parametrize("mask", ["none", "shared", "each"])
def test_central_differences(name, mask):
    model = SMALL[name]()
    x = random_data(model, 4)
    check_by_differences(model, x, WEIGHTS, masks_of(model, 4)[mask])


@given(st.sampled_from([n for n in SMALL if n != "linear Gaussian"]), st.integers(0, 2**32), st.data())
def test_differences_in_a_random_direction(name, seed, data):
    """The sum of gradient times change is the change of the result."""
    model, rng = SMALL[name](), np.random.default_rng(seed)
    x, weights = random_data(model, 3, seed), rng.normal(size=3)
    observed = data.draw(st.sampled_from([None, *masks_of(model, 3).values()]))
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=weights, observed=observed)
    change = {key: rng.normal(size=array.shape) for key, array in gradient.items()}
    for key, array in change.items():
        if key.endswith("couplings"):
            array += array.T
            np.fill_diagonal(array, 0.0)

    def at(step):
        arrays = dict(model.arrays())
        for key, array in change.items():
            arrays[key] = arrays[key] + step * array
        return value(type(model).from_arrays(arrays), x, weights, observed)

    one, two = ((at(h) - at(-h)) / (2 * h) for h in (1e-4, 2e-4))
    found = sum((gradient[key] * change[key]).sum() for key in gradient)
    assert abs(found - one) <= abs(one - two) + 8e4 * slack_of_value(model, x, weights)


# ---- automatic differentiation ----------------------------------------------------------------------------


def torch_bits(torch, d):
    return torch.tensor(naive.states(d), dtype=torch.float64).reshape(1 << d, d)


def torch_log_prior(torch, p, prefix, model):
    """log p(z) of all states of the latents."""
    z = torch_bits(torch, model.num_latents)
    if not model.is_deep:
        logits = p[f"{prefix}prior_logits"]
        return z @ logits - torch.nn.functional.softplus(logits).sum()
    prefix += "prior_"
    if isinstance(model.prior, fastvi.BoltzmannMachine):
        values = torch_energy(torch, p, prefix, z)
        return values - torch.logsumexp(values, 0)
    joint = torch_likelihood(torch, p, prefix, z, None) + torch_log_prior(torch, p, prefix, model.prior)
    return torch.logsumexp(joint, 1)


def torch_energy(torch, p, prefix, z):
    """z^T J z / 2 + h^T z; a pair that must not be on makes -inf without making NaN of a gradient."""
    couplings = p[f"{prefix}couplings"]
    never = torch.isneginf(couplings)
    finite = torch.where(never, torch.zeros_like(couplings), couplings)
    values = 0.5 * torch.einsum("si,ij,sj->s", z, finite, z) + z @ p[f"{prefix}bias"]
    clashes = torch.einsum("si,ij,sj->s", z, never.to(z), z) > 0
    return torch.where(clashes, torch.full_like(values, NEVER), values)


def torch_likelihood(torch, p, prefix, x, observed):
    """log p(x_n | z) of all states, (N, 2^d)."""
    weights, bias = p[f"{prefix}weights"], p[f"{prefix}bias"]
    eta = torch_bits(torch, weights.shape[1]) @ weights.T + bias
    terms = torch.nn.functional.logsigmoid(torch.where(x[:, None] == 1, eta, -eta))
    return terms.sum(-1) if observed is None else torch.where(observed[:, None], terms, 0.0).sum(-1)


def torch_log_marginal(torch, model, p, x, observed):
    every = torch.ones_like(x, dtype=torch.bool)
    seen = every if observed is None else torch.tensor(np.broadcast_to(observed, x.shape).copy())
    if isinstance(model, fastvi.SigmoidBeliefNetwork):
        joint = torch_likelihood(torch, p, "", x, seen) + torch_log_prior(torch, p, "", model)
        return torch.logsumexp(joint, 1)
    if isinstance(model, fastvi.BoltzmannMachine):
        z = torch_bits(torch, model.num_units)
        values = torch_energy(torch, p, "", z)
        agree = ((z == x[:, None]) | ~seen[:, None]).all(-1)
        clamped = torch.where(agree, values, torch.full_like(values, NEVER))
        return torch.logsumexp(clamped, 1) - torch.logsumexp(values, 0)
    if isinstance(model, fastvi.RestrictedBoltzmannMachine):
        h = torch_bits(torch, model.num_latents)
        fields = h @ p["weights"].T + p["visible_bias"]
        unseen = torch.nn.functional.softplus(fields)
        base = h @ p["hidden_bias"]
        terms = torch.where(seen[:, None], x[:, None] * fields, unseen)
        return torch.logsumexp(terms.sum(-1) + base, 1) - torch.logsumexp(unseen.sum(-1) + base, 0)
    std = p["noise_std"]
    if isinstance(model, fastvi.LinearGaussian):
        out = []
        for row, kept in zip(x, seen, strict=True):
            w = p["weights"][kept]
            if not len(w):
                out.append(0.0 * p["noise_std"])
                continue
            covariance = w @ w.T + std**2 * torch.eye(len(w), dtype=torch.float64)
            normal = torch.distributions.MultivariateNormal(p["bias"][kept], covariance)
            out.append(normal.log_prob(row[kept]))
        return torch.stack(out)
    z = torch_bits(torch, model.num_latents)
    residual = torch.where(seen[:, None], x[:, None] - z @ p["weights"].T - p["bias"], 0.0) / std
    count = seen.sum(-1, keepdim=True).to(x)
    likelihood = -0.5 * residual.square().sum(-1) - count * (torch.log(std) + 0.5 * np.log(2 * np.pi))
    logits = p["prior_logits"]
    joint = likelihood + z @ logits - torch.nn.functional.softplus(logits).sum()
    return torch.logsumexp(joint, 1)


def torch_gradient(model, x, weights, observed):
    torch = optional.package("torch")
    p = {
        name: torch.tensor(array.copy(), requires_grad=True)
        for name, array in model.arrays().items()
        if array.dtype.kind == "f"
    }
    data = torch.tensor(np.asarray(x, np.float64))
    total = (torch.tensor(weights) * torch_log_marginal(torch, model, p, data, observed)).sum()
    found = torch.autograd.grad(total, list(p.values()), materialize_grads=True)
    gradient = {name: array.numpy().copy() for name, array in zip(p, found, strict=True)}
    for name, array in gradient.items():
        if name.endswith("couplings"):
            np.fill_diagonal(array, 0.0)  # z_i^2 = z_i, which the diagonal of 0 leaves to the bias
    return gradient, float(total.detach())


def check_by_torch(model, x, weights, observed, slack=None):
    expected, total = torch_gradient(model, x, weights, observed)
    found = fastvi.log_marginal_gradient(model, x, data_weights=weights, observed=observed)
    assert abs(total - value(model, x, weights, observed)) <= 1e-12 * (1 + abs(total)) * np.abs(weights).sum()
    assert found.keys() == expected.keys()
    largest = max(np.abs(array).max(initial=1.0) for array in expected.values())
    slack = 1e-12 if slack is None else slack
    for name, array in expected.items():
        assert np.abs(found[name] - array).max(initial=0) <= slack * largest * np.abs(weights).sum(), name


LARGER = {
    "several outer states": lambda: machine(11, exclusive=0.1),
    "an odd number": lambda: machine(9),
    "sparse coding with several outer states": lambda: sparse_coding(5, 11),
    "a restricted machine with several tiles": lambda: restricted(14, 11),
    "its layers exchanged": lambda: restricted(9, 12),
    "a network with several tiles": lambda: network(13, 11),
    "a deep one with several tiles": lambda: network(7, 10, prior=network(10, 6, 1)),
    "a machine above with several tiles": lambda: network(7, 10, prior=machine(10, 1, exclusive=0.2)),
}
LARGER_PARAMETERS = [
    name if name in ("several outer states", "a network with several tiles")
    else pytest.param(name, marks=pytest.mark.slow_without_jit)
    for name in LARGER
]  # fmt: skip


@pytest.mark.peers
@pytest.mark.parametrize("name", [*SMALL, *LARGER_PARAMETERS])
def test_automatic_differentiation(name):
    model = {**SMALL, **LARGER}[name]()
    x = random_data(model, 4)
    for observed in masks_of(model, 4).values():
        check_by_torch(model, x, WEIGHTS, observed)


@pytest.mark.peers
@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", LARGER)
def test_many_data(name):
    """More data than a block of tables, no multiple of anything."""
    model = LARGER[name]()
    x = random_data(model, 137)
    check_by_torch(model, x, np.random.default_rng(0).normal(size=137), masks_of(model, 1)["shared"])


# ---- where products underflow -----------------------------------------------------------------------------

LOST = [strong_network, strong_deep_network, strong_restricted, strongly_clamped, far_off_data]


@pytest.mark.peers
@pytest.mark.parametrize("case", LOST)
def test_data_that_products_cannot_hold(case, caplog):
    model, x, observed = case()
    weights = np.random.default_rng(2).normal(size=len(x))
    with caplog.at_level(logging.INFO, logger="fastvi"):
        check_by_torch(model, x, weights, observed, 1e-11)
    if case is not far_off_data:
        assert "data are summed again in log space" in caplog.text


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("case", LOST[:2])
def test_differences_where_products_underflow(case):
    """As above without torch, for a few numbers of each parameter."""
    model, x, _ = case()
    gradient = fastvi.log_marginal_gradient(model, x)
    weights, rng = np.ones(len(x)), np.random.default_rng(0)
    chosen = list(entries(gradient))
    for index in rng.choice(len(chosen), 20, replace=False):
        name, place, found = chosen[index]
        if model.arrays()[name][place] == NEVER:
            continue
        one, two = (
            (value(moved(model, name, place, h), x, weights, None)
             - value(moved(model, name, place, -h), x, weights, None)) / (2 * h)
            for h in (1e-3, 2e-3)
        )  # fmt: skip
        assert abs(found - one) <= abs(one - two) + 8e3 * len(x) * rounding(model)


@pytest.mark.slow_without_jit
def test_easy_and_lost_data_together():
    """The log-space part adds to the products of the same waves."""
    model, x, _ = strong_network()
    easy = model.sample(5, 0)[1]
    both = fastvi.log_marginal_gradient(model, np.concatenate([x, easy]))
    parts = [fastvi.log_marginal_gradient(model, part) for part in (x, easy)]
    for name, array in both.items():
        assert np.allclose(array, parts[0][name] + parts[1][name], rtol=1e-11, atol=1e-11)


# ---- data weights, groups, chunks -------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_gradients_add_over_data(name):
    model = SMALL[name]()
    x, weights = random_data(model, 4), WEIGHTS
    for observed in masks_of(model, 4).values():
        whole = fastvi.log_marginal_gradient(model, x, data_weights=weights, observed=observed)
        rows = [None if observed is None else np.broadcast_to(observed, x.shape)[n] for n in range(4)]
        single = [fastvi.log_marginal_gradient(model, x[[n]], observed=rows[n]) for n in range(4)]
        for key, array in whole.items():
            total = sum(weights[n] * single[n][key] for n in range(4))
            assert np.allclose(array, total, rtol=1e-12, atol=1e-11), key
        plain = fastvi.log_marginal_gradient(model, x, observed=observed)
        ones = fastvi.log_marginal_gradient(model, x, observed=observed, data_weights=np.ones(4))
        assert all(plain[key].tobytes() == ones[key].tobytes() for key in plain)


@pytest.mark.parametrize("name", SMALL)
def test_weights_of_zero(name):
    model = SMALL[name]()
    x = random_data(model, 3)
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=np.zeros(3))
    assert all((array == 0).all() for array in gradient.values())
    some = fastvi.log_marginal_gradient(model, x, data_weights=[0.0, 1.0, 0.0])
    one = fastvi.log_marginal_gradient(model, x[[1]])
    for key, array in some.items():
        assert np.allclose(array, one[key], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", SMALL)
def test_no_data(name):
    model = SMALL[name]()
    gradient = fastvi.log_marginal_gradient(model, np.empty((0, model.num_pixels)))
    shapes = {key: array.shape for key, array in model.arrays().items() if array.dtype.kind == "f"}
    assert {key: array.shape for key, array in gradient.items()} == shapes
    assert all((array == 0).all() for array in gradient.values())


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    "name", ["several outer states", "a deep one with several tiles", "its layers exchanged"]
)
def test_chunks_of_any_size(name, monkeypatch):
    model = LARGER[name]()
    x, observed = random_data(model, 7), np.arange(model.num_pixels) % 3 > 0
    whole = fastvi.log_marginal_gradient(model, x, observed=observed)
    monkeypatch.setattr(slices, "CHUNK_DATA", 3)
    for key, array in fastvi.log_marginal_gradient(model, x, observed=observed).items():
        assert np.allclose(array, whole[key], rtol=1e-12, atol=1e-12)


def test_at_the_maximum_the_gradient_vanishes():
    """A machine's moments are those of the data that it was made from."""
    model = machine(4)
    x = np.array(naive.states(4))
    weights = np.exp(fastvi.log_marginal(model, x))
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=weights)
    assert all(np.abs(array).max() <= 1e-14 for array in gradient.values())
    deep = SMALL["machine above network"]()
    x = np.array(naive.states(4))
    gradient = fastvi.log_marginal_gradient(deep, x, data_weights=np.exp(fastvi.log_marginal(deep, x)))
    assert all(np.abs(array).max() <= 1e-14 for array in gradient.values())


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", [*LARGER, "lost"])
def test_same_bits_for_any_number_of_threads(same_bits, name):
    model, x, observed = strong_network() if name == "lost" else (LARGER[name](), None, None)
    if x is None:
        x, observed = random_data(model, 37), np.arange(model.num_pixels) % 4 > 0
    same_bits(lambda: fastvi.log_marginal_gradient(model, x, observed=observed))


@pytest.mark.parametrize("name", [*SMALL, *LARGER_PARAMETERS])
def test_progress_counts_every_pass(name):
    model, seen = {**SMALL, **LARGER}[name](), []
    x = random_data(model, 2)
    for observed in (None, np.arange(model.num_pixels) % 3 > 0):
        fastvi.log_marginal_gradient(
            model, x, observed=observed, progress=lambda *counts: seen.append(counts)
        )
        if seen:  # nothing is enumerated where all has a closed form
            assert seen[-1][0] == seen[-1][1]


# ---- what has no gradient ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [2, 9, 10])
def test_a_datum_of_probability_zero(seen):
    couplings = np.zeros((10, 10))
    couplings[0, 1] = couplings[1, 0] = NEVER
    model = fastvi.BoltzmannMachine(couplings, np.ones(10))
    x, observed = np.zeros((3, 10), np.uint8), np.arange(10) < seen
    x[1, :2] = 1
    with pytest.raises(ValueError, match=r"^x must have a positive probability"):
        fastvi.log_marginal_gradient(model, x, observed=observed)
    # one that counts for nothing is as good as none
    gradient = fastvi.log_marginal_gradient(model, x, observed=observed, data_weights=[1.0, 0.0, 1.0])
    without = fastvi.log_marginal_gradient(model, x[[0, 2]], observed=observed)
    for key, array in gradient.items():
        assert np.allclose(array, without[key], rtol=1e-13, atol=1e-13)


def test_a_table():
    table = fastvi.JointTable([[0.125, 0.25], [0.5, 0.0], [0.0, 0.125]])
    gradient = fastvi.log_marginal_gradient(table, [0, 2, 0], data_weights=[1.0, 3.0, -2.0])
    assert gradient.keys() == {"probabilities"}
    assert np.allclose(gradient["probabilities"], [[-1 / 0.375] * 2, [0, 0], [3 / 0.125] * 2], rtol=1e-15)
    everything = fastvi.log_marginal_gradient(table)["probabilities"]
    assert np.allclose(everything * table.probabilities.sum(axis=1, keepdims=True), 1.0)
    empty = fastvi.JointTable([[1.0, 0.0], [0.0, 0.0]])
    assert (fastvi.log_marginal_gradient(empty, [0])["probabilities"] == [[1, 1], [0, 0]]).all()
    with pytest.raises(ValueError, match=r"^x must have a positive probability"):
        fastvi.log_marginal_gradient(empty, [0, 1])


def test_a_log_joint_has_no_parameters():
    model = fastvi.LogJoint(lambda x, z: -z.sum(axis=-1), 3)
    with pytest.raises(TypeError, match=r"^model must"):
        fastvi.log_marginal_gradient(model, np.zeros((1, 0)))


@pytest.mark.peers
def test_linear_gaussian_sums_out_what_is_not_seen():
    model = linear_gaussian(5, 2, noise_std=0.8)
    x = np.where(random_bits(6, 5, 2).astype(bool), random_data(model, 6), np.nan)
    observed = np.isfinite(x)
    found = fastvi.log_marginal_gradient(model, x, observed=observed)
    assert all(np.isfinite(array).all() for array in found.values())
    check_by_torch(model, np.nan_to_num(x), np.ones(6), observed)


WRONG = [
    ("too few weights", {"data_weights": [1.0]}, ValueError, r"^data_weights must have shape \(2,\)"),
    ("NaN weight", {"data_weights": [1.0, np.nan]}, ValueError, r"^data_weights must be finite, got nan"),
    ("weights as text", {"data_weights": ["a", "b"]}, TypeError, r"^data_weights must be an array"),
    ("mask of numbers", {"observed": [1, 1, 1, 1]}, TypeError, r"^observed must have dtype bool"),
    ("cuda", {"device": "cuda"}, RuntimeError, r"^device='cuda' is not available"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "exception", "message"), [c[1:] for c in WRONG], ids=[c[0] for c in WRONG]
)
def test_wrong_input(options, exception, message):
    with pytest.raises(exception, match=message):
        fastvi.log_marginal_gradient(SMALL["a network"](), np.zeros((2, 4)), **options)


def test_not_a_model():
    with pytest.raises(TypeError, match=r"^model must be"):
        fastvi.log_marginal_gradient(functools.partial(int), [[0]])
