"""Definitions applied to models: log Z, log p(x) and posteriors, of sums over all states in pure Python."""

from __future__ import annotations

import naive
import numpy as np
from cases import NEVER, parameters_of, states
from tolerances import assert_close, posterior_rounding

import fastvi

NAMES = {
    fastvi.SigmoidBeliefNetwork: "sbn",
    fastvi.BoltzmannMachine: "bm",
    fastvi.RestrictedBoltzmannMachine: "rbm",
    fastvi.BinarySparseCoding: "bsc",
}


def masks_for(x, observed):
    """A mask or None for each datum."""
    return [None] * len(x) if observed is None else np.broadcast_to(observed, x.shape)


def naive_log_partition(model):
    """log Z of a machine."""
    return getattr(naive, f"{NAMES[type(model)]}_log_partition")(*parameters_of(model))


def naive_log_marginal(model, x, observed=None, normalized=False):
    """log p(x) of each datum (N,), of a machine without its log Z unless it is asked for."""
    parameters, sums = parameters_of(model), getattr(naive, f"{NAMES[type(model)]}_log_marginal")
    found = [sums(*parameters, row, mask) for row, mask in zip(x, masks_for(x, observed), strict=True)]
    return np.array(found) - (naive_log_partition(model) if normalized else 0.0)


def log_priors(model):
    """log p(z) of all z, by the definition, whatever the prior."""
    states, prior = naive.states(model.num_latents), model.prior
    if not model.is_deep:
        return [naive.bernoulli_log_prob(z, model.prior_logits.tolist()) for z in states]
    if isinstance(prior, fastvi.BoltzmannMachine):
        parameters = prior.couplings.tolist(), prior.bias.tolist()
        values = [naive.bm_log_joint(*parameters, z) for z in states]
        log_z = naive.log_sum_exp(values)
        return [value - log_z for value in values]
    tops = list(zip(naive.states(prior.num_latents), log_priors(prior), strict=True))
    parameters = prior.weights.tolist(), prior.bias.tolist()
    return [
        naive.log_sum_exp(naive.sbn_log_likelihood(*parameters, z, top) + value for top, value in tops)
        for z in states
    ]


def reference_rows(model, x, masks):
    """log p(z | x_n) of all z, datum by datum."""
    if isinstance(model, fastvi.SigmoidBeliefNetwork):
        states = naive.states(model.num_latents)
        log_prior = log_priors(model)
        parameters = model.weights.tolist(), model.bias.tolist()
        for row, mask in zip(x.tolist(), masks, strict=True):
            joint = [
                prior + naive.sbn_log_likelihood(*parameters, row, z, mask)
                for z, prior in zip(states, log_prior, strict=True)
            ]
            evidence = naive.log_sum_exp(joint)
            yield [value - evidence for value in joint]
        return
    if isinstance(model, fastvi.RestrictedBoltzmannMachine) and model.num_pixels + model.num_latents > 9:
        yield from restricted_rows(model, x, masks)
        return
    name = NAMES[type(model)]
    parameters = parameters_of(model)
    for row, mask in zip(x.tolist(), masks, strict=True):
        yield getattr(naive, f"{name}_log_posterior")(*parameters, row, mask)


def restricted_rows(model, x, masks):
    """The same with the unseen units summed one by one, vectorised: there are too many for Python's loops."""
    states = np.array(naive.states(model.num_latents))
    fields = states @ model.weights.T + model.visible_bias
    for row, mask in zip(x, masks, strict=True):
        seen = np.ones(len(row), bool) if mask is None else np.asarray(mask)
        joint = states @ model.hidden_bias + fields[:, seen] @ row[seen].astype(float)
        joint += np.logaddexp(0.0, fields[:, ~seen]).sum(axis=1)
        yield joint - np.logaddexp.reduce(joint)


def reference(model, x, observed=None):
    """All states (2^d, d) and log p(z | x_n) of each (N, 2^d), by the definition."""
    rows = list(reference_rows(model, x, masks_for(x, observed)))
    return np.array(naive.states(model.num_latents)), np.array(rows).reshape(len(x), 2**model.num_latents)


class Enumerated:
    """Everything about the posterior from the model's own log joint, state by state."""

    def __init__(self, model, x):
        self.states = states(model.num_latents)
        logs = model.log_joint(x[:, None], self.states)
        largest = logs.max(axis=1, keepdims=True)
        self.log_marginal = (largest + np.log(np.exp(logs - largest).sum(axis=1, keepdims=True)))[:, 0]
        self.log_probs = logs - self.log_marginal[:, None]
        self.probabilities = np.exp(self.log_probs)
        self.mean = self.probabilities @ self.states
        self.entropy = -(self.probabilities * np.maximum(self.log_probs, -1e300)).sum(axis=1)
        self.pairs = np.einsum("ns,si,sj->nij", self.probabilities, self.states, self.states)


def check_posterior(model, x, observed=None, **options):
    """Everything a posterior says, against the definition; data of probability 0 say nothing but NaN."""
    posterior = fastvi.exact_posterior(model, x, observed=observed, pairwise=True, **options)
    states, log_p = reference(model, x, observed)
    possible = ~np.isneginf(posterior.log_marginal)
    assert np.isfinite(log_p[possible].max(axis=1)).all()
    for array in (posterior.entropy, posterior.mode_log_prob, posterior.second_moment):
        assert np.isnan(array[~possible]).all()
    p, slack = np.exp(log_p[possible]), posterior_rounding(model, x)
    if not possible.any():
        return posterior
    assert np.abs(posterior.mean[possible] - p @ states).max() <= slack
    pairs = np.einsum("ns,si,sj->nij", p, states, states)
    assert np.abs(posterior.second_moment[possible] - pairs).max() <= slack
    log_p = log_p[possible]
    finite = np.where(np.isneginf(log_p), 0.0, log_p)
    scale = 1 + np.abs(finite[p > 0]).max()
    assert np.abs(posterior.entropy[possible] + (p * finite).sum(axis=1)).max() <= slack * scale
    ordered = -np.sort(-log_p, axis=1)
    found = posterior.top_log_probs[possible]
    assert_close(found, ordered[:, : found.shape[1]], slack)
    assert_close(posterior.mode_log_prob[possible], ordered[:, 0], slack)
    assert_close(posterior.log_prob(states[:, None]).T[possible], log_p, slack)
    top = posterior.log_prob(posterior.top_states.swapaxes(0, 1)).T[possible]
    assert_close(top[found > NEVER], found[found > NEVER], slack)
    assert_close(posterior.log_prob(posterior.mode)[possible], ordered[:, 0], slack)
    return posterior


def check_enumerated(model, x, atol=1e-10):
    expected, top_k = Enumerated(model, x), min(3, 1 << model.num_latents)
    found = fastvi.exact_posterior(model, x, top_k=top_k, pairwise=True)
    np.testing.assert_allclose(found.log_marginal, expected.log_marginal, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.log_marginal, fastvi.log_marginal(model, x))
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=atol)
    np.testing.assert_allclose(found.second_moment, expected.pairs, rtol=0, atol=atol)
    np.testing.assert_allclose(found.entropy, expected.entropy, rtol=0, atol=atol)
    ordered = np.sort(expected.log_probs, axis=1)[:, ::-1]
    np.testing.assert_allclose(found.top_log_probs, ordered[:, :top_k], rtol=1e-11, atol=1e-10)
    top = found.log_prob(found.top_states.swapaxes(0, 1)).T
    np.testing.assert_allclose(top, found.top_log_probs, rtol=1e-11, atol=1e-10)
    np.testing.assert_array_equal(found.mode, found.top_states[:, 0])
