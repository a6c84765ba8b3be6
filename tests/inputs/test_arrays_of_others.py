"""What goes in: masked and sparse arrays, missing values, stores by parts, generators, clients."""

from __future__ import annotations

import inspect
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse

import fastvi

RNG = np.random.default_rng(5)
NETWORK = fastvi.SigmoidBeliefNetwork(RNG.normal(size=(6, 3)), RNG.normal(size=6), np.zeros(3))
MACHINE = fastvi.BoltzmannMachine(np.array([[0.0, 0.7], [0.7, 0.0]]), np.array([0.1, -0.3]))
CODING = fastvi.BinarySparseCoding(RNG.normal(size=(6, 3)), np.zeros(6), 0.5, np.zeros(3))
X = RNG.integers(0, 2, (9, 6))
SEEN = RNG.random((9, 6)) < 0.7
REAL = RNG.normal(size=(9, 6))
Q = fastvi.Bernoulli(np.zeros(3))

# questions that take ``observed``, each as an array
QUESTIONS = {
    "log_marginal": lambda model, x, **a: fastvi.log_marginal(model, x, **a),
    "gradient": lambda model, x, **a: fastvi.log_marginal_gradient(model, x, **a)["bias"],
    "posterior": lambda model, x, **a: fastvi.exact_posterior(model, x, **a).mean,
    "estimate": lambda model, x, **a: (
        fastvi.estimate_log_marginal(model, x, num_samples=20, seed=3, **a).log_marginal
    ),
    "elbo": lambda model, x, **a: fastvi.elbo(model, x, Q, **a).value,
    "sampled elbo": lambda model, x, **a: fastvi.elbo(model, x, Q, num_samples=20, seed=3, **a).value,
    "kl_to_posterior": lambda model, x, **a: fastvi.kl_to_posterior(model, x, Q, **a),
    "kl_from_posterior": lambda model, x, **a: fastvi.kl_from_posterior(model, x, Q, **a),
}


def one_line(error, text, call):
    with pytest.raises(error, match=text) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(("model", "x"), [(NETWORK, X), (CODING, REAL)], ids=["binary", "real"])
def test_missing_values_are_not_observed(question, model, x):
    ask = QUESTIONS[question]
    want = ask(model, x, observed=SEEN)
    with_nan = np.where(SEEN, x, np.nan)
    np.testing.assert_array_equal(ask(model, with_nan, observed="auto"), want)
    np.testing.assert_array_equal(ask(model, np.ma.array(x, mask=~SEEN), observed="auto"), want)
    # a mask and NaN at once
    half = np.ma.array(with_nan, mask=~SEEN & (np.arange(6) < 3))
    np.testing.assert_array_equal(ask(model, half, observed="auto"), want)


def test_nothing_missing_and_all_missing():
    whole = fastvi.log_marginal(NETWORK, X)
    for x in (X, X.astype(float), X.astype(bool), np.ma.array(X), X.tolist()):
        np.testing.assert_array_equal(fastvi.log_marginal(NETWORK, x, observed="auto"), whole)
    # log of a sum over everything: 0 to the rounding of a few additions
    nothing = fastvi.log_marginal(NETWORK, np.full((2, 6), np.nan), observed="auto")
    np.testing.assert_allclose(nothing, 0.0, atol=1e-12)
    assert fastvi.log_marginal(NETWORK, np.empty((0, 6)), observed="auto").shape == (0,)


def test_units_of_a_machine():
    x = np.array([[1.0, np.nan], [np.nan, np.nan]])
    want = fastvi.log_marginal(MACHINE, np.nan_to_num(x), observed=~np.isnan(x))
    np.testing.assert_array_equal(fastvi.log_marginal(MACHINE, x, observed="auto"), want)


def test_what_is_missing_without_auto_is_refused_by_a_line_that_names_it():
    x = np.where(SEEN, X, np.nan)
    for ask in QUESTIONS.values():
        one_line(
            ValueError,
            r'^x must .*, got nan at index \(.*; pass observed="auto" ',
            lambda ask=ask: ask(NETWORK, x),
        )
        one_line(
            TypeError, r'^x must .* got a masked array: .*; pass observed="auto" ',
            lambda ask=ask: ask(NETWORK, np.ma.array(X, mask=~SEEN)),
        )  # fmt: skip
    one_line(ValueError, r"^x must contain only 0 and 1, got 2 at index \(0, 0\)$", lambda: wrong(2))
    # fits take no mask, and name none
    one_line(ValueError, r"got nan at index \(\d, \d\)$", lambda: fastvi.fit_posterior(NETWORK, x))


def wrong(value):
    fastvi.log_marginal(NETWORK, np.full((1, 6), value))


def test_other_words_than_auto_and_infinity():
    one_line(
        TypeError, "^observed must have dtype bool", lambda: QUESTIONS["elbo"](NETWORK, X, observed="all")
    )
    inf = np.full((1, 6), np.inf)
    one_line(ValueError, "got inf at index", lambda: fastvi.log_marginal(NETWORK, inf, observed="auto"))


@pytest.mark.parametrize("make", [
    scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix, scipy.sparse.csr_array,
    lambda x: scipy.sparse.csr_array(x.astype(float)), lambda x: scipy.sparse.csr_array(x.astype(bool)),
])  # fmt: skip
def test_sparse_pixels(make):
    for question in QUESTIONS.values():
        np.testing.assert_array_equal(question(NETWORK, make(X)), question(NETWORK, X))
    np.testing.assert_array_equal(fastvi.log_marginal(CODING, make(X)), fastvi.log_marginal(CODING, X))


def test_sparse_arrays_of_other_numbers():
    real = np.where(SEEN, REAL, 0.0)
    sparse = scipy.sparse.csr_array(real)
    np.testing.assert_array_equal(fastvi.log_marginal(CODING, sparse), fastvi.log_marginal(CODING, real))
    one_line(ValueError, r"^x must contain only 0 and 1, got ", lambda: fastvi.log_marginal(NETWORK, sparse))
    # entries that stand twice add up
    twice = scipy.sparse.coo_matrix(([1, 1], ([0, 0], [1, 1])), shape=(1, 6))
    one_line(ValueError, r"got 2 at index \(0, 1\)$", lambda: fastvi.log_marginal(NETWORK, twice))
    weights = scipy.sparse.csr_array(NETWORK.weights)
    assert np.array_equal(
        fastvi.SigmoidBeliefNetwork(weights, np.zeros(6), np.zeros(3)).weights, NETWORK.weights
    )


class Stored:
    """What zarr, h5py and dask arrays have in common; it refuses to be read whole."""

    def __init__(self, array, chunks):
        self.array, self.chunks, self.shape, self.dtype = array, chunks, array.shape, array.dtype
        self.read = []

    chunks = None
    dtype = None

    def __getitem__(self, rows):
        self.read.append((rows.start, rows.stop))
        return self.array[rows]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("read whole")


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("question", ["log_marginal", "gradient", "posterior", "sampled elbo"])
@pytest.mark.parametrize("chunks", [(7000, 3), ((9000, 9000, 2000), (6,)), None])
def test_stores_are_read_by_parts(question, chunks):
    x = np.tile(X, (2223, 1))[:20_000]
    store = Stored(x, chunks)
    some = slice(0, 20_000, 997)
    got, want = QUESTIONS[question](NETWORK, store), QUESTIONS[question](NETWORK, x)
    np.testing.assert_array_equal(got[some] if len(got) == 20_000 else got,
                                  want[some] if len(want) == 20_000 else want)  # fmt: skip
    step = {7000: 14_000, 9000: 9000, 1: 16_384}[1 if chunks is None else np.max(chunks[0])]
    assert store.read == [(a, min(a + step, 20_000)) for a in range(0, 20_000, step)]


def test_wrong_values_of_stores_are_named_by_their_places():
    x = np.zeros((20_000, 6))
    x[19_000, 2] = 3
    text = r"^x must contain only 0 and 1, got 3\.0 at index \(19000, 2\)$"
    one_line(ValueError, text, lambda: fastvi.log_marginal(NETWORK, Stored(x, None)))
    one_line(
        ValueError, r"^x must have shape \(num_data, 6\), got shape \(4, 5\)$",
        lambda: fastvi.log_marginal(NETWORK, Stored(np.zeros((4, 5)), None)),
    )  # fmt: skip


def test_masks_of_stores():
    x = np.where(SEEN, X, np.nan)
    want = fastvi.log_marginal(NETWORK, X, observed=SEEN)
    np.testing.assert_array_equal(fastvi.log_marginal(NETWORK, Stored(x, (4, 6)), observed="auto"), want)
    np.testing.assert_array_equal(fastvi.log_marginal(NETWORK, Stored(x, (4, 6)), observed=SEEN), want)
    column = SEEN[0]
    want = fastvi.log_marginal(NETWORK, X, observed=column)
    np.testing.assert_array_equal(fastvi.log_marginal(NETWORK, Stored(X, (4, 6)), observed=column), want)
    assert fastvi.log_marginal(NETWORK, Stored(X[:0], (4, 6))).shape == (0,)


@pytest.mark.slow_without_jit
def test_memory_of_stores_and_maps(tmp_path):
    """Of float64 that is 0 or 1, eight bytes a number, a byte is kept and some parts are in memory."""
    model = fastvi.SigmoidBeliefNetwork(np.zeros((128, 2)), np.zeros(128), np.zeros(2))
    num_data = 100_000
    whole = 8 * 128 * num_data
    kept = np.memmap(tmp_path / "x", np.float64, "w+", shape=(num_data, 128))

    class Made(Stored):
        def __init__(self):
            self.shape, self.chunks, self.dtype = (num_data, 128), (1024, 128), np.dtype(float)

        def __getitem__(self, rows):
            return np.ones((rows.stop - rows.start, 128))

    sparse = scipy.sparse.csr_array((num_data, 128))
    fastvi.log_marginal(model, kept[:10])
    for x in (kept, Made(), sparse):
        tracemalloc.start()
        try:
            fastvi.log_marginal(model, x)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # one byte a number, parts of 16 MiB, and tables of a batch: below half of the whole
        assert peak < whole // 2


@pytest.mark.parametrize("shape", [(5, 2, 3), (5, 1, 2, 3)])
def test_images(shape):
    text = r"^x must have shape \(num_data, 6\), got shape \(5, .*\): pass x\.reshape\(len\(x\), -1\)$"
    one_line(ValueError, text, lambda: fastvi.log_marginal(NETWORK, np.zeros(shape)))
    one_line(ValueError, r"got shape \(5, 4, 4\)$", lambda: wrong_shape((5, 4, 4)))


def wrong_shape(shape):
    fastvi.log_marginal(NETWORK, np.zeros(shape))


def drawing():
    """Every public function and method that takes a seed."""
    for name in fastvi.__all__:
        thing = getattr(fastvi, name)
        if thing is fastvi.Rules:  # what authors of models write
            continue
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing):
            for member, method in inspect.getmembers(thing, callable):
                if not member.startswith("_"):
                    yield f"{name}.{member}", method


def test_whatever_takes_a_seed_takes_a_generator():
    found = []
    for name, function in drawing():
        try:
            parameters = inspect.signature(function).parameters
        except ValueError:  # of a built-in function
            continue
        if "seed" in parameters:
            found.append(name)
            assert parameters["rng"].default is None, name
            assert parameters["rng"].kind is inspect.Parameter.KEYWORD_ONLY, name
    assert {"elbo", "fit_model", "calibrate", "Encoder.random", "ExactPosterior.sample"} <= set(found)
    assert len(found) > 20


DRAWN = {
    "model": lambda **s: NETWORK.sample(3, **s).x,
    "linear": lambda **s: fastvi.LinearGaussian(np.ones((2, 1)), np.zeros(2), 1.0).sample(3, **s).x,
    "machine": lambda **s: MACHINE.sample(3, **s).x,
    "distribution": lambda **s: Q.sample(3, **s),
    "mixture": lambda **s: fastvi.Mixture([Q, fastvi.Uniform(3)], [0.5, 0.5]).sample(3, **s),
    "posterior": lambda **s: fastvi.exact_posterior(NETWORK, X).sample(3, **s),
    "encoder": lambda **s: fastvi.Encoder.random(6, 2, 3, **s).layers[0][0],
    "estimate": lambda **s: fastvi.estimate_log_marginal(NETWORK, X, num_samples=9, **s).log_marginal,
    "elbo": lambda **s: fastvi.elbo(NETWORK, X, Q, num_samples=9, **s).value,
    "fit": lambda **s: fastvi.fit_posterior(NETWORK, X, num_restarts=2, max_steps=2, **s).q.logits,
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_generator_gives_the_seed(name):
    draw = DRAWN[name]
    generator, twin = np.random.default_rng(11), np.random.default_rng(11)
    for _ in range(2):  # a generator goes on
        seed = int(twin.integers(0, 2**64, dtype=np.uint64))
        np.testing.assert_array_equal(draw(rng=generator), draw(seed=seed))
    one_line(TypeError, "^rng must be None where seed is given", lambda: draw(seed=1, rng=generator))
    one_line(TypeError, "^rng must be a numpy.random.Generator or None, got 3", lambda: draw(rng=3))
    one_line(TypeError, "^rng must be a numpy.*got RandomState", lambda: draw(rng=np.random.RandomState(0)))


def test_a_seed_by_place_and_no_seed_at_all():
    generator = np.random.default_rng(0)
    one_line(TypeError, "^rng must be None where seed", lambda: NETWORK.sample(2, 3, rng=generator))
    one_line(TypeError, r"^seed must be an int .*, got None", lambda: NETWORK.sample(2))
    assert np.array_equal(NETWORK.sample(2, 3).x, NETWORK.sample(2, seed=3, rng=None).x)


class Client:
    """A client as Dask has it."""

    def __init__(self, executor, status="running"):
        self.executor, self.status = executor, status

    def get_executor(self):
        return self.executor


def test_a_client_gives_its_executor():
    with ThreadPoolExecutor(1) as pool:
        client = Client(pool)
        for name in ("log_marginal", "gradient", "posterior", "estimate"):
            ask = QUESTIONS[name]
            np.testing.assert_array_equal(ask(NETWORK, X, executor=client), ask(NETWORK, X))
        closed = Client(pool, "closed")
        for name in ("log_marginal", "estimate"):
            call = QUESTIONS[name]
            one_line(
                ValueError, r"^executor must be open, got a Client that is closed$",
                lambda call=call: call(NETWORK, X, executor=closed),
            )  # fmt: skip
    one_line(
        TypeError, "^executor must be an Executor",
        lambda: fastvi.log_marginal(NETWORK, X, executor=Client(None)),
    )  # fmt: skip
