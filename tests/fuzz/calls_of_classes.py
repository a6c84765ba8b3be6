"""Constructors and methods with plain arguments, and what each argument may be."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastvi
from fastvi.core.options import ACTIVATIONS

from . import things as t
from .calls import Call, layers, model, q
from .kinds import (
    Argument,
    anything,
    bits,
    count,
    flag,
    function,
    indices,
    number,
    path,
    reals,
    rng,
    seed,
    thing,
    word,
)  # fmt: skip


def constructors() -> list[Call]:
    w, b, c = (lambda: reals(t.W)), (lambda: reals(t.B)), (lambda: reals(t.C))
    fn = lambda: function(t.array_log_joint, skip=("a class",))  # noqa: E731
    return [
        Call("SigmoidBeliefNetwork", fastvi.SigmoidBeliefNetwork,
             {"weights": w(), "bias": b(), "prior_logits": reals(t.C), "prior": thing(None, optional=True)}),
        Call("SigmoidBeliefNetwork[deep]", fastvi.SigmoidBeliefNetwork,
             {"weights": w(), "bias": b(),
              "prior": model(t.deep.prior, fastvi.SigmoidBeliefNetwork, fastvi.BoltzmannMachine)}),
        Call("BoltzmannMachine", fastvi.BoltzmannMachine,
             {"couplings": reals(t.J, infinite=True), "bias": b(), "constant": number(0.5)}),
        Call("BoltzmannMachine.from_ising", fastvi.BoltzmannMachine.from_ising,
             {"h": b(), "J": reals(t.J), "beta": number(0.5, low=0.0), "offset": number(0.5)}),
        Call("RestrictedBoltzmannMachine", fastvi.RestrictedBoltzmannMachine,
             {"weights": w(), "visible_bias": b(), "hidden_bias": c()}),
        Call("BinarySparseCoding", fastvi.BinarySparseCoding,
             {"weights": w(), "bias": b(), "noise_std": number(0.5, low=0.0), "prior_logits": c()}),
        Call("LinearGaussian", fastvi.LinearGaussian,
             {"weights": w(), "bias": b(), "noise_std": number(0.5, low=0.0)}),
        Call("NeuralDecoder", fastvi.NeuralDecoder,
             {"layers": layers(t.LAYERS), "activation": word("relu", *ACTIVATIONS),
              "prior": q(t.shared, fastvi.Bernoulli, fastvi.Normal),
              "likelihood": word("gaussian", "bernoulli", "gaussian"),
              "noise_std": number(0.5, low=0.0, optional=True)}),
        Call("LogJoint", fastvi.LogJoint,
             {"fn": fn(), "num_latents": count(3), "vectorized": flag(True)}),
        Call("LogJoint[scalar]", fastvi.LogJoint,
             {"fn": function(t.scalar_log_joint, skip=("a class",)), "num_latents": count(3)}),
        Call("JointTable", fastvi.JointTable, {"probabilities": reals(t.TABLE), "unnormalized": flag()}),
        Call("Bernoulli", fastvi.Bernoulli, {"logits": reals(t.LOGITS, infinite=True)}),
        Call("Bernoulli[shared]", fastvi.Bernoulli, {"logits": reals(t.C, infinite=True)}),
        Call("Uniform", fastvi.Uniform, {"num_latents": count(3)}),
        Call("Normal", fastvi.Normal, {"mean": reals(t.LOGITS), "std": reals(np.abs(t.LOGITS) + 0.125)}),
        Call("MultivariateNormal", fastvi.MultivariateNormal,
             {"mean": reals(t.C[:2]), "covariance": reals(t.COVARIANCE)}),
        Call("Categorical", fastvi.Categorical, {"logits": reals(t.LOGITS, infinite=True)}),
        Call("Encoder", fastvi.Encoder,
             {"layers": layers(t.encoder.layers),
              "activation": word("relu", *ACTIVATIONS),
              "family": word("bernoulli", "bernoulli", "normal")}),
        Call("NeuralDecoder.from_torch", fastvi.NeuralDecoder.from_torch,
             {"module": state_dict(), "prior": q(t.shared, fastvi.Bernoulli, fastvi.Normal),
              "likelihood": word("gaussian", "bernoulli", "gaussian"),
              "noise_std": number(0.5, low=0.0, optional=True),
              "activation": word("relu", *ACTIVATIONS)}),
        Call("Encoder.from_torch", fastvi.Encoder.from_torch,
             {"module": state_dict(), "family": word("bernoulli", "bernoulli", "normal"),
              "activation": word("relu", *ACTIVATIONS)}),
        Call("Mixture", fastvi.Mixture,
             {"components": anything([t.shared, "prior"], _components(), meaning=_legal_components),
              "weights": reals([0.75, 0.25])}),
        Call("LogWeights", fastvi.LogWeights,
             {"num_data": count(2, 0, optional=True), "tail_size": count(25, 5, optional=True)}),
    ]  # fmt: skip


# what scikit-learn calls the parameters of a restricted machine
_FITTED = SimpleNamespace(components_=t.W.T, intercept_visible_=t.B, intercept_hidden_=t.C)


def state_dict() -> Argument:
    """Weights and biases by name, spoiled in their structure."""
    plain = {f"{i}.{name}": each for i, pair in enumerate(t.LAYERS)
             for name, each in zip(("weight", "bias"), pair, strict=True)}  # fmt: skip
    first = next(iter(plain))
    odd = dict(thing(None).odd)
    odd["empty"] = dict
    odd["another name"] = lambda: {**plain, "3.running_mean": plain[first]}
    odd["the first name a number"] = lambda: {0: plain[first], **plain}
    odd["lists"] = lambda: {name: each.tolist() for name, each in plain.items()}
    odd["a weight of text"] = lambda: {**plain, first: plain[first].astype(str)}
    odd["complex"] = lambda: {**plain, first: plain[first].astype(complex)}
    odd["one nan"] = lambda: {**plain, first: np.full_like(plain[first], np.nan)}
    odd["backwards"] = lambda: dict(reversed(plain.items()))
    return anything(plain, odd)


def _components() -> dict[str, Callable[[], Any]]:
    odd = dict(thing(None).odd)
    for name, each in {**t.DISTRIBUTIONS, **t.MODELS}.items():
        odd[f"with {name}"] = lambda each=each: [t.shared, each]
    odd["words"] = lambda: ["uniform", "prior"]
    odd["other words"] = lambda: ["uniform", "posterior"]
    odd["one"] = lambda: [t.shared]
    odd["an array of objects"] = lambda: np.array([t.shared, t.uniform], dtype=object)
    return odd


def _legal_components(value: Any) -> Any:
    kinds = thing(None, fastvi.Bernoulli, fastvi.Normal, fastvi.Encoder, words=("uniform", "prior"))
    if isinstance(value, str) or not isinstance(value, list | tuple):
        kinds.plain_form(object())
    return [kinds.plain_form(each) for each in value]


def methods() -> list[Call]:
    binary, real = (lambda: bits(t.X)), (lambda: reals(t.REAL_X))
    real_z = t.REAL_X[:, :2]
    pixels = {
        "SigmoidBeliefNetwork": (t.network, binary(), bits(t.Z)),
        "SigmoidBeliefNetwork[deep]": (t.deep, binary(), bits(t.Z)),
        "BoltzmannMachine": (t.machine, bits(t.X, optional=True), bits(t.X)),
        "RestrictedBoltzmannMachine": (t.restricted, binary(), bits(t.Z)),
        "BinarySparseCoding": (t.coding, real(), bits(t.Z)),
        "LinearGaussian": (t.linear, real(), reals(real_z)),
        "NeuralDecoder": (t.decoder, binary(), bits(t.Z)),
        "NeuralDecoder[gaussian]": (t.gaussian, real(), bits(t.Z)),
        "NeuralDecoder[normal]": (t.smooth, binary(), reals(real_z)),
        "LogJoint": (t.scalar, real(), bits(t.Z)),
        "LogJoint[arrays]": (t.arrays, real(), bits(t.Z)),
        "JointTable": (t.table, indices([0, 1], 2), indices([1, 2], 3)),
    }
    found = []
    for name, (each, x, z) in pixels.items():
        public, _, case = name.partition("[")
        case = f"[{case}" if case else ""
        found.append(Call(f"{public}.log_joint{case}", each.log_joint, {"x": x, "z": z}))
        if public != "LogJoint":
            found.append(
                Call(
                    f"{public}.sample{case}", each.sample, {"num": count(3, 0), "seed": seed(), "rng": rng()}
                )
            )
    of = {
        "Bernoulli": (t.bernoulli, bits(t.Z)),
        "Bernoulli[shared]": (t.shared, bits(t.Z)),
        "Uniform": (t.uniform, bits(t.Z)),
        "Normal": (t.normal, reals(real_z)),
        "MultivariateNormal": (t.correlated, reals(real_z)),
        "Categorical": (t.categorical, indices([[0, 2]], 3)),
        "Mixture": (fastvi.Mixture([t.shared, t.uniform], [3, 1]), bits(t.Z)),
    }
    posterior, of_table = fastvi.exact_posterior(t.network, t.X), fastvi.exact_posterior(t.table)
    for name, (each, z) in of.items():
        public, _, case = name.partition("[")
        case = f"[{case}" if case else ""
        found.append(Call(f"{public}.log_prob{case}", each.log_prob, {"z": z}))
        found.append(
            Call(f"{public}.sample{case}", each.sample, {"num": count(3, 0), "seed": seed(), "rng": rng()})
        )
    states = np.stack([t.Z, 1 - t.Z])
    found += [
        Call("RestrictedBoltzmannMachine.from_sklearn", fastvi.RestrictedBoltzmannMachine.from_sklearn,
             {"rbm": thing(_FITTED, SimpleNamespace, others={
                 "not fitted": lambda: fastvi.RestrictedBoltzmannMachine, "a model": lambda: t.restricted,
             })}),
        Call("RestrictedBoltzmannMachine.free_energy", t.restricted.free_energy, {"x": bits(t.X)}),
        Call("Encoder.__call__", t.encoder, {"x": reals(t.REAL_X)}),
        Call("Encoder.__call__[normal]", t.normal_encoder, {"x": reals(t.REAL_X)}),
        Call("TablePosterior.log_prob", of_table.log_prob, {"z": indices([[0, 2]], 3)}),
        Call("TablePosterior.sample", of_table.sample, {"num": count(3, 0), "seed": seed(), "rng": rng()}),
        Call("ExactPosterior.log_prob", posterior.log_prob, {"z": bits(states)}),
        Call("ExactPosterior.sample", posterior.sample, {"num": count(3, 0), "seed": seed(), "rng": rng()}),
        Call("Estimate.interval", fastvi.diagnose(t.LOG_W).interval,
             {"level": number(0.5, low=0.0, high=1.0)}),
        Call("SigmoidBeliefNetwork.save", t.network.save, {"path": path("a model")}),
        Call("LogWeights.update", _updated, {"log_w": reals(t.LOG_W, infinite=True)}),
        Call("LogWeights.update[again]", _updated_again, {"log_w": reals(t.LOG_W, infinite=True)}),
        Call("LogWeights.merge", _merged, {"other": thing(_weights(), fastvi.LogWeights, others={
            "another tail": lambda: fastvi.LogWeights(2, 25),
            "other data": lambda: fastvi.LogWeights(3),
            "nothing yet": fastvi.LogWeights,
        })}),
    ]  # fmt: skip
    return found


def _weights(**options: Any) -> fastvi.LogWeights:
    summary = fastvi.LogWeights(**options)
    summary.update(t.LOG_W)
    return summary


def _updated(log_w: Any) -> Any:
    summary = fastvi.LogWeights()
    summary.update(log_w)
    return summary


def _updated_again(log_w: Any) -> Any:
    summary = _weights()
    try:
        summary.update(log_w)
    except Exception:
        # it is then as it was
        assert summary.num_samples == t.LOG_W.shape[1]
        assert summary.estimate().log_marginal.tobytes() == _weights().estimate().log_marginal.tobytes()
        raise
    return summary


def _merged(other: Any) -> Any:
    summary = _weights()
    summary.merge(other)
    return summary
