"""Log mean, effective sample size and importance-weighted bound of given log weights."""

# ruff: noqa: E501

from __future__ import annotations

import itertools
import math

import naive_log_weights as naive
import numpy as np
import optional
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastvi
from fastvi.weights import log_weights as module

NAN, INF = math.nan, math.inf
EXTREME = st.one_of(st.floats(-4, 4), st.floats(-1e3, 1e3), st.sampled_from([-INF, -1e3, 0.0, 1e3]))
MATRICES = hnp.arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(1, 40)), elements=EXTREME)
# weights are exp of differences, so an error of 2^-53 of a log weight of 1e3 is 1.1e-13 of a weight; exp is
# good to 2 ulp
TOLERANCE = {"rtol": 1e-14, "atol": 4e-13}


def mixed(num, seed=0):
    """Rows of ordinary, all -inf, +-1e3, equal and mostly -inf log weights."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(8, num)) * np.array([[1], [30], [1], [1], [1], [1], [1], [1e-9]])
    rows[2] = -INF
    rows[3] += 1e3
    rows[4] -= 1e3
    rows[5] = -1e3
    rows[6, 1:] = -INF
    rows[1, rng.random(num) < 0.5] = -1e3
    return rows


def check(log_w):
    lists = log_w.tolist()
    np.testing.assert_allclose(
        fastvi.log_mean_exp(log_w), [naive.log_mean_exp(row) for row in lists], **TOLERANCE
    )
    want = [naive.effective_sample_size(row) for row in lists]
    np.testing.assert_allclose(fastvi.effective_sample_size(log_w), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("num", [1, 2, 15, 16, 17, 511, 512, 513, 1100])
def test_mixed_rows_around_lane_and_block_sizes(num):
    check(mixed(num))


@given(MATRICES)
def test_any_rows(log_w):
    check(log_w)


@pytest.mark.parametrize("order", [1, -1])
def test_running_maximum_that_moves_in_every_block(order):
    check(np.arange(2000.0)[None, ::order] / 3)


def test_all_weights_zero():
    assert fastvi.log_mean_exp([-INF, -INF]) == -INF
    assert fastvi.effective_sample_size([-INF, -INF]) == 0.0


def test_equal_weights_are_exact():
    assert fastvi.log_mean_exp(np.full(1001, -734.25)) == -734.25
    assert fastvi.effective_sample_size(np.full(1001, -734.25)) == 1001.0


def test_axes_and_shapes():
    log_w = np.random.default_rng(1).normal(size=(2, 3, 5))
    for axis in range(-3, 3):
        want = np.log(np.exp(log_w).mean(axis=axis))
        got = fastvi.log_mean_exp(log_w, axis=axis)
        assert got.shape == want.shape
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)
        ess = fastvi.effective_sample_size(log_w, axis)
        np.testing.assert_allclose(
            ess, np.exp(log_w).sum(axis) ** 2 / np.exp(2 * log_w).sum(axis), rtol=1e-13
        )
    assert np.shape(fastvi.log_mean_exp([0.0, 1.0])) == ()
    assert fastvi.log_mean_exp(np.zeros((0, 3))).shape == (0,)
    assert fastvi.log_mean_exp(np.zeros((3, 0)), axis=0).shape == (0,)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        lambda a: np.pad(a, ((0, 0), (3, 2)))[:, 3:-2],
        lambda a: a.astype(">f8"),
        lambda a: a.tolist(),
    ],
    ids=["fortran", "step", "reversed", "padded", "big-endian", "list"],
)
def test_layouts_give_the_same_bits(change):
    log_w = mixed(130)
    for function in (fastvi.log_mean_exp, fastvi.effective_sample_size):
        np.testing.assert_array_equal(function(change(log_w)), function(log_w))
    bound = fastvi.importance_weighted_bound(log_w, 7)
    np.testing.assert_array_equal(fastvi.importance_weighted_bound(change(log_w), 7), bound)


def test_read_only_input_is_taken_and_input_left_alone():
    log_w = mixed(40)
    frozen = log_w.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(fastvi.log_mean_exp(frozen), fastvi.log_mean_exp(log_w))
    assert log_w.flags.writeable
    np.testing.assert_array_equal(frozen, log_w)


def test_float32_integers_and_dlpack():
    narrow = mixed(700).astype(np.float32)
    wide = narrow.astype(np.float64)
    # a weight that counts has an error of 2.3 * 2^-24 by its exponential and 0.4 * 2^-24 by the rounded
    # difference, the sum of four two roundings more
    np.testing.assert_allclose(
        fastvi.log_mean_exp(narrow), fastvi.log_mean_exp(wide), rtol=0, atol=5 * 2**-24
    )
    np.testing.assert_allclose(
        fastvi.effective_sample_size(narrow), fastvi.effective_sample_size(wide), rtol=20 * 2**-24
    )
    equal = np.full((1, 1001), -734.25, np.float32)
    assert fastvi.log_mean_exp(equal) == -734.25
    assert fastvi.effective_sample_size(equal) == 1001.0
    assert fastvi.log_mean_exp(narrow).dtype == np.float64
    assert fastvi.log_mean_exp(np.array([3, 3], np.int32)) == 3.0

    class Capsule:
        def __dlpack__(self, **options):
            return wide.__dlpack__(**options)

        def __dlpack_device__(self):
            return wide.__dlpack_device__()

    np.testing.assert_array_equal(fastvi.log_mean_exp(Capsule()), fastvi.log_mean_exp(wide))


@pytest.mark.peers
def test_torch_tensors():
    torch = optional.package("torch")
    log_w = torch.from_numpy(mixed(60))
    np.testing.assert_array_equal(fastvi.log_mean_exp(log_w.T, axis=0), fastvi.log_mean_exp(log_w.numpy()))
    np.testing.assert_array_equal(
        fastvi.log_mean_exp(log_w.float()), fastvi.log_mean_exp(log_w.float().numpy())
    )
    np.testing.assert_array_equal(
        fastvi.log_mean_exp(log_w.clone().requires_grad_()), fastvi.log_mean_exp(log_w.numpy())
    )


def test_contiguous_parts_are_not_copied():
    array = mixed(300)
    parts = []
    for rows in (array, array.astype(np.float32)):
        module.map_rows(lambda part, where: parts.append(part), rows, float32=True)
        assert np.shares_memory(parts[-1], rows)
    module.map_rows(lambda part, where: parts.append(part), array.T, float32=True)
    assert not np.shares_memory(parts[-1], array)
    assert len(parts[-1]) <= len(array.T)


def test_same_bits_for_any_number_of_threads_and_in_any_batch(monkeypatch, same_bits):
    monkeypatch.setattr(module, "_TASK_ENTRIES", 400)
    log_w = np.random.default_rng(3).normal(size=(23, 130)) * 5
    functions = (
        fastvi.log_mean_exp,
        fastvi.effective_sample_size,
        lambda a: fastvi.importance_weighted_bound(a, 7),
        lambda a: fastvi.log_mean_exp(a.T.copy(), axis=0),
    )
    for function in functions:
        whole = same_bits(lambda function=function: function(log_w))
        np.testing.assert_array_equal(np.concatenate([function(row[None]) for row in log_w]), whole)


@given(MATRICES, st.integers(1, 40))
def test_bound_against_the_oracle(log_w, k):
    k = min(k, log_w.shape[1])
    want = [naive.importance_weighted_bound(row, k) for row in log_w.tolist()]
    np.testing.assert_allclose(fastvi.importance_weighted_bound(log_w, k), want, **TOLERANCE)


@given(hnp.arrays(np.float64, (3, 24), elements=st.floats(-50, 50)))
def test_bound_rises_with_particles_where_blocks_nest(log_w):
    bounds = [fastvi.importance_weighted_bound(log_w, k) for k in (1, 2, 4, 12, 24)]
    np.testing.assert_allclose(bounds[0], log_w.mean(axis=1), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(bounds[-1], fastvi.log_mean_exp(log_w), rtol=1e-13, atol=1e-13)
    for low, high in itertools.pairwise(bounds):
        assert (low <= high + 1e-12).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("spread", [1, 80, 120])
@pytest.mark.parametrize("num", [1, 15, 33, 511, 513, 1100])
def test_several_sizes_at_once_around_lanes_and_chunks(num, spread):
    """Spreads of 80 and 120 standard deviations lie on either side of 600 nats."""
    log_w = np.random.default_rng(num).normal(size=(4, num)) * spread
    log_w[1, ::3] = -INF
    log_w[2] = -INF
    log_w[3, :] = 700.0
    sizes = [k for k in (num, 1, 2, 7, 16, 100, 512, 1) if k <= num]
    got = fastvi.importance_weighted_bound(log_w, sizes)
    assert got.shape == (4, len(sizes))
    for k, column in zip(sizes, got.T, strict=True):
        want = [naive.importance_weighted_bound(row, k) for row in log_w.tolist()]
        np.testing.assert_allclose(column, want, **TOLERANCE)
        np.testing.assert_array_equal(fastvi.importance_weighted_bound(log_w, k), column)
    np.testing.assert_array_equal(fastvi.importance_weighted_bound(log_w, np.array(sizes)), got)
    np.testing.assert_array_equal(fastvi.importance_weighted_bound(log_w.T, tuple(sizes), axis=0), got)
    assert (got[3] == 700.0).all()


def test_sizes_without_data():
    assert fastvi.importance_weighted_bound(np.zeros((0, 5)), [1, 2]).shape == (0, 2)
    assert fastvi.importance_weighted_bound(np.zeros((0, 5)), range(1, 2)).shape == (0, 1)


def test_remainder_is_not_used():
    log_w = np.array([[0.0, 1.0, 2.0, 3.0, 700.0]])
    np.testing.assert_array_equal(
        fastvi.importance_weighted_bound(log_w, 2), fastvi.importance_weighted_bound(log_w[:, :4], 2)
    )


@pytest.mark.parametrize("k", [1, 2, 3])
def test_bound_is_unbiased_on_a_discrete_distribution(k):
    """Expectation over every sequence of 5 draws from 3 weights against that of the k-sample bound."""
    log_w, probability = np.array([-2.0, 0.3, 1.1]), np.array([0.5, 0.3, 0.2])

    def expectation(num, function):
        draws = np.array(list(itertools.product(range(3), repeat=num)))
        return probability[draws].prod(axis=1) @ function(log_w[draws])

    want = expectation(k, lambda a: np.log(np.exp(a).mean(axis=1)))
    got = expectation(5, lambda a: fastvi.importance_weighted_bound(a, k))
    assert got == pytest.approx(want, abs=1e-13)


def spoiled(value, index, shape=(3, 5)):
    array = np.zeros(shape)
    array[index] = value
    return array


# fmt: off
WRONG = [
    ("NaN", lambda: fastvi.log_mean_exp(spoiled(NAN, (2, 1))), ValueError, r"^log_w must be finite or -inf, got nan at index \(2, 1\)"),
    ("+inf", lambda: fastvi.log_mean_exp(spoiled(INF, (0, 4))), ValueError, r"^log_w must be finite or -inf, got inf at index \(0, 4\)"),
    ("NaN, other axis", lambda: fastvi.effective_sample_size(spoiled(NAN, (2, 1)), axis=0), ValueError, r"got nan at index \(2, 1\)"),
    ("NaN among -inf", lambda: fastvi.log_mean_exp([-INF, NAN, -INF]), ValueError, r"got nan at index 1"),
    ("two of +inf", lambda: fastvi.effective_sample_size([0.0, INF, INF]), ValueError, r"got inf at index 1"),
    ("+inf before a block", lambda: fastvi.log_mean_exp(spoiled(INF, 3, 600)), ValueError, r"got inf at index 3"),
    ("K = 0", lambda: fastvi.log_mean_exp(np.zeros((3, 0))), ValueError, r"^log_w must hold at least 1 weight along axis -1, got shape \(3, 0\)"),
    ("no axes", lambda: fastvi.log_mean_exp(1.0), ValueError, r"^log_w must have at least 1 axis, got shape \(\)"),
    ("text", lambda: fastvi.log_mean_exp(["a"]), TypeError, r"^log_w must be an array of real numbers, got dtype <U1"),
    ("complex", lambda: fastvi.effective_sample_size([1j]), TypeError, r"^log_w .* got dtype complex128"),
    ("masked", lambda: fastvi.log_mean_exp(np.ma.zeros(3)), TypeError, r"^log_w .* got a masked array"),
    ("axis too large", lambda: fastvi.log_mean_exp([0.0], axis=1), ValueError, r"^axis must lie in -1 \.\.\. 0, got 1"),
    ("axis of 1.5", lambda: fastvi.log_mean_exp([0.0], axis=1.5), TypeError, r"^axis must be an int or a tuple of ints, got 1.5 \(float\)"),
    ("bound, NaN", lambda: fastvi.importance_weighted_bound(spoiled(NAN, (1, 0)), 2), ValueError, r"got nan at index \(1, 0\)"),
    ("bound, NaN not used", lambda: fastvi.importance_weighted_bound(spoiled(NAN, (1, 4)), 2), ValueError, r"got nan at index \(1, 4\)"),
    ("bound, +inf", lambda: fastvi.importance_weighted_bound(spoiled(INF, (1, 4)), 1), ValueError, r"got inf at index \(1, 4\)"),
    ("bound, one axis", lambda: fastvi.importance_weighted_bound([0.0], 1), ValueError, r"^log_w must have 2 axes, got shape \(1,\)"),
    ("bound, K = 0", lambda: fastvi.importance_weighted_bound(np.zeros((2, 0)), 1), ValueError, r"^log_w must hold at least 1 weight"),
    ("bound, 0 particles", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), 0), ValueError, r"^num_samples must be an int >= 1, got 0"),
    ("bound, particles > K", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), 4), ValueError, r"^num_samples must be at most K = 3, got 4"),
    ("bound, NaN not used, far", lambda: fastvi.importance_weighted_bound([[0.0, -900.0, NAN]], 2), ValueError, r"got nan at index \(0, 2\)"),
    ("bound, +inf not used", lambda: fastvi.importance_weighted_bound(spoiled(INF, (1, 4)), [2, 3]), ValueError, r"got inf at index \(1, 4\)"),
    ("bound, NaN among -inf", lambda: fastvi.importance_weighted_bound([[-INF, NAN, -INF]], 1), ValueError, r"got nan at index \(0, 1\)"),
    ("bound, axis", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), 3, axis=0), ValueError, r"^num_samples must be at most K = 2, got 3"),
    ("bound, no sizes", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), []), ValueError, r"^num_samples must hold at least 1 number, got none"),
    ("bound, one of 0", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), [1, 0]), ValueError, r"^num_samples\[1\] must be an int >= 1, got 0"),
    ("bound, one > K", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), (1, 4)), ValueError, r"^num_samples\[1\] must be at most K = 3, got 4"),
    ("bound, one of text", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), ["1"]), TypeError, r"^num_samples\[0\] must be an int >= 1, got '1'"),
    ("bound, text", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), "12"), TypeError, r"^num_samples must be an int >= 1, got '12'"),
    ("bound, None", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), None), TypeError, r"^num_samples must be an int >= 1, got None"),
    ("bound, 1.5 particles", lambda: fastvi.importance_weighted_bound(np.zeros((2, 3)), 1.5), TypeError, r"^num_samples must be an int >= 1, got 1.5"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
