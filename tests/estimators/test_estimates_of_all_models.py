"""Importance sampling of every model: the same draws through the model's own log joint, and the truth."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import naive
import numpy as np
import pytest
from cases import MODELS, bits, couplings, data_of, encoder, proposal_of, restricted

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.importance import jobs, softplus_target
from fastvi.engine.sampling import run_jobs
from fastvi.estimators import sampling_run

RNG = np.random.default_rng(0)
NETWORK = MODELS["network"]


def log_weights(model, x, q, num_samples, seed):
    """(N, K) by the model's own log joint, which is tested against pure Python."""
    z = q.sample(num_samples, seed)
    if len(z) and z.shape[1] == 1:  # parameters (d,): datum n draws as the n-th of many would
        wide = [np.broadcast_to(value, (len(x), *value.shape)) for value in q.arrays().values()]
        z = type(q)(*wide).sample(num_samples, seed)
    return (model.log_joint(x, z) - q.log_prob(z)).T


def check(estimate, log_w):
    slack = 1e-11 * max(1.0, np.abs(log_w[np.isfinite(log_w)]).max())
    with np.errstate(divide="ignore"):
        largest = log_w.max(axis=1)
        w = np.exp(log_w - largest[:, None])
    expected = largest + np.log(w.mean(axis=1))
    assert np.abs(estimate.log_marginal - expected).max() <= slack
    assert np.allclose(estimate.ess, w.sum(axis=1) ** 2 / (w**2).sum(axis=1), rtol=100 * slack)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("num", [None, 3])
def test_every_number_is_that_of_the_same_draws(name, num):
    model = MODELS[name]
    x, q = data_of(model), proposal_of(model, num)
    estimate = fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=300, seed=7)
    check(estimate, log_weights(model, x, q, 300, 7))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    "name", ["network", "wide network", "decoder", "normal decoder", "linear", "log joint"]
)
def test_mixtures(name):
    model = MODELS[name]
    x = data_of(model)
    own = proposal_of(model, 3)
    other = "uniform" if name.startswith("log joint") else "prior"
    known = fastvi.Uniform(model.num_latents) if other == "uniform" else model.prior
    mixture = fastvi.Mixture([own, other], [3.0, 1.0])
    estimate = fastvi.estimate_log_marginal(model, x, proposal=mixture, num_samples=400, seed=3)
    whole = fastvi.Mixture(
        [own, type(own)(*(np.broadcast_to(v, (3, model.num_latents)) for v in (
            (known.logits,) if not rules_of(model).real_latents else (known.mean, known.std)
        )))],
        [3.0, 1.0],
    )  # fmt: skip
    check(estimate, log_weights(model, x, whole, 400, 3))
    # the weights of a mixture with the prior are bounded by p(x | z) / 0.25: the pieces of each are there
    share = (whole.sample(400, 3) == own.sample(400, 3)).all(axis=-1).mean()
    # drawn with probability 3/4, and by chance the same where the other piece is
    num = 400 * len(x)
    assert 0.75 - 4.5 * math.sqrt(0.75 * 0.25 / num) <= share < 1.0


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", [name for name in MODELS if "wide" not in name])
def test_estimates_are_within_their_errors_of_the_truth(name):
    model = MODELS[name]
    x = data_of(model, 6)
    truth = fastvi.log_marginal(model, x)
    proposal = "uniform" if "joint" in name else "prior"
    estimate = fastvi.estimate_log_marginal(model, x, proposal=proposal, num_samples=20000, seed=11)
    error = np.abs(estimate.log_marginal - truth)
    assert (error <= 4.5 * estimate.std_error + 1e-9).all()
    assert (estimate.std_error < 0.3).all()


def test_an_encoder_makes_the_proposal():
    net = encoder(6, 5, 4)
    x = data_of(NETWORK)
    direct, through = (
        fastvi.estimate_log_marginal(NETWORK, x, proposal=q, num_samples=50) for q in (net(x), net)
    )
    assert np.array_equal(direct.log_marginal, through.log_marginal)
    with pytest.raises(TypeError, match="proposal must not be an Encoder where observed is given"):
        fastvi.estimate_log_marginal(NETWORK, x, proposal=net, observed=np.ones(6, bool))


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["network", "sparse coding", "decoder", "normal decoder", "linear"])
def test_missing_pixels_are_summed_out(name):
    model = MODELS[name]
    x = data_of(model, 4).astype(float)
    observed = np.ones((4, x.shape[1]), bool)
    observed[0, 0] = observed[2, 1:] = observed[3, :] = False
    x[~observed] = np.nan
    truth = fastvi.log_marginal(model, x, observed=observed)
    estimate = fastvi.estimate_log_marginal(model, x, proposal="prior", num_samples=20000, observed=observed)
    assert (np.abs(estimate.log_marginal - truth) <= 4.5 * estimate.std_error + 1e-9).all()
    # a datum's draws are those of its place, whatever its mask
    alone = fastvi.estimate_log_marginal(model, x, proposal="prior", num_samples=20000, observed=observed)
    assert np.array_equal(alone.log_marginal, estimate.log_marginal)


@pytest.mark.slow_without_jit
def test_boltzmann_machines():
    pairs = couplings(7, RNG)
    pairs[0, 3] = pairs[3, 0] = -np.inf
    machine = fastvi.BoltzmannMachine(pairs, RNG.normal(size=7))
    x = machine.sample(4, 1)[1]
    observed = np.ones((4, 7), bool)
    observed[1, 2:] = observed[2, :4] = observed[3, :] = False
    for normalized in (True, False):
        options = {"observed": observed, "normalized": normalized}
        truth = fastvi.log_marginal(machine, x, **options)
        estimate = fastvi.estimate_log_marginal(machine, x, num_samples=20000, **options)
        assert (np.abs(estimate.log_marginal - truth) <= 4.5 * estimate.std_error + 1e-12).all()
        assert estimate.std_error[0] == 0.0  # nothing was left to sample
        assert estimate.ess[0] == 20000
    nothing = fastvi.estimate_log_marginal(machine, num_samples=20000, normalized=False)
    assert abs(nothing.log_marginal[0] - fastvi.log_partition(machine)) <= 4.5 * nothing.std_error[0]
    with pytest.raises(ValueError, match="proposal 'prior' must belong to a model with a prior"):
        fastvi.estimate_log_marginal(machine, x, proposal="prior")


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("in_table", [True, False])
def test_restricted_machines(monkeypatch, in_table):
    monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", 20 if in_table else 0)
    machine = restricted(8, 5, RNG)
    x = RNG.integers(0, 2, (3, 8))
    observed = np.ones((3, 8), bool)
    observed[1, 2:] = observed[2, :] = False
    truth = fastvi.log_marginal(machine, x, observed=observed)
    estimate = fastvi.estimate_log_marginal(machine, x, num_samples=20000, observed=observed)
    assert (np.abs(estimate.log_marginal - truth) <= 4.5 * estimate.std_error).all()
    assert (estimate.std_error < 0.1).all()


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["deep network"])
@pytest.mark.parametrize("in_table", [True, False])
def test_ancestral_draws_of_a_deep_prior(monkeypatch, name, in_table):
    """The draws are those of the layers' own factorised draws; the weight is p(x | z)."""
    monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", 20 if in_table else 0)
    model = MODELS[name]
    x = data_of(model)
    seed = 5
    estimate = fastvi.estimate_log_marginal(model, x, proposal="prior", num_samples=200, seed=seed)
    inner = int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0])
    logits = np.broadcast_to(NETWORK.prior_logits, (len(x), 4))
    above = fastvi.Bernoulli(logits).sample(200, inner)
    log_w = np.empty((len(x), 200))
    weights, bias = NETWORK.weights.tolist(), NETWORK.bias.tolist()
    for k in range(200):
        eta = [naive.sbn_logits(weights, bias, z) for z in above[k].tolist()]
        z = fastvi.Bernoulli(np.array(eta)).sample(k + 1, seed)[k]
        for n, row in enumerate(x.tolist()):
            pixels = naive.sbn_logits(model.weights.tolist(), model.bias.tolist(), z[n].tolist())
            log_w[n, k] = math.fsum(
                -naive.softplus(-t if bit else t) for bit, t in zip(row, pixels, strict=True)
            )
    check(estimate, log_w)
    with pytest.raises(ValueError, match="proposal must not mix the prior of a deep network"):
        fastvi.estimate_log_marginal(model, x, proposal=fastvi.Mixture(["prior", "uniform"], [1, 1]))


@pytest.mark.slow_without_jit
def test_targets_stop_each_datum():
    x = NETWORK.sample(12, 3)[1]
    whole = fastvi.estimate_log_marginal(NETWORK, x, proposal="prior", num_samples=3000, seed=2)
    stopped = fastvi.estimate_log_marginal(
        NETWORK, x, proposal="prior", num_samples=3000, seed=2, target_std_error=0.016
    )
    counts = stopped.num_samples
    assert counts.dtype == np.int64
    assert counts.min() == 1000
    assert counts.max() == 3000
    assert set(counts) <= {1000, 1500, 2250, 3000}
    early = counts < 3000
    assert (stopped.std_error[early] <= 0.016).all()
    # the same draws, in the same order
    assert np.allclose(stopped.log_marginal[~early], whole.log_marginal[~early], rtol=1e-14)
    assert np.array_equal(stopped.pareto_k[~early], whole.pareto_k[~early])
    for count in np.unique(counts[early]):
        same = fastvi.estimate_log_marginal(NETWORK, x, proposal="prior", num_samples=int(count), seed=2)
        assert np.allclose(
            stopped.log_marginal[counts == count], same.log_marginal[counts == count], rtol=1e-14
        )
        # one look earlier it was not reached
        if count > 1000:
            before = fastvi.estimate_log_marginal(
                NETWORK, x, proposal="prior", num_samples=int(count / 1.5), seed=2
            )
            assert (before.std_error[counts == count] > 0.016).all()
    assert "num_samples=1000 ... 3000" in repr(stopped)
    by_size = fastvi.estimate_log_marginal(
        NETWORK, x, proposal="prior", num_samples=50000, seed=2, target_ess=2000.0, target_std_error=1.0
    )
    assert (by_size.ess >= 2000.0).all()
    assert by_size.num_samples.min() < 50000
    none = fastvi.estimate_log_marginal(NETWORK, x[:0], target_ess=1.0)
    assert none.num_samples.shape == (0,)
    assert "num_data=0" in repr(none)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("target_std_error", 0.0, ValueError),
        ("target_std_error", "a", TypeError),
        ("target_ess", -1.0, ValueError),
        ("target_ess", np.inf, ValueError),
        ("executor", 3, TypeError),
        ("num_samples", 0, ValueError),
    ],
)
def test_wrong_options(name, value, error):
    with pytest.raises(error, match=f"^{name} must"):
        fastvi.estimate_log_marginal(NETWORK, data_of(NETWORK), **{name: value})


@pytest.mark.parametrize(
    ("model", "proposal", "text"),
    [
        ("network", fastvi.Normal(np.zeros(4), np.ones(4)), "proposal must be over binary latents"),
        ("linear", "uniform", "proposal must be over real latents"),
        ("linear", fastvi.Bernoulli(np.zeros(3)), "proposal must be over real latents"),
        ("network", fastvi.Bernoulli(np.zeros(5)), r"proposal must have logits of shape \(4,\) or \(3, 4\)"),
        ("linear", fastvi.Normal(np.zeros(2), np.ones(2)), "proposal must have mean and std of shape"),
        ("network", 7, "proposal must be 'uniform', 'prior', a Bernoulli, a Normal"),
        ("network", "best", "proposal must be"),
    ],
)
def test_wrong_proposals(model, proposal, text):
    with pytest.raises((ValueError, TypeError), match=text):
        fastvi.estimate_log_marginal(MODELS[model], data_of(MODELS[model]), proposal=proposal)


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", ["network", "wide network", "sparse coding", "decoder", "linear"])
def test_same_bits_for_threads_workers_and_batches(monkeypatch, same_bits, name):
    model = MODELS[name]
    x, q = data_of(model, 5), proposal_of(model, 5)
    monkeypatch.setattr(run_jobs, "CHUNK", 16)
    monkeypatch.setattr(jobs, "_JOB", 64)
    monkeypatch.setattr(softplus_target, "_TABLE_LATENTS", 0)
    monkeypatch.setattr(sampling_run, "_TAIL_ENTRIES", 100)
    ask = lambda x, q, **options: fastvi.estimate_log_marginal(  # noqa: E731
        model, x, proposal=q, num_samples=150, seed=9, **options
    )
    whole = same_bits(lambda: ask(x, q))
    with ThreadPoolExecutor(2) as pool:
        assert bits(ask(x, q, executor=pool)) == bits(whole)
    shorter = ask(x[:2], q.from_arrays({k: v[:2] for k, v in q.arrays().items()}))
    assert np.array_equal(shorter.log_marginal, whole.log_marginal[:2])


@pytest.mark.needs_jit
def test_processes():
    with ProcessPoolExecutor(2) as pool:
        for name in ("network", "linear"):
            model = MODELS[name]
            x, q = data_of(model), proposal_of(model)
            inside, outside = (
                fastvi.estimate_log_marginal(model, x, proposal=q, num_samples=400, seed=9, executor=where)
                for where in (None, pool)
            )
            assert bits(inside) == bits(outside)


def test_extreme_weights():
    """Logits of +-1000 and noise of 1e-3: what is impossible has weight 0, and nothing overflows."""
    network = fastvi.SigmoidBeliefNetwork(1e3 * np.eye(3), -500.0 * np.ones(3), np.zeros(3))
    x = np.array([[1, 0, 1], [0, 0, 0]])
    estimate = fastvi.estimate_log_marginal(network, x, num_samples=500, seed=1)
    assert np.allclose(estimate.log_marginal, -3 * math.log(2), atol=4.5 * estimate.std_error.max())
    sharp = fastvi.LinearGaussian([[1.0]], [0.0], 1e-3)
    q = fastvi.Normal([1.0], [1e-3])
    estimate = fastvi.estimate_log_marginal(sharp, [[1.0]], proposal=q, num_samples=500)
    assert (
        abs(estimate.log_marginal[0] - fastvi.log_marginal(sharp, [[1.0]])[0])
        <= 4.5 * estimate.std_error[0] + 1e-9
    )


def test_summaries_can_be_pickled_and_copied():
    weights = fastvi.LogWeights()
    weights.update(RNG.normal(size=(2, 100)))
    other = pickle.loads(pickle.dumps(weights))
    other.update(RNG.normal(size=(2, 100)))
    assert weights.num_samples == 100
    assert other.num_samples == 200
    assert weights.estimate().ess[0] < other.estimate().ess[0]
