"""A datum has the same bits alone, in any batch and in any order: every model, every question, every fit.

What draws for a datum depends on its number as well, so a batch is compared with its beginnings there.
"""

from __future__ import annotations

import numpy as np
import pytest
from cases import (
    data_of,
    decoder,
    encoder,
    linear_gaussian,
    machine,
    network,
    proposal_of,
    restricted,
    sparse_coding,
)

import fastvi
from fastvi.core.registry import rules_of

NUM_DATA = 7


def scalar(x_n, z):
    total = 0.0
    for i in range(z.size):
        total -= (x_n[0] - z[i]) ** 2
    return total


def arrays(x, z):
    """Datum by datum, since its bits are the caller's affair."""
    return np.array([[-(np.square(row[0] - state).sum()) for state in z] for row in x])


# of D pixels and d latents; that of real latents by quadrature has one, the machine as many units as both
KINDS = {
    "network": lambda size, d, rng: network(size, d, rng),
    "deep network": lambda size, d, rng: network(size, d, rng, prior=network(d, 4, rng)),
    "restricted machine": lambda size, d, rng: restricted(size, d, rng, 0.5, bias_scale=1.0),
    "machine": lambda size, d, rng: machine(5 + d, rng, 0.5, bias_scale=1.0),
    "sparse coding": lambda size, d, rng: sparse_coding(size, d, rng, 0.8),
    "decoder": lambda size, d, rng: decoder((d, 11, size), seed=rng),
    "gaussian decoder": lambda size, d, rng: decoder((d, 11, size), "softplus", noise_std=0.7, seed=rng),
    "log joint": lambda size, d, rng: fastvi.LogJoint(scalar, d),
    "log joint of arrays": lambda size, d, rng: fastvi.LogJoint(arrays, d, vectorized=True),
    "linear": lambda size, d, rng: linear_gaussian(size, d, rng, 0.6),
    "normal decoder": lambda size, d, rng: decoder((1, 7, size), prior=REALS, seed=rng),
    "normal gaussian decoder": lambda size, d, rng: decoder((1, 7, size), "sigmoid", REALS, 0.5, rng),
}
REALS = fastvi.Normal([0.3], [1.5])


def a_model(name, num_pixels, d):
    return KINDS[name](num_pixels, d, np.random.default_rng(13))


def q_of(model):
    return proposal_of(model, NUM_DATA)


def full_q_of(model, num=NUM_DATA):
    """A normal q with correlations."""
    rng, d = np.random.default_rng(2), model.num_latents
    root = rng.normal(size=(num, d, d)) + 2 * np.eye(d)
    return fastvi.MultivariateNormal(rng.normal(size=(num, d)), np.einsum("nik,njk->nij", root, root))


def of_rows(q, rows):
    return type(q)(*(array[rows] for array in q.arrays().values()))


def seen_of(model, num=NUM_DATA):
    """Three masks, each of several data; of the machine some units stay latent."""
    masks = np.ones((3, model.num_pixels), bool)
    masks[1, ::3] = masks[2, :5] = masks[0, -1] = False
    return masks[np.arange(num) % 3]


def parts(result, names):
    return [np.asarray(getattr(result, name)) for name in names.split()]


def joints(model, x, rows):
    """Of states of each datum, and of one state of all."""
    z = q_of(model).sample(3, 4)
    return [model.log_joint(x, z[:, rows]).T, model.log_joint(x[:, None], z[:, 0])]


def posterior(model, x, rows, observed=None):
    if rules_of(model).real_latents:
        return [fastvi.log_marginal(model, x, observed=observed)]
    one_state = observed is None and isinstance(model, fastvi.BoltzmannMachine)
    top_k = 1 if one_state else 3
    found = fastvi.exact_posterior(model, x, observed=observed, top_k=top_k, pairwise=True)
    z = q_of(model).sample(3, 4)[:, rows]
    names = "log_marginal mean second_moment entropy top_states top_log_probs mode mode_log_prob"
    return [fastvi.log_marginal(model, x, observed=observed), found.log_prob(z).T, *parts(found, names)]


BOUND = "value reconstruction kl_to_prior expected_log_joint entropy std_error"


def forms(model):
    """Of the exact ELBO."""
    if isinstance(model, fastvi.LogJoint | fastvi.BoltzmannMachine | fastvi.RestrictedBoltzmannMachine):
        return "joint", "log_ratio"
    return (
        ("reconstruction", "joint")
        if rules_of(model).real_latents
        else ("reconstruction", "joint", "log_ratio")
    )


def bounds(model, x, rows, observed=None):
    out = []
    for q in [q_of(model)] + ([full_q_of(model)] if rules_of(model).real_latents else []):
        own = of_rows(q, rows)
        for form in forms(model):
            out += parts(fastvi.elbo(model, x, own, decomposition=form, observed=observed), BOUND)
        if isinstance(model, fastvi.LinearGaussian) or not rules_of(model).real_latents:
            out.append(fastvi.kl_to_posterior(model, x, own, observed=observed))
            out.append(fastvi.kl_from_posterior(model, x, own, observed=observed))
        if not rules_of(model).real_latents:
            out.append(fastvi.chi_square_bound(model, x, own, observed=observed))
    if "upper_bound" in fastvi.supported(model):
        out.append(fastvi.upper_bound(model, x, observed=observed))
    return out


def seen_only(question):
    def ask(model, x, rows):
        seen = seen_of(model)
        if isinstance(model, fastvi.BoltzmannMachine):
            seen[:, 4:8] = False
        return question(model, x, rows, seen[rows])

    return ask


def of_fit(fit):
    return [fit.objective, fit.converged, *fit.q.arrays().values()]


def fitted(objective):
    return lambda model, x, rows: of_fit(fastvi.fit_posterior(model, x, objective=objective))


def encoder_of(model, x):
    d, family = (2, "normal") if rules_of(model).real_latents else (1, "bernoulli")
    return encoder(x.shape[1], 8, d * model.num_latents, family=family, seed=6, scale=0.25, bias_scale=1.0)


def encoded(model, x, rows):
    q = encoder_of(model, x)(x)
    return [*q.arrays().values(), q.entropy(), q.log_prob(q_of(model).sample(3, 4)[:, rows]).T, q.mean]


def gaps(model, x, rows):
    """Of an encoder that is not trained, so that nothing else depends on the batch."""
    options = {"num_epochs": 0, "amortization_gap": True}
    options |= {"num_samples": 2} if isinstance(model, fastvi.NeuralDecoder) else {}
    fit = fastvi.fit_encoder(model, x, encoder_of(model, x), **options)
    return [fit.amortization_gap, *fit.q.arrays().values()]


EXACT = {
    "log joints": joints,
    "posterior": posterior,
    "posterior of what was seen": seen_only(posterior),
    "bounds": bounds,
    "bounds of what was seen": seen_only(bounds),
    "reverse KL": fitted("reverse_kl"),
    "forward KL": fitted("forward_kl"),
    "encoder": encoded,
    "amortisation gap": gaps,
}
MACHINES = ("restricted machine", "machine")


def is_asked(name, asked):
    if asked.endswith("seen") and name.startswith("log joint"):
        return False  # of a function that takes whole data
    if asked in ("bounds", "forward KL"):
        return name != "machine"  # seen whole it has no latents left
    if asked in ("reverse KL", "amortisation gap"):
        if name.startswith("normal") and asked == "amortisation gap":
            return False  # the gap is that of the fit, which takes seconds here
        return name not in MACHINES and not name.startswith("log joint")
    return True


def rows_of(num):
    """A datum alone, some, all the other way round."""
    return [[0], [4], [2, 5], [4, 0, 1], list(range(num))[::-1]]


# more columns than a vector register and NumPy's pairwise sums take in one go; fewer than either
SIZES = [(21, 6), (2, 3)]
CASES = [(name, asked, *size) for name in KINDS for asked in EXACT if is_asked(name, asked) for size in SIZES]


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("name", "asked", "num_pixels", "d"), CASES)
def test_a_datum_in_any_batch(name, asked, num_pixels, d):
    model = a_model(name, num_pixels, d)
    x, question = data_of(model, NUM_DATA), EXACT[asked]
    whole = question(model, x, list(range(NUM_DATA)))
    for rows in rows_of(NUM_DATA):
        for index, (own, every) in enumerate(zip(question(model, x[rows], rows), whole, strict=True)):
            np.testing.assert_array_equal(own, every[rows], err_msg=f"part {index} of {rows}")


# ---- where the number of a datum is part of its draws ------------------------------------------------------


def estimates(model, x, num):
    out = []
    names = "log_marginal std_error ess pareto_k max_weight_share"
    for proposal in (of_rows(q_of(model), slice(num)), encoder_of(model, x)):
        # one table of all states for any number of data: 2^d is at most 4 K
        if isinstance(proposal, fastvi.Encoder) and isinstance(model, fastvi.LogJoint):
            continue  # its data are no vectors
        found = fastvi.estimate_log_marginal(model, x, proposal=proposal, num_samples=200, seed=3)
        out += parts(found, names)
    form = (
        "joint" if isinstance(model, fastvi.LogJoint) or rules_of(model).prior() is None else "reconstruction"
    )
    for decomposition in (form, "log_ratio"):
        q = of_rows(q_of(model), slice(num))
        out += parts(fastvi.elbo(model, x, q, num_samples=50, decomposition=decomposition), BOUND)
    return out


def draws(model, x, num):
    found = fastvi.exact_posterior(model, x)
    return [found.sample(5, 3).swapaxes(0, 1)]


def annealed(model, x, num):
    found = fastvi.annealed_importance_sampling(
        model, x, num_temperatures=5, num_chains=4, initial=of_rows(q_of(model), slice(num)), seed=2
    )
    return parts(found, "log_marginal std_error ess")


def climbed(objective, estimator=None):
    def ask(model, x, num):
        options = {"num_samples": 4, "max_steps": 3, "estimator": estimator, "objective": objective}
        return of_fit(fastvi.fit_posterior(model, x, **options))

    return ask


SAMPLED = {
    "estimates": estimates,
    "draws": draws,
    "annealed": annealed,
    "sampled ELBO": climbed("reverse_kl"),
    "DisARM": climbed("reverse_kl", "disarm"),
    "importance-weighted": climbed("importance_weighted"),
    "reweighted": climbed("forward_kl"),
}


def is_sampled(name, asked):
    real = name in ("linear", "normal decoder", "normal gaussian decoder")
    if asked == "estimates":
        return name != "machine"
    if asked == "annealed":
        return name not in MACHINES
    if asked == "draws":
        return not real
    if asked == "DisARM" and real:
        return False
    return name not in MACHINES and not name.startswith("log joint")


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(("num_pixels", "d"), SIZES)
@pytest.mark.parametrize(
    ("name", "asked"), [(name, asked) for name in KINDS for asked in SAMPLED if is_sampled(name, asked)]
)
def test_the_beginning_of_any_batch(name, asked, num_pixels, d):
    model = a_model(name, num_pixels, d)
    x, question = data_of(model, NUM_DATA), SAMPLED[asked]
    whole = question(model, x, NUM_DATA)
    for num in (1, 2, 5):
        for index, (own, every) in enumerate(zip(question(model, x[:num], num), whole, strict=True)):
            np.testing.assert_array_equal(own, every[:num], err_msg=f"part {index} of {num}")


# ---- distributions and log weights -----------------------------------------------------------------------


def distributions(rng, d):
    means, stds = rng.normal(size=(2, NUM_DATA, d)), rng.uniform(0.5, 2.0, size=(2, NUM_DATA, d))
    roots = rng.normal(size=(2, NUM_DATA, d, d)) + 2 * np.eye(d)
    covariances = np.einsum("anik,anjk->anij", roots, roots)
    bits = [fastvi.Bernoulli(mean) for mean in means]
    normals = [fastvi.Normal(mean, std) for mean, std in zip(means, stds, strict=True)]
    full = [
        fastvi.MultivariateNormal(mean, 0.5 * (covariance + covariance.swapaxes(1, 2)))
        for mean, covariance in zip(means, covariances, strict=True)
    ]
    categorical = [fastvi.Categorical(mean) for mean in means]
    return [bits, normals, full, (normals[0], full[1]), (full[0], normals[1]), categorical]


def of_pair(q, p, rows, z):
    out = [fastvi.kl_divergence(q, p), q.entropy(), q.log_prob(z[:, rows]).T, q.mean]
    if isinstance(q, fastvi.Bernoulli | fastvi.Normal):
        mixture = fastvi.Mixture([q, p], [1.0, 2.0])
        out += [mixture.log_prob(z[:, rows]).T, mixture.mean]
    return out


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("d", [1, 2, 5, 21])
def test_distributions(d):
    for q, p in distributions(np.random.default_rng(d), d):
        if type(q) is not type(p) and isinstance(q, fastvi.Normal):
            continue  # no mixture
        z = q.sample(3, 1)
        whole = of_pair(q, p, list(range(NUM_DATA)), z)
        for rows in rows_of(NUM_DATA):
            found = of_pair(of_rows(q, rows), of_rows(p, rows), rows, z)
            for own, every in zip(found, whole, strict=True):
                np.testing.assert_array_equal(own, every[rows])
        for num in range(NUM_DATA):
            np.testing.assert_array_equal(of_rows(q, slice(num)).sample(2, 1), z[:2, :num])


WEIGHTS = {
    "log_mean_exp": fastvi.log_mean_exp,
    "effective_sample_size": fastvi.effective_sample_size,
    "pareto_k": fastvi.pareto_k,
    "psis": lambda log_w: np.concatenate([fastvi.psis(log_w)[0], fastvi.psis(log_w)[1][:, None]], axis=1),
    "importance_weighted_bound": lambda log_w: fastvi.importance_weighted_bound(log_w, [1, 3, 20]),
    "renyi_bound": lambda log_w: fastvi.renyi_bound(log_w, 0.5),
    "jackknife_bound": lambda log_w: fastvi.jackknife_bound(log_w),
    "diagnose": lambda log_w: np.stack(
        parts(fastvi.diagnose(log_w), "log_marginal std_error ess pareto_k max_weight_share"), axis=1
    ),
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", WEIGHTS)
def test_log_weights(name, dtype):
    log_w = (3 * np.random.default_rng(3).normal(size=(NUM_DATA, 101))).astype(dtype)
    whole = WEIGHTS[name](log_w)
    for rows in rows_of(NUM_DATA):
        np.testing.assert_array_equal(WEIGHTS[name](log_w[rows]), whole[rows])
