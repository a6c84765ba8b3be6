"""Sampled bounds, estimates and chains where the noise is small: never worse than ten times a direct sum."""

import functools

import mpmath
import naive_annealing
import naive_small_noise as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import few_without_jit
from small_noise import KINDS, NOISES, check, coding_case
from tolerances import EPS

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.annealing.chains import Schedule
from fastvi.estimators.annealed_log_weights import checked_initial, log_weights

pytestmark = pytest.mark.usefixtures("many_bits")

NUM = 8  # samples
MIXED = np.array([1e20, 0.3, -2.0])


def sampled(numbers, model, x, z, logits):
    """What estimators make of states z (N, K, d) of q, by name."""
    case = model.weights, model.bias, model.noise_std, model.prior_logits
    joint = naive.coding_log_joint(numbers, *case, x, z)
    log_w = joint - naive.log_prior(numbers, logits[:, None], z)
    largest = log_w.max(axis=1)
    mean = numbers.exp(log_w - largest[:, None]).mean(axis=1)
    return {"estimate": largest + numbers.log(mean), "elbo": log_w.mean(axis=1), "joint": joint}


@pytest.mark.parametrize("noise_std", few_without_jit(NOISES, NOISES[1::8]))
def test_samples_of_sparse_coding_are_as_exact_as_a_direct_sum(noise_std):
    for kind in KINDS:
        model, near, far, random = coding_case(kind, noise_std)
        for x, logits in ((near, sure_of(model)), (near, 0.3 * random), (far, 0.3 * random)):
            q = fastvi.Bernoulli(logits)
            z = q.sample(NUM, 3).transpose(1, 0, 2)
            estimate = fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=NUM, seed=3)
            found = {
                "estimate": estimate.log_marginal,
                "joint": rules_of(model).sampled_joint(x, np.ascontiguousarray(z)).value,  # of sampled fits
            }
            for name in ("reconstruction", "joint", "log_ratio"):
                bound = fastvi.elbo(model, x, q, num_samples=NUM, seed=3, decomposition=name)
                if name == "log_ratio":  # the others take parts of the bound exactly
                    found["elbo"] = bound.value
                elif name == "joint":
                    found["mean"] = bound.expected_log_joint
            direct, truth = (
                sampled(numbers, model, x, z, logits) for numbers in (naive.Doubles(), naive.Exact())
            )
            direct["mean"], truth["mean"] = direct["joint"].mean(axis=1), truth["joint"].mean(axis=1)
            check(found, direct, truth)


def sure_of(model):
    """Logits of a q that draws the states which made the data that are near: their log joints are small."""
    return 20.0 * (2.0 * model.sample(3, 3)[0] - 1.0)


def chains(model, x, initial, num_steps, states=None, num_leapfrog=2):
    schedule = Schedule(num_steps, 2, 5, lambda count: None, states)
    initial = checked_initial(rules_of(model), initial, len(x))
    return log_weights(
        rules_of(model), rules_of(model).check_data(x, None)[0], initial, num_leapfrog, schedule
    )


def chains_by_residuals(numbers, model, means, x, logits, num_steps, states=None):
    """(N, M) for ``means`` of states (S, d)."""

    @functools.cache  # of eight states
    def log_joint(n, *z):
        bits = np.array(z)
        residual = numbers.array(x[n]) - means(numbers, bits)
        value = naive.normal_logs(numbers, residual, model.noise_std)
        return value + naive.log_prior(numbers, model.prior.logits, bits)

    return np.array(
        [
            [
                naive_annealing.latents_log_weight(
                    lambda z, n=n: log_joint(n, *z), logits[n].tolist(), num_steps, 5, n, chain,
                    None if states is None else states[2 * n + chain].tolist(),
                )
                for chain in range(2)
            ]
            for n in range(len(x))
        ]
    )  # fmt: skip


def coding_means(model):
    return lambda numbers, z: (numbers.array(model.weights) * z).sum(axis=-1) + numbers.array(model.bias)


@pytest.mark.parametrize("backwards", [False, True])
# half a minute of mpmath is the same with and without compilation
@pytest.mark.slow_without_jit
@pytest.mark.parametrize("noise_std", NOISES[::2])
def test_chains_of_sparse_coding_are_as_exact_as_a_direct_sum(noise_std, backwards):
    for kind in KINDS[::2]:
        model, near, far, random = coding_case(kind, noise_std)
        states = model.sample(3, 3)[0].repeat(2, axis=0).astype(np.int64) if backwards else None
        for x, logits in ((near, sure_of(model)), (near, 0.3 * random), (far, 0.3 * random)):
            got = chains(model, x, fastvi.Bernoulli(logits), 3, states)
            direct, truth = (
                chains_by_residuals(numbers, model, coding_means(model), x, logits, 3, states)
                for numbers in (naive.Doubles(), naive.Exact())
            )
            check({"chains": -got if backwards else got}, {"chains": direct}, {"chains": truth})


@pytest.mark.parametrize("noise_std", NOISES[::3])
def test_chains_of_a_decoder_are_as_exact_as_a_direct_sum(noise_std):
    rng = np.random.default_rng(7)
    for scale in (1e-3, 1.0, 1e5):
        weights, bias = scale * rng.normal(size=(5, 3)), scale * rng.normal(size=5)
        prior = fastvi.Bernoulli(rng.normal(size=3))
        model = fastvi.NeuralDecoder([(weights, bias)], "relu", prior, "gaussian", noise_std)
        x, logits = model.sample(3, 3)[1], sure_of(model)
        got = chains(model, x, fastvi.Bernoulli(logits), 3)

        def means(numbers, z, weights=weights, bias=bias):
            return (numbers.array(weights) * z).sum(axis=-1) + numbers.array(bias)

        direct, truth = (
            chains_by_residuals(numbers, model, means, x, logits, 3)
            for numbers in (naive.Doubles(), naive.Exact())
        )
        check({"chains": got}, {"chains": direct}, {"chains": truth})


@pytest.mark.parametrize("noise_std", NOISES[::3])
def test_trajectories_of_real_latents_are_as_exact_as_a_direct_sum(noise_std):
    """Backwards with one temperature, a chain is weighed where it starts; the prior cancels."""
    rng = np.random.default_rng(7)
    for scale in (1e-3, 1.0, 1e5):
        weights, bias = scale * rng.normal(size=(5, 2)), scale * rng.normal(size=5)
        model = fastvi.LinearGaussian(weights, bias, noise_std)
        z, x = model.sample(3, 3)
        states = z.repeat(2, axis=0)
        got = -chains(model, x, "prior", 1, states)

        def value(numbers, weights=weights, bias=bias, x=x, states=states):
            means = (numbers.array(weights) * numbers.array(states)[:, None]).sum(axis=-1) + numbers.array(
                bias
            )
            residual = numbers.array(np.repeat(x, 2, axis=0)) - means
            return naive.normal_logs(numbers, residual, noise_std).reshape(3, 2)

        check({"chains": got}, {"chains": value(naive.Doubles())}, {"chains": value(naive.Exact())})


def mixed_models():
    """Models of one layer, their data, a layer, and the prior's logits."""
    rng = np.random.default_rng(2)
    layer = weights, bias = rng.normal(size=(4, 3)), rng.normal(size=4)
    real, bits = rng.normal(size=(2, 4)), rng.integers(0, 2, (2, 4))
    for prior in (np.zeros(3), MIXED):
        q = fastvi.Bernoulli(prior)
        yield fastvi.BinarySparseCoding(weights, bias, 0.5, prior), real, layer, prior
        yield fastvi.NeuralDecoder([layer], "relu", q, "gaussian", 0.5), real, layer, prior
        yield fastvi.SigmoidBeliefNetwork(weights, bias, prior), bits, layer, prior


@pytest.mark.parametrize("largest", [1e20, 1e5])
def test_one_huge_logit_hides_no_other(largest):
    """Fewer than 64 numbers below 64 are added; a logit of a bit that is as it must be adds nothing."""
    logits, exact = np.where(MIXED == 1e20, largest, MIXED), naive.Exact()
    z = np.array([[1, 1, 0], [1, 0, 1]] * 2)
    for model, x, (weights, bias), prior in mixed_models():
        got = -chains(model, x, fastvi.Bernoulli(logits), 1, z).reshape(-1)
        eta = (naive.to_mp(weights) * z[:, None]).sum(axis=-1) + naive.to_mp(bias)
        seen = np.repeat(x, 2, axis=0)
        if isinstance(model, fastvi.SigmoidBeliefNetwork):
            signed = np.where(seen != 0, -eta, eta)
            likelihood = -exact.log(1 + exact.exp(signed)).sum(axis=-1)
        else:
            likelihood = naive.normal_logs(exact, naive.to_mp(seen) - eta, 0.5)
        want = likelihood + naive.log_prior(exact, prior, z) - naive.log_prior(exact, logits, z)
        np.testing.assert_allclose(
            got, want.astype(float), rtol=0, atol=64 * 64 * EPS / 2, err_msg=repr(model)
        )


@pytest.mark.parametrize("prior", [MIXED, -MIXED])
def test_one_huge_prior_logit_hides_no_other(prior):
    """In sparse coding: sums of three numbers below 64, and of what is summed exactly."""
    model = fastvi.BinarySparseCoding(np.random.default_rng(2).normal(size=(4, 3)), np.zeros(4), 0.5, prior)
    x, logits = np.random.default_rng(3).normal(size=(2, 4)), np.zeros((2, 3))
    truth = naive.posterior(
        naive.Exact(),
        naive.coding_log_joint(
            naive.Exact(),
            model.weights,
            model.bias,
            0.5,
            prior,
            x,
            np.broadcast_to(naive.states(3), (2, 8, 3)),
        ),
    )[0]
    np.testing.assert_allclose(fastvi.log_marginal(model, x), truth.astype(float), rtol=0, atol=64 * 64 * EPS)
    q = fastvi.Bernoulli(logits + np.where(np.abs(prior) > 1e3, np.copysign(50.0, prior), 0.0))
    z = q.sample(NUM, 3).transpose(1, 0, 2)
    want = sampled(naive.Exact(), model, x, z, q.logits)["estimate"]
    found = fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=NUM, seed=3).log_marginal
    np.testing.assert_allclose(found, want.astype(float), rtol=0, atol=64 * 64 * EPS)


@st.composite
def coding_models(draw):
    """Sizes that fill no tile, noise of any size, data near and far."""
    num_pixels, num_latents, num_data = (
        draw(st.integers(low, high)) for low, high in ((1, 9), (1, 13), (0, 4))
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    scale, noise_std = draw(st.sampled_from([0.0, 1.0, 1e3])), draw(st.sampled_from([1e-8, 1e-3, 0.1, 1.0]))
    model = fastvi.BinarySparseCoding(
        scale * rng.normal(size=(num_pixels, num_latents)), rng.normal(size=num_pixels), noise_std,
        rng.normal(size=num_latents),
    )  # fmt: skip
    x = model.sample(num_data, 3)[1]
    far = rng.random(num_data) < 0.5
    return model, x + far[:, None] * rng.normal(size=x.shape), rng.normal(size=(num_data, num_latents))


def all_answers(model, x, logits):
    """One array (N,) or (N, d) for each question."""
    q = fastvi.Bernoulli(logits)
    posterior = fastvi.exact_posterior(model, x)
    estimate = fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=5, seed=3)
    # a row of latents a datum and chain: chains of datum n are 2 n and 2 n + 1
    backwards = chains(
        model, x, fastvi.Bernoulli(logits), 3, np.repeat(logits > 0, 2, axis=0).astype(np.int64)
    )
    return [
        fastvi.log_marginal(model, x), posterior.mean, posterior.entropy, fastvi.elbo(model, x, q).value,
        estimate.log_marginal, fastvi.elbo(model, x, q, num_samples=5, seed=3).value,
        chains(model, x, fastvi.Bernoulli(logits), 3), backwards,
    ]  # fmt: skip


@pytest.mark.slow_without_jit
@given(case=coding_models())
def test_the_same_bits_for_any_threads_and_batch(same_bits, case):
    """The draws of a datum are those of its number, so that what is sampled is asked of the first data."""
    model, x, logits = case
    want = same_bits(lambda: all_answers(model, x, logits), threads=(1, 3))
    first = len(x) // 2
    for got, other in zip(all_answers(model, x[:first], logits[:first]), want, strict=True):
        np.testing.assert_array_equal(got, other[:first])
    if len(x):
        np.testing.assert_array_equal(fastvi.log_marginal(model, x[-1:])[0], want[0][-1])


@settings(max_examples=10)
@given(seed=st.integers(0, 99), noise_std=st.sampled_from([1e-9, 1e-3, 1.0]))
@pytest.mark.parametrize(
    ("num_pixels", "num_latents", "num_data"), [(1, 1, 1), (1, 3, 2), (5, 1, 2), (4, 2, 0)]
)
def test_the_smallest_sizes(num_pixels, num_latents, num_data, seed, noise_std):
    rng = np.random.default_rng(seed)
    weights, bias, prior = (rng.normal(size=s) for s in ((num_pixels, num_latents), num_pixels, num_latents))
    model = fastvi.BinarySparseCoding(weights, bias, noise_std, prior)
    x, logits = model.sample(num_data, seed)[1], 0.3 * rng.normal(size=(num_data, num_latents))
    found = all_answers(model, x, logits)
    assert [len(answer) for answer in found] == [num_data] * len(found)
    if not num_data:
        return
    z = fastvi.Bernoulli(logits).sample(5, 3).transpose(1, 0, 2)
    with mpmath.workprec(naive.BITS):
        direct, truth = (
            {
                **naive.sparse_coding(numbers, weights, bias, noise_std, prior, x, logits),
                **{f"sampled {name}": value for name, value in sampled(numbers, model, x, z, logits).items()},
            }
            for numbers in (naive.Doubles(), naive.Exact())
        )
        direct, truth = (
            {"log": case["log_marginal"], "mean": case["mean"], "value": case["sampled estimate"]}
            for case in (direct, truth)
        )
        check({"log": found[0], "mean": found[1], "value": found[4]}, direct, truth)
