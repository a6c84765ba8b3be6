"""Calls that compile ahead: all are answered, and the main questions then find all that they need."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

import fastvi
from fastvi import warmup

pytestmark = pytest.mark.needs_jit

# the main questions, for models of other sizes and other data
AFTERWARDS = """
import numpy as np
import fastvi
from fastvi.kernels.compiled_code import KernelCache
from fastvi.warmup import warm_up
rng = np.random.default_rng(0)
warm_up()
before = KernelCache.num_loaded, KernelCache.num_compiled
layers = [(rng.normal(size=(5, 7)), np.zeros(5)), (rng.normal(size=(50, 5)), np.zeros(50))]
for model in (
    fastvi.SigmoidBeliefNetwork(rng.normal(size=(50, 11)), np.zeros(50), np.zeros(11)),
    fastvi.NeuralDecoder(layers, "tanh", fastvi.Bernoulli(np.full(7, 0.5))),
):
    x = model.sample(7, 0)[1]
    q = fastvi.Bernoulli(np.zeros(model.num_latents))
    fastvi.log_marginal(model, x)
    fastvi.exact_posterior(model, x)
    fastvi.log_marginal_gradient(model, x)
    fastvi.elbo(model, x, q)
    fastvi.estimate_log_marginal(model, x, num_samples=50, seed=0)
fastvi.log_partition(fastvi.RestrictedBoltzmannMachine(rng.normal(size=(9, 5)), np.zeros(9), np.zeros(5)))
assert (KernelCache.num_loaded, KernelCache.num_compiled) == before, before
print(sum(before))
"""


def test_afterwards_the_main_questions_compile_nothing():
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AFTERWARDS], capture_output=True, text=True, check=False
    )
    assert found.stderr == ""
    assert int(found.stdout) > 10


def test_every_question_of_a_model_is_asked():
    asked = dict.fromkeys(name for name, _ in warmup._calls(everything=True))
    network = {name.partition(": ")[2] for name in asked if name.startswith("SigmoidBeliefNetwork: ")}
    left = {
        # by kernels of the others, or by none
        "plan", "bidirectional_monte_carlo", "log_marginal(device='cuda')",
        "fit_posterior(objective='forward_kl')", "fit_encoder(objective='forward_kl')",
        "fit_model(objective='em')", "fit_model(objective='elbo')",
    }  # fmt: skip
    assert set(fastvi.supported(fastvi.SigmoidBeliefNetwork([[1.0]], [0.0], [0.0]))) - left == network
    usual = {name for name, _ in warmup._calls(everything=False)}
    assert usual < set(asked)


def test_every_call_is_answered():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fastvi.AccuracyWarning)
        for _, call in warmup._calls(everything=True):
            call()
