"""Normal and LinearGaussian: definitions, closed forms against dense covariances, gradients, draws, files."""

# ruff: noqa: E501

from __future__ import annotations

import copy
import math
import pickle

import mpmath
import naive_models
import numpy as np
import pytest
import strategies
from cases import assert_same, linear_gaussian
from hypothesis import given
from hypothesis import strategies as st

import fastvi
from fastvi.core.registry import rules_of
from fastvi.kernels.cpu.random.normal_draws import standard_normals

NAN, INF = math.nan, math.inf
ORDINARY, POSITIVE = st.floats(-3, 3), st.floats(0.1, 10)


MODELS = {
    "normal": fastvi.Normal([0.5, -1e3], [1e-3, 2.0]),
    "normal for data": fastvi.Normal([[0.0], [1.0]], [[1.0], [2.0]]),
    "linear": linear_gaussian(5, 3),
    "more latents than pixels": linear_gaussian(2, 4, 1),
    "no pixels": fastvi.LinearGaussian(np.zeros((0, 2)), [], 1),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@st.composite
def normals(draw):
    d, num_data = draw(st.integers(1, 3)), draw(st.one_of(st.none(), st.integers(0, 3)))
    shape = (d,) if num_data is None else (num_data, d)
    return fastvi.Normal(draw(strategies.floats(shape, ORDINARY)), draw(strategies.floats(shape, POSITIVE)))


@st.composite
def linear_gaussians_with_data(draw):
    d, num_pixels, num_data = draw(st.integers(1, 4)), draw(st.integers(0, 4)), draw(st.integers(0, 3))
    model = fastvi.LinearGaussian(
        draw(strategies.floats((num_pixels, d), ORDINARY)),
        draw(strategies.floats(num_pixels, ORDINARY)),
        draw(POSITIVE),
    )
    return model, draw(strategies.floats((num_data, num_pixels), ORDINARY))


# ---- Normal: values --------------------------------------------------------------------------------------


@given(normals(), st.data())
def test_log_prob_of_a_normal_is_its_definition(q, data):
    z = data.draw(strategies.floats((4, 1, q.num_latents), ORDINARY))
    got = q.log_prob(z)
    pairs = list(zip(np.atleast_2d(q.mean), np.atleast_2d(q.std), strict=True))
    expected = [[naive_models.normal_log_prob(row[0], m, s) for m, s in pairs] for row in z]
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=1e-13, atol=1e-13)


@given(normals())
def test_entropy_of_a_normal_is_its_definition(q):
    expected = [naive_models.normal_entropy(row) for row in np.atleast_2d(q.std)]
    np.testing.assert_allclose(q.entropy(), np.reshape(expected, (-1,)), rtol=1e-14, atol=1e-14)


@pytest.mark.slow_without_jit
def test_entropy_is_the_mean_of_minus_log_prob():
    q = fastvi.Normal([[1.0, -2.0]], [[0.3, 4.0]])
    surprise = -q.log_prob(q.sample(40_000, 0))
    assert surprise.mean() == pytest.approx(q.entropy()[0], abs=5 / math.sqrt(40_000))


def test_shapes_of_log_prob():
    one, many = fastvi.Normal(np.zeros(3), np.ones(3)), fastvi.Normal(np.zeros((4, 3)), np.ones((4, 3)))
    assert (one.num_latents, one.num_data, many.num_data) == (3, None, 4)
    assert one.log_prob(np.zeros(3)).shape == ()
    assert one.log_prob(np.zeros((7, 1, 3))).shape == (7, 1)
    assert many.log_prob(np.zeros(3)).shape == (4,)
    assert many.log_prob(np.zeros((7, 4, 3))).shape == (7, 4)
    assert fastvi.Normal(np.zeros((0, 3)), np.zeros((0, 3))).log_prob(np.zeros((7, 0, 3))).shape == (7, 0)


def test_extreme_normals():
    q = fastvi.Normal([0.0], [5e-324])
    assert float(q.log_prob([1.0])) == -INF
    assert float(q.log_prob([0.0])) == pytest.approx(744.4400719 - 0.918938533, rel=1e-9)
    assert float(fastvi.Normal([1e308], [1e306]).log_prob([-1e308])) == -INF
    assert float(fastvi.Normal([1e308], [1.0]).log_prob([-1e308])) == -INF


# ---- Normal: draws ---------------------------------------------------------------------------------------


def test_draws_are_those_of_the_definition():
    seed = 2**64 - 3
    got = standard_normals(4, 3, 5, seed, first_datum=7, first_sample=2**32 - 2)
    expected = [
        [naive_models.standard_normal_draw(5, seed, 7 + n, 2**32 - 2 + k) for n in range(3)] for k in range(4)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-13)
    q = fastvi.Normal([[2.0, -1.0]], [[3.0, 0.1]])
    standard = np.array([[naive_models.standard_normal_draw(2, 5, 0, k)] for k in range(6)])
    expected = standard * [3.0, 0.1] + [2.0, -1.0]
    np.testing.assert_allclose(q.sample(6, 5), expected, rtol=1e-12)


def test_the_ends_of_the_generator():
    """The words of all zeros and all ones: the largest draw and the smallest."""
    from scipy.special import ndtri

    smallest = 0.5 * 2.0**-54
    with mpmath.workdps(40):
        exact = -mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(smallest))
    assert float(ndtri(smallest)) == pytest.approx(float(exact), rel=1e-14)
    assert -9 < float(ndtri(smallest)) < -8.2
    assert (float(2**53 - 1) + 0.5) * 2.0**-54 == 0.5
    assert float(ndtri(0.5)) == 0.0


@pytest.mark.slow_without_jit
def test_draws_of_a_normal_have_its_moments():
    mean, std, num = (
        np.array([[0.0, 1.5, -3.0], [1e6, 0.0, 2.0]]),
        np.array([[1.0, 0.1, 5.0], [2.0, 1e-9, 1.0]]),
        40_000,
    )
    z = fastvi.Normal(mean, std).sample(num, seed=5)
    assert (z.shape, z.dtype) == ((num, 2, 3), np.float64)
    standard = ((z - mean) / std).reshape(num, 6)
    error = 5 / math.sqrt(num)
    assert np.abs(standard.mean(axis=0)).max() < error
    assert np.abs(np.cov(standard.T) - np.eye(6)).max() < 1.5 * error
    assert np.abs((standard**3).mean(axis=0)).max() < math.sqrt(15) * error
    assert np.abs((standard**4).mean(axis=0) - 3).max() < math.sqrt(96) * error


def test_a_draw_depends_on_seed_datum_and_sample_only():
    rng = np.random.default_rng(0)
    mean, std = rng.standard_normal((5, 3)), rng.uniform(0.5, 2, (5, 3))
    whole = fastvi.Normal(mean, std).sample(20, seed=2**64 - 1)
    np.testing.assert_array_equal(fastvi.Normal(mean, std).sample(20, seed=2**64 - 1), whole)
    np.testing.assert_array_equal(fastvi.Normal(mean[:3], std[:3]).sample(12, seed=2**64 - 1), whole[:12, :3])
    np.testing.assert_array_equal(fastvi.Normal(mean[0], std[0]).sample(20, seed=2**64 - 1), whole[:, :1])
    assert (fastvi.Normal(mean, std).sample(20, seed=0) != whole).all()
    part = standard_normals(4, 2, 3, 9, first_datum=1, first_sample=5)
    np.testing.assert_array_equal(part, standard_normals(9, 3, 3, 9)[5:, 1:])


def test_shapes_of_samples():
    assert fastvi.Normal(np.zeros(3), np.ones(3)).sample(7, 0).shape == (7, 1, 3)
    assert fastvi.Normal(np.zeros((0, 3)), np.zeros((0, 3))).sample(7, 0).shape == (7, 0, 3)
    assert fastvi.Normal(np.zeros((2, 3)), np.ones((2, 3))).sample(0, 0).shape == (0, 2, 3)


# ---- LinearGaussian: values ------------------------------------------------------------------------------


@given(linear_gaussians_with_data(), st.data())
def test_log_joint_of_a_linear_gaussian_is_its_definition(case, data):
    model, x = case
    z = data.draw(strategies.floats((2, model.num_latents), ORDINARY))
    got = model.log_joint(x[:, None], z[None])
    expected = [
        [naive_models.linear_gaussian_log_joint(model.weights, model.bias, model.noise_std, a, b) for b in z]
        for a in x
    ]
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=1e-12, atol=1e-12)


@given(linear_gaussians_with_data(), st.data())
def test_log_marginal_is_that_of_the_dense_covariance(case, data):
    model, x = case
    parameters = model.weights.tolist(), model.bias.tolist(), model.noise_std
    mask = data.draw(st.one_of(st.none(), strategies.bits(model.num_pixels).map(lambda bits: bits > 0)))
    got = rules_of(model).log_marginal(x, mask)
    expected = [naive_models.linear_gaussian_log_marginal(*parameters, row, mask) for row in x.tolist()]
    np.testing.assert_allclose(got, np.reshape(expected, (-1,)), rtol=1e-9, atol=1e-9)


def test_log_marginal_is_the_integral_of_the_joint():
    """log p(x, z) - log p(z | x) is the same at any z: here by a fine grid over one latent."""
    model = linear_gaussian(5, 1)
    x = np.random.default_rng(1).standard_normal((3, 5))
    z = np.linspace(-9, 9, 3601)[:, None]
    got = np.log(np.exp(model.log_joint(x[:, None], z)).sum(axis=1) * 0.005)
    np.testing.assert_allclose(got, rules_of(model).log_marginal(x), rtol=1e-12)


def test_pixels_that_are_not_observed_are_summed_out():
    model = linear_gaussian(5, 3)
    x = np.random.default_rng(1).standard_normal((4, 5))
    mask = np.array([True, False, True, True, False])
    part = fastvi.LinearGaussian(model.weights[mask], model.bias[mask], model.noise_std)
    np.testing.assert_array_equal(
        rules_of(model).log_marginal(x, mask), rules_of(part).log_marginal(x[:, mask])
    )
    np.testing.assert_array_equal(rules_of(model).log_marginal(x, np.zeros(5, bool)), np.zeros(4))
    np.testing.assert_array_equal(
        rules_of(model).log_marginal(x, np.ones(5, bool)), rules_of(model).log_marginal(x)
    )


def test_a_datum_has_the_same_bits_in_any_batch():
    model = linear_gaussian(40, 7)
    _, x = model.sample(20, 0)
    whole = rules_of(model).log_marginal(x)
    for n in range(20):
        assert rules_of(model).log_marginal(x[n : n + 1])[0] == whole[n]


def exact_log_marginal(model, x):
    """By the dense covariance in 120 digits."""
    with mpmath.workdps(120):
        w = mpmath.matrix(model.weights.tolist())
        covariance = w * w.T + mpmath.mpf(model.noise_std) ** 2 * mpmath.eye(model.num_pixels)
        centred = mpmath.matrix(
            [mpmath.mpf(float(a)) - mpmath.mpf(float(b)) for a, b in zip(x, model.bias, strict=True)]
        )
        square = (centred.T * mpmath.lu_solve(covariance, centred))[0]
        total = square + mpmath.log(mpmath.det(covariance)) + model.num_pixels * mpmath.log(2 * mpmath.pi)
        return float(-total / 2)


@pytest.mark.parametrize("noise_std", [1e-7, 1e-3, 1.0, 1e3])
def test_noise_far_below_and_above_the_weights(noise_std):
    """Data of the model: at 1e-7 Woodbury's difference of squares and W^T W + s^2 I would have lost all digits."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 3))
    weights[:, 2] = weights[:, 1] + 1e-4 * weights[:, 2]  # badly conditioned
    model = fastvi.LinearGaussian(weights, rng.standard_normal(8), noise_std)
    z, x = model.sample(3, 1)
    expected = [exact_log_marginal(model, row) for row in x]
    # x carries roundings of 2^-53 |x| itself, which count as 2^-53 |x| / noise_std
    tolerance = 1e-13 + 1e-15 * np.abs(x).max() / noise_std
    np.testing.assert_allclose(rules_of(model).log_marginal(x), expected, rtol=tolerance)
    assert np.isfinite(rules_of(model).log_marginal(x + z[:, :1])).all()


def test_latents_that_do_nothing_change_nothing():
    model = linear_gaussian(5, 3)
    idle = fastvi.LinearGaussian(np.hstack([model.weights, np.zeros((5, 2))]), model.bias, model.noise_std)
    _, x = model.sample(4, 0)
    np.testing.assert_allclose(rules_of(idle).log_marginal(x), rules_of(model).log_marginal(x), rtol=1e-14)


def test_leading_axes_of_a_linear_gaussian_broadcast():
    model = linear_gaussian(5, 3)
    z, x = model.sample(4, 0)
    pairs = model.log_joint(x[:, None], z)
    assert pairs.shape == (4, 4)
    np.testing.assert_array_equal(model.log_joint(x, z), np.diagonal(pairs))
    assert model.log_joint(x[0], z[0]).shape == ()


# ---- LinearGaussian: gradient ----------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [(5, 2), (2, 4), (3, 1)])
def test_gradient_against_finite_differences(sizes, masked):
    model = linear_gaussian(*sizes, seed=3)
    rng = np.random.default_rng(2)
    x, data_weights = rng.standard_normal((6, sizes[0])), rng.uniform(-1, 2, 6)
    mask = np.arange(sizes[0]) != 1 if masked else None
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=data_weights, observed=mask)
    arrays = model.arrays()
    assert gradient.keys() == arrays.keys()
    step = 1e-5
    for name, array in arrays.items():
        assert gradient[name].shape == array.shape
        for index in np.ndindex(array.shape):
            ends = []
            for shift in (step, -step):
                moved = {key: value.copy() for key, value in arrays.items()}
                moved[name][index] += shift
                moved["noise_std"] = float(moved["noise_std"])
                ends.append(
                    fastvi.log_marginal(fastvi.LinearGaussian(**moved), x, observed=mask) @ data_weights
                )
            expected = (ends[0] - ends[1]) / (2 * step)
            assert gradient[name][index] == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_gradient_of_nothing():
    model = linear_gaussian(5, 3)
    for x, mask in ((np.zeros((0, 5)), None), (np.zeros((2, 5)), np.zeros(5, bool))):
        gradient = fastvi.log_marginal_gradient(model, x, observed=mask)
        assert all(not array.any() for array in gradient.values())


@pytest.mark.slow_without_jit
def test_a_gradient_is_zero_on_average_over_the_model():
    model, num = linear_gaussian(5, 3), 40_000
    _, x = model.sample(num, 4)
    gradient = fastvi.log_marginal_gradient(model, x, data_weights=np.full(num, 1 / num))
    for array in gradient.values():
        assert np.abs(array).max() < 30 / math.sqrt(num)


# ---- LinearGaussian: draws -------------------------------------------------------------------------------


def test_draws_have_the_moments_of_the_model():
    model, num = linear_gaussian(3, 2), 40_000
    z, x = model.sample(num, seed=3)
    assert (z.shape, z.dtype, x.shape, x.dtype) == ((num, 2), np.float64, (num, 3), np.float64)
    w = model.weights
    covariance = np.block([[np.eye(2), w.T], [w, w @ w.T + model.noise_std**2 * np.eye(3)]])
    scale = np.sqrt(np.diagonal(covariance))
    both = (np.concatenate([z, x - model.bias], axis=1)) / scale
    assert np.abs(both.mean(axis=0)).max() < 5 / math.sqrt(num)
    assert np.abs(np.cov(both.T) - covariance / np.outer(scale, scale)).max() < 7.5 / math.sqrt(num)


def test_a_sample_is_a_pure_function_of_the_seed():
    model = linear_gaussian(5, 3)
    first, again, other = model.sample(50, 2**64 - 1), model.sample(50, 2**64 - 1), model.sample(50, 0)
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


# ---- files, copies, immutability -------------------------------------------------------------------------


@each_model
def test_a_model_comes_back_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    for twin in (fastvi.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(twin, model)
        assert not any(v.flags.writeable for v in vars(twin).values() if isinstance(v, np.ndarray))


@each_model
def test_nothing_can_be_changed(model):
    for name, array in model.arrays().items():
        with pytest.raises(AttributeError, match="immutable"):
            setattr(model, name, array)
        stored = getattr(model, name)
        if isinstance(stored, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                stored[...] = 0


def test_what_was_passed_is_copied():
    mean, std = np.zeros(2), np.ones(2)
    q = fastvi.Normal(mean, std)
    mean[:], std[:] = 5, 5
    np.testing.assert_array_equal(q.mean, [0, 0])
    np.testing.assert_array_equal(q.std, [1, 1])


def test_attributes_and_reprs():
    model = linear_gaussian(5, 3)
    assert (model.num_pixels, model.num_latents, model.noise_std) == (5, 3, 0.7)
    assert_same(model.prior, fastvi.Normal(np.zeros(3), np.ones(3)))
    assert type(MODELS["no pixels"].noise_std) is float
    assert repr(model) == "LinearGaussian(num_pixels=5, num_latents=3, noise_std=0.7)"
    assert repr(fastvi.Normal(np.zeros((4, 3)), np.ones((4, 3)))) == "Normal(num_latents=3, num_data=4)"


# ---- wrong input -----------------------------------------------------------------------------------------

Q = fastvi.Normal(np.zeros((2, 3)), np.ones((2, 3)))
LINEAR = linear_gaussian(5, 3)


def linear(weights=((0.0,) * 3,) * 4, bias=(0.0,) * 4, noise_std=1.0):
    return fastvi.LinearGaussian(weights, bias, noise_std)


# fmt: off
WRONG_INPUT = [
    ("NaN mean", lambda: fastvi.Normal([0.0, NAN], [1, 1]), ValueError, r"^mean must be finite, got nan at index 1"),
    ("infinite std", lambda: fastvi.Normal([0.0, 0.0], [1, INF]), ValueError, r"^std must be finite, got inf at index 1"),
    ("std of 0", lambda: fastvi.Normal([0.0, 0.0], [1, 0]), ValueError, r"^std must be > 0, got 0.0 at index 1"),
    ("negative std", lambda: fastvi.Normal([[0.0]], [[-1]]), ValueError, r"^std must be > 0, got -1.0 at index \(0, 0\)"),
    ("shapes that differ", lambda: fastvi.Normal([[0.0, 0.0]], [1, 1]), ValueError, r"^std must have the shape of mean, \(1, 2\), got shape \(2,\)"),
    ("scalar mean", lambda: fastvi.Normal(0.0, 1.0), ValueError, r"^mean must have 1 or 2 axes, got shape \(\)"),
    ("no latents", lambda: fastvi.Normal([], []), ValueError, r"^mean must have at least 1 latent in the last axis, got shape \(0,\)"),
    ("mean as text", lambda: fastvi.Normal(["a"], [1]), TypeError, r"^mean must be an array of real numbers, got dtype <U1"),
    ("draws that overflow", lambda: fastvi.Normal([0.0], [1e308]), ValueError, r"^mean and std must keep \|mean\| \+ 9 std finite, got inf at index 0"),
    ("z of inf", lambda: Q.log_prob([0, INF, 0]), ValueError, r"^z must be finite, got inf at index 1"),
    ("z of another length", lambda: Q.log_prob([0, 1]), ValueError, r"^z must have shape \(\.\.\., 3\), got shape \(2,\)"),
    ("z without axes", lambda: Q.log_prob(1.0), ValueError, r"^z must have shape \(\.\.\., 3\), got shape \(\)"),
    ("z for other data", lambda: Q.log_prob(np.zeros((5, 3))), ValueError, r"^z must have shape \(\.\.\., 2, 3\), or \(\.\.\., 1, 3\) for all data, got shape \(5, 3\)$"),
    ("normal num of -1", lambda: Q.sample(-1, 0), ValueError, r"^num must be an int >= 0, got -1"),
    ("normal seed of 2^64", lambda: Q.sample(1, 2**64), ValueError, r"^seed must be an int"),
    ("NaN weight", lambda: linear([[0, 0, NAN]] * 4), ValueError, r"^weights must be finite, got nan at index \(0, 2\)"),
    ("weights one axis", lambda: linear(np.zeros(3)), ValueError, r"^weights must have 2 axes, got shape \(3,\)"),
    ("no latents in weights", lambda: linear(np.zeros((4, 0))), ValueError, r"^weights .*num_latents >= 1.* \(4, 0\)"),
    ("bias too short", lambda: linear(bias=[0.0]), ValueError, r"^bias must have shape \(4,\), got shape \(1,\)"),
    ("noise of 0", lambda: linear(noise_std=0), ValueError, r"^noise_std must be a finite number > 0, got 0"),
    ("noise of NaN", lambda: linear(noise_std=NAN), ValueError, r"^noise_std must be a finite number > 0, got nan"),
    ("noise an array", lambda: linear(noise_std=np.ones(4)), TypeError, r"^noise_std must be a finite number > 0, got an array"),
    ("mean that overflows", lambda: linear(np.full((4, 3), 1e308), noise_std=1e200), ValueError, r"^weights and bias must keep .* finite, got inf at index 0"),
    ("weights far above the noise", lambda: linear(np.full((4, 3), 1e10), noise_std=1e-200), ValueError, r"^weights must keep sum \(weights_j / noise_std\)\^2 below 1e300, got inf at index 0"),
    ("x of NaN", lambda: LINEAR.log_joint([NAN] * 5, [0] * 3), ValueError, r"^x must be finite, got nan at index 0"),
    ("x of another length", lambda: LINEAR.log_joint([0] * 4, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(4,\)"),
    ("x and z do not fit", lambda: LINEAR.log_joint(np.zeros((2, 5)), np.zeros((4, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(4,\)"),
    ("x beyond all noise", lambda: rules_of(LINEAR).log_marginal(np.full((1, 5), 1e160)), ValueError, r"^\(x - bias\) / noise_std must be below 1e150, got .* at index \(0, 0\)"),
    ("num of -1", lambda: LINEAR.sample(-1, 0), ValueError, r"^num must be an int >= 0"),
    ("seed None", lambda: LINEAR.sample(1, None), TypeError, r"^seed must be an int"),
]
# fmt: on


@pytest.mark.parametrize(
    ("call", "exception", "message"), [c[1:] for c in WRONG_INPUT], ids=[c[0] for c in WRONG_INPUT]
)
def test_wrong_input(call, exception, message):
    with pytest.raises(exception, match=message) as caught:
        call()
    assert type(caught.value) is exception
    assert "\n" not in str(caught.value)
