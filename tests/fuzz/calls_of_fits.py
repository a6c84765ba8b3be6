"""Fits and files with plain arguments, and what each argument may be."""

from __future__ import annotations

import tempfile

import fastvi

from . import things as t
from .calls import ENUMERABLE, Call, asked_of, model, q
from .kinds import bits, count, flag, indices, mask, number, path, progress, reals, rng, seed, shares, word


def fits() -> list[Call]:
    x = {"model": model(t.network, *ENUMERABLE), "x": bits(t.X)}
    held = {"held_out": bits(t.X, optional=True)}
    schedule = {
        "num_epochs": count(1, 0), "patience": count(None, optional=True), "seed": seed(), "rng": rng(),
        "checkpoint": path(None, optional=True), "progress": progress(),
        "dtype": word("float64", "float64", "float32"),
    }  # fmt: skip
    drawn = word(None, *t.ESTIMATORS, optional=True)
    return [
        Call("fit_posterior", fastvi.fit_posterior,
             {**x, "objective": word("reverse_kl", "reverse_kl", "forward_kl", "importance_weighted"),
              "num_restarts": count(1, 0), "max_steps": count(20),
              "tolerance": number(1e-6, low=0.0, closed=True),
              "num_samples": count(None, optional=True), "estimator": drawn,
              "learning_rate": number(None, low=0.0, optional=True), "seed": seed(), "rng": rng(),
              "dtype": word("float64", "float64", "float32")}),
        Call("fit_posterior[sampled]", asked_of(fastvi.fit_posterior, t.network),
             {"x": bits(t.X), "num_samples": count(4, optional=True),
              "estimator": word("disarm", *t.ESTIMATORS, optional=True),
              "max_steps": count(5), "learning_rate": number(0.5, low=0.0, optional=True),
              "dtype": word("float32", "float64", "float32")}),
        Call("fit_posterior[coding]", asked_of(fastvi.fit_posterior, t.coding), {"x": reals(t.REAL_X)}),
        Call("fit_posterior[linear]", asked_of(fastvi.fit_posterior, t.linear), {"x": reals(t.REAL_X)}),
        Call("fit_posterior[normal]", asked_of(fastvi.fit_posterior, t.smooth),
             {"x": bits(t.X), "tolerance": number(1e-6, low=0.0, closed=True)}),
        Call("fit_posterior[table]", asked_of(fastvi.fit_posterior, t.table),
             {"x": indices([0, 1], 2, optional=True),
              "objective": word("forward_kl", "reverse_kl", "forward_kl")}),
        Call("fit_encoder", fastvi.fit_encoder,
             {**x, "encoder": q(t.encoder, fastvi.Encoder),
              "objective": word("reverse_kl", "reverse_kl", "forward_kl", "importance_weighted"),
              "num_samples": count(None, optional=True), "estimator": drawn, **held,
              "batch_size": count(2), "learning_rate": number(0.5, low=0.0), "amortization_gap": flag(),
              **schedule}),
        Call("fit_encoder[sampled]", asked_of(fastvi.fit_encoder, t.network),
             {"x": bits(t.X), "encoder": q(t.encoder, fastvi.Encoder), "num_samples": count(4),
              "num_epochs": count(1, 0),
              "estimator": word("disarm", "leave_one_out", "disarm", optional=True),
              "dtype": word("float32", "float64", "float32")}),
        Call("fit_model", fastvi.fit_model,
             {**x, "objective": word("exact", "exact", "em", "elbo", "importance_weighted", "wake_sleep",
                                     "reweighted_wake_sleep"),
              "encoder": q(None, fastvi.Encoder, optional=True),
              "num_samples": count(None, optional=True), "estimator": drawn, **held,
              "score": word("exact", "exact", "bound"), "batch_size": count(None, optional=True),
              "learning_rate": number(None, low=0.0, optional=True), "observed": mask(None),
              "data_weights": shares([1.0, 0.5], optional=True), **schedule}),
        Call("fit_model[table]", asked_of(fastvi.fit_model, t.table),
             {"x": indices([0, 1], 2), "objective": word("em", "exact", "em"), "num_epochs": count(1, 0),
              "held_out": indices([1], 2, optional=True)}),
        Call("fit_model[masked]", asked_of(fastvi.fit_model, t.network),
             {"x": bits(t.X, hidden=True), "observed": mask(t.SEEN), "num_epochs": count(1, 0),
              "data_weights": shares([1.0, 0.5], optional=True)}),
        Call("fit_model[wake_sleep]", asked_of(fastvi.fit_model, t.network),
             {"x": bits(t.X), "objective": word("wake_sleep", "wake_sleep", "elbo", "importance_weighted"),
              "encoder": q(t.encoder, fastvi.Encoder), "num_samples": count(4, optional=True),
              "num_epochs": count(1, 0), "score": word("bound", "exact", "bound"),
              "dtype": word("float32", "float64", "float32")}),
        Call("fit_model[em]", asked_of(fastvi.fit_model, t.coding),
             {"x": reals(t.REAL_X), "objective": word("em", "em", "exact"),
              "held_out": reals(t.REAL_X, optional=True), "num_epochs": count(1, 0)}),
    ]  # fmt: skip


def files() -> list[Call]:
    saved, idx = f"{_FOLDER.name}/model", f"{_FOLDER.name}/digits"
    t.network.save(saved)
    with open(idx, "wb") as file:
        file.write(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1]))
    return [
        Call("load", fastvi.load, {"path": path(saved)}),
        Call("datasets.load_idx", fastvi.datasets.load_idx, {"path": path(idx)}),
        Call("datasets.digits", lambda: fastvi.datasets.digits().images, {}),
    ]


_FOLDER = tempfile.TemporaryDirectory(prefix="fastvi-fuzz-")  # removed when the process ends
