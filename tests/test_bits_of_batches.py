"""A datum has the same bits alone, in any batch and in any order: every model, every question, every fit.

What draws for a datum depends on its number as well, so a batch is compared with its beginnings there.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastvi

RNG = np.random.default_rng(13)
NUM_DATA = 7
D = 21  # columns that fill no vector register, and more than NumPy's pairwise sums take in one go


def layers(*sizes):
    return [
        (RNG.normal(size=(high, low)), RNG.normal(size=high))
        for low, high in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def network(num_pixels, d):
    return fastvi.SigmoidBeliefNetwork(
        RNG.normal(size=(num_pixels, d)), RNG.normal(size=num_pixels), RNG.normal(size=d)
    )


def pairs(*blocks):
    """A function of all pairs that sums datum by datum, as its bits are the caller's."""

    def fn(x, z):
        return np.array([[-(np.square(row[:6] - state).sum()) for state in z] for row in x])

    return fn


def scalar(x_n, z):
    total = 0.0
    for i in range(z.size):
        total -= (x_n[i] - z[i]) ** 2
    return total


def symmetric(d):
    half = np.tril(RNG.normal(size=(d, d)), -1)
    return half + half.T


BINARY = {
    "network": network(D, 6),
    "deep network": fastvi.SigmoidBeliefNetwork(
        RNG.normal(size=(D, 6)), RNG.normal(size=D), prior=network(6, 4)
    ),
    "restricted machine": fastvi.RestrictedBoltzmannMachine(
        RNG.normal(size=(D, 6)) / 2, RNG.normal(size=D), RNG.normal(size=6)
    ),
    "machine": fastvi.BoltzmannMachine(symmetric(11) / 2, RNG.normal(size=11)),
    "sparse coding": fastvi.BinarySparseCoding(
        RNG.normal(size=(D, 6)), RNG.normal(size=D), 0.8, RNG.normal(size=6)
    ),
    "decoder": fastvi.NeuralDecoder(layers(6, 11, D), "tanh", fastvi.Bernoulli(RNG.normal(size=6))),
    "gaussian decoder": fastvi.NeuralDecoder(
        layers(6, 11, D), "softplus", fastvi.Bernoulli(RNG.normal(size=6)), "gaussian", noise_std=0.7
    ),
    "log joint": fastvi.LogJoint(scalar, 6),
    "log joint of arrays": fastvi.LogJoint(pairs(), 6, vectorized=True),
}
REAL = {
    "linear": fastvi.LinearGaussian(RNG.normal(size=(D, 5)), RNG.normal(size=D), 0.6),
    "normal decoder": fastvi.NeuralDecoder(layers(1, 7, D), "tanh", fastvi.Normal([0.3], [1.5])),
    "normal gaussian decoder": fastvi.NeuralDecoder(
        layers(1, 7, D), "sigmoid", fastvi.Normal([0.3], [1.5]), "gaussian", noise_std=0.5
    ),
}
MODELS = BINARY | REAL


def data_of(model, num=NUM_DATA):
    if isinstance(model, fastvi.LogJoint):
        return np.random.default_rng(1).normal(size=(num, 6))
    return model.sample(num, 1)[1]


def q_of(model, num=NUM_DATA):
    rng, shape = np.random.default_rng(2), (num, model.num_latents)
    if model._real_latents:
        return fastvi.Normal(rng.normal(size=shape), rng.uniform(0.5, 2.0, size=shape))
    return fastvi.Bernoulli(rng.normal(size=shape))


def full_q_of(model, num=NUM_DATA):
    """A normal q with correlations."""
    rng, d = np.random.default_rng(2), model.num_latents
    root = rng.normal(size=(num, d, d)) + 2 * np.eye(d)
    return fastvi.MultivariateNormal(rng.normal(size=(num, d)), np.einsum("nik,njk->nij", root, root))


def of_rows(q, rows):
    return type(q)(*(array[rows] for array in q._arrays().values()))


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
    if model._real_latents:
        return [fastvi.log_marginal(model, x, observed=observed)]
    found = fastvi.exact_posterior(model, x, observed=observed, top_k=3, pairwise=True)
    z = q_of(model).sample(3, 4)[:, rows]
    names = "log_marginal mean second_moment entropy top_states top_log_probs mode mode_log_prob"
    return [fastvi.log_marginal(model, x, observed=observed), found.log_prob(z).T, *parts(found, names)]


BOUND = "value reconstruction kl_to_prior expected_log_joint entropy std_error"


def forms(model):
    """Of the exact ELBO."""
    if isinstance(model, fastvi.LogJoint | fastvi.BoltzmannMachine | fastvi.RestrictedBoltzmannMachine):
        return "joint", "log_ratio"
    return ("reconstruction", "joint") if model._real_latents else ("reconstruction", "joint", "log_ratio")


def bounds(model, x, rows, observed=None):
    out = []
    for q in [q_of(model)] + ([full_q_of(model)] if model._real_latents else []):
        own = of_rows(q, rows)
        for form in forms(model):
            out += parts(fastvi.elbo(model, x, own, decomposition=form, observed=observed), BOUND)
        if isinstance(model, fastvi.LinearGaussian) or not model._real_latents:
            out.append(fastvi.kl_to_posterior(model, x, own, observed=observed))
            out.append(fastvi.kl_from_posterior(model, x, own, observed=observed))
        if not model._real_latents:
            out.append(fastvi.chi_square_bound(model, x, own, observed=observed))
    return out


def seen_only(question):
    def ask(model, x, rows):
        seen = seen_of(model)
        if isinstance(model, fastvi.BoltzmannMachine):
            seen[:, 4:8] = False
        return question(model, x, rows, seen[rows])

    return ask


def of_fit(fit):
    q = fit.q
    return [fit.objective, np.asarray(fit.converged), *(np.asarray(value) for value in q._arrays().values())]


def fit(objective):
    return lambda model, x, rows: of_fit(fastvi.fit_posterior(model, x, objective=objective, num_restarts=0))


def encoded(model, x, rows):
    d = model.num_latents * (2 if model._real_latents else 1)
    rng = np.random.default_rng(6)
    encoder = fastvi.Encoder(
        [(rng.normal(size=(8, x.shape[1])) / 4, rng.normal(size=8)), (rng.normal(size=(d, 8)) / 4, rng.normal(size=d))],
        "tanh", "normal" if model._real_latents else "bernoulli",
    )  # fmt: skip
    q = encoder(x)
    return [*q._arrays().values(), q.entropy(), q.log_prob(q_of(model).sample(3, 4)[:, rows]).T, q.mean]


def without_mask(name):
    return name.startswith("log joint")


CASES = []
for _name in MODELS:
    CASES += [(_name, "log joints", joints), (_name, "posterior", posterior), (_name, "encoder", encoded)]
    if _name != "machine":  # fully seen it has no latents left
        CASES.append((_name, "bounds", bounds))
    if not without_mask(_name):
        CASES.append((_name, "posterior of what was seen", seen_only(posterior)))
        if _name != "machine":
            CASES.append((_name, "bounds of what was seen", seen_only(bounds)))
    if _name not in ("restricted machine", "machine", "log joint", "log joint of arrays"):
        CASES.append((_name, "reverse KL", fit("reverse_kl")))
    if _name != "machine":
        CASES.append((_name, "forward KL", fit("forward_kl")))


def rows_of(num):
    """A datum alone, some, all the other way round."""
    return [[n] for n in range(num)] + [[2, 5], [4, 0, 1], list(range(num))[::-1]]


@pytest.mark.parametrize(("name", "asked", "question"), CASES, ids=[f"{a}-{b}" for a, b, _ in CASES])
def test_a_datum_in_any_batch(name, asked, question):
    model = MODELS[name]
    x = data_of(model)
    whole = question(model, x, list(range(NUM_DATA)))
    for rows in rows_of(NUM_DATA):
        for index, (own, all_of_them) in enumerate(zip(question(model, x[rows], rows), whole, strict=True)):
            np.testing.assert_array_equal(own, all_of_them[rows], err_msg=f"part {index} of {rows}")


