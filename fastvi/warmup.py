"""Compile ahead: calls on tiny problems, of shapes that reach the kernels of each question.

For container images and clusters, whose processes then begin with compiled code.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fastvi
from fastvi.kernels.compiled_code import KernelCache
from fastvi.kernels.first_compilation import say_that_it_compiles
from fastvi.kernels.kept_code import KeptCode, kept_code
from fastvi.rules import questions as q

_NUM_DATA = 5


@dataclass(frozen=True)
class Warmup:
    """What was compiled."""

    calls: int
    compiled: int  # functions and signatures that were not on disk
    seconds: float
    kept: KeptCode


def warm_up(*, everything: bool = False, report: Callable[[str, int, int], None] | None = None) -> Warmup:
    """Make the code of the main questions, or of ``everything``, and keep it on disk.

    The main questions are log_marginal, exact_posterior, log_marginal_gradient, elbo,
    estimate_log_marginal and log_partition, for networks, decoders and Boltzmann machines. ``report`` is
    called with a step, how many are done, and of how many. OSError where no code can be kept.
    """
    kept_code()  # said before the work
    begin, before = time.perf_counter(), KernelCache.num_compiled
    say_that_it_compiles.quiet = True
    calls = list(_calls(everything))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of accuracy: nobody reads these numbers
        for done, (name, call) in enumerate(calls):
            if report is not None:
                report(name, done, len(calls))
            call()
    compiled = KernelCache.num_compiled - before
    return Warmup(len(calls), compiled, time.perf_counter() - begin, kept_code())


def _calls(everything: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each call and its name."""
    rng = np.random.default_rng(0)
    for name, model in _models(rng, everything).items():
        for question, call in _questions(model, everything):
            yield f"{name}: {question}", call
    if everything:
        log_w = rng.normal(size=(3, 300))
        for function in ("log_mean_exp", "effective_sample_size", "pareto_k", "psis", "diagnose"):
            for values in (log_w, log_w.astype(np.float32)):
                yield function, partial(getattr(fastvi, function), values)
        yield "importance_weighted_bound", lambda: fastvi.importance_weighted_bound(log_w, 10)
        yield "jackknife_bound", lambda: fastvi.jackknife_bound(log_w, 1)
        yield "renyi_bound", lambda: fastvi.renyi_bound(log_w, 0.5)
        yield "LogWeights", lambda: _streamed(log_w)


def _streamed(log_w: Any) -> None:
    stream = fastvi.LogWeights()
    stream.update(log_w)
    stream.estimate()


def _models(rng: np.random.Generator, everything: bool) -> dict[str, Any]:
    """Return models of the kinds that have kernels of their own."""

    def network(num_pixels: int, num_latents: int, scale: float = 1.0, **prior: Any) -> Any:
        weights, bias = scale * rng.normal(size=(num_pixels, num_latents)), rng.normal(size=num_pixels)
        return fastvi.SigmoidBeliefNetwork(weights, bias, **prior or {"prior_logits": np.zeros(num_latents)})

    def machine(num_units: int) -> Any:
        couplings = np.triu(rng.normal(size=(num_units, num_units)), 1)
        return fastvi.BoltzmannMachine(couplings + couplings.T, rng.normal(size=num_units))

    def decoder(activation: str, prior: Any, **noise: Any) -> Any:
        sizes = [prior.num_latents, 6, 9]
        layers = [(rng.normal(size=(m, n)), rng.normal(size=m)) for n, m in itertools.pairwise(sizes)]
        return fastvi.NeuralDecoder(layers, activation, prior, **noise)

    bits, normal = fastvi.Bernoulli(np.full(9, 0.5)), fastvi.Normal([0.3], [1.5])
    usual = {
        "SigmoidBeliefNetwork": network(30, 13),
        "NeuralDecoder": decoder("tanh", bits),
        "RestrictedBoltzmannMachine": fastvi.RestrictedBoltzmannMachine(
            rng.normal(size=(17, 12)), rng.normal(size=17), rng.normal(size=12)
        ),
        "BoltzmannMachine": machine(15),
    }
    if not everything:
        return usual
    return {
        **usual,
        "SigmoidBeliefNetwork (steep)": network(9, 9, 60.0),
        "SigmoidBeliefNetwork (deep)": network(11, 6, prior=network(6, 4)),
        "SigmoidBeliefNetwork over a machine": network(7, 10, prior=machine(10)),
        "BinarySparseCoding": fastvi.BinarySparseCoding(
            rng.normal(size=(9, 12)), rng.normal(size=9), 0.8, np.zeros(12)
        ),
        "NeuralDecoder (Gaussian)": decoder("relu", bits, likelihood="gaussian", noise_std=0.7),
        "NeuralDecoder (Normal prior)": decoder("softplus", normal),
        "LinearGaussian": fastvi.LinearGaussian(rng.normal(size=(9, 3)), rng.normal(size=9), 0.6),
    }


def _questions(model: Any, everything: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the calls for the questions that this model answers."""
    x = model.sample(_NUM_DATA, 0)[1]
    prior = getattr(model, "prior", None)
    real = isinstance(model, fastvi.LinearGaussian) or isinstance(prior, fastvi.Normal)
    shape = (_NUM_DATA, model.num_latents)
    own: Any = fastvi.Normal(np.zeros(shape), np.ones(shape)) if real else fastvi.Bernoulli(np.zeros(shape))
    few: Any = {"num_samples": 300, "seed": 0}
    learn: Any = {"num_epochs": 2, "batch_size": 3, "learning_rate": 0.01}
    mask = np.arange(x.shape[1]) % 3 != np.arange(len(x))[:, None] % 2
    calls: dict[str, list[Callable[[], Any]]] = {
        q.LOG_MARGINAL: [lambda: fastvi.log_marginal(model, x)],
        q.EXACT_POSTERIOR: [lambda: fastvi.exact_posterior(model, x).sample(4, 0)],
        q.LOG_MARGINAL_GRADIENT: [lambda: fastvi.log_marginal_gradient(model, x)],
        q.ELBO: [lambda: fastvi.elbo(model, x, own)],
        q.ESTIMATE: [lambda: fastvi.estimate_log_marginal(model, x, proposal=own, **few)],
        q.LOG_PARTITION: [lambda: fastvi.log_partition(model)],
    }
    answered = fastvi.supported(model)
    is_machine = q.LOG_PARTITION in answered
    if not is_machine and not isinstance(prior, fastvi.BoltzmannMachine):  # which draws nothing by itself
        calls[q.ESTIMATE].append(lambda: fastvi.estimate_log_marginal(model, x, proposal="prior", **few))
    if everything:
        encoder = fastvi.Encoder.random(
            x.shape[1], 6, model.num_latents, family="normal" if real else "bernoulli"
        )
        chains: Any = {"num_temperatures": 9, "num_chains": 5, "seed": 0}
        calls[q.LOG_MARGINAL].append(lambda: fastvi.log_marginal(model, x, dtype="float32"))
        calls[q.EXACT_POSTERIOR].append(lambda: fastvi.exact_posterior(model, x, top_k=1, pairwise=True))
        if not is_machine and not isinstance(prior, fastvi.Bernoulli | fastvi.Normal | None):
            chains["initial"] = fastvi.Bernoulli(np.zeros(model.num_latents))  # in place of a prior's draws
        calls |= {
            q.OBSERVED: [lambda: fastvi.log_marginal(model, x, observed=mask)],
            q.ANNEALED: [
                lambda: fastvi.annealed_importance_sampling(model, None if is_machine else x, **chains)
            ],
            q.SAMPLED_ELBO: [lambda: fastvi.elbo(model, x, own, num_samples=20, seed=0)],
            q.KL_TO_POSTERIOR: [lambda: fastvi.kl_to_posterior(model, x, own)],
            q.KL_FROM_POSTERIOR: [lambda: fastvi.kl_from_posterior(model, x, own)],
            q.CHI_SQUARE_BOUND: [lambda: fastvi.chi_square_bound(model, x, own)],
            q.UPPER_BOUND: [lambda: fastvi.upper_bound(model, x)],
            q.FIT_POSTERIOR: [lambda: fastvi.fit_posterior(model, x)],
            q.FIT_POSTERIOR_SAMPLED: [lambda: fastvi.fit_posterior(model, x, num_samples=6, max_steps=3)],
            q.FIT_ENCODER: [lambda: fastvi.fit_encoder(model, x, encoder, **learn)],
            q.FIT_ENCODER_SAMPLED: [lambda: fastvi.fit_encoder(model, x, encoder, num_samples=4, **learn)],
            q.FIT_MODEL: [lambda: fastvi.fit_model(model, x, **learn)],
            q.FIT_MODEL_WEIGHTED: [
                lambda: fastvi.fit_model(
                    model, x, objective="importance_weighted", encoder=encoder, num_samples=3, **learn
                )
            ],
            q.FIT_MODEL_WAKE_SLEEP: [
                lambda: fastvi.fit_model(model, x, objective="wake_sleep", encoder=encoder, **learn)
            ],
        }
        if q.LOG_MARGINAL_GRADIENT in answered:
            calls[q.OBSERVED].append(lambda: fastvi.log_marginal_gradient(model, x, observed=mask))
    for question, found in calls.items():
        if question in answered:
            for call in found:
                yield question, call
