"""A sampled ELBO with its gradients in q and in the model: fastvi against JAX, in float64 and in float32."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import peers
import pytest
from problems import Size, mild_problem

import fastvi
from fastvi.fitting.sampled_bound import sampled_bound

_SEED = 7


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("tool", ["fastvi", *(["jax"] if peers.installed("jax") else [])])
def test_bound_and_gradients(record: Any, size: Size, tool: str, dtype: str) -> None:
    shape = size.bound
    num = shape.num_samples
    problem = mild_problem(shape)
    model = fastvi.SigmoidBeliefNetwork(*problem[:3])
    x, logits = (
        problem.x.astype(np.uint8),
        np.random.default_rng(1).normal(size=(shape.num_data, shape.num_latents)),
    )
    job = f"sampled ELBO and gradients in q and the model, {shape}, K = {num}"
    who = {"fastvi": "fastvi", "jax": "JAX, jitted"}[tool]
    record.describe(job, who if dtype == "float64" else f"{who}, float32", num)

    def ours() -> Any:
        return sampled_bound(
            model, x, logits, num_samples=num, seed=_SEED, estimator="leave_one_out", with_model=True,
            dtype=dtype,
        )  # fmt: skip

    if tool == "fastvi":
        found = record.run(ours, size.rounds)
        value, slope, of_model = found.value, found.slope, found.of_model
    else:
        baseline = importlib.import_module("baselines.jax_sampled_bound")
        record.run(lambda: baseline.sampled_bound(*problem, logits, num, _SEED, dtype), size.rounds)
        # the draws are others, so that it is checked on those of fastvi
        z = fastvi.Bernoulli(logits).sample(num, _SEED).transpose(1, 0, 2).astype(np.float64)
        *parameters, seen, own, z = (np.asarray(array, dtype) for array in (*problem, logits, z))
        value, slope, found = baseline.bound(tuple(parameters), seen, own, z)
        of_model = dict(zip(("weights", "bias", "prior_logits"), found, strict=True))
    right = _by_definition(problem, logits, num)
    tolerance = 1e-9 if dtype == "float64" else 1e-4  # found in float32: 4e-7, JAX's 6e-6
    record.check_all(
        (value, slope, *(of_model[name] for name in right[2])), (*right[:2], *right[2].values()), tolerance
    )


def _by_definition(
    problem: Any, logits: np.ndarray, num: int
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The same by NumPy, datum by datum."""
    weights, bias, prior_logits, x = problem
    draws = fastvi.Bernoulli(logits).sample(num, _SEED).astype(np.float64)
    value, slope = np.empty(len(x)), np.empty(logits.shape)
    of = {
        "weights": np.zeros_like(weights),
        "bias": np.zeros_like(bias),
        "prior_logits": np.zeros_like(prior_logits),
    }
    for n, own in enumerate(x):
        z = draws[:, n]
        eta = z @ weights.T + bias
        log_w = (own * eta - np.logaddexp(0, eta)).sum(axis=1)
        log_w += (
            z * (prior_logits - logits[n]) - np.logaddexp(0, prior_logits) + np.logaddexp(0, logits[n])
        ).sum(axis=1)
        value[n] = log_w.mean()
        score = z - 1 / (1 + np.exp(-logits[n]))
        slope[n] = (log_w - log_w.mean()) @ score / (num - 1)
        residual = (own - 1 / (1 + np.exp(-eta))) / num
        of["weights"] += residual.T @ z
        of["bias"] += residual.sum(axis=0)
        of["prior_logits"] += z.mean(axis=0) - 1 / (1 + np.exp(-prior_logits))
    return value, slope, of
