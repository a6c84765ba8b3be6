"""Estimators with plain arguments, and what each argument may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import fastvi

from . import things as t
from .calls import ANY_MODEL, ENUMERABLE, Call, Q, asked_of, executor, model, q
from .kinds import (
    Argument,
    anything,
    axis,
    bits,
    count,
    device,
    flag,
    indices,
    mask,
    number,
    progress,
    reals,
    rng,
    seed,
    thing,
    word,
)


def estimators() -> list[Call]:
    # arrays of float32 have an accuracy of their own, which tests/weights looks at
    weights = lambda: reals(t.LOG_W, infinite=True, skip=["float32"])  # noqa: E731
    found = [
        Call(f.__name__, f, {"log_w": weights(), "axis": axis()})
        for f in (fastvi.log_mean_exp, fastvi.effective_sample_size, fastvi.pareto_k, fastvi.psis,
                  fastvi.diagnose, fastvi.jackknife_bound)
    ]  # fmt: skip
    particles = list(inspect.signature(fastvi.importance_weighted_bound).parameters)[1]
    proposal = q("uniform", *Q, fastvi.Mixture, words=("uniform", "prior"))
    x = {"model": model(t.network, *ANY_MODEL), "x": bits(t.X)}
    found += [
        Call("importance_weighted_bound", fastvi.importance_weighted_bound,
             {"log_w": weights(), particles: _counts(5), "axis": axis()}),
        Call("importance_weighted_bound[several]", fastvi.importance_weighted_bound,
             {"log_w": weights(), particles: _counts([2, 5])}),
        Call("renyi_bound", fastvi.renyi_bound,
             {"log_w": weights(), "alpha": number(0.5, closed=True), "axis": axis()}),
        Call("estimate_log_marginal", fastvi.estimate_log_marginal,
             {**x, "proposal": proposal, "num_samples": count(20), "seed": seed(), "rng": rng(),
              "normalized": flag(True), "target_std_error": number(None, low=0.0, optional=True),
              "target_ess": number(None, low=0.0, optional=True), "executor": executor(), "device": device(),
              "dtype": word("float64", "float64", "float32"), "progress": progress()}),
        Call("estimate_log_marginal[masked]", asked_of(fastvi.estimate_log_marginal, t.network),
             {"x": bits(t.X, hidden=True), "observed": mask(t.SEEN), "proposal": proposal}),
        Call("estimate_log_marginal[bounds]", asked_of(fastvi.estimate_log_marginal, t.network),
             {"x": bits(t.X), "proposal": q(t.bounds, *Q, fastvi.Bounds, fastvi.Mixture),
              "num_samples": count(20), "executor": executor(), "device": device(),
              "dtype": word("float64", "float64", "float32")}),
        Call("estimate_log_marginal[targets]", asked_of(fastvi.estimate_log_marginal, t.network),
             {"x": bits(t.X), "target_std_error": number(0.1, low=0.0, optional=True),
              "target_ess": number(100.0, low=0.0, optional=True)}),
        Call("estimate_log_marginal[table]", asked_of(fastvi.estimate_log_marginal, t.table),
             {"x": indices([0, 1], 2, optional=True), "observed": mask(t.SEEN_ROWS),
              "proposal": q("prior", fastvi.Categorical, words=("uniform", "prior"))}),
        Call("estimate_log_marginal[linear]", asked_of(fastvi.estimate_log_marginal, t.linear),
             {"x": reals(t.REAL_X), "proposal": q(t.normal, *Q, fastvi.Mixture, words=("uniform", "prior"))}),
        Call("annealed_importance_sampling", fastvi.annealed_importance_sampling,
             {"model": model(t.network, *ENUMERABLE), "x": bits(t.X),
              "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1), "seed": seed(), "rng": rng(),
              "initial": q(t.shared, fastvi.Bernoulli, fastvi.Normal, words=("prior",)),
              "latents": bits(t.Z, optional=True), "num_leapfrog": count(2),
              "progress": progress(), "device": device(), "dtype": word("float64", "float64")}),
        Call("annealed_importance_sampling[machine]",
             asked_of(fastvi.annealed_importance_sampling, t.machine),
             {"x": thing(None, optional=True), "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1),
              "initial": word("prior", "prior"), "latents": bits(np.ones((3, 4)), optional=True)}),
        Call("annealed_importance_sampling[linear]", asked_of(fastvi.annealed_importance_sampling, t.linear),
             {"x": reals(t.REAL_X), "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1), "num_leapfrog": count(2),
              "latents": reals(t.REAL_X[:, :2], optional=True)}),
        Call("bidirectional_monte_carlo", fastvi.bidirectional_monte_carlo,
             {"model": model(t.network, *ENUMERABLE), "num_data": count(2, 0),
              "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1), "seed": seed(), "rng": rng(),
              "initial": q("prior", fastvi.Bernoulli, fastvi.Normal, words=("prior",)),
              "num_leapfrog": count(2), "progress": progress(), "device": device()}),
        Call("calibrate", fastvi.calibrate,
             {**x, "proposals": anything({"u": "uniform"}, _proposals(), meaning=_legal_proposals),
              "num_samples": _counts(20), "num_repeats": count(6), "level": number(0.5, low=0.0, high=1.0),
              "seed": seed(), "rng": rng(), "truth": reals([-2.0, -3.0], infinite=True, optional=True),
              "progress": progress()}),
    ]  # fmt: skip
    return found


def _counts(plain: Any) -> Argument:
    """A count, or several that differ."""
    one = count(1)

    def meaning(value: Any) -> Any:
        if isinstance(value, list | tuple | range) or (isinstance(value, np.ndarray) and value.ndim == 1):
            return [one.plain_form(each) for each in value]
        return one.plain_form(value)

    odd = dict(one.odd)
    odd["a list"] = lambda: [2, 5]
    odd["an array"] = lambda: np.array([2, 5])
    odd["an array of int8"] = lambda: np.array([2, 5], np.int8)
    odd["two axes"] = lambda: np.array([[2, 5]])
    odd["with a half"] = lambda: [2, 2.5]
    odd["with None"] = lambda: [2, None]
    odd["twice the same"] = lambda: [2, 2]
    odd["with 0"] = lambda: [2, 0]
    odd["with True"] = lambda: [2, True]
    return anything(plain, odd, meaning=meaning)


def _proposals() -> dict[str, Callable[[], Any]]:
    odd = dict(thing(None).odd)
    for name, each in {**t.DISTRIBUTIONS, "a network": t.network}.items():
        odd[f"with {name}"] = lambda each=each: {"u": each}
    odd["a word"] = lambda: {"u": "prior"}
    odd["another word"] = lambda: {"u": "posterior"}
    odd["a name that is an int"] = lambda: {1: "uniform"}
    odd["an empty name"] = lambda: {"": "uniform"}
    odd["no mapping"] = lambda: [("u", "uniform")]
    odd["a function that returns None"] = lambda: {"u": lambda model, x, seed: None}
    odd["a function that returns text"] = lambda: {"u": lambda model, x, seed: "text"}
    odd["a function of other data"] = lambda: {"u": lambda model, x, seed: fastvi.diagnose(t.LOG_W[:1])}
    return odd


def _legal_proposals(value: Any) -> Any:
    kinds = thing(None, *Q, fastvi.Mixture, words=("uniform", "prior"))
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        kinds.plain_form(object())
    return {name: each if callable(each) else kinds.plain_form(each) for name, each in value.items()}
