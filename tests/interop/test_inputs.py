"""Arrays of PyTorch, JAX, pandas, zarr, h5py and dask go in as the NumPy arrays that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from optional import package

import fastvi

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(8)
X = RNG.integers(0, 2, (7, 6))
SEEN = RNG.random((7, 6)) < 0.8
WEIGHTS = np.round(RNG.normal(size=(6, 3)) * 8) / 8  # bfloat16 holds them exactly
NETWORK = fastvi.SigmoidBeliefNetwork(WEIGHTS, np.zeros(6), np.zeros(3))
CODING = fastvi.BinarySparseCoding(WEIGHTS, np.zeros(6), 0.5, np.zeros(3))


def same(x, want=X, model=NETWORK, **options):
    np.testing.assert_array_equal(
        fastvi.log_marginal(model, x, **options), fastvi.log_marginal(model, np.asarray(want))
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_tensors_that_require_a_gradient(dtype):
    torch = package("torch")
    x = torch.tensor(X, dtype=getattr(torch, dtype), requires_grad=True)
    same(x)
    same(x, model=CODING)
    w = torch.tensor(WEIGHTS, dtype=getattr(torch, dtype), requires_grad=True)
    built = fastvi.SigmoidBeliefNetwork(w, np.zeros(6), torch.nn.Parameter(torch.zeros(3)))
    assert np.array_equal(built.weights, WEIGHTS)
    log_w = np.round(RNG.normal(size=(2, 60)) * 8) / 8
    tensor = torch.tensor(log_w, dtype=getattr(torch, dtype), requires_grad=True)
    # float32 weights are summed by kernels of their own, on each side
    kept = log_w.astype(np.float32) if dtype in ("bfloat16", "float32") else log_w.astype(dtype)
    np.testing.assert_array_equal(fastvi.log_mean_exp(tensor), fastvi.log_mean_exp(kept))
    assert tensor.requires_grad


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr", "to_sparse_csc"])
@pytest.mark.parametrize("dtype", ["uint8", "bool", "float32", "bfloat16"])
def test_sparse_tensors(layout, dtype):
    torch = package("torch")
    dense = torch.tensor(X, dtype=getattr(torch, dtype))
    same(getattr(dense, layout)())
    same(getattr(dense, layout)(), model=CODING)
    if dtype in ("float32", "bfloat16") and layout == "to_sparse":
        same(dense.requires_grad_().to_sparse())
        half = (dense.detach() / 2).to_sparse()
        same(half, X / 2, CODING)


def test_a_sparse_vector_and_entries_that_stand_twice():
    torch = package("torch")
    vector = torch.tensor([0.0, 1.5, 0.0]).to_sparse()
    built = fastvi.SigmoidBeliefNetwork(WEIGHTS, np.zeros(6), vector)
    assert built.prior_logits.tolist() == [0.0, 1.5, 0.0]
    twice = torch.sparse_coo_tensor([[0, 0], [1, 1]], [1, 1], (1, 6), check_invariants=True)
    with pytest.raises(ValueError, match=r"got 2 at index \(0, 1\)$"):
        fastvi.log_marginal(NETWORK, twice)


def test_numbers_of_jax():
    jnp = package("jax.numpy")
    for dtype in ("bfloat16", "float16", "float8_e4m3fn", "int4", "uint4", "bool"):
        x = jnp.asarray(X).astype(dtype)
        same(x)
        same(np.asarray(x))
    rows = fastvi.JointTable([[0.1, 0.2], [0.3, 0.4]])
    assert rows.log_joint(jnp.asarray([1], "int4"), [0])[0] == np.log(0.3)


def test_nullable_columns():
    pandas = package("pandas")
    for dtype in ("Int64", "boolean", "Float64", "Int8", "UInt8"):
        same(pandas.DataFrame(X).astype(dtype))
    mixed = pandas.DataFrame(X).astype({0: "Int64", 1: "boolean", 2: "Float64", 3: "bool", 4: "float32"})
    same(mixed)
    missing = mixed.astype({3: "boolean"}).mask(~SEEN)
    want = fastvi.log_marginal(NETWORK, X, observed=SEEN)
    np.testing.assert_array_equal(fastvi.log_marginal(NETWORK, missing, observed="auto"), want)
    with pytest.raises(ValueError, match=r'got nan at index .*; pass observed="auto"'):
        fastvi.log_marginal(NETWORK, missing)
    column = pandas.Series([0, 1, 1], dtype="Int64")
    assert fastvi.JointTable([[0.1, 0.2], [0.3, 0.4]]).log_joint(column, [0, 0, 0])[1] == np.log(0.3)
    weights = pandas.Series([1, None, 3], dtype="Int64")
    with pytest.raises(ValueError, match=r"^data_weights must be finite"):
        fastvi.log_marginal_gradient(NETWORK, X[:3], data_weights=weights)


@pytest.mark.parametrize("values", [["0", "1", "0", "1", "0", "1"], [0, None, 1, 0, 1, 0]])
def test_text_and_objects_are_no_numbers(values):
    pandas = package("pandas")
    with pytest.raises(TypeError, match=r"^x must be an array of 0 and 1 "):
        fastvi.log_marginal(NETWORK, pandas.DataFrame([values], dtype=object))


def stores(x, chunks, folder):
    zarr, h5py, array = package("zarr"), package("h5py"), package("dask.array")
    yield zarr.array(x, chunks=chunks)
    with h5py.File(folder / "x.h5", "w") as file:
        yield file.create_dataset("x", data=x, chunks=chunks)
        yield file.create_dataset("whole", data=x)
    yield array.from_array(x, chunks=chunks)


def test_stores(tmp_path):
    x = np.tile(X, (2600, 1))
    real = x + 0.25
    half = np.where(np.tile(SEEN, (2600, 1)), x, np.nan)
    q = fastvi.Bernoulli(np.zeros(3))
    want = [
        fastvi.log_marginal(NETWORK, x), fastvi.log_marginal(CODING, real),
        fastvi.log_marginal(NETWORK, half, observed="auto"),
        fastvi.elbo(NETWORK, x, q, num_samples=2, seed=1).value,
    ]  # fmt: skip
    for store in stores(x.astype(np.int8), (1000, 4), tmp_path):
        np.testing.assert_array_equal(fastvi.log_marginal(NETWORK, store), want[0])
        np.testing.assert_array_equal(fastvi.elbo(NETWORK, store, q, num_samples=2, seed=1).value, want[3])
    for store in stores(real, (5000, 6), tmp_path):
        np.testing.assert_array_equal(fastvi.log_marginal(CODING, store), want[1])
    for store in stores(half, (5000, 6), tmp_path):
        np.testing.assert_array_equal(fastvi.log_marginal(NETWORK, store, observed="auto"), want[2])


def test_a_store_that_does_not_know_its_length():
    array = package("dask.array")
    x = array.from_array(X, chunks=(3, 6))
    some = x[x[:, 0] == 1]
    same(some, X[X[:, 0] == 1])
