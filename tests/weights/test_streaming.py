"""Running summaries of log weights: chunks and shards against the one-pass functions and the oracle."""

# ruff: noqa: E501

from __future__ import annotations

import copy
import math
import pickle
import tracemalloc

import naive_log_weights as naive
import numpy as np
import optional
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from interpreted import few_without_jit

import fastvi
from fastvi import LogWeights
from fastvi.engine.importance.weight_sums import WeightSums
from fastvi.weights import log_weights as module
from fastvi.weights.summary import Summary

NAN, INF = math.nan, math.inf
FIELDS = ("log_marginal", "std_error", "ess", "pareto_k", "max_weight_share")
WEIGHT = st.one_of(st.floats(-4, 4), st.floats(-1e3, 1e3), st.sampled_from([-INF, -1e3, 0.0, 1e3]))
MATRICES = hnp.arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(1, 80)), elements=WEIGHT)


def mixed(num, seed=0):
    """Rows of ordinary, wide, all -inf, +-1e3, equal, one finite, nearly equal and ascending log weights."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(9, num)) * np.array([[1], [30], [1], [1], [1], [1], [1], [1e-9], [1]])
    rows[2] = -INF
    rows[3] += 1e3
    rows[4] -= 1e3
    rows[5] = -734.25
    rows[6, 1:] = -INF
    rows[8] = np.arange(num) / 50
    rows[1, rng.random(num) < 0.5] = -1e3
    return rows


def summary_of(chunks, **options):
    summary = LogWeights(**options)
    for chunk in chunks:
        summary.update(chunk)
    return summary


def cut(log_w, cuts):
    return np.split(log_w, sorted(min(cut, log_w.shape[1]) for cut in cuts), axis=1)


def assert_same_bits(got, want):
    assert got.num_samples == want.num_samples
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(got, field), getattr(want, field), err_msg=field)


def assert_agrees(summary, log_w, error=0.0):
    """With the one-pass functions, but for a further relative error of each weight.

    Weights are exp of differences of numbers up to 1e3, each rounded to 1.1e-13; sums of fewer than 2000 weights
    in as many chunks have a relative error below 2000 * 2^-53 = 2.3e-13 besides. The largest entries are those
    of the input, so k is that of ``pareto_k`` to the bit.
    """
    got, num = summary.estimate(), log_w.shape[1]
    assert got.num_samples == summary.num_samples == num
    np.testing.assert_allclose(got.log_marginal, fastvi.log_mean_exp(log_w), rtol=1e-14, atol=6e-13 + error)
    np.testing.assert_allclose(got.ess, fastvi.effective_sample_size(log_w), rtol=3e-12 + 4 * error)
    top, low = log_w.max(axis=1), log_w.min(axis=1)
    equal = (low >= top - 1e-12) & (top > -INF)
    k = np.where(equal, -INF, fastvi.pareto_k(log_w))
    np.testing.assert_array_equal(got.pareto_k, k)
    with np.errstate(invalid="ignore"):
        share = np.where(top > -INF, np.exp(top - np.log(num) - fastvi.log_mean_exp(log_w)), NAN)
    np.testing.assert_allclose(got.max_weight_share, share, rtol=3e-12 + error)


def assert_as_oracle(summary, log_w):
    got = summary.estimate()
    for n, row in enumerate(log_w.tolist()):
        want = naive.estimate(row)
        # the squared error is a difference of two numbers of at least 1 / K, K <= 2000, good to 1e-12 each
        for field, true, allowed in zip(FIELDS, want, (6e-13, 1e-6, 0.0, 1e-9, 0.0), strict=True):
            if field == "std_error" and want[-1] > 1 - 1e-12 and got.std_error[n] == INF:
                continue  # the others vanish beside the largest: Summary takes it for the only one
            np.testing.assert_allclose(getattr(got, field)[n], true, rtol=1e-9, atol=allowed, err_msg=field)


@given(MATRICES, st.lists(st.integers(0, 80), max_size=6))
def test_any_chunks(log_w, cuts):
    summary = summary_of(cut(log_w, cuts))
    assert_agrees(summary, log_w)
    assert_as_oracle(summary, log_w)


@given(MATRICES, st.lists(st.integers(0, 80), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_shards_in_any_order_and_tree(log_w, cuts, random):
    shards = [summary_of([shard]) for shard in cut(log_w, cuts)]
    while len(shards) > 1:
        random.shuffle(shards)
        shards[-2].merge(shards.pop())
    assert_agrees(shards[0], log_w)
    assert_as_oracle(shards[0], log_w)


@pytest.mark.slow_without_jit
@given(
    hnp.arrays(np.float64, (2, 300), elements=st.integers(-20, 5).map(lambda i: i / 4)), st.integers(5, 60)
)
def test_ties_and_tails_that_are_cut(log_w, size):
    """Whatever is cut, the entries kept are the largest of all."""
    chunks = cut(log_w, range(0, 300, 7))
    summary = summary_of(chunks, tail_size=size)
    left, right = summary_of(chunks[:13], tail_size=size), summary_of(chunks[13:], tail_size=size)
    right.merge(left)
    for one in (summary, right):
        for n in range(2):
            kept = np.sort(one._sums._tail[n, : one._sums._filled[n]])[-size - 1 :]
            np.testing.assert_array_equal(kept, np.sort(log_w[n])[-size - 1 :])
    if size >= 52:  # ceil(3 sqrt(300))
        assert_agrees(summary, log_w)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("num", [1, 2, 20, 21, 225, 226, 600])
def test_mixed_rows(num):
    log_w = mixed(num)
    for step in (1, 7, 100, num):
        assert_agrees(summary_of(cut(log_w, range(0, num, step))), log_w)
    assert_as_oracle(summary_of([log_w]), log_w)


@pytest.mark.slow_without_jit
def test_k_is_exact_where_its_tail_fits():
    """3 sqrt(40,000) = 600 entries are needed; tail_size 600 has them, 599 does not."""
    log_w = np.random.default_rng(4).normal(size=(3, 40_000)) * 2
    log_w[1].sort()
    log_w[2, ::-1].sort()
    k = fastvi.pareto_k(log_w)
    for size in (600, 601, 5000):
        summary = summary_of(cut(log_w, [100, 101, 3000, 30_000]), tail_size=size)
        np.testing.assert_array_equal(summary.estimate().pareto_k, k)
    other = summary_of(cut(log_w, [100, 101, 3000, 30_000]), tail_size=599).estimate().pareto_k
    assert (other != k).all()
    assert other == pytest.approx(k_of_the_largest(log_w, 599), abs=1e-9)


def k_of_the_largest(log_w, num):
    """Rows' k from ``num`` weights each, cut off at the next one."""
    tails = np.sort(log_w)[:, -num - 1 :] - log_w.max(axis=1, keepdims=True)
    excess = np.exp(tails[:, 1:]) - np.exp(tails[:, :1])
    return [naive.fit_generalised_pareto(row)[0] for row in excess.tolist()]


def test_k_beyond_its_tail_is_that_of_the_largest():
    log_w = np.random.default_rng(5).normal(size=(2, 900))
    got = summary_of([log_w], tail_size=30).estimate().pareto_k
    assert got == pytest.approx(k_of_the_largest(log_w, 30), abs=1e-9)


@pytest.mark.slow_without_jit
def test_k_of_a_long_stream_of_pareto_weights():
    """K = 2 * 10^6, beyond the default tail: the standard error is (1 + k) / sqrt(3000)."""
    rng, summary = np.random.default_rng(6), LogWeights()
    for _ in range(20):
        summary.update(-0.6 * np.log1p(-rng.random((1, 100_000))))
    assert summary.estimate().pareto_k[0] == pytest.approx(0.6, abs=4.5 * 1.6 / math.sqrt(3000))


@pytest.mark.slow_without_jit
def test_ten_million_weights_need_the_memory_of_ten_thousand():
    chunk = np.random.default_rng(7).normal(size=(1, 100_000)) * 1.5
    LogWeights().update(chunk)  # compiled outside of the measurement
    summary, sizes = LogWeights(), []
    tracemalloc.start()
    try:
        for _ in range(100):
            summary.update(chunk)
            sizes.append(
                sum(value.nbytes for value in vars(summary._sums).values() if isinstance(value, np.ndarray))
            )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert set(sizes) == {12 * 3001 + 6 * 8 - 4}  # 4501 entries, six numbers
    assert peak < 500_000
    got = summary.estimate()
    assert got.num_samples == 10_000_000
    assert got.log_marginal[0] == pytest.approx(fastvi.log_mean_exp(chunk)[0], abs=1e-13)
    assert got.ess[0] == pytest.approx(100 * fastvi.effective_sample_size(chunk)[0], rel=1e-13)


def test_one_update_gives_the_bits_of_the_one_pass_functions():
    log_w = mixed(700)
    rows, got = Summary(9, 700), summary_of([log_w]).estimate()
    for n, row in enumerate(log_w):
        rows.add(n, row)
    assert_same_bits(got, rows.estimate())
    np.testing.assert_array_equal(got.log_marginal, fastvi.log_mean_exp(log_w))


def test_merging_is_commutative_to_the_bit_and_repeatable():
    parts = cut(mixed(500), [40, 300])
    a, b, c = (summary_of([part], tail_size=50) for part in parts)
    ab, ba = copy.deepcopy(a), copy.deepcopy(b)
    ab.merge(b)
    ba.merge(a)
    assert_same_bits(ab.estimate(), ba.estimate())
    again = copy.copy(a)
    for one in (ab, again):
        if one is again:
            one.merge(b)
        one.merge(c)
    assert_same_bits(ab.estimate(), again.estimate())
    left, right = copy.copy(a), copy.copy(b)  # (a b) c and a (b c)
    left.merge(b)
    left.merge(c)
    right.merge(c)
    right.merge(a)
    np.testing.assert_array_equal(left.estimate().pareto_k, right.estimate().pareto_k)
    np.testing.assert_allclose(
        left.estimate().log_marginal, right.estimate().log_marginal, rtol=1e-15, atol=4e-13
    )


def test_merging_leaves_the_other_alone_and_takes_itself():
    log_w = mixed(300)
    a, b = summary_of([log_w[:, :100]], tail_size=60), summary_of([log_w[:, 100:]], tail_size=60)
    before = b.estimate()
    assert a.merge(b) is None
    a.update(log_w)
    assert_same_bits(b.estimate(), before)
    b.merge(b)
    assert_agrees(b, np.tile(log_w[:, 100:], 2))


def test_merging_with_nothing():
    log_w = mixed(30)
    for empty in (LogWeights(), LogWeights(9), summary_of([log_w[:, :0]])):
        summary = summary_of([log_w])
        summary.merge(empty)
        assert_same_bits(summary.estimate(), summary_of([log_w]).estimate())
        empty.merge(summary)
        assert_same_bits(empty.estimate(), summary.estimate())
    both = LogWeights()
    both.merge(LogWeights())
    assert both.num_data is None
    both.merge(LogWeights(4))
    assert both.num_data == 4


@pytest.mark.parametrize("moment", few_without_jit([0, 1, 30, 299], [30]))
def test_pickles_go_on_as_if_nothing_had_happened(moment):
    log_w = mixed(300)
    straight, moved = LogWeights(tail_size=60), LogWeights(tail_size=60)
    for i, chunk in enumerate(cut(log_w, range(1, 300))):
        straight.update(chunk)
        if i == moment:
            moved = pickle.loads(pickle.dumps(moved))
        moved.update(chunk)
    assert_same_bits(moved.estimate(), straight.estimate())
    assert len(pickle.dumps(summary_of([log_w[:, :10]]))) < 3000


def test_copies_share_nothing():
    a = summary_of([mixed(50)])
    before, b = a.estimate(), copy.copy(a)
    b.update(mixed(50, 1))
    assert_same_bits(a.estimate(), before)


def test_one_finite_weight_and_none():
    summary = summary_of([[[-INF, -INF], [-INF, -2.0]], [[-INF], [-INF]]])
    got = summary.estimate()
    np.testing.assert_array_equal(got.log_marginal, [-INF, -2.0 - math.log(3)])
    np.testing.assert_array_equal(got.std_error, [NAN, INF])
    np.testing.assert_array_equal(got.ess, [0.0, 1.0])
    np.testing.assert_array_equal(got.pareto_k, [NAN, INF])
    np.testing.assert_array_equal(got.max_weight_share, [NAN, 1.0])


def test_equal_weights_are_exact():
    got = summary_of([np.full((1, k), -734.25) for k in (1, 500, 3)]).estimate()
    values = [getattr(got, field)[0] for field in FIELDS]
    assert values == [-734.25, 0.0, 504.0, -INF, 1 / 504]
    assert "WARNING" not in repr(got)


def test_no_data():
    got = summary_of([np.zeros((0, 7)), np.zeros((0, 2))]).estimate()
    assert got.num_samples == 9
    assert all(getattr(got, field).shape == (0,) for field in FIELDS)


def test_chunks_without_weights():
    summary = LogWeights()
    summary.update(np.zeros((3, 0)))
    assert (summary.num_data, summary.num_samples) == (3, 0)
    log_w = np.random.default_rng(8).normal(size=(3, 40))
    for chunk in (log_w, log_w[:, :0]):
        summary.update(chunk)
    assert_agrees(summary, log_w)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        lambda a: a.astype(">f8"),
        lambda a: a.tolist(),
        pytest.param(lambda a: optional.package("torch").tensor(a), marks=pytest.mark.peers),
    ],
    ids=["fortran", "step", "reversed", "big-endian", "list", "torch"],
)
def test_layouts_give_the_same_bits(change):
    log_w = mixed(130)
    assert_same_bits(summary_of([change(log_w)]).estimate(), summary_of([log_w]).estimate())


def test_float32_read_only_and_integers():
    narrow = mixed(300).astype(np.float32)
    narrow.flags.writeable = False
    summary = summary_of([narrow[:, :100], narrow[:, 100:]])
    # a float32 weight and the sum of four have errors below 5 * 2^-24
    assert_agrees(summary, narrow.astype(np.float64), 5 * 2**-24)
    assert summary.estimate().log_marginal.dtype == np.float64
    np.testing.assert_array_equal(summary_of([np.array([[3, 3]], np.int32)]).estimate().log_marginal, [3.0])


def test_contiguous_chunks_are_not_copied(monkeypatch):
    seen = []
    collect = WeightSums.collect
    monkeypatch.setattr(
        WeightSums, "collect", lambda self, rows, *rest: (seen.append(rows), collect(self, rows, *rest))[1]
    )
    for chunk in (mixed(300), mixed(300).astype(np.float32)):
        summary_of([chunk])
        assert np.shares_memory(seen[-1], chunk)


@pytest.mark.slow_without_jit
def test_same_bits_for_any_number_of_threads_and_in_any_batch(monkeypatch, same_bits):
    monkeypatch.setattr(module, "_TASK_ENTRIES", 400)
    log_w = np.random.default_rng(3).normal(size=(23, 330)) * 5

    def ask(rows):
        summary = summary_of(cut(rows, [70, 200]), tail_size=20)
        summary.merge(summary_of([rows * 1.5], tail_size=20))
        return summary.estimate()

    whole = same_bits(lambda: ask(log_w))
    for n in (0, 11, 22):
        one = ask(log_w[n : n + 1])
        assert all(getattr(one, field)[0] == getattr(whole, field)[n] for field in FIELDS)


def test_shown_with_counts():
    summary = LogWeights()
    assert repr(summary) == "LogWeights(num_data=None, num_samples=0, tail_size=3000)"
    log_w = np.random.default_rng(9).normal(size=(2, 400)) * np.array([[0.1], [20.0]])
    summary.update(log_w)
    assert repr(summary) == "LogWeights(num_data=2, num_samples=400, tail_size=3000)"
    # 1 - 1 / log10(400) = 0.6157
    assert "WARNING: pareto_k > 0.616 for 1 of 2; WARNING: ess < 10 for 1 of 2" in repr(summary.estimate())


def spoiled(value, index, shape=(3, 5)):
    array = np.zeros(shape)
    array[index] = value
    return array


@pytest.mark.parametrize(
    "wrong", [spoiled(NAN, (2, 1)), spoiled(INF, (0, 4)), np.zeros((2, 5)), np.zeros(3), [["a"]]]
)
def test_a_refused_chunk_changes_nothing(wrong):
    summary = summary_of([mixed(40)[:3]])
    with pytest.raises((ValueError, TypeError)):
        summary.update(wrong)
    assert_same_bits(summary.estimate(), summary_of([mixed(40)[:3]]).estimate())
    fresh = LogWeights()
    with pytest.raises(ValueError):
        fresh.update(spoiled(NAN, (2, 1)))
    assert fresh.num_data is None


# fmt: off
WRONG = [
    ("NaN", lambda: LogWeights().update(spoiled(NAN, (2, 1))), ValueError, r"^log_w must be finite or -inf, got nan at index \(2, 1\)"),
    ("+inf", lambda: LogWeights(3).update(spoiled(INF, (0, 4))), ValueError, r"^log_w must be finite or -inf, got inf at index \(0, 4\)"),
    ("another N", lambda: LogWeights(3).update(np.zeros((2, 5))), ValueError, r"^log_w must have shape \(3, any\), got shape \(2, 5\)"),
    ("another N, K = 0", lambda: LogWeights(3).update(np.zeros((2, 0))), ValueError, r"^log_w must have shape \(3, any\), got shape \(2, 0\)"),
    ("one axis", lambda: LogWeights().update([0.0]), ValueError, r"^log_w must have 2 axes, got shape \(1,\)"),
    ("text", lambda: LogWeights().update([["a"]]), TypeError, r"^log_w must be an array of real numbers, got dtype <U1"),
    ("masked", lambda: LogWeights().update(np.ma.zeros((1, 3))), TypeError, r"^log_w .* got a masked array"),
    ("negative N", lambda: LogWeights(-1), ValueError, r"^num_data must be an int >= 0, got -1"),
    ("N of 1.5", lambda: LogWeights(1.5), TypeError, r"^num_data must be an int >= 0, got 1.5 \(float\)"),
    ("short tail", lambda: LogWeights(tail_size=4), ValueError, r"^tail_size must be an int >= 5, got 4"),
    ("tail True", lambda: LogWeights(tail_size=True), TypeError, r"^tail_size must be an int >= 5, got True \(bool\)"),
    ("merge with array", lambda: LogWeights().merge(np.zeros((2, 3))), TypeError, r"^other must be a LogWeights, got an array of shape \(2, 3\)"),
    ("merge another N", lambda: LogWeights(3).merge(LogWeights(2)), ValueError, r"^other must have num_data 3, got 2"),
    ("merge another M", lambda: LogWeights(3).merge(LogWeights(3, 10)), ValueError, r"^other must have tail_size 3000, got 10"),
    ("nothing yet", lambda: LogWeights().estimate(), ValueError, r"^num_samples must be at least 1 for an estimate, got 0"),
    ("no weights yet", lambda: LogWeights(3).estimate(), ValueError, r"^num_samples must be at least 1 for an estimate, got 0"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
