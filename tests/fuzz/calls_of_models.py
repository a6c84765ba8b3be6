"""Exact questions and bounds with plain arguments, and what each argument may be."""

from __future__ import annotations

import fastvi
from fastvi.core.options import METHODS

from . import things as t
from .calls import ANY_MODEL, ENUMERABLE, Call, Q, asked_of, exact_options, executor, limits, model, q
from .kinds import (
    bits,
    count,
    device,
    flag,
    indices,
    mask,
    number,
    path,
    progress,
    reals,
    rng,
    seed,
    word,
)


def exact() -> list[Call]:
    found = []
    binary = {"x": lambda: bits(t.X, hidden=True), "observed": lambda: mask(t.SEEN)}
    real = {"x": lambda: reals(t.REAL_X, nan=True, infinite=True), "observed": lambda: mask(t.SEEN)}
    of = {
        "network": (t.network, binary), "deep": (t.deep, binary), "machine": (t.machine, binary),
        "restricted": (t.restricted, binary), "coding": (t.coding, real), "linear": (t.linear, real),
        "decoder": (t.decoder, binary), "gaussian": (t.gaussian, real),
    }  # fmt: skip
    for name, (each, data) in of.items():
        masked = {key: make() for key, make in data.items()}
        may_lack = name == "machine"
        whole = {"x": bits(t.X, optional=may_lack) if data is binary else reals(t.REAL_X)}
        for question in (fastvi.log_marginal, fastvi.exact_posterior, fastvi.log_marginal_gradient):
            if question is fastvi.exact_posterior and each is t.linear:
                continue
            for what, arguments in {"": whole, ", masked": masked}.items():
                fixed = {"model": model(each, *ANY_MODEL) if not what and name == "network" else None}
                arguments = {**{k: v for k, v in fixed.items() if v}, **arguments}
                bound = question if fixed["model"] else asked_of(question, each)
                found.append(Call(f"{question.__name__}[{name}{what}]", bound, arguments))
    x = {"model": model(t.network, *ANY_MODEL), "x": bits(t.X)}
    found += [
        Call("log_marginal", fastvi.log_marginal,
             {**x, "normalized": flag(True), **exact_options(dtype=True)}),
        Call("log_marginal[normal]", asked_of(fastvi.log_marginal, t.smooth), {"x": bits(t.X), **limits()}),
        Call("log_marginal[scalar]", asked_of(fastvi.log_marginal, t.scalar), {"x": reals(t.REAL_X)}),
        Call("log_marginal[arrays]", asked_of(fastvi.log_marginal, t.arrays), {"x": reals(t.REAL_X)}),
        Call("log_marginal[table]", asked_of(fastvi.log_marginal, t.table),
             {"x": indices([0, 1], 2, optional=True), **exact_options(dtype=True)}),
        Call("log_marginal[restricted, options]", asked_of(fastvi.log_marginal, t.restricted),
             {"x": bits(t.X), "normalized": flag(True), **limits()}),
        Call("log_marginal[linear, options]", asked_of(fastvi.log_marginal, t.linear),
             {"x": reals(t.REAL_X), "normalized": flag(True), **limits()}),
        Call("log_marginal[machine without data]", asked_of(fastvi.log_marginal, t.machine),
             {"x": bits(t.X, optional=True)}),
        Call("log_marginal_gradient", fastvi.log_marginal_gradient,
             {**x, "data_weights": reals([1.0, 0.5], optional=True), **exact_options()}),
        Call("log_marginal_gradient[table]", asked_of(fastvi.log_marginal_gradient, t.table),
             {"x": indices([0, 1], 2, optional=True), "data_weights": reals([1.0, 0.5], optional=True)}),
        Call("exact_posterior[table]", asked_of(fastvi.exact_posterior, t.table),
             {"x": indices([0, 1], 2, optional=True), "observed": mask(t.SEEN_ROWS),
              "top_k": count(2, 0), "pairwise": flag(False), **exact_options()}),
        Call("exact_posterior", fastvi.exact_posterior,
             {**x, "top_k": count(2, 0), "pairwise": flag(), "normalized": flag(True), **exact_options()}),
        Call("log_partition", fastvi.log_partition,
             {"model": model(t.machine, fastvi.BoltzmannMachine, fastvi.RestrictedBoltzmannMachine),
              **exact_options(dtype=True), "method": word("auto", *METHODS)}),
        Call("log_marginal[machine, method]", asked_of(fastvi.log_marginal, t.machine),
             {"x": bits(t.X), "method": word("auto", *METHODS)}),
        Call("exact_posterior[machine, method]", asked_of(fastvi.exact_posterior, t.machine),
             {"x": bits(t.X), "top_k": count(1, 0), "method": word("auto", "auto", "elimination")}),
        Call("log_marginal_gradient[machine, method]", asked_of(fastvi.log_marginal_gradient, t.machine),
             {"x": bits(t.X), "method": word("auto", "auto", "elimination")}),
        Call("log_partition[restricted]", asked_of(fastvi.log_partition, t.restricted), limits()),
        Call("plan", fastvi.plan,
             {"model": model(t.network, *ENUMERABLE), "num_data": count(2, 0),
              "question": word("log_marginal", "log_marginal", "log_partition", "exact_posterior",
                               "log_marginal_gradient"),
              "observed": mask(t.SEEN[0]), "method": word("auto", "auto", "enumeration"),
              "dtype": word("float64", "float64", "float32"),
              "top_k": count(0, 0), "pairwise": flag(), "normalized": flag(True)}),
        Call("plan[posterior]", asked_of(fastvi.plan, t.network),
             {"num_data": count(2, 0), "question": word("exact_posterior", "exact_posterior"),
              "top_k": count(2, 0), "pairwise": flag(True)}),
        Call("plan[fit]", asked_of(fastvi.plan, t.network),
             {"num_data": count(2), "question": word("fit", "fit"),
              "num_epochs": count(1, 0, optional=True), "batch_size": count(2, optional=True)}),
    ]  # fmt: skip
    return found


def bounds() -> list[Call]:
    found = []
    of = {
        "network": (t.network, bits(t.X), q(t.bernoulli, *Q)),
        "machine": (t.machine, bits(t.X, optional=True), q(t.units, *Q)),
        "coding": (t.coding, reals(t.REAL_X), q(t.bernoulli, *Q)),
        "decoder": (t.decoder, bits(t.X), q(t.encoder, *Q)),
        "linear": (t.linear, reals(t.REAL_X), q(t.correlated, *Q)),
        "normal": (t.smooth, bits(t.X), q(t.normal, *Q)),
        "restricted": (t.restricted, bits(t.X), q(t.bernoulli, *Q)),
    }
    for name, (each, x, family) in of.items():
        for question in (
            fastvi.elbo,
            fastvi.kl_to_posterior,
            fastvi.kl_from_posterior,
            fastvi.chi_square_bound,
        ):
            real = {
                "linear": (fastvi.elbo, fastvi.kl_to_posterior, fastvi.kl_from_posterior),
                "normal": (fastvi.elbo,),
            }
            if question not in real.get(name, (question,)):
                continue
            found.append(
                Call(f"{question.__name__}[{name}]", asked_of(question, each), {"x": x, "q": family})
            )
    of_table = {"x": indices([0, 1], 2, optional=True), "q": q(t.categorical, *Q),
                "observed": mask(t.SEEN_ROWS), **limits()}  # fmt: skip
    common = {"model": model(t.network, *ANY_MODEL), "x": bits(t.X, hidden=True), "q": q(t.bernoulli, *Q),
              "observed": mask(t.SEEN), "device": device(), **limits()}  # fmt: skip
    for question in (fastvi.kl_to_posterior, fastvi.kl_from_posterior, fastvi.chi_square_bound):
        found.append(Call(f"{question.__name__}[table]", asked_of(question, t.table), of_table))
    found += [
        Call("elbo[table]", asked_of(fastvi.elbo, t.table),
             {**of_table, "num_samples": count(None, optional=True),
              "decomposition": word(None, "reconstruction", "joint", "log_ratio", optional=True)}),
        Call("elbo", fastvi.elbo,
             {**common, "normalized": flag(True), "num_samples": count(None, optional=True),
              "seed": seed(), "rng": rng(), "dtype": word("float64", "float64", "float32"),
              "decomposition": word(None, "reconstruction", "joint", "log_ratio", optional=True)}),
        Call("elbo[sampled]", asked_of(fastvi.elbo, t.network),
             {"x": bits(t.X), "q": q(t.shared, *Q), "num_samples": count(20, optional=True),
              "seed": seed(), "rng": rng(), "dtype": word("float32", "float64", "float32"),
              "decomposition": word("joint", "reconstruction", "joint", "log_ratio", optional=True),
              **limits()}),
        Call("kl_to_posterior", fastvi.kl_to_posterior, common),
        Call("kl_from_posterior", fastvi.kl_from_posterior, common),
        Call("chi_square_bound", fastvi.chi_square_bound, {**common, "normalized": flag(True)}),
        Call("upper_bound", fastvi.upper_bound,
             {"model": model(t.network, *ENUMERABLE), "x": bits(t.X, hidden=True), "observed": mask(t.SEEN)}),
        Call("log_marginal_bounds", fastvi.log_marginal_bounds,
             {"model": model(t.network, *ENUMERABLE), "x": bits(t.X, hidden=True), "observed": mask(t.SEEN),
              "normalized": flag(True), "tolerance": number(1e-3, low=0.0), "max_bounds": count(100),
              "executor": executor(), "checkpoint": path(None, optional=True), "progress": progress()}),
        Call("log_marginal_bounds[table]", asked_of(fastvi.log_marginal_bounds, t.table),
             {"x": indices([0, 1], 2, optional=True), "observed": mask(t.SEEN_ROWS)}),
        Call("kl_divergence", fastvi.kl_divergence, {"q": q(t.bernoulli, *Q[:4]), "p": q(t.uniform, *Q[:4])}),
        Call("kl_divergence[normal]", fastvi.kl_divergence,
             {"q": q(t.normal, *Q[:4]), "p": q(t.correlated, *Q[:4])}),
        Call("kl_divergence[categorical]", fastvi.kl_divergence,
             {"q": q(t.categorical, *Q[:4]), "p": q(fastvi.Categorical(t.C), *Q[:4])}),
    ]  # fmt: skip
    return found
