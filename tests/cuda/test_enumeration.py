"""log p(x), log Z and the ELBO on a device, against the CPU's, which other tests hold against definitions."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
from models import bits, machine, network

import fastvi
from fastvi.engine.cuda import softplus_form
from fastvi.engine.cuda.device import use


def restricted(d, num_pixels, scale=1.0):
    rng = np.random.default_rng([d, num_pixels])
    weights = scale * rng.normal(size=(num_pixels, d))
    return fastvi.RestrictedBoltzmannMachine(weights, rng.normal(size=num_pixels), rng.normal(size=d))


def same(got, want, largest=0.0):
    """Both are sums of products of rounded factors: a few units in the last place of what enters."""
    scale = max(1.0, np.abs(want).max(initial=0.0), largest)
    np.testing.assert_allclose(got, want, rtol=0.0, atol=64 * 2.0**-52 * scale)


@pytest.mark.parametrize("schedule", [0, 1, 99])
@pytest.mark.parametrize(("d", "num_pixels", "num_data"), [(1, 1, 1), (9, 19, 3)])
def test_networks_with_every_check(make_device, d, num_pixels, num_data, schedule):
    model, x = network(d, num_pixels), bits(num_data, num_pixels)
    with use(make_device(check=True, schedule=schedule)):
        same(fastvi.log_marginal(model, x, device="cuda"), fastvi.log_marginal(model, x))


@pytest.mark.parametrize(
    ("d", "num_pixels", "num_data"),
    [(2, 3, 2), (6, 8, 4), (7, 9, 1), (13, 30, 130), (14, 17, 5), (16, 40, 129), (5, 3, 0)],
)
def test_networks(make_device, d, num_pixels, num_data):
    model, x = network(d, num_pixels), bits(num_data, num_pixels)
    with use(make_device()):
        same(fastvi.log_marginal(model, x, device="cuda"), fastvi.log_marginal(model, x))


def test_a_network_against_its_definition(make_device):
    model, x = network(4, 3), bits(8, 3)
    want = [
        naive.sbn_log_marginal(model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist(), row)
        for row in x.tolist()
    ]
    with use(make_device()):
        same(fastvi.log_marginal(model, x, device="cuda"), np.array(want))


@pytest.mark.parametrize("scale", [30.0, 300.0, 700.0])  # larger ones are summed pixel by pixel, on a CPU
def test_extreme_weights(make_device, scale):
    model, x = network(10, 40, scale), bits(5, 40)
    with use(make_device()):
        got = fastvi.log_marginal(model, x, device="cuda")
    same(got, fastvi.log_marginal(model, x), largest=40 * 10 * scale)


@pytest.mark.parametrize("logit", [-1e3, 1e3])
def test_certain_latents_and_pixels(make_device, logit):
    model = fastvi.SigmoidBeliefNetwork(bits(6, 8) * 2.0, np.full(6, logit), np.full(8, -logit))
    x = bits(3, 6)
    with use(make_device()):
        got = fastvi.log_marginal(model, x, device="cuda")
    same(got, fastvi.log_marginal(model, x), largest=14e3)


@pytest.mark.parametrize("scale", [1.0, 4.0, 10.0, 100.0])
def test_float32(make_device, scale):
    model, x = network(15, 40, scale), bits(33, 40)
    want = fastvi.log_marginal(model, x)
    with use(make_device()):
        got = fastvi.log_marginal(model, x, device="cuda", dtype="float32")
    # products over pixels, as on the CPU, and sums over 2^7 rows and 2^6 columns
    assert np.abs(got - want).max() <= (3 * 41 + 192) * 2.0**-24


def test_what_float32_cannot_hold_is_summed_in_float64(make_device, caplog):
    model, x = network(12, 300, 3.0), bits(4, 300)
    device = make_device()
    with use(device), caplog.at_level(logging.INFO, "fastvi"):
        got = fastvi.log_marginal(model, x, device="cuda", dtype="float32")
    assert "summed again in float64" in caplog.text
    same(got, fastvi.log_marginal(model, x), largest=300 * 36.0)


def test_the_guard_repairs_in_log_space(make_device, caplog):
    model, x = network(10, 40, 300.0), bits(5, 40)
    with use(make_device(check=True)), caplog.at_level(logging.INFO, "fastvi"):
        got = fastvi.log_marginal(model, x, device="cuda")
    assert "summed again in log space" in caplog.text
    same(got, fastvi.log_marginal(model, x), largest=40 * 10 * 300.0)


@pytest.mark.parametrize(("d", "num_pixels"), [(9, 30), (15, 20)])
def test_log_z_of_restricted_machines(make_device, d, num_pixels):
    model = restricted(d, num_pixels)
    with use(make_device()):
        same(fastvi.log_partition(model, device="cuda"), fastvi.log_partition(model))


def test_restricted_machines_with_unseen_units(make_device):
    model, x = restricted(12, 8), bits(3, 8)
    observed = np.array([1, 1, 0, 1, 0, 1, 1, 0], bool)
    with use(make_device()):
        got = fastvi.log_marginal(model, x, observed=observed, device="cuda")
    same(got, fastvi.log_marginal(model, x, observed=observed))


@pytest.mark.parametrize(
    ("d", "never"), [(1, False), (2, False), (8, False), (12, True), (16, False), (20, True), (23, False)]
)
def test_log_z_of_machines(make_device, d, never):
    model = machine(d, never=never)
    with use(make_device()):
        same(fastvi.log_partition(model, device="cuda"), fastvi.log_partition(model))


def test_log_z_with_every_check(make_device):
    model = machine(10, never=True)
    with use(make_device(check=True, schedule=5)):
        same(fastvi.log_partition(model, device="cuda"), fastvi.log_partition(model))


def test_log_z_of_strong_couplings(make_device):
    model = machine(14, 1000.0)
    with use(make_device()):
        same(fastvi.log_partition(model, device="cuda"), fastvi.log_partition(model), largest=14 * 14 * 1e3)


def test_clamped_machines(make_device):
    model, x = machine(17), bits(5, 17)
    observed = np.arange(17) % 4 == 0
    with use(make_device()):
        got = fastvi.log_marginal(model, x, observed=observed, device="cuda")
    same(got, fastvi.log_marginal(model, x, observed=observed))


def test_sparse_coding(make_device):
    rng = np.random.default_rng(0)
    model = fastvi.BinarySparseCoding(rng.normal(size=(7, 10)), rng.normal(size=7), 0.5, rng.normal(size=10))
    x = rng.normal(size=(4, 7))
    with use(make_device()):
        same(fastvi.log_marginal(model, x, device="cuda"), fastvi.log_marginal(model, x))


def by_pixels(x, z):
    total = 0.0
    for i in range(z.size):
        total += z[i] * (x[0] + 0.1 * i)
    return total - 0.5 * x[1] * x[1]


@pytest.mark.parametrize(("d", "check"), [(1, True), (9, True), (15, False)])
def test_a_function_of_the_caller(make_device, d, check):
    model = fastvi.LogJoint(by_pixels, num_latents=d, vectorized=False)
    x = np.random.default_rng(0).normal(size=(3, 2))
    with use(make_device(check=check)):
        same(fastvi.log_marginal(model, x, device="cuda"), fastvi.log_marginal(model, x))


def sometimes_nan(x, z):
    return x[0] / z[0] - x[0] / z[0]


def test_a_function_that_returns_nan(make_device):
    model = fastvi.LogJoint(sometimes_nan, num_latents=3, vectorized=False)
    with (
        use(make_device()),
        pytest.raises(ValueError, match=r"^fn must return finite numbers or -inf, got NaN"),
    ):
        fastvi.log_marginal(model, np.ones((2, 1)), device="cuda")


@pytest.mark.parametrize("model", [network(14, 9), machine(15)], ids=["network", "machine"])
def test_same_bits_for_any_batch_memory_and_order_of_threads(make_device, model, on_gpu):
    x = bits(300, 9) if isinstance(model, fastvi.SigmoidBeliefNetwork) else bits(300, 15)
    options = {} if model.num_pixels == 9 else {"observed": np.arange(15) < 2}
    with use(make_device()):
        want = fastvi.log_marginal(model, x, device="cuda", **options)
        one = fastvi.log_marginal(model, x[207:208], device="cuda", **options)
    assert one[0] == want[207]
    # on a GPU the limit does the same that little free memory does
    little = {"memory_limit": 40 << 20} if on_gpu else {}
    for device in (make_device(free=40 << 20), make_device(schedule=7)):
        with use(device):
            got = fastvi.log_marginal(model, x, device="cuda", **little, **options)
        np.testing.assert_array_equal(got, want)


def test_too_little_memory(make_device):
    with (
        use(make_device()),
        pytest.raises(ValueError, match=r"^memory_limit leaves 1,000 bytes, but at least [\d,]+ are"),
    ):
        fastvi.log_marginal(network(9, 4), bits(2, 4), device="cuda", memory_limit=1000)


def test_workers_take_turns_with_devices(make_device, on_gpu, monkeypatch):
    monkeypatch.setattr(softplus_form, "_WAVE_LAUNCHES", 1)
    model, x = network(23, 3), bits(1, 3)
    devices = [make_device() for _ in range(3)]
    with use(*devices), ThreadPoolExecutor(2) as executor:
        got = fastvi.log_marginal(model, x, device="cuda", executor=executor)
    if not on_gpu:
        assert sum(bool(device.launches) for device in devices) == 2
    with use(devices[0]):
        np.testing.assert_array_equal(got, fastvi.log_marginal(model, x, device="cuda"))
    same(got, fastvi.log_marginal(model, x))


def test_a_checkpoint_of_one_device_is_no_checkpoint_of_another(make_device, tmp_path):
    model, x = network(9, 4), bits(2, 4)
    with use(make_device()):
        got = fastvi.log_marginal(model, x, device="cuda", checkpoint=tmp_path / "run")
        np.testing.assert_array_equal(
            got, fastvi.log_marginal(model, x, device="cuda", checkpoint=tmp_path / "run")
        )
    with pytest.raises(ValueError, match="checkpoint"):
        fastvi.log_marginal(model, x, checkpoint=tmp_path / "run")


@pytest.mark.parametrize(
    ("d", "num_pixels", "num_data", "scale"), [(5, 4, 3, 1.0), (15, 20, 130, 1.0), (9, 5, 3, 1e3)]
)
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_elbo(make_device, d, num_pixels, num_data, scale, spread):
    model, x = network(d, num_pixels, scale), bits(num_data, num_pixels)
    q = fastvi.Bernoulli(spread * np.random.default_rng(1).normal(size=(num_data, d)))
    want = fastvi.elbo(model, x, q)
    with use(make_device()):
        for decomposition in ("reconstruction", "joint"):
            got = fastvi.elbo(model, x, q, device="cuda", decomposition=decomposition)
            for name in ("value", "reconstruction", "kl_to_prior", "expected_log_joint", "entropy"):
                same(getattr(got, name), getattr(want, name), largest=d * num_pixels * scale)
        with pytest.raises(
            RuntimeError, match=r"^decomposition must be 'reconstruction' or 'joint' on a GPU"
        ):
            fastvi.elbo(model, x, q, device="cuda", decomposition="log_ratio")
        here = fastvi.elbo(model, x, q, device="auto", decomposition="log_ratio")
    np.testing.assert_array_equal(here.value, fastvi.elbo(model, x, q, decomposition="log_ratio").value)


def test_elbo_of_a_certain_q(make_device):
    model, x = network(8, 5), bits(2, 5)
    q = fastvi.Bernoulli(np.where(bits(2, 8), 1e3, -1e3))
    with use(make_device(check=True)):
        same(fastvi.elbo(model, x, q, device="cuda").value, fastvi.elbo(model, x, q).value, largest=1e4)


def coding(noise_std):
    rng = np.random.default_rng(0)
    model = fastvi.BinarySparseCoding(rng.normal(size=(5, 7)), rng.normal(size=5), noise_std, np.zeros(7))
    near = model.sample(3, 1)[1]
    # the CPU's answers are held against sums of residuals in test_small_noise
    return model, np.concatenate([near, near + rng.normal(size=near.shape)])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("noise_std", [1e-9, 1e-5, 1e-3])
def test_sparse_coding_of_little_noise(make_device, caplog, noise_std, dtype):
    model, x = coding(noise_std)
    with use(make_device()), caplog.at_level(logging.INFO, "fastvi"):
        got = fastvi.log_marginal(model, x, device="cuda", dtype=dtype)
        alone = fastvi.log_marginal(model, x[4:5], device="cuda", dtype=dtype)
    why = "6 of 6 data are summed again in two words on the CPU: their terms are too large for products"
    assert why in caplog.text
    np.testing.assert_array_equal(got, fastvi.log_marginal(model, x))
    assert alone[0] == got[4]


def test_only_data_whose_terms_are_large_leave_the_device(make_device, caplog):
    model, x = coding(0.5)
    x[4] += 1e5
    with use(make_device()), caplog.at_level(logging.INFO, "fastvi"):
        got = fastvi.log_marginal(model, x, device="cuda")
    assert "1 of 6 data are summed again in two words on the CPU" in caplog.text
    want = fastvi.log_marginal(model, x)
    assert got[4] == want[4]
    # terms of 2^20 at most, each rounded once
    np.testing.assert_allclose(got, want, rtol=0.0, atol=64 * 2.0**-33)
