"""Learning from weighted data and from data that are seen in part: by the same steps in pure NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import bits, network, restricted, sparse_coding
from interpreted import few_without_jit

import fastvi
from fastvi.fitting.model_trainers import ExactLikelihood
from fastvi.fitting.sampled_bound import sampled_bound
from fastvi.fitting.training_data import training_data

RNG = np.random.default_rng(7)
D, LATENTS = 5, 2
START = network(D, LATENTS, RNG, 0.5)
X = RNG.integers(0, 2, (12, D)).astype(np.uint8)
WEIGHTS = RNG.integers(0, 4, 12).astype(float)
SEEN = RNG.random((12, D)) < 0.6
STATES = np.array(list(itertools.product((0, 1), repeat=LATENTS)), dtype=float)
ENCODER = fastvi.Encoder.random(D, 3, LATENTS, seed=1)
OBJECTIVES = {
    "exact": {},
    "elbo": {},
    "elbo of an encoder": {"objective": "elbo", "encoder": ENCODER},
    "sampled elbo": {"objective": "elbo", "encoder": ENCODER, "num_samples": 4},
    "importance_weighted": {"encoder": ENCODER},
    "wake_sleep": {"encoder": ENCODER},
    "reweighted_wake_sleep": {"encoder": ENCODER},
}


def options_of(name):
    return {"objective": name, "num_epochs": 2, "learning_rate": 0.05, **OBJECTIVES[name]}


# ---- an oracle: a network of NumPy, all states, Adam ------------------------------------------------------


def log_joint(parameters, x, seen):
    """log p(x_n seen, z), (N, states)."""
    w, b, c = parameters
    eta = STATES @ w.T + b
    pixels = x[:, None] * eta[None] - np.logaddexp(0.0, eta)[None]
    prior = (STATES * c - np.logaddexp(0.0, c)).sum(axis=1)
    return (pixels * seen[:, None]).sum(axis=2) + prior


def log_marginals(parameters, x, seen):
    return np.logaddexp.reduce(log_joint(parameters, x, seen), axis=1)


def mean_gradient(parameters, x, seen, share):
    """Gradient of sum_n share_n log p(x_n seen)."""
    w, b, c = parameters
    joint = log_joint(parameters, x, seen)
    posterior = share[:, None] * np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])  # (N, S)
    residual = (x[:, None] - 1.0 / (1.0 + np.exp(-(STATES @ w.T + b)))[None]) * seen[:, None]  # (N, S, D)
    return [
        np.einsum("ns,nsd,sk->dk", posterior, residual, STATES),
        np.einsum("ns,nsd->d", posterior, residual),
        np.einsum("ns,sk->k", posterior, STATES - 1.0 / (1.0 + np.exp(-c))),
    ]


def climbed(x, seen, weights, num_steps, rate):
    """Parameters and scores of Adam on all data, its rate falling along half a cosine."""
    parameters = [START.weights.copy(), START.bias.copy(), START.prior_logits.copy()]
    share = weights / weights.sum()
    mean, square = [0.0] * 3, [0.0] * 3
    scores = [(share * log_marginals(parameters, x, seen)).sum()]
    for step in range(num_steps):
        found = mean_gradient(parameters, x, seen, share)
        now = rate * 0.5 * (1 + np.cos(np.pi * step / num_steps))
        for i, g in enumerate(found):
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.999 * square[i] + 0.001 * g * g
            unbiased = square[i] / (1 - 0.999 ** (step + 1))
            parameters[i] = parameters[i] + now * mean[i] / (1 - 0.9 ** (step + 1)) / (
                np.sqrt(unbiased) + 1e-8
            )
        scores.append((share * log_marginals(parameters, x, seen)).sum())
    return parameters, np.array(scores)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_steps_are_those_of_a_network_of_numpy(weighted, masked):
    seen = SEEN if masked else np.ones(X.shape, bool)
    weights = WEIGHTS if weighted else np.ones(len(X))
    parameters, scores = climbed(X, seen, weights, 5, 0.05)
    fit = fastvi.fit_model(
        START, np.where(seen, X, 7), observed=SEEN if masked else None,
        data_weights=WEIGHTS if weighted else None, num_epochs=5, learning_rate=0.05,
    )  # fmt: skip
    # a rounding of a gradient g moves Adam's step by the rate times 2^-52 / |g|: 1e-10 where |g| > 1e-7
    assert fit.history == pytest.approx(scores, abs=1e-9)
    assert fit.best_epoch == 5
    for found, expected in zip(fit.model.arrays().values(), parameters, strict=True):
        assert np.allclose(found, expected, rtol=0, atol=1e-9)


# ---- weights ----------------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_weight_of_0_is_an_absent_datum(name):
    """Same bits, mini-batches too: it is gone before the order of the data is drawn."""
    options = {**options_of(name), "batch_size": 4}
    assert (WEIGHTS == 0).any()
    there = WEIGHTS > 0
    fit = fastvi.fit_model(START, X, data_weights=WEIGHTS, **options)
    without = fastvi.fit_model(START, X[there], data_weights=WEIGHTS[there], **options)
    assert bits(fit) == bits(without)
    assert fit.model.made == without.model.made
    assert fit.model.made["num_data"] == there.sum()


@pytest.mark.parametrize("name", few_without_jit(OBJECTIVES, ["exact", "elbo"]))
def test_weights_that_are_alike_give_the_bits_of_none(name):
    options = {**options_of(name), "batch_size": 5}
    plain = fastvi.fit_model(START, X, **options)
    for alike in (1.0, 0.1, 5e-324, 1e308):
        assert bits(fastvi.fit_model(START, X, data_weights=np.full(12, alike), **options)) == bits(plain)


@pytest.mark.parametrize("name", ["exact", "elbo", "elbo of an encoder"])
def test_a_weight_of_2_is_a_datum_twice(name):
    """In full batches, where nothing is sampled."""
    options = options_of(name)
    weighted = fastvi.fit_model(START, X, data_weights=WEIGHTS, **options)
    repeated = fastvi.fit_model(START, X.repeat(WEIGHTS.astype(int), axis=0), **options)
    assert weighted.history == pytest.approx(repeated.history, abs=1e-9)  # as above
    for found, expected in zip(
        weighted.model.arrays().values(), repeated.model.arrays().values(), strict=True
    ):
        assert np.allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("estimator", ["leave_one_out", "disarm", "vimco", "reweighted"])
def test_gradients_of_sampled_bounds_are_weighted_sums(estimator):
    """Weights are powers of 2, so that a product with them is exact; sums differ by their order."""
    weights = 2.0 ** RNG.integers(-3, 4, 12)
    logits = RNG.normal(size=(12, LATENTS))
    options = {
        "num_samples": 4, "seed": 3, "estimator": estimator, "importance_weighted": estimator == "vimco",
        "with_model": True,
    }  # fmt: skip
    found = sampled_bound(START, X, logits, data_weights=weights, **options)
    one_by_one = [
        sampled_bound(START, X[[n]], logits[[n]], numbers=np.array([n]), **options) for n in range(12)
    ]
    assert np.array_equal(found.value, [one.value[0] for one in one_by_one])
    assert np.array_equal(found.slope, [w * one.slope[0] for w, one in zip(weights, one_by_one, strict=True)])
    for name, value in found.of_model.items():
        expected = sum(w * one.of_model[name] for w, one in zip(weights, one_by_one, strict=True))
        assert np.allclose(value, expected, rtol=1e-12, atol=1e-12)  # tens of terms below 10


def test_a_batch_is_right_on_average():
    """First steps of each batch of one datum, whose mean is the step that all data take together."""
    gradient = fastvi.log_marginal_gradient(START, X, data_weights=WEIGHTS)["weights"] / WEIGHTS.sum()
    there = np.flatnonzero(WEIGHTS)
    share = WEIGHTS[there] / WEIGHTS[there].mean()
    data = training_data(START, X, "x", WEIGHTS)
    trainer = ExactLikelihood(START, None, data, data)
    batches = [trainer.gradient(np.array([n]), 0)["weights"] for n in range(len(there))]
    assert np.allclose(np.mean(batches, axis=0), gradient, rtol=1e-12, atol=1e-14)
    one = fastvi.log_marginal_gradient(START, X[there[:1]])["weights"]
    assert np.allclose(batches[0], share[0] * one, rtol=1e-12, atol=1e-14)


def test_the_score_of_a_bound_is_weighted_too():
    options = {**options_of("importance_weighted"), "score": "bound", "num_epochs": 0}
    each = [fastvi.fit_model(START, X, data_weights=row, **options).objective for row in np.eye(12)[:3]]
    fit = fastvi.fit_model(START, X[:3], data_weights=[1, 2, 5], **options)
    # draws belong to the place of a datum in the data, so only the first one draws the same both times
    first = fastvi.fit_model(START, X[:3], data_weights=[1, 1e-300, 1e-300], **options)
    assert first.objective == pytest.approx(each[0], rel=1e-15)
    exact = fastvi.log_marginal(START, X[:3])
    assert fit.objective != first.objective
    assert fit.objective <= exact.max()


def test_held_out_data_count_alike():
    fit = fastvi.fit_model(START, X, data_weights=WEIGHTS, held_out=X[:4], num_epochs=1)
    assert fit.history[0] == fastvi.log_marginal(START, X[:4]).mean()


def test_a_checkpoint_belongs_to_its_weights_and_masks(tmp_path):
    path, options = tmp_path / "training.npz", {"num_epochs": 1}
    fit = fastvi.fit_model(START, X, data_weights=WEIGHTS, observed=SEEN, checkpoint=path, **options)
    again = fastvi.fit_model(START, X, data_weights=WEIGHTS, observed=SEEN, checkpoint=path, **options)
    assert bits(again) == bits(fit)
    for other in ({"data_weights": WEIGHTS}, {"data_weights": WEIGHTS + 1, "observed": SEEN}):
        with pytest.raises(ValueError, match="same model, data and options"):
            fastvi.fit_model(START, X, checkpoint=path, **other, **options)


# ---- masks ------------------------------------------------------------------------------------------------


@pytest.mark.slow_without_jit
@pytest.mark.parametrize(
    "start",
    [
        network(D, 3, RNG, prior=network(3, 2, RNG)),
        restricted(D, 3, RNG),
        sparse_coding(D, 3, RNG, 0.5),
        fastvi.BoltzmannMachine(np.full((D, D), 0.5) - 0.5 * np.eye(D), RNG.normal(size=D)),
    ],
    ids=["deep", "restricted", "sparse coding", "machine"],
)
def test_every_model_learns_from_what_was_seen(start):
    """The first step is the rate times the sign of the gradient; scores are those of log_marginal."""
    x = RNG.normal(size=X.shape) if isinstance(start, fastvi.BinarySparseCoding) else X
    hidden = np.where(SEEN, x, np.nan)
    fit = fastvi.fit_model(start, hidden, observed=SEEN, num_epochs=1, learning_rate=1e-3)
    assert fit.history[0] == fastvi.log_marginal(start, x, observed=SEEN).mean()
    assert fit.history[1] == fastvi.log_marginal(fit.model, x, observed=SEEN).mean()
    gradient = fastvi.log_marginal_gradient(start, x, observed=SEEN)
    for name, value in start.arrays().items():
        slope = np.asarray(gradient.get(name, np.zeros(1))) / len(x)
        if name.endswith(("noise_std", "couplings")) or name.startswith("prior_") or name not in gradient:
            continue
        large = np.abs(slope) > 1e-3
        moved = getattr(fit.model, name) - value
        # Adam's first step is the rate times g / (|g| + 1e-8), within 1e-5 of its sign
        assert np.allclose(moved[large], 1e-3 * np.sign(slope[large]), rtol=1.01e-5)


def test_one_mask_for_all_data_and_masks_that_hide_nothing():
    options = {"num_epochs": 2, "batch_size": 5}
    seen = np.array([True, False, True, True, False])
    shared = fastvi.fit_model(START, X, observed=seen, **options)
    each = fastvi.fit_model(START, X, observed=np.tile(seen, (12, 1)), **options)
    assert bits(shared) == bits(each)
    # nothing pulls at a pixel that is never seen
    assert np.array_equal(shared.model.bias[~seen], START.bias[~seen])
    assert np.array_equal(shared.model.weights[~seen], START.weights[~seen])
    plain = fastvi.fit_model(START, X, **options)
    assert bits(fastvi.fit_model(START, X, observed=np.ones(X.shape, bool), **options)) == bits(plain)


def test_nothing_seen_moves_nothing():
    fit = fastvi.fit_model(START, X, observed=np.zeros(D, bool), num_epochs=2)
    # the prior's states sum to 1 up to rounding, which Adam's 1e-8 keeps small: 1e-16 / 1e-8 times the rate
    assert fit.history == pytest.approx(np.zeros(3), abs=1e-14)
    assert np.array_equal(fit.model.weights, START.weights)
    assert np.allclose(fit.model.prior_logits, START.prior_logits, rtol=0, atol=1e-8)


# ---- refusals ---------------------------------------------------------------------------------------------

CODING = sparse_coding(D, 3, RNG, 0.5)


@pytest.mark.parametrize(
    ("model", "options", "error", "text"),
    [
        (START, {"data_weights": WEIGHTS[:3]}, ValueError, r"^data_weights must have shape \(12,\)"),
        (START, {"data_weights": -WEIGHTS}, ValueError, "^data_weights must be finite numbers >= 0, got -"),
        (START, {"data_weights": 0 * WEIGHTS}, ValueError, "^data_weights must hold at least one number > 0"),
        (START, {"data_weights": np.full(12, np.inf)}, ValueError, "^data_weights must be finite"),
        (START, {"observed": X}, TypeError, "^observed must have dtype bool"),
        (START, {"observed": SEEN[:, :2]}, ValueError, "^observed must have shape"),
        (START, {"observed": SEEN, **options_of("elbo")}, TypeError, "^observed must be None for"),
        (CODING, {"observed": SEEN, "objective": "em"}, TypeError, "^observed must be None for"),
        (CODING, {"data_weights": WEIGHTS, "objective": "em"}, TypeError, "^data_weights must be None for"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(model, options, error, text):
    with pytest.raises(error, match=text) as caught:
        fastvi.fit_model(model, X, **options)
    assert "\n" not in str(caught.value)
