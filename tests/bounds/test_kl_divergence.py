"""KL divergences: the definition, mpmath where q is close to p, and the limits at infinite logits."""

from __future__ import annotations

import math

import mpmath
import naive
import naive_divergences
import numpy as np
import optional
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st

import fastvi
from fastvi.bounds.kl_divergence import bernoulli_kl

INF = math.inf
SMALLEST = 1e-300  # below it products of two probabilities leave the normal doubles


def exact_kl(a, b):
    """One latent, finite logits; the digits cover the cancellation of two numbers e^-2000 apart."""
    with mpmath.workdps(950):
        a, b = mpmath.mpf(a), mpmath.mpf(b)
        tiny_a, tiny_b = mpmath.exp(-abs(a)), mpmath.exp(-abs(b))

        def log_sigmoids(t, tiny):
            rest = mpmath.log(1 + tiny)
            return (-rest, -t - rest) if t > 0 else (t - rest, -rest)

        (a1, a0), (b1, b0) = log_sigmoids(a, tiny_a), log_sigmoids(b, tiny_b)
        q1 = 1 / (1 + tiny_a) if a > 0 else tiny_a / (1 + tiny_a)
        q0 = tiny_a / (1 + tiny_a) if a > 0 else 1 / (1 + tiny_a)
        return float(q1 * (a1 - b1) + q0 * (a0 - b0))


def kl(a, b):
    return float(bernoulli_kl(np.array(float(a)), np.array(float(b))))


@pytest.mark.parametrize("a", [0.0, 0.3, -2.0, 20.0, -36.0, 45.0, -300.0, 600.0])
@pytest.mark.parametrize("change", [0.0, 1e-12, -1e-7, 1e-3, -0.4, 0.999, 1.001, -1.001, 3.0, -40.0, 999.0])
def test_small_and_large_differences_against_mpmath(a, change):
    exact = exact_kl(a, a + change)
    assert kl(a, a + change) == pytest.approx(exact, rel=1e-14, abs=SMALLEST)


def test_close_distributions_do_not_cancel():
    """The textbook form is off by about 1e-16, ten times the value; the quadratic term says what it is."""
    assert kl(0.0, 1e-8) == pytest.approx(1e-16 / 8, rel=1e-13)


@given(st.floats(-800, 800), st.floats(-800, 800))
def test_one_latent_against_mpmath(a, b):
    assert kl(a, b) == pytest.approx(exact_kl(a, b), rel=1e-14, abs=SMALLEST)


@given(st.data())
def test_kl_divergence_is_its_definition(data):
    d = data.draw(st.integers(1, 4))
    q, p = (data.draw(strategies.bernoulli_logits(d, elements=strategies.EXTREME)) for _ in "qp")
    assume(q.ndim == 1 or p.ndim == 1 or len(q) == len(p))
    got = fastvi.kl_divergence(fastvi.Bernoulli(q), fastvi.Bernoulli(p))
    both = np.broadcast_arrays(np.atleast_2d(q), np.atleast_2d(p))
    expected = [naive.bernoulli_kl(a, b) for a, b in zip(*(side.tolist() for side in both), strict=True)]
    assert got.shape == both[0].shape[:1]
    # the oracle cancels: its terms are of the size of the logits
    scale = max(1.0, np.abs(q).max(initial=0), np.abs(p).max(initial=0))
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=1e-12, atol=1e-13 * scale)


@given(st.data())
def test_never_negative_never_nan_and_zero_for_equals(data):
    d = data.draw(st.integers(1, 4))
    q, p = (fastvi.Bernoulli(data.draw(strategies.floats(d, strategies.INFINITE))) for _ in "qp")
    assert fastvi.kl_divergence(q, p)[0] >= 0
    assert fastvi.kl_divergence(q, q)[0] == 0


INFINITE = [
    (INF, INF, 0.0),
    (-INF, -INF, 0.0),
    (INF, -INF, INF),
    (-INF, INF, INF),
    (0.0, INF, INF),
    (1e3, INF, INF),  # the mean of q rounds to 1, its logit knows that it is not
    (-1e3, -INF, INF),
    (INF, 0.0, math.log(2)),
    (-INF, 0.0, math.log(2)),
    (INF, -1e3, 1e3),
    (-INF, 1e3, 1e3),
    (INF, 40.0, math.log1p(math.exp(-40))),
    (-INF, 1e308, 1e308),
    (1e3, -1e3, 1e3),
    (-1e3, 1e3, 1e3),
    (1e308, -1e308, 1e308),
    (0.0, 1e308, 0.5e308),
]


@pytest.mark.parametrize(("a", "b", "expected"), INFINITE)
def test_limits(a, b, expected):
    assert kl(a, b) == pytest.approx(expected, rel=1e-15)


def test_kl_to_uniform_is_the_missing_entropy():
    q = fastvi.Bernoulli([[0.3, -2.0], [INF, 5.0]])
    expected = 2 * math.log(2) - q.entropy()
    np.testing.assert_allclose(fastvi.kl_divergence(q, fastvi.Uniform(2)), expected, rtol=1e-14)


def test_shapes():
    one, many, none = (fastvi.Bernoulli(np.ones(shape)) for shape in [(3,), (4, 3), (0, 3)])
    assert fastvi.kl_divergence(one, fastvi.Uniform(3)).shape == (1,)
    assert fastvi.kl_divergence(one, many).shape == (4,)
    assert fastvi.kl_divergence(many, one).shape == (4,)
    assert fastvi.kl_divergence(none, one).shape == (0,)


# ---- categorical -----------------------------------------------------------------------------------------


def categorical(a, b):
    return float(fastvi.kl_divergence(fastvi.Categorical(a), fastvi.Categorical(b))[0])


def exact_categorical(a, b):
    return naive_divergences.kl(naive_divergences.categorical_logs(a), naive_divergences.categorical_logs(b))


@given(st.data())
def test_categorical_against_mpmath(data):
    k = data.draw(st.integers(1, 5))
    a, b = (data.draw(strategies.floats(k, st.one_of(st.floats(-50, 50), st.just(-INF)))) for _ in "qp")
    assume(a.max() > -INF)
    assume(b.max() > -INF)
    expected = exact_categorical(a.tolist(), b.tolist())
    finite = np.concatenate([each[each > -INF] for each in (a, b)])
    # log probabilities are rounded to their size, and their exponentials are off by that
    bound = 1e-14 + 4e-16 * np.ptp(finite)
    assert categorical(a, b) == pytest.approx(expected, rel=bound, abs=1e-40)
    assert categorical(a, a) == 0


@pytest.mark.parametrize("step", [1.0, 0.3, 1e-3, 1e-8, 1e-13])
@pytest.mark.parametrize("shift", [0.0, 7.3, -300.0])
def test_close_categorical_distributions_keep_their_digits(step, shift):
    a = [0.3, -2.0, 5.0, -40.0, 0.0]
    b = [t + shift + step * change for t, change in zip(a, [1.0, -1.0, 0.7, 2.0, 0.0], strict=True)]
    assert categorical(a, b) == pytest.approx(exact_categorical(a, b), rel=1e-13)


def test_categorical_limits():
    assert categorical([0.0, -INF], [0.0, 0.0]) == pytest.approx(math.log(2), rel=1e-15)
    assert categorical([0.0, 0.0], [0.0, -INF]) == INF
    assert categorical([0.0, -1e3], [-INF, 0.0]) == INF
    assert categorical([-1e3, 0.0], [-INF, 0.0]) == INF  # a mass of e^-1000 is one
    assert categorical([0.0, -INF, -INF], [-INF, 0.0, 0.0]) == INF
    assert categorical([-INF, 1.0, -INF], [-INF, 2.0, -INF]) == 0
    assert categorical([1e3, -1e3], [-1e3, 1e3]) == pytest.approx(2e3, rel=1e-15)
    assert categorical([1e300, -1e300], [-1e300, 1e300]) == pytest.approx(2e300, rel=1e-15)
    assert categorical([0.3], [-7.0]) == 0


@given(st.floats(-800, 800), st.floats(-800, 800))
def test_two_categories_are_a_bernoulli_latent(a, b):
    found = categorical([0.0, a], [0.0, b])
    assert found == pytest.approx(kl(a, b), rel=1e-13, abs=SMALLEST)


# ---- normal ----------------------------------------------------------------------------------------------


def normal(m, s, other_m, other_s):
    return float(fastvi.kl_divergence(fastvi.Normal([m], [s]), fastvi.Normal([other_m], [other_s]))[0])


@pytest.mark.parametrize("step", [0.0, 1e-13, 1e-7, 1e-3, 0.4, 0.6, 10.0, 1e8])
@pytest.mark.parametrize("sign", [1, -1])
def test_normal_against_mpmath(step, sign):
    m, s, other_m = 0.7, 1.3, 0.7 + sign * step
    for other_s in (1.3 * (1 + step), 1.3 / (1 + 2 * step)):
        expected = naive_divergences.normal_kl(m, s, other_m, other_s)
        assert normal(m, s, other_m, other_s) == pytest.approx(expected, rel=1e-14, abs=1e-45)


# from e^-1400 to e^1400, and on both sides of where a series, log1p or the logarithm of a quotient take over
LOG_RATIOS = [0.0, 1e-9, 0.39, 0.41, 0.49, 0.51, 0.69, 0.7, 1.0, 3.0, 30.0, 150.0, 300.0, 354.0]


@pytest.mark.parametrize("log_scale", [0.0, 300.0, -300.0, 690.0, -700.0])
@pytest.mark.parametrize("log_ratio", [*LOG_RATIOS, *(-t for t in LOG_RATIOS), -600.0, -1390.0])
def test_ratios_of_any_size_keep_their_digits(log_ratio, log_scale):
    """Relative error below 1e-14: a few roundings of 1.1e-16 each, of terms that cancel by a factor of 4."""
    other = math.exp(-log_ratio / 2 if log_ratio == -1390.0 else log_scale)
    s = math.exp(min(max(math.log(other) + log_ratio, -740.0), 706.0))
    expected = naive_divergences.normal_kl(0.0, s, 0.0, other)
    assert normal(0.0, s, 0.0, other) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("log_ratio", [t for t in LOG_RATIOS if t < 350] + [-3.0, -150.0, -300.0])
def test_ratios_of_factors_of_any_size_keep_their_digits(log_ratio):
    """By the factors, which are what is taken as exact."""
    pair = [fastvi.MultivariateNormal([0.0], [[math.exp(t)]]) for t in (log_ratio, -log_ratio)]
    roots = [float(each.cholesky[0, 0]) for each in pair]
    expected = naive_divergences.normal_kl(0.0, roots[0], 0.0, roots[1])
    assert fastvi.kl_divergence(*pair)[0] == pytest.approx(expected, rel=1e-14)


@given(st.floats(-700, 700), st.floats(-700, 700), st.floats(-4, 4))
def test_any_two_normals_against_mpmath(log_s, log_other, shift):
    s, other = math.exp(log_s), math.exp(log_other)
    m, other_m = 0.5 * shift * other, -0.5 * shift * other
    expected = naive_divergences.normal_kl(m, s, other_m, other)
    assert normal(m, s, other_m, other) == pytest.approx(expected, rel=1e-14, abs=1e-300)


def test_normal_limits():
    assert normal(0.0, 1e-300, 0.0, 1e300) == pytest.approx(600 * math.log(10) - 0.5, rel=1e-14)
    assert normal(0.0, 1e300, 0.0, 1e-300) == INF
    assert normal(-1.6e308, 1e300, 1.6e308, 1e300) == pytest.approx(0.5 * 3.2e8**2, rel=1e-14)
    assert normal(3.0, 0.1, 3.0, 0.1) == 0
    standard = fastvi.Normal(np.zeros(2), np.ones(2))
    q = fastvi.Normal([[0.5, -1.0]], [[0.3, 2.0]])
    textbook = 0.5 * (q.std**2 + q.mean**2 - 1 - 2 * np.log(q.std)).sum()
    assert fastvi.kl_divergence(q, standard)[0] == pytest.approx(textbook, rel=1e-14)


def full_pairs(d, num_data=3):
    rng = np.random.default_rng(d)
    roots = rng.normal(size=(2, num_data, d, d + 2))
    covariances = roots @ np.swapaxes(roots, -1, -2) / d
    return rng.normal(size=(2, num_data, d)), 0.5 * (covariances + np.swapaxes(covariances, -1, -2))


@pytest.mark.parametrize("d", [1, 2, 4, 7])
def test_multivariate_normal_against_mpmath(d):
    means, covariances = full_pairs(d)
    q, p = (fastvi.MultivariateNormal(m, c) for m, c in zip(means, covariances, strict=True))
    parameters = means[0], covariances[0], means[1], covariances[1]
    expected = [
        naive_divergences.multivariate_kl(*(each[n].tolist() for each in parameters)) for n in range(3)
    ]
    found = fastvi.kl_divergence(q, p)
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    one = fastvi.kl_divergence(fastvi.MultivariateNormal(means[0][1], covariances[0][1]), p)
    assert one[1] == found[1]  # the same bits in any batch
    assert (fastvi.kl_divergence(q, q) == 0).all()


@pytest.mark.parametrize("step", [1e-2, 1e-5, 1e-8])
def test_close_multivariate_normal_distributions_keep_their_digits(step):
    means, covariances = full_pairs(4, 1)
    rng = np.random.default_rng(9)
    change = rng.normal(size=(4, 4))
    other = covariances[0][0] + step * (change + change.T)
    q = fastvi.MultivariateNormal(means[0], covariances[0])
    p = fastvi.MultivariateNormal(means[0][0] + step * rng.normal(size=4), other)
    exact = naive_divergences.multivariate_kl(
        means[0][0].tolist(), covariances[0][0].tolist(), p.mean.tolist(), p.covariance.tolist()
    )
    # factors are off by 1e-16 times their condition number, about 10 here, and their difference by step
    assert fastvi.kl_divergence(q, p)[0] == pytest.approx(exact, rel=1e-13 + 1e-14 / step)


def test_normal_and_multivariate_normal_in_any_combination():
    means, covariances = full_pairs(3)
    full = fastvi.MultivariateNormal(means[0], covariances[0])
    diagonal = fastvi.Normal(means[1], np.sqrt(np.diagonal(covariances[1], axis1=1, axis2=2)))
    wide = fastvi.MultivariateNormal(means[1], np.square(diagonal.std)[..., None] * np.eye(3))
    for pair in ((full, diagonal), (diagonal, full)):
        same = [wide if each is diagonal else each for each in pair]
        np.testing.assert_allclose(fastvi.kl_divergence(*pair), fastvi.kl_divergence(*same), rtol=1e-12)
    factorised = fastvi.Normal(means[0], np.ones((3, 3)))
    np.testing.assert_allclose(
        fastvi.kl_divergence(wide, factorised), fastvi.kl_divergence(diagonal, factorised), rtol=1e-12
    )
    shared = fastvi.Normal(np.zeros(3), np.ones(3))
    assert fastvi.kl_divergence(full, shared).shape == (3,)
    assert fastvi.kl_divergence(shared, full).shape == (3,)
    none = fastvi.MultivariateNormal(np.zeros((0, 3)), np.eye(3))
    assert fastvi.kl_divergence(none, shared).shape == (0,)
    tiny = fastvi.MultivariateNormal(np.zeros(2), 1e-300 * np.eye(2))
    huge = fastvi.MultivariateNormal(np.zeros(2), 1e300 * np.eye(2))
    assert fastvi.kl_divergence(tiny, huge)[0] == pytest.approx(600 * math.log(10) - 1, rel=1e-13)
    assert fastvi.kl_divergence(huge, tiny)[0] == INF


@pytest.mark.peers
def test_against_torch():
    torch = optional.package("torch")
    there = torch.distributions
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 4, 5))
    pairs = [
        (fastvi.Bernoulli, lambda t: there.Independent(there.Bernoulli(logits=torch.tensor(t)), 1), (a, b)),
        (fastvi.Categorical, lambda t: there.Categorical(logits=torch.tensor(t)), (a, b)),
    ]
    for ours, theirs, (q, p) in pairs:
        expected = there.kl_divergence(theirs(q), theirs(p)).numpy()
        np.testing.assert_allclose(fastvi.kl_divergence(ours(q), ours(p)), expected, rtol=1e-12)
    std, other = np.exp(a), np.exp(b)
    expected = there.kl_divergence(
        *(there.Normal(torch.tensor(m), torch.tensor(s)) for m, s in ((a, std), (b, other)))
    )
    found = fastvi.kl_divergence(fastvi.Normal(a, std), fastvi.Normal(b, other))
    np.testing.assert_allclose(found, expected.sum(-1).numpy(), rtol=1e-12)
    means, covariances = full_pairs(4)
    mine = [fastvi.MultivariateNormal(m, c) for m, c in zip(means, covariances, strict=True)]
    theirs = [there.MultivariateNormal(torch.tensor(q.mean), torch.tensor(q.covariance)) for q in mine]
    np.testing.assert_allclose(fastvi.kl_divergence(*mine), there.kl_divergence(*theirs).numpy(), rtol=1e-11)


def test_against_scipy():
    from scipy import stats

    q, p = fastvi.Categorical([0.3, -1.0, 2.0]), fastvi.Categorical([1.0, 0.0, -0.5])
    expected = stats.entropy(q.probabilities, p.probabilities)
    assert fastvi.kl_divergence(q, p)[0] == pytest.approx(expected, rel=1e-14)


NORMAL, FULL = fastvi.Normal([0.0], [1.0]), fastvi.MultivariateNormal([0.0], [[1.0]])
CATEGORICAL = fastvi.Categorical([0.0, 1.0])


@pytest.mark.parametrize(
    ("q", "p", "error", "message"),
    [
        (fastvi.Bernoulli([0.0]), NORMAL, TypeError, r"^p must be a Bernoulli, got Normal"),
        (
            NORMAL,
            fastvi.Bernoulli([0.0]),
            TypeError,
            r"^p must be a Normal or MultivariateNormal, got Bernoulli",
        ),
        (FULL, CATEGORICAL, TypeError, r"^p must be a Normal or MultivariateNormal, got Categorical"),
        (CATEGORICAL, FULL, TypeError, r"^p must be a Categorical, got MultivariateNormal"),
        (
            CATEGORICAL,
            fastvi.Categorical([0.0]),
            ValueError,
            r"^q and p must have the same number of categories, got q with 2 and p with 1",
        ),
        (
            FULL,
            fastvi.Normal([0.0, 0.0], [1.0, 1.0]),
            ValueError,
            r"^q and p must have the same number of latents",
        ),
        (
            fastvi.Categorical(np.zeros((2, 2))),
            fastvi.Categorical(np.zeros((3, 2))),
            ValueError,
            r"^q and p .* number of data, got q with 2 and p with 3",
        ),
    ],
)
def test_unlike_pairs(q, p, error, message):
    with pytest.raises(error, match=message):
        fastvi.kl_divergence(q, p)
