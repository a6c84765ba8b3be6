"""Peak memory does not grow with the number of states: every question in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import memory
import numpy as np
import oracle
from problems import Shape, Size, mild_problem, random_machine, random_problem

MOST = 2**30


def test_log_marginal(record: Any, size: Size) -> None:
    shape = size.memory
    record.describe(f"exact log p(x), {shape}", "fastvi", 1)
    record.arithmetic_limit(shape.terms, shape.multiply_adds)
    found = record.run_alone("log_marginal", shape, MOST)
    record.check(found["log_marginal"], oracle.log_marginal(*random_problem(shape)))


def test_means(record: Any, size: Size) -> None:
    shape = size.memory
    record.describe(f"exact posterior means, {shape}", "fastvi", 1)
    found = record.run_alone("means", shape, MOST)
    problem = random_problem(shape)
    record.check(found["mean"], oracle.enumeration(*problem[:3]).posterior_mean(problem.x), scale=1.0)


def test_everything(record: Any, size: Size) -> None:
    """An exponential a state and datum, hence fewer data."""
    shape = replace(size.memory, num_data=size.few_data)
    job = f"exact posterior means, entropy, {memory.TOP_K} best states and second moments, {shape}"
    record.describe(job, "fastvi", 1)
    found = record.run_alone("posterior", shape, MOST)
    problem = random_problem(shape)
    expected = oracle.enumeration(*problem[:3]).posterior(problem.x, memory.TOP_K)
    for name, values in expected._asdict().items():
        record.check(found[name], values, scale=1.0)


def test_gradient(record: Any, size: Size) -> None:
    shape = size.memory
    record.describe(f"exact gradient of log p(x), {shape}", "fastvi", 1)
    found = record.run_alone("gradient", shape, MOST)
    names = ("weights", "bias", "prior_logits")
    record.check_all([found[name] for name in names], oracle.gradient(*random_problem(shape)))


def test_estimate(record: Any, size: Size) -> None:
    """The weights alone would take 8 bytes a sample: 763 MiB."""
    shape = size.sampled
    record.describe(f"log p(x) by sampling the prior, {shape}, K = {shape.num_samples:,}", "fastvi", 1)
    found = record.run_alone("estimate", shape, 2**28)
    exact = oracle.log_marginal(*mild_problem(shape))
    record.info["max_standard_errors_off"] = float(
        np.max(np.abs(found["log_marginal"] - exact) / found["std_error"])
    )
    assert record.info["max_standard_errors_off"] <= 5.0


def test_log_partition(record: Any, size: Size) -> None:
    num_units = size.memory.num_latents
    record.describe(f"log Z of a Boltzmann machine, d = {num_units}", "fastvi", 1)
    record.arithmetic_limit(multiply_adds=2**num_units)
    found = record.run_alone("log_partition", Shape(num_units, 0, 0), MOST)
    expected = oracle.log_partition(*random_machine(num_units, memory.BLOCKS))
    record.check(found["log_partition"], np.array(expected))
