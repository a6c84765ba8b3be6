"""``log_marginal_bounds``: never wrong, at no step of the search; the same bits however it is run."""

from __future__ import annotations

import logging
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import large_weights
import numpy as np
import pytest

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.run import checkpoints
from fastvi.engine.subcubes import intervals, search, softplus_subcubes

# Longer than float64 where the processor has such numbers (x86: 64 bits).
LONG = np.longdouble


def exact(model, x):
    """log p(x), by all states, and by how much it may be off."""
    parts = (np.asarray(part, LONG) for part in (model.weights, model.bias, model.prior_logits))
    weights, bias, prior = parts
    size = model.num_latents
    states = (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(LONG)
    eta = states @ weights.T + bias  # (2^d, D)
    log_joint = np.asarray(x, LONG) @ eta.T + states @ prior
    log_joint -= np.logaddexp(LONG(0), eta).sum(axis=1) + np.logaddexp(LONG(0), prior).sum()
    largest = log_joint.max(axis=1)
    found = largest + np.log(np.exp(log_joint - largest[:, None]).sum(axis=1))
    # sums of d, then D terms, twice (x eta and A), and of 2^d positive ones by pairs
    count = size + 2 * model.num_pixels + 60
    off = count * np.finfo(LONG).eps * (1 + large_weights.size_of(model))
    return found, off


def random_network(generator, most_latents=14, most_pixels=24):
    """A network of any scale of weights, saturated pixels and latents among them, and some of its data."""
    num_latents, num_pixels = generator.integers(1, most_latents + 1), generator.integers(1, most_pixels + 1)
    scale = 10.0 ** generator.uniform(-2.0, 3.0)
    weights = scale * generator.normal(size=(num_pixels, num_latents))
    if generator.random() < 0.3:
        weights *= generator.random(weights.shape) < 0.4
    bias = 10.0 ** generator.uniform(-1.0, 3.0) * generator.normal(size=num_pixels)
    prior = 10.0 ** generator.uniform(-1.0, 3.0) * generator.normal(size=num_latents)
    if generator.random() < 0.3:
        bias -= weights.sum(axis=1) / 2.0  # so that large weights do not saturate all pixels
    model = fastvi.SigmoidBeliefNetwork(weights, bias, prior)
    num = 12
    drawn = model.sample(num // 2, int(generator.integers(2**31))).x
    return model, np.concatenate([drawn, generator.integers(0, 2, (num // 2, num_pixels), dtype=np.uint8)])


def never_wrong(model, x, max_bounds=5_000):
    """Search, and look at the intervals after every round; return how many rounds there were."""
    truth, off = exact(model, x)
    rules = rules_of(model)
    form = rules.subcube_form(rules.everything)
    terms = form.terms(np.ascontiguousarray(x, np.uint8))
    error = form.error(terms)
    trees = search.start(form, terms, 1e-9, max_bounds)
    ends = [(np.full(len(x), -np.inf), np.full(len(x), np.inf))]

    def look():
        lower = np.array([max(tree.floor, tree.closed) for tree in trees])
        upper = np.array([tree.ceiling for tree in trees])
        assert (lower - error <= truth + off).all()
        assert (truth - off <= upper + error).all()
        # narrower each time
        assert (lower >= ends[-1][0]).all()
        assert (upper <= ends[-1][1]).all()
        assert all(tree.num_bounds <= max_bounds for tree in trees)
        ends.append((lower, upper))

    look()
    search.grow(form, terms, trees, look)
    for tree in trees:
        assert tree.ceiling - max(tree.floor, tree.closed) <= 1e-9 or tree.num_bounds >= max_bounds - 1
    return len(ends) - 2


@pytest.fixture
def small_leaves(monkeypatch):
    """Set how many bits stay together, so that small networks have deep trees."""

    def set_bits(count):
        monkeypatch.setattr(softplus_subcubes, "_LEAF_BITS", count)

    return set_bits


MODEL = fastvi.SigmoidBeliefNetwork(
    1.5 * np.random.default_rng(0).normal(size=(12, 7)),
    np.random.default_rng(1).normal(size=12) - 0.5,
    0.3 * np.random.default_rng(2).normal(size=7),
)
X = MODEL.sample(20, 1).x
TINY = fastvi.SigmoidBeliefNetwork([[2.0, 1.0, -1.0], [-1.0, 0.5, 3.0]], [0.0, 0.5], [0.0, -1.0, 1.0])
ALL = large_weights.all_data(2)
DEEP = fastvi.SigmoidBeliefNetwork(
    [[1.0], [0.5]], [0.0, 0.0], prior=fastvi.SigmoidBeliefNetwork([[1.0]], [0.0], [0.0])
)


def interval_holds(bounds, model, x):
    truth, off = exact(model, x)
    return (bounds.lower <= truth + off).all() and (truth - off <= bounds.upper).all()


def parts_of(bounds):
    """All bits of a result, of what it left open, too."""
    covers = [
        part.tobytes()
        for group in bounds._open
        for part in (group.members, group.observed, group.latents, *group.covers)
    ]
    arrays = bounds.lower, bounds.upper, bounds.num_bounds, bounds.converged
    return [array.tobytes() for array in arrays] + covers


# ---- right -----------------------------------------------------------------------------------------------


def test_never_wrong_in_a_small_network(small_leaves):
    small_leaves(1)
    assert never_wrong(TINY, ALL, 30) > 1


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("leaf_bits", [2, 3, 4])
def test_never_wrong(small_leaves, leaf_bits):
    small_leaves(leaf_bits)
    generator = np.random.default_rng(leaf_bits)
    rounds = [never_wrong(*random_network(generator, 10, 16), max_bounds=700) for _ in range(25)]
    assert max(rounds) > 5


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("max_bounds", [1, 2, 3, 10, 30, 100, 300])
def test_intervals_of_few_bounds(small_leaves, max_bounds):
    small_leaves(2)
    bounds = fastvi.log_marginal_bounds(MODEL, X, max_bounds=max_bounds, tolerance=1e-7)
    assert interval_holds(bounds, MODEL, X)
    assert (bounds.num_bounds <= max_bounds).all()
    assert np.isfinite(bounds.gap).all()
    np.testing.assert_array_equal(bounds.converged, bounds.gap <= 1e-7)
    # 2^7 states in leaves of 4: a tree has 63 subcubes at most
    assert bounds.converged.all() == (max_bounds >= 100)
    if max_bounds == 1:
        np.testing.assert_allclose(bounds.upper, fastvi.upper_bound(MODEL, X), rtol=1e-12)


@pytest.mark.slow_without_jit
def test_tolerance(small_leaves):
    small_leaves(2)
    before = np.zeros(len(X), int)
    for tolerance in (3.0, 0.3, 0.03, 1e-6):
        bounds = fastvi.log_marginal_bounds(MODEL, X, tolerance=tolerance)
        assert interval_holds(bounds, MODEL, X)
        assert bounds.converged.all()
        assert (bounds.gap <= tolerance).all()
        assert (bounds.num_bounds >= before).all()
        before = bounds.num_bounds
    assert before.mean() > 20


@pytest.mark.slow_without_jit
def test_leaves_of_the_usual_size():
    bounds = fastvi.log_marginal_bounds(MODEL, X)
    assert interval_holds(bounds, MODEL, X)
    assert (bounds.gap < 1e-10).all()
    assert (bounds.num_bounds == 2).all()  # the root, and the sum over all of it


def test_a_latent_and_a_pixel():
    for weights, bias, prior in (
        ([[2.0]], [-1.0], [0.5]),
        ([[1e3]], [-2e3], [-1e3]),
        ([[0.0]], [0.0], [0.0]),
    ):
        model = fastvi.SigmoidBeliefNetwork(weights, bias, prior)
        bounds = fastvi.log_marginal_bounds(model, [[0], [1]])
        assert interval_holds(bounds, model, [[0], [1]])
        assert bounds.converged.all()
    wide = fastvi.SigmoidBeliefNetwork(np.full((1, 5), 0.5), [-1.0], np.zeros(5))
    assert interval_holds(fastvi.log_marginal_bounds(wide, [[0], [1]]), wide, [[0], [1]])


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("max_bounds", [1, 100_000])
def test_weights_of_any_size(small_leaves, max_bounds):
    """Beyond either end of the range: log p(x) <= 0 is then all that is known of some."""
    small_leaves(1)
    saturated = large_weights.network([[1e3, -1e3, 1e3], [-1e3, 1e3, 1e3]], [1e3, -1e3], [1e3, 0.0, -1e3])
    for model in (saturated, large_weights.CANCELLING, large_weights.network([[1e-300, 700.0]], [-700.0])):
        x = large_weights.all_data(model.num_pixels)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bounds = fastvi.log_marginal_bounds(model, x, max_bounds=max_bounds)
        truth = large_weights.truth(model, x)
        assert (bounds.lower <= truth).all()
        assert (truth <= bounds.upper).all()
        assert (bounds.upper <= 0.0).all()


@pytest.mark.slow_without_jit
def test_missing_pixels_are_summed_out(small_leaves):
    small_leaves(2)
    seen = np.random.default_rng(3).random(X.shape) < 0.6
    seen[0], seen[1], seen[2] = False, True, seen[3]
    bounds = fastvi.log_marginal_bounds(MODEL, X, observed=seen, tolerance=1e-6)
    for n in range(len(X)):
        part = fastvi.SigmoidBeliefNetwork(MODEL.weights[seen[n]], MODEL.bias[seen[n]], MODEL.prior_logits)
        assert interval_holds(bounds[n], part, X[n : n + 1, seen[n]])
        alone = fastvi.log_marginal_bounds(MODEL, X[n : n + 1], observed=seen[n], tolerance=1e-6)
        assert parts_of(alone)[:4] == parts_of(bounds[n])[:4]
    assert bounds.gap[0] < 1e-10  # nothing is seen
    assert bounds.converged.all()
    holes = np.where(seen, X, np.nan)
    again = fastvi.log_marginal_bounds(MODEL, holes, observed="auto", tolerance=1e-6)
    assert parts_of(again) == parts_of(bounds)


# ---- the same bits ---------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
def test_same_bits_for_any_threads(small_leaves, same_bits):
    small_leaves(2)
    same_bits(lambda: parts_of(fastvi.log_marginal_bounds(MODEL, X, max_bounds=40, tolerance=1e-6)))


@pytest.mark.slow_without_jit
def test_same_bits_in_any_batch(small_leaves):
    small_leaves(2)
    options = {"max_bounds": 40, "tolerance": 1e-6}
    whole = fastvi.log_marginal_bounds(MODEL, X, **options)
    order = np.random.default_rng(4).permutation(len(X))
    shuffled = fastvi.log_marginal_bounds(MODEL, X[order], **options)
    for k, n in enumerate(order):
        assert parts_of(shuffled[k]) == parts_of(whole[n])
    for n in (0, 7, 19):
        assert parts_of(fastvi.log_marginal_bounds(MODEL, X[n : n + 1], **options)) == parts_of(whole[n])


@pytest.mark.slow_without_jit
def test_same_bits_from_an_executor(small_leaves, tmp_path):
    small_leaves(2)
    options = {"max_bounds": 40, "tolerance": 1e-6}
    whole = parts_of(fastvi.log_marginal_bounds(MODEL, X, **options))
    with ThreadPoolExecutor(3) as executor:
        path = tmp_path / "kept"
        assert parts_of(fastvi.log_marginal_bounds(MODEL, X, executor=executor, **options)) == whole
        kept = fastvi.log_marginal_bounds(MODEL, X, executor=executor, checkpoint=path, **options)
    assert parts_of(kept) == whole
    assert parts_of(fastvi.log_marginal_bounds(MODEL, X, checkpoint=path, **options)) == whole


@pytest.mark.slow_without_jit
def test_same_bits_from_processes():
    whole = parts_of(fastvi.log_marginal_bounds(MODEL, X))
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert parts_of(fastvi.log_marginal_bounds(MODEL, X, executor=executor)) == whole


# ---- Ctrl-C and checkpoints ------------------------------------------------------------------------------


def stop_after(patch, rounds):
    """Ctrl-C in the middle of a round, after so many of them."""
    usual, left = search._round, [rounds]

    def stopping(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        usual(*arguments)

    patch.setattr(search, "_round", stopping)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("rounds", [0, 1, 3, 8])
def test_ctrl_c_returns_what_is_certain(small_leaves, monkeypatch, caplog, rounds):
    small_leaves(2)
    whole = fastvi.log_marginal_bounds(MODEL, X, tolerance=1e-6)
    stop_after(monkeypatch, rounds)
    with caplog.at_level(logging.WARNING, logger="fastvi"):
        bounds = fastvi.log_marginal_bounds(MODEL, X, tolerance=1e-6)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "certain" in caplog.text
    assert interval_holds(bounds, MODEL, X)
    assert np.isfinite(bounds.gap).all()
    assert (bounds.num_bounds <= whole.num_bounds).all()
    assert (bounds.num_bounds[-4:] == 1).all()  # not yet begun
    assert bounds.converged[0] == (rounds == 8)


@pytest.mark.slow_without_jit
def test_ctrl_c_between_two_parts(small_leaves, each_report, caplog):
    small_leaves(2)

    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    with caplog.at_level(logging.WARNING, logger="fastvi"):
        bounds = fastvi.log_marginal_bounds(MODEL, X, tolerance=1e-6, progress=stop)
    assert interval_holds(bounds, MODEL, X)
    assert not bounds.converged.all()
    assert len(caplog.records) == 1


def goes_on(model, x, rounds, path, monkeypatch, **options):
    """Stop a search with a checkpoint, and let it go on: the same bits, and nothing is done twice."""
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    options["tolerance"] = 1e-6
    whole = fastvi.log_marginal_bounds(model, x, **options)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, rounds)
        part = fastvi.log_marginal_bounds(model, x, checkpoint=path, **options)
    assert not part.converged.all()
    assert (part.lower <= whole.upper).all()
    assert (whole.lower <= part.upper).all()
    counted = []
    usual = search._round
    monkeypatch.setattr(search, "_round", lambda *arguments: counted.append(1) or usual(*arguments))
    again = fastvi.log_marginal_bounds(model, x, checkpoint=path, **options)
    assert parts_of(again) == parts_of(whole)
    rest = len(counted)
    fastvi.log_marginal_bounds(model, x, **options)
    assert len(counted) - rest == rounds + rest
    counted.clear()
    assert parts_of(fastvi.log_marginal_bounds(model, x, checkpoint=path, **options)) == parts_of(whole)
    assert not counted


def test_a_small_search_goes_on(small_leaves, monkeypatch, tmp_path):
    small_leaves(1)
    observed = np.ones((12, 2), bool)
    observed[9:, 0] = False
    goes_on(TINY, np.repeat(ALL, 3, axis=0), 2, tmp_path / "kept", monkeypatch, observed=observed)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("rounds", [0, 2, 9])
def test_a_search_goes_on_with_the_same_bits(small_leaves, monkeypatch, tmp_path, rounds, masks):
    small_leaves(2)
    observed = np.ones(X.shape, bool)
    observed[10:, :4] = not masks  # two groups of data
    goes_on(MODEL, X, rounds, tmp_path / "kept", monkeypatch, observed=observed)


@pytest.mark.slow_without_jit
def test_ctrl_c_in_progress_keeps_finished_parts(small_leaves, each_report, monkeypatch, tmp_path):
    small_leaves(2)
    path = tmp_path / "kept"
    whole = fastvi.log_marginal_bounds(MODEL, X, tolerance=1e-6)

    def stop(done, total):
        if done >= 8:
            raise KeyboardInterrupt

    fastvi.log_marginal_bounds(MODEL, X, tolerance=1e-6, checkpoint=path, progress=stop)
    members = []
    usual = search.start
    monkeypatch.setattr(
        intervals,
        "start",
        lambda form, terms, *more: members.append(len(terms.constant)) or usual(form, terms, *more),
    )
    assert parts_of(fastvi.log_marginal_bounds(MODEL, X, tolerance=1e-6, checkpoint=path)) == parts_of(whole)
    assert members == [8, 4]  # not the first eight


def test_a_checkpoint_of_another_question_is_refused(tmp_path):
    path = tmp_path / "kept"
    fastvi.log_marginal_bounds(TINY, ALL, checkpoint=path)
    for change in ({"tolerance": 0.1}, {"max_bounds": 7}):
        with pytest.raises(ValueError, match=r"^checkpoint must name a file of the same") as caught:
            fastvi.log_marginal_bounds(TINY, ALL, checkpoint=path, **change)
        assert "\n" not in str(caught.value)


# ---- the result ------------------------------------------------------------------------------------------


def test_progress_counts_data(each_report):
    seen = []
    fastvi.log_marginal_bounds(TINY, np.repeat(ALL, 3, axis=0), progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (12, 12)


def test_no_data():
    bounds = fastvi.log_marginal_bounds(TINY, np.empty((0, 2)))
    assert len(bounds) == 0
    assert bounds.gap.shape == bounds.converged.shape == (0,)
    assert repr(bounds) == "Bounds(num_data=0)"
    assert len(fastvi.log_marginal_bounds(TINY, np.empty((0, 2)), observed=np.empty((0, 2), bool))) == 0


def test_some_of_the_data():
    bounds = fastvi.log_marginal_bounds(TINY, ALL, max_bounds=1)
    assert len(bounds) == 4
    for which in (slice(1, 3), [2, 0], np.array([True, False, False, True])):
        some = bounds[which]
        for name in ("lower", "upper", "gap", "num_bounds", "converged"):
            np.testing.assert_array_equal(getattr(some, name), getattr(bounds, name)[which])
        for k, n in enumerate(np.arange(4)[which]):
            assert parts_of(some[k]) == parts_of(bounds[n])
    assert len(bounds[1]) == 1
    with pytest.raises(IndexError):
        bounds[4]


def test_what_is_left_open_is_a_cover(small_leaves):
    """The states of open subcubes, and no others, are missing from the closed sum."""
    small_leaves(1)
    bounds = fastvi.log_marginal_bounds(TINY, ALL, max_bounds=8, tolerance=1e-9)
    (group,) = bounds._open
    assert sorted(group.latents) == [0, 1, 2]
    states = (np.arange(8)[:, None] >> np.arange(3) & 1).astype(float)
    for n, x in enumerate(ALL):
        eta = states @ TINY.weights.T + TINY.bias
        log_joint = eta @ x - np.logaddexp(0.0, eta).sum(1) + states @ TINY.prior_logits
        log_joint -= np.logaddexp(0.0, TINY.prior_logits).sum()
        own = states[:, group.latents]
        open_states = np.zeros(8, bool)
        covers = group.covers
        for cube, bound in zip(
            covers.states(n, 3), covers.bounds[covers.first[n] : covers.first[n + 1]], strict=True
        ):
            inside = ((cube == -1) | (own == cube)).all(axis=1)
            assert not (open_states & inside).any()
            open_states |= inside
            assert np.log(np.exp(log_joint[inside]).sum()) <= bound + 1e-12
        closed = np.exp(log_joint[~open_states]).sum()
        np.testing.assert_allclose(np.exp(covers.closed[n]), closed, rtol=1e-12)


def test_repr():
    bounds = fastvi.log_marginal_bounds(TINY, ALL, max_bounds=1)
    assert repr(bounds).startswith("Bounds(num_data=4, converged=0, median gap=")


@pytest.mark.peers
def test_data_frame():
    bounds = fastvi.log_marginal_bounds(TINY, ALL, max_bounds=1)
    table = bounds.to_dataframe()
    assert list(table.columns) == ["lower", "upper", "gap", "num_bounds", "converged"]
    np.testing.assert_array_equal(table["gap"], bounds.upper - bounds.lower)


def test_a_table_is_known():
    table = fastvi.JointTable([[0.5, 0.25], [0.25, 0.0]])
    bounds = fastvi.log_marginal_bounds(table, [0, 1])
    exact = np.log([0.75, 0.25])
    assert (bounds.lower < exact).all()
    assert (exact < bounds.upper).all()
    assert (bounds.gap < 32 * np.spacing(2.0)).all()  # a few units in the last place each way
    assert bounds.converged.all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": 0.0}, "^tolerance must be"),
        ({"tolerance": np.nan}, "^tolerance must be"),
        ({"tolerance": "1e-3"}, "^tolerance must be"),
        ({"max_bounds": 0}, "^max_bounds must be"),
        ({"max_bounds": 1.5}, "^max_bounds must be"),
        ({"normalized": 1}, "^normalized must be"),
        ({"executor": 3}, "^executor must be"),
        ({"progress": 3}, "^progress must be"),
        ({"x": [[0, 2]]}, "^x must .* 0 and 1"),
        ({"x": [[0, 1, 1]]}, "^x must have shape"),
        ({"x": None}, "^x must be an array"),
        ({"x": [[np.nan, 0]]}, "^x must .*observed='?\"?auto"),
        ({"observed": [True]}, "^observed must"),
        ({"model": fastvi.LinearGaussian([[1.0], [0.5]], [0.0, 0.0], 1.0)}, "^model must"),
        ({"model": "a network"}, "^model must"),
        ({"model": DEEP}, "^model must"),
    ],
)  # fmt: skip
def test_wrong_input(change, words):
    if change.get("model") is not None and not isinstance(change["model"], str):
        change = {"x": np.zeros((1, 2)), **change}
    arguments = {"model": TINY, "x": ALL, **change}
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        fastvi.log_marginal_bounds(**arguments)
    assert "\n" not in str(caught.value)
