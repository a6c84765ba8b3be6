"""Boltzmann machines, restricted ones and binary sparse coding: log joints, draws, files, wrong input.

A row of a table of wrong input is (name, call, exception, pattern of the message), one line a row.
"""

from __future__ import annotations

import copy
import math
import os
import pickle

import naive
import numpy as np
import pytest
import strategies
from cases import assert_same, machine, restricted, sparse_coding
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tolerances import share_error

import fastvi
from fastvi.models import binary_sparse_coding, boltzmann_machine, restricted_boltzmann_machine

NAN, INF = float("nan"), float("inf")


# ---- small models ----------------------------------------------------------------------------------------


MODELS = {
    "machine": machine(4),
    "machine with exclusions": fastvi.BoltzmannMachine([[-0.0, -INF], [-INF, 0.0]], [1e3, -1e3]),
    "machine of one unit": fastvi.BoltzmannMachine([[0.0]], [0.3]),
    "restricted": restricted(5, 3),
    "coding": sparse_coding(5, 3, noise_std=0.5),
    "coding without pixels": fastvi.BinarySparseCoding(np.zeros((0, 2)), [], 1e-3, [1e3, -1e3]),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@st.composite
def codings_with_data(draw, max_pixels=4, max_latents=3, max_data=3):
    num_pixels, d = draw(st.integers(0, max_pixels)), draw(st.integers(1, max_latents))
    model = fastvi.BinarySparseCoding(
        draw(strategies.floats((num_pixels, d))),
        draw(strategies.floats(num_pixels)),
        draw(st.floats(1e-3, 1e3)),
        draw(strategies.floats(d)),
    )
    return model, draw(strategies.floats((draw(st.integers(0, max_data)), num_pixels)))


def reach(*arrays):
    """Sum of |finite values|: what each rounding of a sum of them is relative to."""
    return sum(np.abs(a[np.isfinite(a)]).sum() for a in map(np.asarray, arrays))


# ---- log joint of a Boltzmann machine --------------------------------------------------------------------


@given(strategies.boltzmann_machines())
def test_log_joint_of_a_machine_is_its_definition(model):
    z = naive.states(model.num_units)
    expected = [naive.bm_log_joint(model.couplings.tolist(), model.bias.tolist(), state) for state in z]
    got = model.log_joint(None, z)
    assert got.shape == (len(z),)
    assert got.dtype == np.float64
    atol = 2**-53 * (2 * model.num_units + 4) * reach(model.couplings, model.bias) + 1e-300  # denormals
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
    assert got[0] == 0


@given(strategies.boltzmann_machines(max_units=4))
def test_x_is_a_copy_of_z(model):
    z = np.array(naive.states(model.num_units))
    got = model.log_joint(z[:, None], z[None])
    expected = np.full((len(z), len(z)), -np.inf)
    np.fill_diagonal(expected, model.log_joint(None, z))
    np.testing.assert_array_equal(got, expected)


def test_units_that_exclude_each_other():
    model = fastvi.BoltzmannMachine([[0, -INF, 1], [-INF, 0, 2], [1, 2, 0]], [0.5, 0.25, 0.125])
    z = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]]
    np.testing.assert_array_equal(model.log_joint(None, z), [0, 0.5, -INF, 2.375, -INF])


def test_leading_axes_of_a_machine_broadcast():
    model, z = machine(4), np.array(naive.states(4))
    values = model.log_joint(None, z)
    for k in range(16):
        one = model.log_joint(None, z[k])
        assert isinstance(one, np.ndarray)
        assert one.shape == ()
        assert one == values[k] == model.log_joint(z[k], z[k])
    np.testing.assert_array_equal(model.log_joint(None, z.reshape(2, 8, 4)), values.reshape(2, 8))
    np.testing.assert_array_equal(model.log_joint(z[3], z), np.where(np.arange(16) == 3, values, -np.inf))
    np.testing.assert_array_equal(model.log_joint(z, z[3]), np.where(np.arange(16) == 3, values[3], -np.inf))
    assert model.log_joint(None, np.zeros((0, 4))).shape == (0,)
    assert model.log_joint(np.zeros((0, 1, 4)), z).shape == (0, 16)


# ---- log joint and free energy of a restricted machine ---------------------------------------------------


@given(strategies.restricted_machines(4, 3))
def test_log_joint_of_a_restricted_machine_is_its_definition(model):
    x, z = np.array(naive.states(model.num_pixels)), np.array(naive.states(model.num_latents))
    arrays = [model.weights.tolist(), model.visible_bias.tolist(), model.hidden_bias.tolist()]
    expected = [[naive.rbm_log_joint(*arrays, v, h) for h in z.tolist()] for v in x.tolist()]
    got = model.log_joint(x[:, None], z[None])
    assert got.dtype == np.float64
    atol = 2**-53 * (model.num_pixels + model.num_latents + 4) * reach(*arrays)
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@given(strategies.restricted_machines(4, 3))
def test_free_energy_is_minus_the_log_of_the_sum_over_latents(model):
    x, z = np.array(naive.states(model.num_pixels)), np.array(naive.states(model.num_latents))
    joint = model.log_joint(x[:, None], z[None])
    arrays = [model.weights.tolist(), model.visible_bias.tolist(), model.hidden_bias.tolist()]
    got = model.free_energy(x)
    assert (got.shape, got.dtype) == ((len(x),), np.float64)
    atol = 2**-53 * (2 * model.num_pixels + 2 * model.num_latents + 8) * (reach(*arrays) + model.num_latents)
    np.testing.assert_allclose(got, [-naive.log_sum_exp(row) for row in joint.tolist()], rtol=0, atol=atol)
    expected = [-naive.rbm_log_sum_over_hidden(*arrays, v) for v in x.tolist()]
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


def test_free_energies_normalise():
    model = restricted(5, 3)
    arrays = [model.weights.tolist(), model.visible_bias.tolist(), model.hidden_bias.tolist()]
    log_z = naive.rbm_log_partition(*arrays)
    x = np.array(naive.states(5)).reshape(4, 8, 5)
    assert model.free_energy(x).shape == (4, 8)
    assert np.exp(-model.free_energy(x) - log_z).sum() == pytest.approx(1, rel=1e-14)
    one = model.free_energy(x[1, 2])
    assert isinstance(one, np.ndarray)
    assert one == model.free_energy(x)[1, 2]
    assert model.free_energy(np.zeros((0, 5))).shape == (0,)


# ---- log joint of binary sparse coding -------------------------------------------------------------------


@given(codings_with_data())
def test_log_joint_of_a_coding_is_its_definition(case):
    model, x = case
    z = np.array(naive.states(model.num_latents))
    arrays = [model.weights.tolist(), model.bias.tolist(), model.noise_std, model.prior_logits.tolist()]
    expected = [[naive.bsc_log_joint(*arrays, a, b) for b in z.tolist()] for a in x.tolist()]
    got = model.log_joint(x[:, None], z[None])
    assert got.shape == (len(x), len(z))
    assert got.dtype == np.float64
    # each rounding of x - eta moves its square by 2^-52 of the square of what it could be
    far = np.abs(x) + np.abs(model.weights).sum(axis=1) + np.abs(model.bias)
    size = (
        np.square(far / model.noise_std).sum(axis=1) + reach(model.prior_logits) + 8 * (1 + model.num_pixels)
    )
    atol = 2**-53 * (model.num_pixels + 2 * model.num_latents + 8) * size[:, None]
    assert (np.abs(got - np.reshape(expected, got.shape)) <= atol).all()


def test_a_coding_is_a_density():
    model = fastvi.BinarySparseCoding([[1.0, -2.0]], [0.5], 0.75, [0.3, -1.0])
    grid = np.linspace(-12, 12, 4001)
    density = np.exp(model.log_joint(grid[:, None, None], np.array(naive.states(2)))).sum(axis=1)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, rel=1e-12)


def test_noise_of_any_size():
    for std in (1e-150, 1e150):
        model = fastvi.BinarySparseCoding([[std]], [0.0], std, [0.0])
        expected = -math.log(2) - math.log(std) - math.log(2 * math.pi) / 2 - 0.5
        np.testing.assert_allclose(model.log_joint([[0.0], [2 * std]], [1]), expected, rtol=1e-15)
    far = fastvi.BinarySparseCoding([[1.0]], [0.0], 1e-10, [0.0])
    np.testing.assert_array_equal(far.log_joint([[1e300], [-1.7e308]], [1]), -INF)


def test_no_pixels_leave_the_prior():
    model = fastvi.BinarySparseCoding(np.zeros((0, 2)), [], 2.0, [0.3, -2.0])
    z = np.array(naive.states(2))
    np.testing.assert_array_equal(model.log_joint(np.zeros((4, 0)), z), model.prior.log_prob(z))
    assert model.sample(3, 0)[1].shape == (3, 0)


# ---- what the log joints have in common ------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [restricted(5, 3), sparse_coding(5, 3, noise_std=0.5)], ids=["restricted", "coding"]
)
def test_leading_axes_broadcast(model):
    x, z = np.array([[0, 1, 0, 1, 1], [1, 1, 0, 0, 0]]), np.array(naive.states(3))
    pairs = model.log_joint(x[:, None], z[None])
    assert model.log_joint(x[1], z[5]).shape == ()
    for n, k in np.ndindex(2, 8):
        assert model.log_joint(x[n], z[k]) == pairs[n, k]
    np.testing.assert_array_equal(model.log_joint(x, z[3]), pairs[:, 3])
    np.testing.assert_array_equal(model.log_joint(x[0], z), pairs[0])
    assert model.log_joint(np.zeros((0, 1, 5)), z).shape == (0, 8)


@pytest.mark.parametrize("block", [1, 12, 40])
@pytest.mark.parametrize(
    ("module", "model"),
    [
        (boltzmann_machine, machine(5)),
        (restricted_boltzmann_machine, restricted(5, 5)),
        (binary_sparse_coding, sparse_coding(5, 5)),
    ],
    ids=["machine", "restricted", "coding"],
)
def test_dividing_the_work_changes_nothing(module, model, block, monkeypatch):
    rng = np.random.default_rng(1)
    x, z = rng.integers(0, 2, (4, 1, 6, 5)), rng.integers(0, 2, (7, 1, 5))
    x[0, 0, 0] = z[0, 0]

    def results():
        free = model.free_energy(x) if model is not None and hasattr(model, "free_energy") else 0
        alone = model.log_joint(None, z) if module is boltzmann_machine else 0
        return model.log_joint(x, z), free, alone

    whole = results()
    monkeypatch.setattr(module, "BLOCK", block)
    for divided, together in zip(results(), whole, strict=True):
        np.testing.assert_array_equal(divided, together)
    assert whole[0].shape == (4, 7, 6)
    assert np.isfinite(whole[0]).any()


# ---- the oracles against each other ----------------------------------------------------------------------


@given(strategies.boltzmann_machines(max_units=4), st.data())
def test_oracles_of_a_machine_agree(model, data):
    arrays = [model.couplings.tolist(), model.bias.tolist()]
    d = model.num_units
    observed = data.draw(hnp.arrays(bool, d)).tolist()
    x = data.draw(strategies.bits(d)).tolist()
    # all values of the observed units, and what is summed out, add up to Z
    parts = [
        z for z in naive.states(d) if all(keep or not bit for bit, keep in zip(z, observed, strict=True))
    ]
    total = naive.log_sum_exp(naive.bm_log_marginal(*arrays, z, observed) for z in parts)
    assert total == pytest.approx(naive.bm_log_partition(*arrays), rel=1e-12, abs=1e-12)
    posterior = naive.bm_log_posterior(*arrays, x, observed)
    if naive.bm_log_marginal(*arrays, x, observed) > -INF:
        assert math.fsum(map(math.exp, posterior)) == pytest.approx(1, rel=1e-10)
    assert naive.bm_log_marginal(*arrays, x, [False] * d, normalized=True) == 0
    assert naive.bm_log_marginal(*arrays, x) == naive.bm_log_joint(*arrays, x)


@given(strategies.restricted_machines(3, 3), st.data())
def test_oracles_of_a_restricted_machine_agree(model, data):
    arrays = [model.weights.tolist(), model.visible_bias.tolist(), model.hidden_bias.tolist()]
    x = data.draw(strategies.bits(model.num_pixels)).tolist()
    observed = data.draw(hnp.arrays(bool, model.num_pixels)).tolist()
    close = {"rel": 1e-12, "abs": 1e-10}
    log_z = naive.rbm_log_partition_of_all_states(*arrays)
    assert naive.rbm_log_partition(*arrays) == pytest.approx(log_z, **close)
    assert naive.rbm_log_marginal(*arrays, x) == pytest.approx(
        naive.rbm_log_sum_over_hidden(*arrays, x), **close
    )
    nothing = [False] * model.num_pixels
    assert naive.rbm_log_marginal(*arrays, x, nothing, normalized=True) == pytest.approx(0, abs=1e-9)
    posterior = naive.rbm_log_posterior(*arrays, x, observed)
    assert math.fsum(map(math.exp, posterior)) == pytest.approx(1, rel=1e-9)


@given(strategies.restricted_machines(max_pixels=3, max_latents=2))
def test_a_restricted_machine_is_a_machine(model):
    """Its layers stacked are the units of a Boltzmann machine without couplings inside a layer."""
    num_pixels, d = model.weights.shape
    couplings = np.zeros((num_pixels + d, num_pixels + d))
    couplings[:num_pixels, num_pixels:] = model.weights
    stacked = fastvi.BoltzmannMachine(
        couplings + couplings.T, np.concatenate([model.visible_bias, model.hidden_bias])
    )
    z = np.array(naive.states(num_pixels + d))
    atol = 2**-50 * (num_pixels + d) * reach(couplings, stacked.bias)
    np.testing.assert_allclose(
        stacked.log_joint(None, z), model.log_joint(z[:, :num_pixels], z[:, num_pixels:]), rtol=0, atol=atol
    )


@given(codings_with_data(max_data=1), st.data())
def test_oracles_of_a_coding_agree(case, data):
    model, x = case
    arrays = [model.weights.tolist(), model.bias.tolist(), model.noise_std, model.prior_logits.tolist()]
    observed = data.draw(hnp.arrays(bool, model.num_pixels))
    # pixels that are not observed are as if they were not there
    left = [model.weights[observed].tolist(), model.bias[observed].tolist(), *arrays[2:]]
    for datum in x:
        hidden = np.where(observed, datum, NAN).tolist()
        got = naive.bsc_log_marginal(*arrays, hidden, observed.tolist())
        assert got == naive.bsc_log_marginal(*left, datum[observed].tolist())
        posterior = naive.bsc_log_posterior(*arrays, hidden, observed.tolist())
        assert math.fsum(map(math.exp, posterior)) == pytest.approx(1, rel=1e-12 * (1 + abs(got)))


# ---- draws of binary sparse coding -----------------------------------------------------------------------


def test_draws_of_a_coding_have_its_moments():
    model, num = sparse_coding(3, 2, noise_std=0.75), 40_000
    z, x = model.sample(num, seed=3)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((num, 2), np.uint8, (num, 3), np.float64)
    p = model.prior.mean
    mean = model.weights @ p + model.bias
    covariance = (model.weights * (p * (1 - p))) @ model.weights.T + model.noise_std**2 * np.eye(3)
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - p), 5 * share_error(p, num))
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean), 5 * np.sqrt(np.diag(covariance) / num))
    centred = x - mean
    products = centred[:, :, None] * centred[:, None]
    error = 5 * products.std(axis=0) / np.sqrt(num)
    np.testing.assert_array_less(np.abs(products.mean(axis=0) - covariance), error)
    # what is left when z is known is the noise alone
    noise = (x - z @ model.weights.T - model.bias) / model.noise_std
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs((noise**2).mean() - 1) < 5 * np.sqrt(2 / noise.size)
    assert np.abs(np.corrcoef(noise.T, z.T)[:3, 3:]).max() < 5 / np.sqrt(num)


def test_a_sample_is_a_pure_function_of_the_seed():
    model = sparse_coding(5, 3, noise_std=0.5)
    first, again, other = model.sample(50, 2**64 - 1), model.sample(50, 2**64 - 1), model.sample(50, 0)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
    assert [part.shape for part in model.sample(0, 0)] == [(0, 3), (0, 5)]


@pytest.mark.parametrize("block", [1, 35, 99])
def test_blocks_do_not_show_in_a_sample(block, monkeypatch):
    model = sparse_coding(5, 3, noise_std=0.5)
    whole = model.sample(100, 7)
    monkeypatch.setattr(binary_sparse_coding, "BLOCK", block)
    for a, b in zip(whole, model.sample(100, 7), strict=True):
        np.testing.assert_array_equal(a, b)


# ---- immutability and files ------------------------------------------------------------------------------


@each_model
def test_nothing_can_be_changed(model):
    name, value = next(iter(vars(model).items()))
    with pytest.raises(AttributeError, match="immutable"):
        setattr(model, name, value)
    with pytest.raises(AttributeError, match="immutable"):
        delattr(model, name)
    with pytest.raises(AttributeError, match="immutable"):
        model.something = 1
    for stored in vars(model).values():
        if isinstance(stored, np.ndarray):
            assert stored.flags.c_contiguous
            assert stored.dtype == np.float64
            with pytest.raises(ValueError, match="read-only"):
                stored[...] = 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_was_passed_is_copied(order):
    passed = np.zeros((3, 3), order=order)
    models = [
        fastvi.BoltzmannMachine(passed, np.zeros(3)),
        fastvi.RestrictedBoltzmannMachine(passed, np.zeros(3), np.zeros(3)),
        fastvi.BinarySparseCoding(passed, np.zeros(3), 1.0, np.zeros(3)),
    ]
    passed[:] = 1
    assert not any(next(iter(vars(model).values())).any() for model in models)


def test_log_joint_leaves_its_arguments_alone():
    x, z = np.array([[0.0, 1.5, -2.0, 0.25, 7.0]]), np.array([[1.0, 0.0, 1.0]])
    sparse_coding(5, 3, noise_std=0.5).log_joint(x, z)
    np.testing.assert_array_equal(x, [[0.0, 1.5, -2.0, 0.25, 7.0]])
    np.testing.assert_array_equal(z, [[1.0, 0.0, 1.0]])


@each_model
def test_pickling_and_copying_keep_the_arrays_read_only(model):
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(twin, model)
        assert not any(v.flags.writeable for v in vars(twin).values() if isinstance(v, np.ndarray))
        assert vars(twin).keys() == vars(model).keys()


@each_model
def test_a_saved_model_comes_back_the_same(model, tmp_path):
    path = tmp_path / "model.bin"
    model.save(path)
    assert os.listdir(tmp_path) == ["model.bin"]
    assert_same(fastvi.load(path), model)


def test_noise_std_comes_back_as_a_float(tmp_path):
    model = sparse_coding(5, 3, noise_std=np.float32(0.1))
    model.save(tmp_path / "model")
    twin = fastvi.load(tmp_path / "model")
    assert type(model.noise_std) is type(twin.noise_std) is float
    assert model.noise_std == twin.noise_std == float(np.float32(0.1))


def test_representations():
    assert repr(machine(4)) == "BoltzmannMachine(num_units=4)"
    assert repr(restricted(5, 3)) == "RestrictedBoltzmannMachine(num_pixels=5, num_latents=3)"
    assert (
        repr(sparse_coding(5, 3, noise_std=0.5))
        == "BinarySparseCoding(num_pixels=5, num_latents=3, noise_std=0.5)"
    )


def test_sizes():
    model = machine(4)
    assert model.num_units == model.num_latents == model.num_pixels == 4
    assert (restricted(5, 3).num_pixels, restricted(5, 3).num_latents) == (5, 3)
    model = sparse_coding(5, 3)
    assert (model.num_pixels, model.num_latents) == (5, 3)
    np.testing.assert_array_equal(model.prior.logits, model.prior_logits)
