"""The JAX bridge against JAX's own enumeration, which it differentiates itself."""

from __future__ import annotations

import numpy as np
import pytest
from optional import package
from tolerances import EPS

import fastvi

pytestmark = pytest.mark.peers

jax = package("jax")
jnp = jax.numpy
bridge = package("fastvi.interop.jax")

# sums of some 10^2 terms of size 10 in either order, and their derivatives
CLOSE = 1e4 * EPS
RNG = np.random.default_rng(0)
D, LATENTS, NUM = 7, 4, 5
STATES = ((np.arange(1 << LATENTS)[:, None] >> np.arange(LATENTS)) & 1).astype(np.float64)
BITS = (RNG.random((NUM, D)) < 0.5).astype(np.uint8)
REALS = RNG.normal(size=(NUM, D))
WEIGHTS, BIAS, PRIOR = RNG.normal(size=(D, LATENTS)), RNG.normal(size=D), RNG.normal(size=LATENTS)


@pytest.fixture(autouse=True)
def _x64():
    """Callbacks run in threads of their own, which a context of one thread does not reach."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def log_prior(logits):
    return (STATES * logits - jax.nn.softplus(logits)).sum(1)


def normal(x, mean, std):
    square = ((x[:, None] - mean) ** 2).sum(2) / std**2
    return -0.5 * square - x.shape[1] * (jnp.log(std) + 0.5 * np.log(2 * np.pi))


def of_network(p, x):
    eta = STATES @ p["weights"].T + p["bias"]
    joint = x @ eta.T - jax.nn.softplus(eta).sum(1) + log_prior(p["prior_logits"])
    return jax.nn.logsumexp(joint, axis=1)


def of_coding(p, x):
    joint = normal(x, STATES @ p["weights"].T + p["bias"], p["noise_std"]) + log_prior(p["prior_logits"])
    return jax.nn.logsumexp(joint, axis=1)


def of_decoder(p, x):
    hidden = jnp.tanh(STATES @ p["layer_0_weight"].T + p["layer_0_bias"])
    eta = hidden @ p["layer_1_weight"].T + p["layer_1_bias"]
    joint = x @ eta.T - jax.nn.softplus(eta).sum(1) + log_prior(p["prior_logits"])
    return jax.nn.logsumexp(joint, axis=1)


def of_restricted(p, x):
    def energy(v):
        return v @ p["visible_bias"] + jax.nn.softplus(v @ p["weights"] + p["hidden_bias"]).sum(-1)

    everything = ((np.arange(1 << D)[:, None] >> np.arange(D)) & 1).astype(np.float64)
    return energy(jnp.asarray(x, float)) - jax.nn.logsumexp(energy(everything))


CASES = {
    "network": (fastvi.SigmoidBeliefNetwork(WEIGHTS, BIAS, PRIOR), BITS, of_network),
    "coding": (fastvi.BinarySparseCoding(WEIGHTS, BIAS, 0.7, PRIOR), REALS, of_coding),
    "decoder": (
        fastvi.NeuralDecoder(
            [(RNG.normal(size=(6, LATENTS)), RNG.normal(size=6)), (RNG.normal(size=(D, 6)), BIAS)],
            "tanh", fastvi.Bernoulli(PRIOR),
        ),
        BITS,
        of_decoder,
    ),
    "restricted": (fastvi.RestrictedBoltzmannMachine(WEIGHTS, BIAS, PRIOR), BITS, of_restricted),
}  # fmt: skip
WEIGHTS_OF_DATA = np.array([1.0, -2.0, 0.5, 0.0, 3.0])


def parameters(model, dtype=None):
    arrays = model.arrays()
    return {name: jnp.asarray(v, dtype) for name, v in arrays.items() if v.dtype.kind == "f"}


def near(found, expected, tolerance=CLOSE):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_under_jit_are_those_of_jaxs_own_enumeration(name):
    model, x, own = CASES[name]

    def loss(function):
        return jax.value_and_grad(lambda p: (WEIGHTS_OF_DATA * function(p, x)).sum())

    found = jax.jit(loss(lambda p, x: bridge.log_marginal(model, x, **p)))(parameters(model))
    near(found, loss(own)(parameters(model)))
    np.testing.assert_array_equal(
        bridge.log_marginal(model, x, **parameters(model)), fastvi.log_marginal(model, x)
    )


@pytest.mark.parametrize("name", CASES)
def test_gradients_in_pixels_that_are_real_or_relaxed(name):
    model, x, own = CASES[name]
    relaxed = jnp.asarray(x if x.dtype == np.float64 else 0.8 * x + 0.1)
    p = parameters(model)
    near(
        jax.grad(lambda x: bridge.log_marginal(model, x, **p).sum())(relaxed),
        jax.grad(lambda x: own(p, x).sum())(relaxed),
    )


def test_vmap_over_parameters_over_data_and_under_scan():
    model, x, own = CASES["network"]
    p = parameters(model)
    several = jnp.stack([p["weights"], 2.0 * p["weights"]])

    def gradient(function):
        return lambda w: jax.grad(lambda w: function({**p, "weights": w}, x).sum())(w)

    def ours(p, x):
        return bridge.log_marginal(model, x, **p)

    near(jax.jit(jax.vmap(gradient(ours)))(several), jax.vmap(gradient(own))(several))
    near(jax.vmap(lambda row: ours(p, row[None])[0])(jnp.asarray(x)), own(p, x))
    both = jax.vmap(lambda w, row: ours({**p, "weights": w}, row[None])[0])(several, jnp.asarray(x[:2]))
    near(both, jnp.stack([own({**p, "weights": several[i]}, x[i : i + 1])[0] for i in range(2)]))

    def climb(function):
        def step(w, _):
            value, slope = jax.value_and_grad(lambda w: function({**p, "weights": w}, x).mean())(w)
            return w + 0.1 * slope, value

        return jax.lax.scan(step, p["weights"], None, length=3)

    near(climb(ours), climb(own))


@pytest.mark.parametrize(("dtype", "bits"), [(jnp.float32, 24), (jnp.bfloat16, 8)])
def test_the_dtype_of_parameters_comes_back(dtype, bits):
    """Sums are float64: what is left is the rounding of what came in, and of the result."""
    model, x, own = CASES["network"]
    jax.config.update("jax_enable_x64", False)
    p = parameters(model, dtype)
    value, slope = jax.jit(jax.value_and_grad(lambda p: bridge.log_marginal(model, x, **p).sum()))(p)
    jax.config.update("jax_enable_x64", True)
    assert value.dtype == dtype
    assert {array.dtype for array in slope.values()} == {np.dtype(dtype)}
    wide = {name: jnp.asarray(np.asarray(array, np.float64)) for name, array in p.items()}
    near(
        jax.tree.map(lambda a: np.asarray(a, np.float64), slope),
        jax.grad(lambda p: own(p, x).sum())(wide),
        2.0**-bits,
    )


def test_missing_pixels_and_no_data():
    model, x, _ = CASES["network"]
    observed = RNG.random((NUM, D)) < 0.6

    def loss(weights):
        return (WEIGHTS_OF_DATA * bridge.log_marginal(model, x, observed, weights=weights)).sum()

    expected = fastvi.log_marginal_gradient(model, x, observed=observed, data_weights=WEIGHTS_OF_DATA)
    near(jax.grad(loss)(jnp.asarray(WEIGHTS)), expected["weights"])
    assert bridge.log_marginal(model, x[:0]).shape == (0,)


def test_the_exact_elbo_has_the_gradients_of_all_states():
    model, x, _ = CASES["network"]
    logits = jnp.asarray(RNG.normal(size=(NUM, LATENTS)))

    def own(p, logits):
        eta = STATES @ p["weights"].T + p["bias"]
        joint = x @ eta.T - jax.nn.softplus(eta).sum(1) + log_prior(p["prior_logits"])
        log_q = logits @ STATES.T - jax.nn.softplus(logits).sum(1, keepdims=True)
        return (jnp.exp(log_q) * (joint - log_q)).sum(1)

    def loss(function):
        return jax.value_and_grad(lambda p, q: (WEIGHTS_OF_DATA * function(p, q)).sum(), argnums=(0, 1))

    p = parameters(model)
    ours = loss(lambda p, logits: bridge.elbo(model, x, logits, **p))
    near(jax.jit(ours)(p, logits), loss(own)(p, logits))


def test_the_sampled_elbo_is_the_mean_log_weight_of_fastvis_draws():
    model, x, _ = CASES["decoder"]
    logits = RNG.normal(size=(NUM, LATENTS))
    found = bridge.elbo(model, x, logits, num_samples=6, seed=3)
    q = fastvi.Bernoulli(logits)
    z = q.sample(6, 3)
    log_w = model.log_joint(x, z) - q.log_prob(z)
    near(found, log_w.mean(axis=0))
    slope = jax.jit(jax.grad(lambda q: bridge.elbo(model, x, q, num_samples=6, seed=3).sum()))(
        jnp.asarray(logits)
    )
    centred = (log_w - log_w.mean(axis=0)) / 5
    near(slope, np.einsum("kn,kni->ni", centred, z - q.mean))


def test_log_weights():
    log_w = jnp.asarray(RNG.normal(size=(3, 7))).at[1].set(-jnp.inf).at[2, 3].set(-jnp.inf)
    pull = jnp.asarray([1.0, 5.0, -2.0])
    slope = jax.grad(lambda w: (pull * jnp.exp(bridge.log_mean_exp(w))).sum())(log_w)
    near(slope, pull[:, None] * jnp.exp(log_w) / 7)
    near(bridge.log_mean_exp(log_w, 0), fastvi.log_mean_exp(np.asarray(log_w), 0))
    few = log_w[::2, :6]
    near(
        jax.grad(lambda w: bridge.importance_weighted_bound(w, 3).sum())(log_w[::2])[:, :6],
        jax.grad(lambda w: jax.nn.logsumexp(w.reshape(2, 2, 3), 2).mean(1).sum())(few),
    )
    second = jax.jit(jax.jacrev(jax.grad(bridge.log_mean_exp)))(log_w[0])
    near(second, jax.jit(jax.hessian(jax.nn.logsumexp))(log_w[0]))
    many = jnp.asarray(RNG.normal(size=(2, 200)))
    for name in ("effective_sample_size", "pareto_k", "psis"):
        near(jax.jit(getattr(bridge, name))(many), getattr(fastvi, name)(np.asarray(many)))


def refused(call, text):
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_input_is_one_line():
    model, x, _ = CASES["network"]
    refused(lambda: bridge.log_marginal(model, x, weight=WEIGHTS), "parameters must be named weights, bias")
    refused(lambda: bridge.log_marginal(model, x, weights=WEIGHTS[1:]), "weights must have shape (7, 4)")
    refused(lambda: bridge.log_marginal(model, x, weights=WEIGHTS.astype(int)), "floating dtype")
    refused(lambda: bridge.log_marginal(model, x + 2), "x must lie in [0, 1]")
    refused(lambda: bridge.log_marginal(model, x[0]), "x must have")
    refused(lambda: bridge.elbo(model, x, np.zeros((NUM, 3))), "logits must have shape")
    refused(lambda: bridge.log_mean_exp(np.zeros(3), 1), "axis must lie in -1 ... 0")
    refused(
        lambda: bridge.log_mean_exp(np.array([0.0, np.nan])),
        "log_w must be finite or -inf, got nan at index 1",
    )
    with pytest.raises(ValueError, match=r"^x must be finite, got nan at index \(0, 0\)$"):
        bridge.log_marginal(model, np.full((1, D), np.nan))
    refused(lambda: bridge.importance_weighted_bound(np.zeros((2, 3)), 4), "must be at most K = 3")
    refused(
        lambda: jax.hessian(lambda b: bridge.log_marginal(model, x, bias=b).sum())(jnp.asarray(BIAS)),
        "second derivatives must not be asked for",
    )
    refused(
        lambda: jax.jit(lambda mask: bridge.log_marginal(model, x, mask))(jnp.ones(D, bool)),
        "observed must be an array of NumPy",
    )


def test_a_tracer_is_told_where_to_go():
    model, x, _ = CASES["network"]
    refused(lambda: jax.jit(lambda x: fastvi.log_marginal(model, x))(x), "fastvi.interop.jax.log_marginal")
    refused(
        lambda: jax.jit(lambda w: fastvi.SigmoidBeliefNetwork(w, BIAS, PRIOR))(WEIGHTS), "fastvi.interop.jax"
    )


# ---- NumPyro ---------------------------------------------------------------------------------------------


def _numpyro_models(num_latents, data):
    """One network twice: its latents summed out by fastvi, and enumerated by NumPyro."""
    import numpyro
    import numpyro.distributions as dist

    num_pixels = data.shape[1]
    bias, prior = np.linspace(-1.0, 1.0, num_pixels), np.linspace(-0.5, 0.5, num_latents)
    fixed = fastvi.SigmoidBeliefNetwork(np.zeros((num_pixels, num_latents)), bias, prior)

    def draw_weights():
        shape = num_pixels, num_latents
        return numpyro.sample("weights", dist.Normal(0.0, 1.0).expand(shape).to_event(2))

    def summed_out(data):
        numpyro.factor("data", bridge.log_marginal(fixed, data, weights=draw_weights()).sum())

    def enumerated(data):
        weights = draw_weights()
        with numpyro.plate("num_data", len(data), dim=-1):
            eta = bias
            for i in range(num_latents):
                bit = numpyro.sample(
                    f"z{i}", dist.Bernoulli(logits=prior[i]), infer={"enumerate": "parallel"}
                )
                eta = eta + bit[..., None] * weights[:, i]
            numpyro.sample("x", dist.Bernoulli(logits=eta).to_event(1), obs=data)

    return summed_out, enumerated


def test_numpyro_sees_the_density_and_the_slopes_of_its_own_enumeration():
    """NUTS is a function of these alone: equal densities are equal posteriors."""
    package("funsor")
    from numpyro.contrib.funsor import config_enumerate, enum
    from numpyro.contrib.funsor import log_density as enumerated_density
    from numpyro.infer.util import log_density

    data = (RNG.random((8, 5)) < 0.5).astype(np.float64)
    summed_out, enumerated = _numpyro_models(6, data)
    enumerated = enum(config_enumerate(enumerated), first_available_dim=-2)

    def compiled(density, model):
        return jax.jit(jax.value_and_grad(lambda p: density(model, (data,), {}, p)[0]))

    ours, theirs = compiled(log_density, summed_out), compiled(enumerated_density, enumerated)
    for scale in (0.3, 3.0):
        point = {"weights": jnp.asarray(scale * RNG.normal(size=(5, 6)))}
        near(ours(point), theirs(point))


def test_nuts_runs_where_enumeration_by_axes_does_not():
    """2^16 states of each datum; its draws bring the latents back."""
    from numpyro.infer import MCMC, NUTS

    data = (RNG.random((4, 5)) < 0.5).astype(np.uint8)
    model, _ = _numpyro_models(16, data)
    sampler = MCMC(NUTS(model, max_tree_depth=2), num_warmup=2, num_samples=3, progress_bar=False)
    sampler.run(jax.random.key(1), data)
    draws = np.asarray(sampler.get_samples()["weights"])
    assert draws.shape == (3, 5, 16)
    assert np.isfinite(draws).all()
    fixed = fastvi.SigmoidBeliefNetwork(draws[-1], np.linspace(-1, 1, 5), np.linspace(-0.5, 0.5, 16))
    assert fastvi.exact_posterior(fixed, data).sample(2, 0).shape == (2, 4, 16)
