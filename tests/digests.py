"""Digests of results: every model, question, estimator and fit once, at sizes that reach every kernel.

``python tests/digests.py`` prints one JSON object, name -> SHA-256 of the bits of a result. Two runs that
should give the same bits, in other processes, with other threads, before and after a change that moves code,
are compared by it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import sys
import warnings

import numpy as np
from cases import (
    bernoulli,
    coin,
    couplings,
    data_of,
    decoder,
    linear_gaussian,
    network,
    normal,
    restricted,
    sparse_coding,
)

import fastvi


def models():
    """Return a model of each kind: name -> model."""
    rng = np.random.default_rng(0)
    small = network(6, 4, rng)
    return {
        "network": network(30, 13, rng),
        "steep network": network(9, 9, rng, 60.0, bias_scale=1.0),
        "deep network": network(11, 6, rng, prior=small),
        "network over a machine": fastvi.SigmoidBeliefNetwork(
            rng.normal(size=(7, 10)), rng.normal(size=7), prior=_machine(10, rng)
        ),
        "machine": _machine(15, rng),
        "restricted machine": restricted(17, 12, rng),
        "sparse coding": sparse_coding(9, 12, rng, 0.8),
        "decoder": decoder((9, 8, 7, 11), seed=rng),
        "gaussian decoder": decoder((5, 20, 6), "relu", noise_std=0.7, seed=rng),
        "normal decoder": decoder((1, 6, 7), "softplus", fastvi.Normal([0.3], [1.5]), seed=rng),
        "linear": linear_gaussian(9, 3, rng, 0.6),
        "log joint": fastvi.LogJoint(coin, 9),
    }


def _machine(num_units, rng):
    return fastvi.BoltzmannMachine(couplings(num_units, rng), rng.normal(size=num_units))


def _mask(x):
    return np.arange(x.shape[1]) % 3 != np.arange(len(x))[:, None] % 2


def _normal_latents(model):
    return isinstance(model, fastvi.LinearGaussian) or isinstance(
        getattr(model, "prior", None), fastvi.Normal
    )


def _proposal(model, num_data):
    return (normal if _normal_latents(model) else bernoulli)(num_data, model.num_latents, seed=2)


def _exact(model, x):
    mask = _mask(x)
    seen = {} if isinstance(model, fastvi.LogJoint) else {"observed": mask}
    yield "log_marginal", lambda: fastvi.log_marginal(model, x)
    yield "log_marginal float32", lambda: fastvi.log_marginal(model, x, dtype="float32")
    yield "log_marginal observed", lambda: fastvi.log_marginal(model, x, **seen)
    yield "gradient", lambda: fastvi.log_marginal_gradient(model, x)
    yield "gradient observed", lambda: fastvi.log_marginal_gradient(model, x, **seen)
    yield "posterior", lambda: _posterior(fastvi.exact_posterior(model, x, top_k=1, pairwise=True))
    yield "posterior observed", lambda: _posterior(fastvi.exact_posterior(model, x, **seen))
    if hasattr(model, "couplings") or hasattr(model, "hidden_bias"):
        yield "log_partition", lambda: np.float64(fastvi.log_partition(model))


def _posterior(found):
    names = ("log_marginal", "mean", "second_moment", "entropy", "mode", "top_states", "top_log_probs")
    return {
        **{name: getattr(found, name) for name in names if getattr(found, name, None) is not None},
        "draws": found.sample(4, 3),
    }


def _bounds(model, x):
    q = _proposal(model, len(x))
    yield "elbo", lambda: fastvi.elbo(model, x, q)
    yield "sampled elbo", lambda: fastvi.elbo(model, x, q, num_samples=20, seed=5)
    yield "kl to posterior", lambda: fastvi.kl_to_posterior(model, x, q)
    yield "kl from posterior", lambda: fastvi.kl_from_posterior(model, x, q)
    yield "chi-square bound", lambda: fastvi.chi_square_bound(model, x, q)
    if "upper_bound" in fastvi.supported(model):
        yield "upper bound", lambda: fastvi.upper_bound(model, x)


def _estimates(model, x):
    q = _proposal(model, len(x))
    few = {"num_samples": 300, "seed": 4}
    yield "estimate", lambda: fastvi.estimate_log_marginal(model, x, proposal=q, **few)
    yield "estimate by the prior", lambda: fastvi.estimate_log_marginal(model, x, proposal="prior", **few)
    chains = {"num_temperatures": 9, "num_chains": 5, "seed": 6}
    if hasattr(model, "couplings") or hasattr(model, "hidden_bias"):
        yield "annealed log Z", lambda: fastvi.annealed_importance_sampling(model, **chains)
    if hasattr(model, "hidden_bias"):
        single = {**chains, "dtype": "float32"}
        yield "annealed log Z, float32", lambda: fastvi.annealed_importance_sampling(model, **single)
    yield "annealed", lambda: fastvi.annealed_importance_sampling(model, x[:4], **chains)


def _fits(model, x):
    few = x[:8]
    yield "fit_posterior", lambda: _fit(fastvi.fit_posterior(model, few))
    yield (
        "sampled fit_posterior",
        lambda: _fit(fastvi.fit_posterior(model, few, num_samples=6, max_steps=5, seed=3)),
    )
    learn = {"num_epochs": 2, "batch_size": 5, "seed": 3, "learning_rate": 0.01}
    yield "fit_model", lambda: _fit(fastvi.fit_model(model, x, **learn))
    family = "normal" if _normal_latents(model) else "bernoulli"
    encoder = fastvi.Encoder.random(x.shape[1], 6, model.num_latents, family=family)
    for objective in ("elbo", "importance_weighted", "wake_sleep"):
        options = {"objective": objective, "encoder": encoder, "num_samples": 3, **learn}
        if objective == "wake_sleep":
            del options["num_samples"]
        yield f"fit_model {objective}", lambda options=options: _fit(fastvi.fit_model(model, x, **options))
    yield "fit_encoder", lambda: _fit(fastvi.fit_encoder(model, x, encoder, **learn))
    more = {"num_samples": 4, **learn}
    yield "sampled fit_encoder", lambda: _fit(fastvi.fit_encoder(model, x, encoder, **more))


def _fit(fit):
    parts = {}
    for name in ("q", "model", "encoder"):
        found = getattr(fit, name, None)
        if found is not None:
            parts[name] = found
    return parts


def _weights():
    log_w = 3 * np.random.default_rng(3).normal(size=(7, 1000))
    log_w[1, ::2] = -np.inf
    for name in ("log_mean_exp", "effective_sample_size", "pareto_k", "psis", "diagnose"):
        yield name, lambda name=name: getattr(fastvi, name)(log_w)
    yield "importance_weighted_bound", lambda: fastvi.importance_weighted_bound(log_w, 10)
    yield "jackknife_bound", lambda: fastvi.jackknife_bound(log_w, 1)
    yield "renyi_bound", lambda: fastvi.renyi_bound(log_w, 0.4)
    yield "LogWeights", lambda: _streamed(log_w)
    single = log_w.astype(np.float32)
    yield "log_mean_exp float32", lambda: fastvi.log_mean_exp(single)


def _streamed(log_w):
    stream = fastvi.LogWeights()
    stream.update(log_w[:, :300])
    stream.update(log_w[:, 300:])
    return stream.estimate()


def _feed(digest, result):
    if isinstance(result, np.ndarray | np.generic):
        digest.update(str(result.dtype).encode() + str(np.shape(result)).encode() + result.tobytes())
    elif isinstance(result, dict):
        for name, part in result.items():
            digest.update(name.encode())
            _feed(digest, part)
    elif isinstance(result, tuple | list):
        for part in result:
            _feed(digest, part)
    elif dataclasses.is_dataclass(result):
        _feed(digest, {field.name: getattr(result, field.name) for field in dataclasses.fields(result)})
    elif hasattr(result, "arrays"):
        _feed(digest, result.arrays())
    else:
        digest.update(repr(result).encode())


def digests(only=""):
    """Return name -> SHA-256 of every result whose name contains ``only``.

    What a model cannot answer is one line of ValueError or TypeError; its text is the result.
    """
    found = {}
    asked = [("weights", _weights())]
    for name, model in models().items():
        x = data_of(model, 20).astype(float)
        parts = (_exact(model, x), _bounds(model, x), _estimates(model, x), _fits(model, x))
        asked.append((name, itertools.chain(*parts)))
    for name, questions in asked:
        for question, ask in questions:
            full = f"{name}: {question}"
            if only not in full:
                continue
            digest = hashlib.sha256()
            try:
                _feed(digest, ask())
            except (ValueError, TypeError) as error:
                digest.update(str(error).encode())
                full += f" ({type(error).__name__}: {error})"
            found[full] = digest.hexdigest()
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(digests(*sys.argv[1:]), indent=0))
