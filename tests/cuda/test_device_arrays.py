"""Arrays that lie on a device go in as they are, and results come out as arrays of it."""

from __future__ import annotations

import importlib.util
import math
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import naive
import naive_log_weights
import numpy as np
import pytest
from models import bits, machine, network

import fastvi
from fastvi.engine.cuda import arrays
from fastvi.engine.cuda.device import use


@pytest.fixture
def put(on_gpu):
    """An array of another library's on the device; of the CPU's memory where that stands for the device's."""
    if on_gpu:
        from numba import cuda

        return cuda.to_device
    return lambda array: SimpleNamespace(
        __cuda_array_interface__=dict(array.__array_interface__, version=3), shape=array.shape, held=array
    )


def on_host(result):
    return result.copy_to_host() if hasattr(result, "copy_to_host") else np.asarray(result)


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32, np.int64])
def test_pixels_of_any_dtype(make_device, put, dtype):
    x = bits(5, 6).astype(dtype)
    with use(make_device()):
        got = on_host(fastvi.log_marginal(network(9, 6), put(x), device="cuda"))
    np.testing.assert_allclose(got, fastvi.log_marginal(network(9, 6), x), rtol=1e-13)


def masks():
    """One of all data, one of each."""
    each = np.random.default_rng(4).random((5, 6)) < 0.7
    each[3] = each[1]  # two data that see the same
    return {"one": np.array([1, 1, 0, 1, 0, 1], bool), "each": each}


@pytest.mark.parametrize("which", ["one", "each"])
def test_strides_and_masks(make_device, put, on_gpu, which):
    x, observed = bits(5, 6)[:, ::-1].astype(np.uint8), masks()[which]
    given = np.ascontiguousarray(x) if on_gpu else x
    with use(make_device(check=True)):
        got = on_host(fastvi.log_marginal(network(9, 6), put(given), device="cuda", observed=observed))
    np.testing.assert_allclose(got, fastvi.log_marginal(network(9, 6), x, observed=observed), rtol=1e-13)


def some_models():
    """A network, a machine, sparse coding; their data; what the machine's clamped units are."""
    rng = np.random.default_rng(1)
    return {
        "network": (network(9, 6), bits(5, 6), None),
        "machine": (machine(9), bits(5, 9), np.arange(9) % 3 == 0),
        "coding": (
            fastvi.BinarySparseCoding(rng.normal(size=(7, 9)), rng.normal(size=7), 0.5, rng.normal(size=9)),
            rng.normal(size=(5, 7)),
            None,
        ),
    }


@pytest.mark.parametrize("name", ["network", "machine", "coding"])
def test_bounds_and_estimates(make_device, put, name):
    model, x, observed = some_models()[name]
    q = fastvi.Bernoulli(np.random.default_rng(2).normal(size=(5, 9)))
    options = {"observed": observed, "device": "cuda"}
    with use(make_device()):
        for more in ({}, {"num_samples": 32, "decomposition": "joint"}):
            got = fastvi.elbo(model, put(x), q, **options, **more)
            want = fastvi.elbo(model, x, q, observed=observed, **more)
            for field in ("value", "reconstruction", "kl_to_prior", "expected_log_joint", "std_error"):
                np.testing.assert_allclose(getattr(got, field), getattr(want, field), rtol=1e-9, atol=1e-12)
        # stops early for some data, which are then taken out
        options |= {"proposal": q, "num_samples": 3000, "target_ess": 200.0}
        got = fastvi.estimate_log_marginal(model, put(x), **options)
        again = fastvi.estimate_log_marginal(model, x, **options)
    np.testing.assert_allclose(got.log_marginal, again.log_marginal, rtol=1e-12)
    np.testing.assert_array_equal(got.num_samples, again.num_samples)


def test_estimates_of_each_datum_s_pixels(make_device, put):
    x, observed = bits(5, 6), masks()["each"]
    options = {"observed": observed, "num_samples": 64, "device": "cuda"}
    with use(make_device()):
        got = fastvi.estimate_log_marginal(network(9, 6), put(x), **options)
        want = fastvi.estimate_log_marginal(network(9, 6), x, **options)
    np.testing.assert_allclose(got.log_marginal, want.log_marginal, rtol=1e-12)


def test_what_reads_pixels_wants_them_here(make_device, put):
    model, x, q = network(9, 6), put(bits(5, 6)), fastvi.Bernoulli(np.zeros(9))
    encoder = fastvi.Encoder([(np.zeros((9, 6)), np.zeros(9))], "tanh")
    certain = machine(6)
    decoder = fastvi.NeuralDecoder([(np.ones((6, 9)), np.zeros(6))], "tanh", q)
    everything = np.ones(6, bool)
    with use(make_device()):
        for call, why in (
            (lambda: fastvi.exact_posterior(model, x), "here"),
            (lambda: fastvi.kl_to_posterior(model, x, q), "here"),
            (lambda: fastvi.elbo(model, x, encoder, device="cuda"), "where q is an Encoder"),
            (
                lambda: fastvi.estimate_log_marginal(model, x, proposal=encoder, device="cuda"),
                "where proposal is an Encoder",
            ),
            (lambda: fastvi.log_marginal(decoder, x, device="cuda"), "for a NeuralDecoder"),
            (lambda: fastvi.elbo(decoder, x, q, device="cuda"), "for a NeuralDecoder"),
            (
                lambda: fastvi.log_marginal(certain, x, observed=everything, device="cuda"),
                r"where log p\(x\) takes no sum",
            ),
            (
                lambda: fastvi.elbo(
                    certain, x, fastvi.Bernoulli(np.zeros(6)), observed=everything, device="cuda"
                ),
                r"where log p\(x\) takes no sum",
            ),
            (
                lambda: fastvi.estimate_log_marginal(
                    certain, x, proposal="uniform", observed=everything, device="cuda"
                ),
                r"where log p\(x\) takes no sum",
            ),
        ):
            with pytest.raises(TypeError, match=rf"^x must lie on the host {why}.*, got an array of a GPU"):
                call()
        with pytest.raises(TypeError, match=r"^observed must lie on the host, .*, got an array of a GPU$"):
            fastvi.log_marginal(model, x, observed=put(everything), device="cuda")
        for call in (fastvi.log_marginal, fastvi.estimate_log_marginal):
            with pytest.raises(TypeError, match=r"^x lies on a GPU, so device must be 'cuda', got 'cpu'"):
                call(model, x)


def test_auto_takes_what_a_gpu_holds_to_the_cpu_by_its_terms(make_device, put):
    model, x = network(9, 6), bits(5, 6)
    two = fastvi.Mixture([fastvi.Bernoulli(np.zeros(9)), fastvi.Bernoulli(np.ones(9))], [0.5, 0.5])
    with use(make_device()):
        got = fastvi.estimate_log_marginal(model, put(x), proposal=two, num_samples=64, device="auto")
    want = fastvi.estimate_log_marginal(model, x, proposal=two, num_samples=64)
    np.testing.assert_allclose(got.log_marginal, want.log_marginal, rtol=1e-12)


class DLPackOnly:
    """An array of a library that speaks no other protocol."""

    def __init__(self, held):
        self.held = held

    def __dlpack_device__(self):
        return 2, 0  # CUDA, the first device

    def __dlpack__(self, **_):
        return self.held


@pytest.mark.parametrize("library", ["cupy", "torch", None])
def test_dlpack_alone(make_device, put, on_gpu, monkeypatch, library):
    if on_gpu:
        pytest.skip("the libraries are stand-ins")
    for name in ("cupy", "torch"):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.from_dlpack = lambda value: put(value.__dlpack__())
        module.Tensor = DLPackOnly if name == "cupy" else type(None)
        monkeypatch.setitem(sys.modules, name, module)
    find = importlib.util.find_spec
    there = {"cupy": library == "cupy", "torch": library is not None}
    monkeypatch.setattr(arrays, "find_spec", lambda name: find(name) if there.get(name, True) else None)
    x = bits(5, 6).astype(np.uint8)
    with use(make_device()):
        if library is None:
            with pytest.raises(
                TypeError, match=r"^x must offer .* or DLPack, got a DLPackOnly: DLPack alone is"
            ):
                fastvi.log_marginal(network(9, 6), DLPackOnly(x), device="cuda")
        else:
            got = on_host(fastvi.log_marginal(network(9, 6), DLPackOnly(x), device="cuda"))
            np.testing.assert_allclose(got, fastvi.log_marginal(network(9, 6), x), rtol=1e-13)


def test_data_of_a_gpu_are_not_sent_to_processes(make_device, put):
    import pickle

    from fastvi.engine.cuda.arrays import device_data

    with use(make_device()), pytest.raises(TypeError, match=r"^executor must run threads for data on a GPU"):
        pickle.dumps(device_data(put(bits(5, 6)), 6))


def test_real_pixels_and_clamped_units(make_device, put):
    rng = np.random.default_rng(0)
    sparse = fastvi.BinarySparseCoding(rng.normal(size=(7, 10)), rng.normal(size=7), 0.5, rng.normal(size=10))
    x = rng.normal(size=(4, 7)).astype(np.float32)
    clamped = machine(9)
    observed = np.array([1, 0, 1, 1, 0, 0, 1, 0, 0], bool)
    with use(make_device(check=True)):
        got = on_host(fastvi.log_marginal(sparse, put(x), device="cuda"))
        units = on_host(fastvi.log_marginal(clamped, put(bits(5, 9)), device="cuda", observed=observed))
    np.testing.assert_allclose(got, fastvi.log_marginal(sparse, x), rtol=1e-12)
    np.testing.assert_allclose(units, fastvi.log_marginal(clamped, bits(5, 9), observed=observed), rtol=1e-12)


def test_wrong_data(make_device, put):
    x = bits(5, 6).astype(np.uint8)
    two = x.copy()
    two[3, 4] = 2
    with use(make_device()):
        with pytest.raises(ValueError, match=r"^x must be 0 or 1, got another value at index \(3, 4\)$"):
            fastvi.log_marginal(network(9, 6), put(two), device="cuda")
        with pytest.raises(ValueError, match=r"^x must have shape \(num_data, 6\), got shape \(5, 3\)$"):
            fastvi.log_marginal(network(9, 6), put(np.ascontiguousarray(x[:, :3])), device="cuda")
        with pytest.raises(TypeError, match=r"^x lies on a GPU, so device must be 'cuda', got 'cpu'"):
            fastvi.log_marginal(network(9, 6), put(x))
        with pytest.raises(
            ValueError, match=r"^observed must have shape \(6,\) or \(5, 6\), got shape \(4, 6\)"
        ):
            fastvi.log_marginal(network(9, 6), put(x), device="cuda", observed=np.ones((4, 6), bool))


def log_weights(num_rows, num, dtype=np.float64):
    return (5.0 * np.random.default_rng([num_rows, num]).normal(size=(num_rows, num))).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("num", "check"), [(1, True), (257, True), (40_001, False)])
def test_sums_of_log_weights(make_device, put, num, dtype, check):
    log_w = log_weights(3, num, dtype)
    log_w[1, 0] = -np.inf
    with use(make_device(check=check)):
        mean = on_host(fastvi.log_mean_exp(put(log_w)))
        size = on_host(fastvi.effective_sample_size(put(log_w)))
    with np.errstate(divide="ignore"):
        want = [naive.log_sum_exp(row.tolist()) - math.log(num) for row in log_w]
    np.testing.assert_allclose(mean, want, rtol=1e-12)
    want = [naive_log_weights.effective_sample_size(row.tolist()) for row in log_w]
    np.testing.assert_allclose(size, want, rtol=1e-12)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_wrong_log_weights(make_device, put, wrong):
    log_w = log_weights(3, 300)
    log_w[2, 17] = wrong
    with use(make_device()):
        with pytest.raises(ValueError, match=r"^log_w must be finite or -inf, got NaN or \+inf in row 2$"):
            fastvi.log_mean_exp(put(log_w))
        with pytest.raises(ValueError, match="axis must be the last one"):
            fastvi.log_mean_exp(put(log_w), axis=0)
        with pytest.raises(TypeError, match="log_w must lie on the host here"):
            fastvi.pareto_k(put(log_w))


def test_streams(make_device, put):
    chunks = [log_weights(2, num) for num in (9000, 20_000, 11)]
    here, there = fastvi.LogWeights(tail_size=200), fastvi.LogWeights(tail_size=200)
    with use(make_device()):
        for chunk in chunks:
            here.update(chunk)
            there.update(put(chunk))
    got, want = there.estimate(), here.estimate()
    np.testing.assert_array_equal(got.pareto_k, want.pareto_k)  # the same largest weights
    # each of 29,011 weights, and what is added to it, is rounded: at most 2^-53 of the sum
    oracle = np.array([naive_log_weights.estimate(row.tolist()) for row in np.concatenate(chunks, axis=1)])
    for name, expected in zip(("log_marginal", "std_error", "ess"), oracle.T, strict=False):
        np.testing.assert_allclose(getattr(got, name), expected, rtol=1e-11)
    np.testing.assert_allclose(got.max_weight_share, oracle[:, 4], rtol=1e-11)


def test_sparse_coding_of_little_noise(make_device, put):
    """Rows whose terms one word does not bear are read from the device, of the pixels that were seen."""
    rng = np.random.default_rng(1)
    model = fastvi.BinarySparseCoding(rng.normal(size=(7, 6)), rng.normal(size=7), 1e-6, rng.normal(size=6))
    x, observed = model.sample(5, 1)[1], np.arange(7) != 2
    q = fastvi.Bernoulli(np.zeros((5, 6)))
    with use(make_device()):
        got = on_host(fastvi.log_marginal(model, put(x), device="cuda", observed=observed))
        sampled = fastvi.estimate_log_marginal(model, put(x), proposal=q, num_samples=9, device="cuda")
    np.testing.assert_array_equal(got, fastvi.log_marginal(model, x, observed=observed))
    want = fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=9)
    np.testing.assert_array_equal(on_host(sampled.log_marginal), want.log_marginal)
