"""Importance sampling on a device: the CPU's draws bit for bit, its log weights to rounding."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
from models import bits, network

import fastvi
from fastvi.engine.cuda.device import use
from fastvi.kernels.cpu.random.draws import bernoulli_draws, split_seed, thresholds
from fastvi.kernels.cuda.draws import THREADS, draw_states


def drawn(device, high, low, seed, numbers, first, num):
    num_data, d = len(numbers), high.shape[1]
    words = device.empty((num_data, -(-d // 32), num), np.int64)
    device.launch(
        draw_states, (-(-num // THREADS), num_data), device.put(high), device.put(low), *split_seed(seed),
        device.put(np.array(numbers)), first, words,
    )  # fmt: skip
    held = device.get(words)
    places = np.arange(d)
    return ((held[:, places >> 5] >> (places & 31)[:, None]) & 1).transpose(2, 0, 1)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("d", [1, 4, 31, 32, 33, 100])
def test_draws_are_those_of_the_cpu(make_device, d, check):
    logits = np.random.default_rng(d).normal(size=(2, d)) * 2.0
    logits[0, 0], logits[1, -1] = 1e3, -1e3
    first, num, seed = (1 << 32) - 3, 7 if check else 300, (1 << 63) + 12345
    got = drawn(make_device(check=check), *thresholds(logits), seed, [5, 6], first, num)
    np.testing.assert_array_equal(got, bernoulli_draws(logits, num, seed, 5, first))


def test_ties_of_the_high_words_are_settled_by_the_low_ones(make_device):
    # thresholds that are the words drawn: bit i is then decided by the second words
    seed, num = 7, 5
    high = np.array([naive.philox([0, 3, 0, 0], split_seed(seed))], np.int64)
    second = np.array(naive.philox([1 << 31, 3, 0, 0], split_seed(seed)), np.int64)
    for shift, want in ((1, 1), (0, 0)):
        got = drawn(make_device(), high, (second + shift)[None], seed, [0], 0, num)
        assert got[3, 0].tolist() == [want] * 4


def estimates(model, x, device, **options):
    with use(device):
        return fastvi.estimate_log_marginal(model, x, device="cuda", **options)


def agree(got, want, largest=1.0):
    tolerance = 1e-12 * max(largest, np.abs(want.log_marginal).max())
    np.testing.assert_allclose(got.log_marginal, want.log_marginal, rtol=0, atol=tolerance)
    np.testing.assert_allclose(got.std_error, want.std_error, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.ess, want.ess, rtol=1e-6)
    np.testing.assert_allclose(got.max_weight_share, want.max_weight_share, rtol=1e-6)
    np.testing.assert_allclose(got.pareto_k, want.pareto_k, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("d", "num_pixels", "num_data", "num_samples", "check"),
    [
        (3, 5, 2, 9, True),
        (7, 33, 1, 130, False),
        (20, 70, 3, 301, False),
        (33, 40, 2, 200, False),
        (100, 65, 2, 129, False),
    ],
)
@pytest.mark.parametrize("proposal", ["uniform", "prior"])
def test_networks(make_device, d, num_pixels, num_data, num_samples, check, proposal):
    model, x = network(d, num_pixels, 0.5), bits(num_data, num_pixels)
    options = {"proposal": proposal, "num_samples": num_samples, "seed": 3}
    got = estimates(model, x, make_device(check=check, schedule=int(check)), **options)
    agree(got, fastvi.estimate_log_marginal(model, x, **options), largest=num_pixels * d)


@pytest.mark.parametrize("scale", [20.0, 300.0])
def test_extreme_weights(make_device, scale):
    model, x = network(12, 50, scale), bits(2, 50)
    options = {"num_samples": 200, "seed": 1}
    got = estimates(model, x, make_device(), **options)
    agree(got, fastvi.estimate_log_marginal(model, x, **options), largest=50 * 12 * scale)


def test_a_proposal_of_each_datum(make_device):
    model, x = network(9, 20), bits(3, 20)
    q = fastvi.Bernoulli(np.random.default_rng(0).normal(size=(3, 9)) * [[1.0], [30.0], [1.0]])
    got = estimates(model, x, make_device(), proposal=q, num_samples=500)
    agree(got, fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=500), largest=600.0)


def test_machines_and_sparse_coding(make_device):
    rng = np.random.default_rng(0)
    couplings = np.triu(rng.normal(size=(40, 40)), 1)
    machine = fastvi.BoltzmannMachine(couplings + couplings.T, rng.normal(size=40))
    observed = np.arange(40) < 3
    options = {"observed": observed, "normalized": False, "num_samples": 150}
    got = estimates(machine, bits(2, 40), make_device(), **options)
    agree(got, fastvi.estimate_log_marginal(machine, bits(2, 40), **options), largest=1600.0)
    sparse = fastvi.BinarySparseCoding(rng.normal(size=(7, 10)), rng.normal(size=7), 0.5, rng.normal(size=10))
    x = rng.normal(size=(4, 7))
    got = estimates(sparse, x, make_device(), num_samples=150)
    agree(got, fastvi.estimate_log_marginal(sparse, x, num_samples=150), largest=1e3)


def test_same_bits_for_any_batch_schedule_and_workers(make_device):
    model, x = network(9, 20), bits(5, 20)
    options = {"num_samples": 400, "seed": 2}
    want = estimates(model, x, make_device(), **options)
    other = estimates(model, x, make_device(schedule=9), **options)
    with ThreadPoolExecutor(2) as executor:
        pooled = estimates(model, x, make_device(), executor=executor, **options)
    for got in (other, pooled):
        for name in ("log_marginal", "std_error", "ess", "pareto_k"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


def test_sampled_elbo(make_device):
    model, x = network(9, 20), bits(3, 20)
    q = fastvi.Bernoulli(np.random.default_rng(0).normal(size=(3, 9)))
    for decomposition in ("reconstruction", "joint", "log_ratio"):
        options = {"num_samples": 64, "seed": 4, "decomposition": decomposition}
        want = fastvi.elbo(model, x, q, **options)
        with use(make_device()):
            got = fastvi.elbo(model, x, q, device="cuda", **options)
        np.testing.assert_allclose(got.value, want.value, rtol=1e-12)
        np.testing.assert_allclose(got.std_error, want.std_error, rtol=1e-9)


def test_what_a_gpu_does_not_sample_is_said(make_device, caplog):
    model, x = network(5, 4), bits(2, 4)
    two = fastvi.Mixture([fastvi.Bernoulli(np.zeros(5)), fastvi.Bernoulli(np.ones(5))], [0.5, 0.5])
    with use(make_device()), pytest.raises(RuntimeError, match=r"^device='cuda' draws from one Bernoulli"):
        fastvi.estimate_log_marginal(model, x, proposal=two, device="cuda")
    with use(make_device()), caplog.at_level("INFO", "fastvi"):
        got = fastvi.estimate_log_marginal(model, x, proposal=two, device="auto")
    assert "device='auto' picks 'cpu': a GPU draws from one Bernoulli" in caplog.text
    want = fastvi.estimate_log_marginal(model, x, proposal=two)
    np.testing.assert_array_equal(got.log_marginal, want.log_marginal)
    with (
        use(make_device()),
        pytest.raises(RuntimeError, match=r"weighs .* in float64 only; use device='cpu'$"),
    ):
        fastvi.estimate_log_marginal(model, x, dtype="float32", device="cuda")
    table = fastvi.JointTable([[0.25, 0.25], [0.25, 0.25]])
    with use(make_device()), pytest.raises(RuntimeError, match="a table is sampled on the CPU"):
        fastvi.estimate_log_marginal(table, device="cuda")


def test_what_a_gpu_does_not_sample_of_an_elbo(make_device, caplog):
    layers = [(np.ones((4, 3)), np.zeros(4)), (np.ones((5, 4)), np.zeros(5))]
    decoder = fastvi.NeuralDecoder(layers, "tanh", fastvi.Bernoulli(np.zeros(3)))
    x, q = bits(2, 5), fastvi.Bernoulli([0.5, -1.0, 0.0])
    with use(make_device()), pytest.raises(RuntimeError, match=r"^device='cuda' samples .*use device='cpu'$"):
        fastvi.elbo(decoder, x, q, num_samples=8, device="cuda")
    with use(make_device()), caplog.at_level("INFO", "fastvi"):
        got = fastvi.elbo(decoder, x, q, num_samples=8, device="auto")
    assert "device='auto' picks 'cpu': a GPU samples" in caplog.text
    np.testing.assert_array_equal(got.value, fastvi.elbo(decoder, x, q, num_samples=8).value)


@pytest.mark.parametrize("check", [True, False])
def test_sparse_coding_of_little_noise_is_weighed_on_the_cpu(make_device, caplog, check):
    rng = np.random.default_rng(0)
    model = fastvi.BinarySparseCoding(rng.normal(size=(5, 7)), rng.normal(size=5), 0.5, np.zeros(7))
    x = model.sample(5, 1)[1]
    x[[1, 4]] += 1e5
    q = fastvi.Bernoulli(rng.normal(size=(5, 7)))
    options = {"proposal": q, "num_samples": 300, "seed": 3}
    with caplog.at_level(logging.INFO, "fastvi"):
        got = estimates(model, x, make_device(check=check), **options)
    assert "2 of 5 data are sampled on the CPU: their terms are too large" in caplog.text
    want = fastvi.estimate_log_marginal(model, x, **options)
    np.testing.assert_array_equal(got.log_marginal[[1, 4]], want.log_marginal[[1, 4]])
    np.testing.assert_allclose(got.log_marginal, want.log_marginal, rtol=1e-12)
    with use(make_device(check=check)):
        for given, expected in (
            (fastvi.elbo(model, x, q, num_samples=9, device="cuda"), fastvi.elbo(model, x, q, num_samples=9)),
        ):
            np.testing.assert_array_equal(given.value[[1, 4]], expected.value[[1, 4]])
