"""Mixtures: log probabilities and means against their definitions, draws, files, wrong input."""

# ruff: noqa: E501

from __future__ import annotations

import copy
import math
import pickle

import naive
import naive_distributions
import naive_models
import numpy as np
import pytest
import strategies
from cases import assert_same, bernoulli, normal
from hypothesis import given
from hypothesis import strategies as st
from tolerances import share_error

import fastvi
from fastvi.kernels.cpu.random.component_draws import pick_components
from fastvi.kernels.cpu.random.draws import split_seed

NAN, INF = math.nan, math.inf
SEEDS = st.integers(0, 2**64 - 1)
WEIGHTS = st.floats(1e-3, 1e3)


ENCODER = fastvi.Encoder([(np.ones((2, 3)), np.zeros(2))], "tanh")
REAL_ENCODER = fastvi.Encoder([(np.ones((4, 3)), np.zeros(4))], "tanh", "normal")

MIXTURES = {
    "bits": fastvi.Mixture([bernoulli(2), bernoulli(5, 2, seed=1), fastvi.Uniform(2)], [1, 2, 3]),
    "bits for all data": fastvi.Mixture([bernoulli(70), fastvi.Uniform(70)], [0.3, 0.7]),
    "one component": fastvi.Mixture([bernoulli(3, 2)], [17.0]),
    "one latent": fastvi.Mixture([bernoulli(4, 1), bernoulli(1)], [1e-3, 1.0]),
    "point masses": fastvi.Mixture([fastvi.Bernoulli([INF, -INF]), fastvi.Bernoulli([-INF, 0.0])], [1, 1]),
    "real": fastvi.Mixture([normal(3), normal(4, 3, seed=1), normal(3, seed=2)], [5, 2, 3]),
    "real for all data": fastvi.Mixture([normal(2), normal(2, seed=1)], [1, 3]),
    "no data": fastvi.Mixture([bernoulli(2), bernoulli(0, 2)], [1, 3]),
}
UNRESOLVED = {
    "words": fastvi.Mixture(["uniform", "prior"], [1, 3]),
    "word first": fastvi.Mixture(("prior", normal(4, 2)), [1, 3]),
    "encoder": fastvi.Mixture([bernoulli(2), ENCODER, "uniform"], [1, 1, 2]),
    "real encoder": fastvi.Mixture([REAL_ENCODER, normal(7, 2), "prior"], [1, 1, 2]),
}
each_mixture = pytest.mark.parametrize("q", MIXTURES.values(), ids=MIXTURES.keys())


def is_binary(q):
    return isinstance(q.components[0], fastvi.Bernoulli)


def num_rows(q):
    return 1 if q.num_data is None else q.num_data


def row(parameter, n):
    """Parameters (d,) of datum n."""
    return (parameter if parameter.ndim == 1 else parameter[n]).tolist()


def component_log_prob(q, z, n):
    if isinstance(q, fastvi.Bernoulli):
        return naive_distributions.bernoulli_log_prob(z, row(q.logits, n))
    return naive_models.normal_log_prob(z, row(q.mean, n), row(q.std, n))


def naive_log_prob(q, z, n):
    weights = q.weights.tolist()
    log_probs = [component_log_prob(each, z, n) for each in q.components]
    return naive_distributions.mixture_log_prob(weights, log_probs)


def for_all_data(q, num_data):
    """``q`` with parameters (N, d)."""
    if q.num_data is not None:
        return q
    if isinstance(q, fastvi.Bernoulli):
        return fastvi.Bernoulli(np.tile(q.logits, (num_data, 1)))
    return fastvi.Normal(np.tile(q.mean, (num_data, 1)), np.tile(q.std, (num_data, 1)))


@st.composite
def mixtures(draw):
    """Over bits, infinite logits included, or over real latents; N in 1 ... 3 or None."""
    d, num_data = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    binary = draw(st.booleans())
    components = []
    for _ in range(draw(st.integers(1, 4))):
        shape = draw(st.sampled_from([(d,), (num_data, d)]))
        if binary:
            components.append(fastvi.Bernoulli(draw(strategies.floats(shape, strategies.INFINITE))))
        else:
            mean = draw(strategies.floats(shape, st.floats(-3, 3)))
            components.append(fastvi.Normal(mean, draw(strategies.floats(shape, st.floats(0.1, 10)))))
    return fastvi.Mixture(components, draw(strategies.floats(len(components), WEIGHTS)))


# ---- log_prob --------------------------------------------------------------------------------------------


@given(mixtures(), st.data())
def test_log_prob_is_its_definition(q, data):
    """Logs of components are right to 1e-14 of themselves; the sum over components adds 1e-14."""
    d = q.num_latents
    z = np.array(naive.states(d)) if is_binary(q) else data.draw(strategies.floats((3, d), st.floats(-5, 5)))
    got = q.log_prob(z[:, None])
    assert got.dtype == np.float64
    expected = [[naive_log_prob(q, state, n) for n in range(num_rows(q))] for state in z.tolist()]
    # components of (d,) have no data axis: (S, 1, d) against them give (S, 1)
    np.testing.assert_allclose(got, np.reshape(expected, got.shape), rtol=1e-13, atol=1e-14)


@given(mixtures())
def test_probabilities_of_all_states_sum_to_one(q):
    if is_binary(q):
        z = np.array(naive.states(q.num_latents))[:, None]
        total = np.exp(q.log_prob(z)).sum(axis=0)
        np.testing.assert_allclose(total, np.ones(num_rows(q)), rtol=1e-13)


def test_what_no_component_reaches_has_no_mass():
    q = MIXTURES["point masses"]
    found = q.log_prob([[1, 0], [0, 0], [0, 1], [1, 1]])
    np.testing.assert_allclose(found, [math.log(0.5), math.log(0.25), math.log(0.25), -INF], rtol=1e-15)


def test_far_from_every_component_nothing_underflows():
    q = fastvi.Mixture([fastvi.Normal([0.0], [1.0]), fastvi.Normal([1.0], [1e-3])], [1, 1])
    expected = math.log(0.5) - 1e12 / 2 - math.log(2 * math.pi) / 2
    assert float(q.log_prob([1e6])) == pytest.approx(expected, rel=1e-15)
    bits = fastvi.Mixture([fastvi.Bernoulli([-1e3]), fastvi.Bernoulli([-2e3])], [1, 3])
    assert float(bits.log_prob([1])) == pytest.approx(math.log(0.25) - 1e3, rel=1e-15)


def test_a_small_share_bounds_the_log_ratio():
    """Defensive mixing: log p - log q <= - log of p's weight, everywhere."""
    prior, q = fastvi.Uniform(4), fastvi.Bernoulli([40.0, -40.0, 30.0, -30.0])
    z = np.array(naive.states(4))
    ratio = prior.log_prob(z) - fastvi.Mixture([q, prior], [0.99, 0.01]).log_prob(z)
    assert (prior.log_prob(z) - q.log_prob(z)).max() > 130
    assert ratio.max() <= -math.log(0.01) + 1e-13


def test_shapes_of_log_prob():
    one = MIXTURES["bits for all data"]
    many = MIXTURES["bits"]
    assert one.log_prob(np.zeros(70)).shape == ()
    assert one.log_prob(np.zeros((7, 1, 70))).shape == (7, 1)
    assert many.log_prob(np.zeros(2)).shape == (5,)
    assert many.log_prob(np.zeros((7, 1, 2))).shape == (7, 5)
    assert many.log_prob(np.zeros((7, 5, 2))).shape == (7, 5)
    assert MIXTURES["no data"].log_prob(np.zeros((7, 0, 2))).shape == (7, 0)


@each_mixture
def test_log_prob_takes_its_own_draws(q):
    z = q.sample(6, 3)
    found = q.log_prob(z)
    assert found.shape == (6, num_rows(q))
    assert np.isfinite(found).all()


# ---- mean, weights ---------------------------------------------------------------------------------------


@given(mixtures())
def test_mean_is_its_definition(q):
    for n in range(num_rows(q)):
        expected = [
            math.fsum(w * row(c.mean, n)[i] for w, c in zip(q.weights.tolist(), q.components, strict=True))
            for i in range(q.num_latents)
        ]
        np.testing.assert_allclose(np.atleast_2d(q.mean)[n], expected, rtol=1e-14, atol=1e-14)
    assert q.mean.shape == ((q.num_latents,) if q.num_data is None else (q.num_data, q.num_latents))
    assert not q.mean.flags.writeable


@given(st.lists(WEIGHTS, min_size=1, max_size=40))
def test_weights_are_divided_by_their_sum_once(weights):
    """What is kept sums to 1 to C epsilons, and is kept again bit by bit."""
    components = [fastvi.Uniform(1)] * len(weights)
    q = fastvi.Mixture(components, weights)
    np.testing.assert_allclose(q.weights, np.array(weights) / math.fsum(weights), rtol=len(weights) * 3e-16)
    np.testing.assert_array_equal(fastvi.Mixture(components, q.weights).weights, q.weights)
    assert not q.weights.flags.writeable


def test_weights_of_sum_one_to_rounding_are_kept():
    weights = [0.1] * 10
    assert sum(weights) < 1
    np.testing.assert_array_equal(fastvi.Mixture([fastvi.Uniform(1)] * 10, weights).weights, weights)
    np.testing.assert_array_equal(fastvi.Mixture(["prior"] * 2, [1e300, 3e300]).weights, [0.25, 0.75])


# ---- draws -----------------------------------------------------------------------------------------------


@each_mixture
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_a_draw_is_the_one_of_the_component_that_was_picked(q, seed):
    num, num_data = 12, num_rows(q)
    z = q.sample(num, seed)
    assert (z.shape, z.dtype) == ((num, num_data, q.num_latents), np.uint8 if is_binary(q) else np.float64)
    own = [for_all_data(each, num_data).sample(num, seed) for each in q.components]
    for k in range(num):
        for n in range(num_data):
            c = naive_distributions.picked_component(q.weights.tolist(), seed, n, k)
            np.testing.assert_array_equal(z[k, n], own[c][k, n])


@given(SEEDS, st.integers(0, 2**32 - 1), st.integers(0, 2**62), st.lists(WEIGHTS, min_size=1, max_size=6))
def test_components_are_picked_as_defined(seed, datum, first, weights):
    shares = (np.array(weights) / np.sum(weights)).tolist()
    which = np.full(5, -1)
    pick_components(np.cumsum(shares), *split_seed(seed), datum, first, which)
    expected = [naive_distributions.picked_component(shares, seed, datum, first + k) for k in range(5)]
    assert which.tolist() == expected


def test_ends_of_the_intervals():
    """u on a cumulative weight belongs to the next component; beyond the last one to the last."""
    u = naive_distributions.component_uniform(9, 2, 7)
    which = np.empty(1, np.int64)
    for cumulative, expected in (
        ([u, 1.0], 1),
        ([np.nextafter(u, 1), 1.0], 0),
        ([u, u, 1.0], 2),
        ([u / 2, np.nextafter(u, 0)], 1),
        ([u / 2], 0),
    ):
        pick_components(np.array(cumulative), 9, 0, 2, 7, which)
        assert which[0] == expected


def test_components_are_picked_as_often_as_they_weigh():
    weights, num = np.array([0.5, 0.01, 0.29, 0.2]), 20_000
    which = np.empty(num, np.int64)
    pick_components(np.cumsum(weights), 3, 0, 1, 0, which)
    share = np.bincount(which, minlength=4) / num
    assert (np.abs(share - weights) <= 4.5 * share_error(weights, num)).all()


@pytest.mark.slow_without_jit
def test_the_choice_is_independent_of_the_draws():
    """Both components are the same: a bit's mean may not depend on which one was picked."""
    num = 10_000
    z = fastvi.Uniform(8).sample(num, 4)[:, 0]
    numbers = fastvi.Normal(np.zeros(8), np.ones(8)).sample(num, 4)[:, 0]
    which = np.empty(num, np.int64)
    pick_components(np.array([0.5, 1.0]), 4, 0, 0, 0, which)
    together = np.corrcoef(np.column_stack([which, z, numbers]).T)[0, 1:]
    assert np.abs(together).max() < 4.5 / math.sqrt(num)


@pytest.mark.slow_without_jit
def test_draws_have_the_mean_of_the_mixture():
    num = 20_000
    bits = fastvi.Mixture([bernoulli(3, 4, scale=2.0), bernoulli(4, seed=1, scale=2.0)], [1, 2])
    error = np.sqrt(bits.mean * (1 - bits.mean) / num)
    assert (np.abs(bits.sample(num, 5).mean(axis=0) - bits.mean) <= 4.5 * error).all()
    real = MIXTURES["real"]
    z = real.sample(num, 5)
    # E[z^2] = sum_c w_c (std_c^2 + mean_c^2)
    second = sum(w * (c.std**2 + c.mean**2) for w, c in zip(real.weights, real.components, strict=True))
    assert (np.abs(z.mean(axis=0) - real.mean) <= 4.5 * z.std(axis=0) / math.sqrt(num)).all()
    assert (np.abs((z**2).mean(axis=0) - second) <= 4.5 * (z**2).std(axis=0) / math.sqrt(num)).all()


def test_a_draw_depends_on_seed_datum_and_sample_only():
    for build in (bernoulli, normal):
        many, shared = build(6, 3), build(3, seed=1)
        whole = fastvi.Mixture([many, shared], [1, 1]).sample(20, 7)
        arrays = many.arrays().values()
        fewer = type(many)(*(array[:4] for array in arrays))
        np.testing.assert_array_equal(fastvi.Mixture([fewer, shared], [1, 1]).sample(9, 7), whole[:9, :4])
        assert (fastvi.Mixture([many, shared], [1, 1]).sample(20, 8) != whole).any()


def test_a_mixture_of_one_component_is_that_component():
    for own in (bernoulli(3, 2), normal(2), fastvi.Uniform(2)):
        q = fastvi.Mixture([own], [0.3])
        z = own.sample(9, 11)
        np.testing.assert_array_equal(q.sample(9, 11), z, strict=True)
        np.testing.assert_array_equal(q.log_prob(z), own.log_prob(z))
        np.testing.assert_array_equal(q.mean, own.mean)


@each_mixture
def test_no_draws(q):
    assert q.sample(0, 0).shape == (0, num_rows(q), q.num_latents)


# ---- what a model has to resolve -------------------------------------------------------------------------


def test_attributes():
    sizes = {name: (q.num_latents, q.num_data) for name, q in {**MIXTURES, **UNRESOLVED}.items()}
    assert sizes == {
        "bits": (2, 5),
        "bits for all data": (70, None),
        "one component": (2, 3),
        "one latent": (1, 4),
        "point masses": (2, None),
        "real": (3, 4),
        "real for all data": (2, None),
        "no data": (2, 0),
        "words": (None, None),
        "word first": (2, 4),
        "encoder": (2, None),
        "real encoder": (2, 7),
    }
    q = UNRESOLVED["encoder"]
    assert isinstance(q.components, tuple)
    assert q.components[1] is ENCODER


@pytest.mark.parametrize(
    ("name", "index", "came"), [("words", 0, "'uniform'"), ("word first", 0, "'prior'"), ("encoder", 1, "Encoder")]
)  # fmt: skip
def test_what_is_not_resolved_says_which(name, index, came):
    q = UNRESOLVED[name]
    calls = {
        "sample": lambda: q.sample(1, 0),
        "log_prob": lambda: q.log_prob(np.zeros(2)),
        "mean": lambda: q.mean,
    }
    for what, call in calls.items():
        message = rf"^components\[{index}\] must be a Bernoulli or Normal for {what}, got {came}.* resolved"
        with pytest.raises(TypeError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("q", [MIXTURES["bits"], UNRESOLVED["words"]])
def test_there_is_no_entropy(q):
    with pytest.raises(TypeError, match=r"^the entropy of a Mixture has no closed form"):
        q.entropy()


# ---- files, copies, immutability -------------------------------------------------------------------------


def test_reprs_are_one_line():
    q = fastvi.Mixture([bernoulli(4, 3), "prior"], [1, 3])
    assert repr(q) == "Mixture(0.25 * Bernoulli(num_latents=3, num_data=4), 0.75 * 'prior')"


@pytest.mark.parametrize("name", [*MIXTURES, *UNRESOLVED])
def test_a_mixture_comes_back_the_same(name, tmp_path):
    q = {**MIXTURES, **UNRESOLVED}[name]
    q.save(tmp_path / "q")
    for twin in (fastvi.load(tmp_path / "q"), pickle.loads(pickle.dumps(q)), copy.deepcopy(q)):
        assert_same(twin, q)
        assert not twin.weights.flags.writeable


def test_more_than_ten_components_come_back_in_order(tmp_path):
    q = fastvi.Mixture([bernoulli(2, seed=c) for c in range(12)], np.arange(1, 13))
    q.save(tmp_path / "q")
    assert_same(fastvi.load(tmp_path / "q"), q)


class Own(fastvi.Bernoulli):
    """A caller's own."""


def test_a_component_of_the_callers_own_class_can_be_pickled_but_not_saved(tmp_path):
    q = fastvi.Mixture(["uniform", Own([1.0, 2.0])], [1, 1])
    assert_same(pickle.loads(pickle.dumps(q)), q)
    with pytest.raises(
        TypeError, match=r"^components\[1\] must be one of Bernoulli, .* got an Own of test_mix"
    ):
        q.save(tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_nothing_can_be_changed():
    q = MIXTURES["bits"]
    for name in ("components", "weights", "num_latents", "num_data", "mean"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(q, name, None)
    with pytest.raises(ValueError, match="read-only"):
        q.weights[0] = 1


def test_what_was_passed_is_copied():
    components, weights = [bernoulli(2), "uniform"], np.array([0.25, 0.75])
    q = fastvi.Mixture(components, weights)
    components.append("prior")
    weights[:] = 1
    assert len(q.components) == 2
    np.testing.assert_array_equal(q.weights, [0.25, 0.75])


WRONG_FILES = [
    ("no weights", {"weights": None}, "whole Mixture.*'weights'"),
    ("no components", {"component_0": None}, "whole Mixture.*unexpected array 'component_0_logits'"),
    ("a component without its array", {"component_0_logits": None}, "whole Mixture.*logits"),
    ("an unknown class", {"component_0": np.array("Frozen")}, "whole Mixture.*unexpected array 'component_0_logits'"),
    ("an unknown word", {"component_2": np.array("posterior")}, r"valid Mixture.*components\[2\] must be one of 'uniform', 'prior'"),
    ("arrays of a word", {"component_2_logits": np.zeros(2)}, "whole Mixture.*unexpected array 'component_2_logits'"),
    ("a gap", {"component_1": None}, "whole Mixture.*unexpected array 'component_1_"),
    ("weights too few", {"weights": np.ones(2)}, r"valid Mixture.*weights must have shape \(3,\)"),
    ("NaN", {"component_0_logits": np.full(2, NAN)}, "valid Mixture.*logits must not contain NaN"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"), [c[1:] for c in WRONG_FILES], ids=[c[0] for c in WRONG_FILES]
)
def test_wrong_files(changes, message, tmp_path):
    path = tmp_path / "q"
    UNRESOLVED["encoder"].save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.load(path)
    assert "\n" not in str(caught.value)


# ---- wrong input -----------------------------------------------------------------------------------------

BITS, REAL = MIXTURES["bits"], MIXTURES["real"]


def build(components=("uniform", "prior"), weights=(1, 1)):
    return fastvi.Mixture(components, weights)


# fmt: off
WRONG_INPUT = [
    ("no components", lambda: build([], []), ValueError, r"^components must be a sequence of at least one distribution, .* got none$"),
    ("components a word", lambda: build("uniform", [1]), TypeError, r"^components must be a sequence .* got 'uniform' \(str\)$"),
    ("components one distribution", lambda: build(bernoulli(2), [1]), TypeError, r"^components must be a sequence .* got Bernoulli\("),
    ("components a set", lambda: build({"uniform", "prior"}), TypeError, r"^components must be a sequence"),
    ("an unknown word", lambda: build(["uniform", "posterior"]), ValueError, r"^components\[1\] must be one of 'uniform', 'prior', got 'posterior'"),
    ("a number", lambda: build(["uniform", 2]), TypeError, r"^components\[1\] must be a Bernoulli, Normal, Encoder, 'uniform' or 'prior', got 2 \(int\)$"),
    ("a class", lambda: build(["prior", fastvi.Normal]), TypeError, r"^components\[1\] must be a Bernoulli, .* got <class"),
    ("a mixture", lambda: build(["prior", BITS]), TypeError, r"^components\[1\] must not be a Mixture"),
    ("bits and reals", lambda: build([bernoulli(2), normal(2)]), TypeError, r"^components must be all over binary or all over real latents, got both$"),
    ("uniform and reals", lambda: build(["uniform", normal(2)]), TypeError, r"^components must be all over binary or all over real"),
    ("encoder and reals", lambda: build([ENCODER, normal(2)]), TypeError, r"^components must be all over binary or all over real"),
    ("two encoders", lambda: build([ENCODER, REAL_ENCODER]), TypeError, r"^components must be all over binary or all over real"),
    ("other latents", lambda: build([bernoulli(2), bernoulli(3)]), ValueError, r"^components must have the same num_latents, got 2 and 3$"),
    ("other latents of an encoder", lambda: build([ENCODER, fastvi.Uniform(3)]), ValueError, r"^components must have the same num_latents, got 2 and 3$"),
    ("other data", lambda: build([bernoulli(4, 2), bernoulli(1, 2)]), ValueError, r"^components must have the same num_data, got 1 and 4$"),
    ("no data and some", lambda: build([normal(4, 2), normal(0, 2)]), ValueError, r"^components must have the same num_data, got 0 and 4$"),
    ("weights too many", lambda: build(weights=[1, 1, 1]), ValueError, r"^weights must have shape \(2,\), got shape \(3,\)$"),
    ("weights a table", lambda: build(weights=[[1, 1]]), ValueError, r"^weights must have 1 axes"),
    ("weight of 0", lambda: build(weights=[1, 0]), ValueError, r"^weights must be > 0, got 0.0 at index 1$"),
    ("negative weight", lambda: build(weights=[-1, 2]), ValueError, r"^weights must be > 0, got -1.0 at index 0$"),
    ("weight of NaN", lambda: build(weights=[1, NAN]), ValueError, r"^weights must be finite, got nan at index 1$"),
    ("weight of inf", lambda: build(weights=[INF, 1]), ValueError, r"^weights must be finite, got inf at index 0$"),
    ("weights beyond the doubles", lambda: build(weights=[1e308, 1e308]), ValueError, r"^weights must have a finite sum, got inf$"),
    ("a weight that vanishes", lambda: build(weights=[1e-300, 1e300]), ValueError, r"^weights must be > 0 when divided by their sum, got 1e-300 at index 0$"),
    ("weights of text", lambda: build(weights=["a", "b"]), TypeError, r"^weights must be an array of real numbers"),
    ("weights None", lambda: build(weights=None), TypeError, r"^weights must be an array of real numbers"),
    ("z of 2", lambda: BITS.log_prob([0, 2]), ValueError, r"^z must contain only 0 and 1, got 2 at index 1$"),
    ("z too long", lambda: BITS.log_prob([0, 1, 0]), ValueError, r"^z must have shape \(\.\.\., 2\), got shape \(3,\)$"),
    ("z of NaN", lambda: REAL.log_prob([0, NAN, 0]), ValueError, r"^z must be finite, got nan at index 1$"),
    ("z of other data", lambda: BITS.log_prob(np.zeros((4, 2))), ValueError, r"^z must have shape \(\.\.\., 5, 2\), or \(\.\.\., 1, 2\) for all data, got shape \(4, 2\)$"),
    ("negative num", lambda: BITS.sample(-1, 0), ValueError, r"^num must be an int >= 0, got -1"),
    ("seed of 0.5", lambda: BITS.sample(1, 0.5), TypeError, r"^seed must be an int"),
    ("seed too large", lambda: REAL.sample(1, 2**64), ValueError, r"^seed must be an int with 0 <= seed < 2\*\*64"),
    ("entropy", lambda: BITS.entropy(), TypeError, r"^the entropy of a Mixture"),
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
