"""Boltzmann machines, restricted ones and binary sparse coding: log joints, draws, files, wrong input.

A row of a table of wrong input is (name, call, exception, pattern of the message), one line a row.
"""

# ruff: noqa: E501

from __future__ import annotations

import copy
import fractions
import math
import os
import pickle

import naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastvi
from fastvi.core import validation
from fastvi.models import binary_sparse_coding, boltzmann_machine, restricted_boltzmann_machine

NAN, INF = float("nan"), float("inf")


# ---- small models ----------------------------------------------------------------------------------------


def symmetric(upper):
    """The matrix with the part of ``upper`` above the diagonal on both sides."""
    above = np.triu(np.ones(upper.shape, bool), 1)
    return np.where(above, upper, np.where(above.T, upper.T, 0.0))


def small_machine(seed=0, num_units=4, scale=1.0):
    rng = np.random.default_rng(seed)
    couplings = symmetric(scale * rng.standard_normal((num_units, num_units)))
    return fastvi.BoltzmannMachine(couplings, scale * rng.standard_normal(num_units))


def small_restricted(seed=0, num_pixels=5, num_latents=3, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = [(num_pixels, num_latents), (num_pixels,), (num_latents,)]
    return fastvi.RestrictedBoltzmannMachine(*(scale * rng.standard_normal(shape) for shape in shapes))


def small_coding(seed=0, num_pixels=5, num_latents=3, noise_std=0.5):
    rng = np.random.default_rng(seed)
    shapes = [(num_pixels, num_latents), (num_pixels,), (num_latents,)]
    weights, bias, prior_logits = (rng.standard_normal(shape) for shape in shapes)
    return fastvi.BinarySparseCoding(weights, bias, noise_std, prior_logits)


MODELS = {
    "machine": small_machine(),
    "machine with exclusions": fastvi.BoltzmannMachine([[-0.0, -INF], [-INF, 0.0]], [1e3, -1e3]),
    "machine of one unit": fastvi.BoltzmannMachine([[0.0]], [0.3]),
    "restricted": small_restricted(),
    "coding": small_coding(),
    "coding without pixels": fastvi.BinarySparseCoding(np.zeros((0, 2)), [], 1e-3, [1e3, -1e3]),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())

COUPLINGS = st.one_of(strategies.EXTREME, st.just(-np.inf))


@st.composite
def boltzmann_machines(draw, max_units=5):
    d = draw(st.integers(1, max_units))
    couplings = symmetric(draw(strategies.floats((d, d), COUPLINGS)))
    return fastvi.BoltzmannMachine(couplings, draw(strategies.floats(d)))


@st.composite
def restricted_machines(draw, max_pixels=4, max_latents=3):
    num_pixels, d = draw(st.integers(1, max_pixels)), draw(st.integers(1, max_latents))
    return fastvi.RestrictedBoltzmannMachine(
        draw(strategies.floats((num_pixels, d))),
        draw(strategies.floats(num_pixels)),
        draw(strategies.floats(d)),
    )


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


@given(boltzmann_machines())
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


@given(boltzmann_machines(max_units=4))
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
    model, z = small_machine(), np.array(naive.states(4))
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


@given(restricted_machines())
def test_log_joint_of_a_restricted_machine_is_its_definition(model):
    x, z = np.array(naive.states(model.num_pixels)), np.array(naive.states(model.num_latents))
    arrays = [model.weights.tolist(), model.visible_bias.tolist(), model.hidden_bias.tolist()]
    expected = [[naive.rbm_log_joint(*arrays, v, h) for h in z.tolist()] for v in x.tolist()]
    got = model.log_joint(x[:, None], z[None])
    assert got.dtype == np.float64
    atol = 2**-53 * (model.num_pixels + model.num_latents + 4) * reach(*arrays)
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@given(restricted_machines())
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
    model = small_restricted()
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


@pytest.mark.parametrize("model", [small_restricted(), small_coding()], ids=["restricted", "coding"])
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
        (boltzmann_machine, small_machine(num_units=5)),
        (restricted_boltzmann_machine, small_restricted(num_latents=5)),
        (binary_sparse_coding, small_coding(num_latents=5)),
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


@given(boltzmann_machines(max_units=4), st.data())
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


@given(restricted_machines(max_pixels=3), st.data())
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


@given(restricted_machines(max_pixels=3, max_latents=2))
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
    model, num = small_coding(num_pixels=3, num_latents=2, noise_std=0.75), 40_000
    z, x = model.sample(num, seed=3)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((num, 2), np.uint8, (num, 3), np.float64)
    p = model.prior.mean
    mean = model.weights @ p + model.bias
    covariance = (model.weights * (p * (1 - p))) @ model.weights.T + model.noise_std**2 * np.eye(3)
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - p), 5 * np.sqrt(p * (1 - p) / num))
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
    model = small_coding()
    first, again, other = model.sample(50, 2**64 - 1), model.sample(50, 2**64 - 1), model.sample(50, 0)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()
    assert [part.shape for part in model.sample(0, 0)] == [(0, 3), (0, 5)]


@pytest.mark.parametrize("block", [1, 35, 99])
def test_blocks_do_not_show_in_a_sample(block, monkeypatch):
    model = small_coding()
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
    small_coding().log_joint(x, z)
    np.testing.assert_array_equal(x, [[0.0, 1.5, -2.0, 0.25, 7.0]])
    np.testing.assert_array_equal(z, [[1.0, 0.0, 1.0]])


def assert_same(a, b):
    assert type(a) is type(b)
    ours, theirs = a.arrays(), b.arrays()
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], strict=True)
    assert repr(a) == repr(b)


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
    model = small_coding(noise_std=np.float32(0.1))
    model.save(tmp_path / "model")
    twin = fastvi.load(tmp_path / "model")
    assert type(model.noise_std) is type(twin.noise_std) is float
    assert model.noise_std == twin.noise_std == float(np.float32(0.1))


def test_representations():
    assert repr(small_machine()) == "BoltzmannMachine(num_units=4)"
    assert repr(small_restricted()) == "RestrictedBoltzmannMachine(num_pixels=5, num_latents=3)"
    assert repr(small_coding()) == "BinarySparseCoding(num_pixels=5, num_latents=3, noise_std=0.5)"


def test_sizes():
    machine = small_machine()
    assert machine.num_units == machine.num_latents == machine.num_pixels == 4
    assert (small_restricted().num_pixels, small_restricted().num_latents) == (5, 3)
    coding = small_coding()
    assert (coding.num_pixels, coding.num_latents) == (5, 3)
    np.testing.assert_array_equal(coding.prior.logits, coding.prior_logits)


# ---- wrong input -----------------------------------------------------------------------------------------

MACHINE, RESTRICTED, CODING = small_machine(), small_restricted(), small_coding()


def machine(couplings=((0.0,) * 3,) * 3, bias=(0.0,) * 3):
    return fastvi.BoltzmannMachine(couplings, bias)


def restricted(weights=((0.0,) * 3,) * 4, visible_bias=(0.0,) * 4, hidden_bias=(0.0,) * 3):
    return fastvi.RestrictedBoltzmannMachine(weights, visible_bias, hidden_bias)


def coding(weights=((0.0,) * 3,) * 4, bias=(0.0,) * 4, noise_std=1.0, prior_logits=(0.0,) * 3):
    return fastvi.BinarySparseCoding(weights, bias, noise_std, prior_logits)


def spoiled(shape, value, *indices, dtype=float):
    array = np.zeros(shape, dtype=dtype)
    for index in indices:
        array[index] = value
    return array


def saved(path, model, **changes):
    """The file of ``model`` with some arrays replaced."""
    model.save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return path


# fmt: off
BOLTZMANN_MACHINE = [
    ("NaN coupling", lambda: machine(spoiled((3, 3), NAN, (2, 1), (1, 2))), ValueError, r"^couplings must not contain NaN, got nan at index \(1, 2\)$"),
    ("coupling of +inf", lambda: machine(spoiled((3, 3), INF, (2, 1), (1, 2))), ValueError, r"^couplings must be finite or -inf, got inf at index \(1, 2\)$"),
    ("not symmetric", lambda: machine([[0, 1, 0.5], [1, 0, 0], [0.25, 0, 0]]), ValueError, r"^couplings must be symmetric, got 0.5 at index \(0, 2\) and 0.25 at index \(2, 0\)$"),
    ("one-sided exclusion", lambda: machine(spoiled((3, 3), -INF, (2, 1))), ValueError, r"^couplings must be symmetric, got 0.0 at index \(1, 2\) and -inf at index \(2, 1\)$"),
    ("diagonal", lambda: machine(spoiled((3, 3), 2.0, (1, 1))), ValueError, r"^couplings must have a diagonal of 0, got 2.0 at index \(1, 1\)$"),
    ("diagonal of -inf", lambda: machine(spoiled((3, 3), -INF, (2, 2))), ValueError, r"^couplings must have a diagonal of 0, got -inf at index \(2, 2\)$"),
    ("not square", lambda: machine(np.zeros((3, 4))), ValueError, r"^couplings must have shape \(num_units >= 1, num_units\), got shape \(3, 4\)$"),
    ("no units", lambda: machine(np.zeros((0, 0)), []), ValueError, r"^couplings must have shape .* got shape \(0, 0\)$"),
    ("one axis", lambda: machine(np.zeros(3)), ValueError, r"^couplings must have 2 axes, got shape \(3,\)$"),
    ("complex couplings", lambda: machine(np.zeros((3, 3), complex)), TypeError, r"^couplings must be an array of real numbers, got dtype complex128"),
    ("couplings None", lambda: machine(None), TypeError, r"^couplings .* got dtype object \(from a NoneType\)$"),
    ("bias too long", lambda: machine(bias=np.zeros(4)), ValueError, r"^bias must have shape \(3,\), got shape \(4,\)$"),
    ("bias of -inf", lambda: machine(bias=[0, -INF, 0]), ValueError, r"^bias must be finite, got -inf at index 1$"),
    ("couplings overflow", lambda: machine(1e308 * (1 - np.eye(3))), ValueError, r"^couplings and bias must keep the sum of their finite \|values\| finite, got inf$"),
    ("bias overflows", lambda: machine(bias=[1e308] * 3), ValueError, r"^couplings and bias must keep .* got inf$"),
    ("z of 2", lambda: MACHINE.log_joint(None, [0, 2, 0, 0]), ValueError, r"^z must contain only 0 and 1, got 2 at index 1$"),
    ("z None", lambda: MACHINE.log_joint(None, None), TypeError, r"^z must be an array of 0 and 1 of shape \(\.\.\., 4\), got dtype object"),
    ("z of another length", lambda: MACHINE.log_joint(None, [0] * 3), ValueError, r"^z must have shape \(\.\.\., 4\), got shape \(3,\)$"),
    ("x of NaN", lambda: MACHINE.log_joint([0, NAN, 0, 0], [0] * 4), ValueError, r"^x must contain only 0 and 1, got nan at index 1$"),
    ("x of another length", lambda: MACHINE.log_joint([0] * 5, [0] * 4), ValueError, r"^x must have shape \(\.\.\., 4\), got shape \(5,\)$"),
    ("x and z do not fit", lambda: MACHINE.log_joint(np.zeros((2, 4)), np.zeros((5, 4))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(5,\)$"),
]

RESTRICTED_BOLTZMANN_MACHINE = [
    ("NaN weight", lambda: restricted(spoiled((4, 3), NAN, (2, 1))), ValueError, r"^weights must be finite, got nan at index \(2, 1\)$"),
    ("weight of -inf", lambda: restricted(spoiled((4, 3), -INF, (0, 2))), ValueError, r"^weights must be finite, got -inf at index \(0, 2\)$"),
    ("weights one axis", lambda: restricted(np.zeros(3)), ValueError, r"^weights must have 2 axes, got shape \(3,\)$"),
    ("no pixels", lambda: restricted(np.zeros((0, 3)), []), ValueError, r"^weights must have shape \(num_pixels >= 1, num_latents >= 1\), got shape \(0, 3\)$"),
    ("no latents", lambda: restricted(np.zeros((4, 0)), hidden_bias=[]), ValueError, r"^weights must have shape .* got shape \(4, 0\)$"),
    ("visible bias too short", lambda: restricted(visible_bias=[0] * 3), ValueError, r"^visible_bias must have shape \(4,\), got shape \(3,\)$"),
    ("hidden bias too long", lambda: restricted(hidden_bias=[0] * 4), ValueError, r"^hidden_bias must have shape \(3,\), got shape \(4,\)$"),
    ("NaN visible bias", lambda: restricted(visible_bias=[0, 0, NAN, 0]), ValueError, r"^visible_bias must be finite, got nan at index 2$"),
    ("infinite hidden bias", lambda: restricted(hidden_bias=[INF, 0, 0]), ValueError, r"^hidden_bias must be finite, got inf at index 0$"),
    ("overflow", lambda: restricted(np.full((4, 3), 1e308)), ValueError, r"^weights, visible_bias and hidden_bias must keep the sum of their \|values\| finite, got inf$"),
    ("x of 2", lambda: RESTRICTED.log_joint([0, 2, 0, 0, 0], [0] * 3), ValueError, r"^x must contain only 0 and 1, got 2 at index 1$"),
    ("x None", lambda: RESTRICTED.log_joint(None, [0] * 3), TypeError, r"^x must be an array of 0 and 1 of shape \(\.\.\., 5\), got dtype object"),
    ("z of another length", lambda: RESTRICTED.log_joint([0] * 5, [0] * 5), ValueError, r"^z must have shape \(\.\.\., 3\), got shape \(5,\)$"),
    ("x and z do not fit", lambda: RESTRICTED.log_joint(np.zeros((2, 5)), np.zeros((4, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(4,\)$"),
    ("free energy of 0.5", lambda: RESTRICTED.free_energy([0, 0, 0, 0, 0.5]), ValueError, r"^x must contain only 0 and 1, got 0.5 at index 4$"),
    ("free energy of another length", lambda: RESTRICTED.free_energy([0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(3,\)$"),
]

BINARY_SPARSE_CODING = [
    ("NaN weight", lambda: coding(spoiled((4, 3), NAN, (2, 1))), ValueError, r"^weights must be finite, got nan at index \(2, 1\)$"),
    ("no latents", lambda: coding(np.zeros((4, 0)), prior_logits=[]), ValueError, r"^weights must have shape \(num_pixels, num_latents >= 1\), got shape \(4, 0\)$"),
    ("bias too short", lambda: coding(bias=[0] * 3), ValueError, r"^bias must have shape \(4,\), got shape \(3,\)$"),
    ("infinite bias", lambda: coding(bias=[0, INF, 0, 0]), ValueError, r"^bias must be finite, got inf at index 1$"),
    ("prior too long", lambda: coding(prior_logits=[0] * 4), ValueError, r"^prior_logits must have shape \(3,\), got shape \(4,\)$"),
    ("infinite prior", lambda: coding(prior_logits=[0, -INF, 0]), ValueError, r"^prior_logits must be finite, got -inf at index 1$"),
    ("noise of 0", lambda: coding(noise_std=0), ValueError, r"^noise_std must be a finite number > 0, got 0 \(int\)$"),
    ("noise of -1.5", lambda: coding(noise_std=-1.5), ValueError, r"^noise_std must be a finite number > 0, got -1.5 \(float\)$"),
    ("noise of NaN", lambda: coding(noise_std=NAN), ValueError, r"^noise_std must be a finite number > 0, got nan \(float\)$"),
    ("infinite noise", lambda: coding(noise_std=INF), ValueError, r"^noise_std must be a finite number > 0, got inf \(float\)$"),
    ("noise True", lambda: coding(noise_std=True), TypeError, r"^noise_std must be a finite number > 0, got True \(bool\)$"),
    ("noise of each pixel", lambda: coding(noise_std=np.ones(4)), TypeError, r"^noise_std must be a finite number > 0, got an array of shape \(4,\) and dtype float64$"),
    ("noise of text", lambda: coding(noise_std="1"), TypeError, r"^noise_std must be a finite number > 0, got '1' \(str\)$"),
    ("overflow", lambda: coding(np.full((4, 3), 1e10), noise_std=1e-150), ValueError, r"^weights, bias and noise_std must keep sum .* finite, got inf$"),
    ("x of NaN", lambda: CODING.log_joint([0, NAN, 0, 0, 0], [0] * 3), ValueError, r"^x must be finite, got nan at index 1$"),
    ("infinite x", lambda: CODING.log_joint(spoiled((2, 5), INF, (1, 3)), [0] * 3), ValueError, r"^x must be finite, got inf at index \(1, 3\)$"),
    ("complex x", lambda: CODING.log_joint(np.zeros(5, complex), [0] * 3), TypeError, r"^x must be an array of real numbers of shape \(\.\.\., 5\), got dtype complex128"),
    ("x of another length", lambda: CODING.log_joint([0.5] * 4, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(4,\)$"),
    ("x without axes", lambda: CODING.log_joint(0.5, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(\)$"),
    ("z of 0.5", lambda: CODING.log_joint([0.5] * 5, [0, 0.5, 0]), ValueError, r"^z must contain only 0 and 1, got 0.5 at index 1$"),
    ("x and z do not fit", lambda: CODING.log_joint(np.zeros((2, 5)), np.zeros((4, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(4,\)$"),
    ("negative num", lambda: CODING.sample(-1, 0), ValueError, r"^num must be an int >= 0, got -1"),
    ("seed too large", lambda: CODING.sample(1, 2**64), ValueError, r"^seed .* < 2\*\*64, got 18446744073709551616"),
    ("seed None", lambda: CODING.sample(1, None), TypeError, r"^seed must be an int .* got None"),
]

VALIDATION = [
    ("one datum", lambda: validation.real_matrix(np.zeros(4), "x", 4), ValueError, r"^x must have shape \(num_data, 4\), got shape \(4,\): pass x\[None\] for one datum$"),
    ("other pixels", lambda: validation.real_matrix(np.zeros((2, 5)), "x", 4), ValueError, r"^x must have shape \(num_data, 4\), got shape \(2, 5\)$"),
    ("real NaN", lambda: validation.real_matrix(spoiled((2, 4), NAN, (1, 2)), "x", 4), ValueError, r"^x must be finite, got nan at index \(1, 2\)$"),
    ("observed NaN", lambda: validation.real_matrix(spoiled((2, 4), NAN, (1, 2)), "x", 4, observed=np.ones(4, bool)), ValueError, r"^x must be finite where it is observed, got nan at index \(1, 2\)$"),
    ("text", lambda: validation.real_matrix([["a"]], "x", 1), TypeError, r"^x must be an array of real numbers of shape \(num_data, 1\), got dtype <U1"),
    ("masked array", lambda: validation.real_matrix(np.ma.zeros((2, 4)), "x", 4), TypeError, r"^x .* got a masked array"),
    ("mask of 0 and 1", lambda: validation.observed_real_data(np.zeros((2, 4)), [0, 1, 1, 1], 4), TypeError, r"^observed must have dtype bool"),
    ("mask too short", lambda: validation.observed_real_data(np.zeros((2, 4)), [True] * 3, 4), ValueError, r"^observed must have shape \(4,\) or \(2, 4\), got shape \(3,\)$"),
    ("one datum with a mask", lambda: validation.observed_real_data(np.zeros(4), np.ones(4, bool), 4), ValueError, r"^x must have shape .* pass x\[None\]"),
    ("data None", lambda: validation.observed_real_data(None, np.ones(4, bool), 4), TypeError, r"^x must be an array of real numbers of shape \(num_data, 4\), got dtype object"),
    ("infinite where observed", lambda: validation.observed_real_data(np.full((2, 2), INF), np.array([False, True]), 2), ValueError, r"^x must be finite where it is observed, got inf at index \(0, 1\)$"),
    ("float None", lambda: validation.positive_float(None, "scale"), TypeError, r"^scale must be a finite number > 0, got None"),
    ("complex float", lambda: validation.positive_float(1j, "scale"), TypeError, r"^scale must be a finite number > 0, got 1j \(complex\)$"),
    ("boolean array", lambda: validation.positive_float(np.array(True), "scale"), TypeError, r"^scale must be a finite number > 0, got .*True"),
    ("int beyond the doubles", lambda: validation.positive_float(10**400, "scale"), ValueError, r"^scale must be a finite number > 0, got 10{56}\.\.\. \(int\)$"),
]
# fmt: on
TABLES = {
    "BoltzmannMachine": BOLTZMANN_MACHINE,
    "RestrictedBoltzmannMachine": RESTRICTED_BOLTZMANN_MACHINE,
    "BinarySparseCoding": BINARY_SPARSE_CODING,
    "validation": VALIDATION,
}
CASES = [
    pytest.param(call, exception, message, id=f"{table}: {name}")
    for table, rows in TABLES.items()
    for name, call, exception, message in rows
]


@pytest.mark.parametrize(("call", "exception", "message"), CASES)
def test_wrong_input(call, exception, message):
    with pytest.raises(exception, match=message) as caught:
        call()
    assert type(caught.value) is exception
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (MACHINE, {"couplings": np.ones((4, 4))}, "valid BoltzmannMachine.*couplings must have a diagonal"),
        (RESTRICTED, {"hidden_bias": np.zeros(2)}, "valid RestrictedBoltzmannMachine.*hidden_bias must have"),
        (CODING, {"noise_std": np.array(0.0)}, "valid BinarySparseCoding.*noise_std must be"),
        (CODING, {"noise_std": np.ones(2)}, "whole BinarySparseCoding.*noise_std must be"),
        (CODING, {"extra": np.ones(2)}, "whole BinarySparseCoding.*'extra'"),
    ],
)
def test_wrong_files(model, changes, message, tmp_path):
    path = saved(tmp_path / "model", model, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.load(path)
    assert "\n" not in str(caught.value)


# ---- what validation accepts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_real_matrices_of_any_real_dtype(dtype, order):
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype, order=order)
    got = validation.real_matrix(x, "x", 3)
    np.testing.assert_array_equal(got, np.array([[0.0, 1, 1], [1, 0, 1]]), strict=True)
    assert got.flags.c_contiguous


@pytest.mark.parametrize("observed", [[True, False], [[True, False], [False, True]]])
@pytest.mark.parametrize("absent", [NAN, INF, -7.5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_not_observed_becomes_zero(observed, absent, order):
    mask = np.broadcast_to(np.array(observed), (2, 2))
    x = np.where(mask, [[1.5, 2.5], [-3.5, 4.5]], absent).copy(order=order)
    before = x.copy()
    got, kept = validation.observed_real_data(x, np.array(observed), 2)
    np.testing.assert_array_equal(got, np.where(mask, x, 0.0), strict=True)
    np.testing.assert_array_equal(kept, observed)
    np.testing.assert_array_equal(x, before)
    assert got.flags.c_contiguous


def test_data_without_a_mask_and_no_data():
    got, mask = validation.observed_real_data([[0.5]], None, 1)
    assert mask is None
    np.testing.assert_array_equal(got, np.array([[0.5]]), strict=True)
    assert validation.real_matrix(np.zeros((0, 3)), "x", 3).shape == (0, 3)
    assert validation.real_matrix(np.zeros((2, 0)), "x", 0).shape == (2, 0)
    assert validation.observed_real_data(np.zeros((0, 3)), np.ones((0, 3), bool), 3)[0].shape == (0, 3)


@pytest.mark.parametrize(
    "value", [1, 0.5, np.float32(0.5), np.int8(3), np.array(2.5), fractions.Fraction(1, 4), 5e-324]
)
def test_positive_floats(value):
    got = validation.positive_float(value, "scale")
    assert type(got) is float
    assert got == value
