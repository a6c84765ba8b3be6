"""Every public function, class and method with plain arguments, and what each argument may be."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastvi

from . import things as t
from .kinds import (
    Argument,
    anything,
    axis,
    bits,
    count,
    device,
    flag,
    function,
    indices,
    mask,
    number,
    path,
    progress,
    reals,
    seed,
    thing,
    word,
)

ENUMERABLE = tuple({type(model) for name, model in t.MODELS.items() if name != "a table"})
ANY_MODEL = (*ENUMERABLE, fastvi.JointTable)
Q = (fastvi.Bernoulli, fastvi.Normal, fastvi.MultivariateNormal, fastvi.Categorical, fastvi.Encoder)


@dataclass
class Call:
    """``name`` is the public name, then perhaps what it is called for, in brackets."""

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Argument]

    @property
    def public(self) -> str:
        return self.name.split("[")[0]

    def plain(self) -> dict[str, Any]:
        return {name: argument.plain for name, argument in self.arguments.items()}


def _made(things: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    return {name: lambda each=each: each for name, each in things.items()}


def model(plain: Any, *types: type) -> Argument:
    return thing(plain, *types, others=_made({**t.MODELS, **t.OTHER_MODELS, **t.DISTRIBUTIONS}))


def q(plain: Any, *types: type, optional: bool = False, words: tuple[str, ...] = ()) -> Argument:
    others = _made({**t.DISTRIBUTIONS, "a network": t.network})
    return thing(plain, *types, others=others, optional=optional, words=words)


def executor() -> Argument:
    pool = {"threads": lambda: ThreadPoolExecutor(2), "the class": lambda: Executor}
    return thing(None, Executor, others=pool, optional=True)


def limits() -> dict[str, Argument]:
    return {
        "memory_limit": count(None, optional=True),
        "max_states": count(2**40),
    }


def exact_options(*, dtype: bool = False) -> dict[str, Argument]:
    words = {"dtype": word("float64", "float64", "float32")} if dtype else {}
    return {
        "device": device(), **words, "executor": executor(), "checkpoint": path(None, optional=True),
        "progress": progress(), **limits(),
    }  # fmt: skip


def layers(plain: Any) -> Argument:
    """Pairs of arrays, spoiled in their structure; the arrays have odd values of their own."""
    odd = dict(thing(None).odd)
    first, *rest = plain
    for name, spoilt in {
        "a pair alone": lambda: first,
        "triples": lambda: [(*first, first[1]), *rest],
        "one array each": lambda: [w for w, _ in plain],
        "pairs as lists": lambda: [list(pair) for pair in plain],
        "a tuple of pairs": lambda: tuple(plain),
        "a generator of pairs": lambda: (pair for pair in plain),
        "in wrong order": lambda: list(reversed(plain)),
        "the bias first": lambda: [(b, w) for w, b in plain],
        "a dict": lambda: {"weight": first[0], "bias": first[1]},
        "one pair of None": lambda: [(None, None), *rest],
        "one nan": lambda: [(np.full(first[0].shape, np.nan), first[1]), *rest],
        "huge": lambda: [(np.full(first[0].shape, 1e308), first[1]), *rest],
        "complex": lambda: [(first[0].astype(complex), first[1]), *rest],
        "as text": lambda: [(first[0].astype(str), first[1]), *rest],
        "masked": lambda: [(np.ma.array(first[0], mask=True), first[1]), *rest],
        "no inputs": lambda: [(first[0][:, :0], first[1]), *rest],
        "no outputs": lambda: [*plain[:-1], (plain[-1][0][:0], plain[-1][1][:0])],
        "as nested lists": lambda: [(w.tolist(), b.tolist()) for w, b in plain],
        "big-endian": lambda: [(w.astype(">f8"), b.astype(">f4")) for w, b in plain],
    }.items():
        odd[name] = spoilt

    def meaning(value: Any) -> Any:
        found = reals(plain[0][0], skip=())
        if not isinstance(value, list | tuple):
            found.plain_form(object())
        return [tuple(found.plain_form(each) for each in pair) for pair in value]

    return anything(plain, odd, meaning=meaning)


# ---- classes ---------------------------------------------------------------------------------------------


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
             {"couplings": reals(t.J, infinite=True), "bias": b()}),
        Call("RestrictedBoltzmannMachine", fastvi.RestrictedBoltzmannMachine,
             {"weights": w(), "visible_bias": b(), "hidden_bias": c()}),
        Call("BinarySparseCoding", fastvi.BinarySparseCoding,
             {"weights": w(), "bias": b(), "noise_std": number(0.5, low=0.0), "prior_logits": c()}),
        Call("LinearGaussian", fastvi.LinearGaussian,
             {"weights": w(), "bias": b(), "noise_std": number(0.5, low=0.0)}),
        Call("NeuralDecoder", fastvi.NeuralDecoder,
             {"layers": layers(t.LAYERS), "activation": word("relu", "relu", "tanh", "sigmoid", "softplus"),
              "prior": q(t.shared, fastvi.Bernoulli, fastvi.Normal),
              "likelihood": word("gaussian", "bernoulli", "gaussian"),
              "noise_std": number(0.5, low=0.0, optional=True)}),
        Call("LogJoint", fastvi.LogJoint,
             {"fn": fn(), "num_latents": count(3), "vectorized": anything(True, flag(True).odd, meaning=flag().meaning)}),
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
             {"layers": layers(t.encoder.layers), "activation": word("relu", "relu", "tanh", "sigmoid", "softplus"),
              "family": word("bernoulli", "bernoulli", "normal")}),
        Call("Mixture", fastvi.Mixture,
             {"components": anything([t.shared, "prior"], _components(), meaning=_legal_components),
              "weights": reals([0.75, 0.25])}),
        Call("LogWeights", fastvi.LogWeights,
             {"num_data": count(2, 0, optional=True), "tail_size": count(25, 5, optional=True)}),
    ]  # fmt: skip


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


# ---- methods ---------------------------------------------------------------------------------------------


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
            found.append(Call(f"{public}.sample{case}", each.sample, {"num": count(3, 0), "seed": seed()}))
    of = {
        "Bernoulli": (t.bernoulli, bits(t.Z)),
        "Bernoulli[shared]": (t.shared, bits(t.Z)),
        "Uniform": (t.uniform, bits(t.Z)),
        "Normal": (t.normal, reals(real_z)),
        "MultivariateNormal": (t.correlated, reals(real_z)),
        "Categorical": (t.categorical, indices([[0, 2]], 3)),
        "Mixture": (fastvi.Mixture([t.shared, t.uniform], [3, 1]), bits(t.Z)),
    }
    posterior = fastvi.exact_posterior(t.network, t.X)
    for name, (each, z) in of.items():
        public, _, case = name.partition("[")
        case = f"[{case}" if case else ""
        found.append(Call(f"{public}.log_prob{case}", each.log_prob, {"z": z}))
        found.append(Call(f"{public}.sample{case}", each.sample, {"num": count(3, 0), "seed": seed()}))
    states = np.stack([t.Z, 1 - t.Z])
    found += [
        Call("RestrictedBoltzmannMachine.free_energy", t.restricted.free_energy, {"x": bits(t.X)}),
        Call("Encoder.__call__", t.encoder, {"x": reals(t.REAL_X)}),
        Call("Encoder.__call__[normal]", t.normal_encoder, {"x": reals(t.REAL_X)}),
        Call("ExactPosterior.log_prob", posterior.log_prob, {"z": bits(states)}),
        Call("ExactPosterior.sample", posterior.sample, {"num": count(3, 0), "seed": seed()}),
        Call("Estimate.interval", fastvi.diagnose(t.LOG_W).interval, {"level": number(0.5, low=0.0, high=1.0)}),
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


# ---- functions of a model --------------------------------------------------------------------------------


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
                bound = question if fixed["model"] else _of(question, each)
                found.append(Call(f"{question.__name__}[{name}{what}]", bound, arguments))
    x = {"model": model(t.network, *ANY_MODEL), "x": bits(t.X)}
    found += [
        Call("log_marginal", fastvi.log_marginal, {**x, "normalized": flag(True), **exact_options(dtype=True)}),
        Call("log_marginal[normal]", _of(fastvi.log_marginal, t.smooth), {"x": bits(t.X), **limits()}),
        Call("log_marginal[scalar]", _of(fastvi.log_marginal, t.scalar), {"x": reals(t.REAL_X)}),
        Call("log_marginal[arrays]", _of(fastvi.log_marginal, t.arrays), {"x": reals(t.REAL_X)}),
        Call("log_marginal[table]", _of(fastvi.log_marginal, t.table),
             {"x": indices([0, 1], 2, optional=True), **exact_options(dtype=True)}),
        Call("log_marginal[restricted, options]", _of(fastvi.log_marginal, t.restricted),
             {"x": bits(t.X), "normalized": flag(True), **limits()}),
        Call("log_marginal[linear, options]", _of(fastvi.log_marginal, t.linear),
             {"x": reals(t.REAL_X), "normalized": flag(True), **limits()}),
        Call("log_marginal[machine without data]", _of(fastvi.log_marginal, t.machine),
             {"x": bits(t.X, optional=True)}),
        Call("log_marginal_gradient", fastvi.log_marginal_gradient,
             {**x, "data_weights": reals([1.0, 0.5], optional=True), **exact_options()}),
        Call("log_marginal_gradient[table]", _of(fastvi.log_marginal_gradient, t.table),
             {"x": indices([0, 1], 2, optional=True), "data_weights": reals([1.0, 0.5], optional=True)}),
        Call("exact_posterior", fastvi.exact_posterior,
             {**x, "top_k": count(2, 0), "pairwise": flag(), "normalized": flag(True), **exact_options()}),
        Call("log_partition", fastvi.log_partition,
             {"model": model(t.machine, fastvi.BoltzmannMachine, fastvi.RestrictedBoltzmannMachine),
              **exact_options(dtype=True)}),
        Call("log_partition[restricted]", _of(fastvi.log_partition, t.restricted), limits()),
        Call("plan", fastvi.plan,
             {"model": model(t.network, *ENUMERABLE), "num_data": count(2, 0),
              "question": word("log_marginal", "log_marginal", "log_partition", "exact_posterior",
                               "log_marginal_gradient"),
              "observed": mask(t.SEEN[0]), "dtype": word("float64", "float64", "float32")}),
    ]  # fmt: skip
    return found


def _of(question: Callable[..., Any], first: Any) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return question(first, **arguments)

    return call


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
        for question in (fastvi.elbo, fastvi.kl_to_posterior, fastvi.kl_from_posterior, fastvi.chi_square_bound):
            real = {"linear": (fastvi.elbo, fastvi.kl_to_posterior, fastvi.kl_from_posterior), "normal": (fastvi.elbo,)}
            if question not in real.get(name, (question,)):
                continue
            found.append(Call(f"{question.__name__}[{name}]", _of(question, each), {"x": x, "q": family}))
    common = {"model": model(t.network, *ENUMERABLE), "x": bits(t.X, hidden=True), "q": q(t.bernoulli, *Q),
              "observed": mask(t.SEEN), "device": device(), **limits()}  # fmt: skip
    found += [
        Call("elbo", fastvi.elbo,
             {**common, "normalized": flag(True), "num_samples": count(None, optional=True),
              "seed": seed(),
              "decomposition": word(None, "reconstruction", "joint", "log_ratio", optional=True)}),
        Call("elbo[sampled]", _of(fastvi.elbo, t.network),
             {"x": bits(t.X), "q": q(t.shared, *Q), "num_samples": count(20, optional=True),
              "seed": seed(), "decomposition": word("joint", "reconstruction", "joint", "log_ratio", optional=True),
              **limits()}),
        Call("kl_to_posterior", fastvi.kl_to_posterior, common),
        Call("kl_from_posterior", fastvi.kl_from_posterior, common),
        Call("chi_square_bound", fastvi.chi_square_bound, {**common, "normalized": flag(True)}),
        Call("kl_divergence", fastvi.kl_divergence, {"q": q(t.bernoulli, *Q[:4]), "p": q(t.uniform, *Q[:4])}),
        Call("kl_divergence[normal]", fastvi.kl_divergence,
             {"q": q(t.normal, *Q[:4]), "p": q(t.correlated, *Q[:4])}),
        Call("kl_divergence[categorical]", fastvi.kl_divergence,
             {"q": q(t.categorical, *Q[:4]), "p": q(fastvi.Categorical(t.C), *Q[:4])}),
    ]  # fmt: skip
    return found


# ---- estimators ------------------------------------------------------------------------------------------


def estimators() -> list[Call]:
    weights = lambda: reals(t.LOG_W, infinite=True)  # noqa: E731
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
             {**x, "proposal": proposal, "num_samples": count(20), "seed": seed(),
              "normalized": flag(True), "target_std_error": number(None, low=0.0, optional=True),
              "target_ess": number(None, low=0.0, optional=True), "executor": executor(), "device": device(),
              "progress": progress()}),
        Call("estimate_log_marginal[masked]", _of(fastvi.estimate_log_marginal, t.network),
             {"x": bits(t.X, hidden=True), "observed": mask(t.SEEN), "proposal": proposal}),
        Call("estimate_log_marginal[targets]", _of(fastvi.estimate_log_marginal, t.network),
             {"x": bits(t.X), "target_std_error": number(0.1, low=0.0, optional=True),
              "target_ess": number(100.0, low=0.0, optional=True)}),
        Call("estimate_log_marginal[table]", _of(fastvi.estimate_log_marginal, t.table),
             {"x": indices([0, 1], 2, optional=True), "proposal": q("prior", words=("uniform", "prior"))}),
        Call("estimate_log_marginal[linear]", _of(fastvi.estimate_log_marginal, t.linear),
             {"x": reals(t.REAL_X), "proposal": q(t.normal, *Q, fastvi.Mixture, words=("uniform", "prior"))}),
        Call("annealed_importance_sampling", fastvi.annealed_importance_sampling,
             {"model": model(t.network, *ENUMERABLE), "x": bits(t.X), "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1), "seed": seed(),
              "initial": q(t.shared, fastvi.Bernoulli, fastvi.Normal, words=("prior",)),
              "latents": bits(t.Z, optional=True), "num_leapfrog": count(2),
              "progress": progress(), "device": device()}),
        Call("annealed_importance_sampling[machine]", _of(fastvi.annealed_importance_sampling, t.machine),
             {"x": thing(None, optional=True), "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1),
              "initial": word("prior", "prior"), "latents": bits(np.ones((3, 4)), optional=True)}),
        Call("annealed_importance_sampling[linear]", _of(fastvi.annealed_importance_sampling, t.linear),
             {"x": reals(t.REAL_X), "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1), "num_leapfrog": count(2),
              "latents": reals(t.REAL_X[:, :2], optional=True)}),
        Call("bidirectional_monte_carlo", fastvi.bidirectional_monte_carlo,
             {"model": model(t.network, *ENUMERABLE), "num_data": count(2, 0),
              "num_temperatures": count(4, most=2**32 - 1),
              "num_chains": count(3, most=2**32 - 1), "seed": seed(),
              "initial": q("prior", fastvi.Bernoulli, fastvi.Normal, words=("prior",)),
              "num_leapfrog": count(2), "progress": progress(), "device": device()}),
        Call("calibrate", fastvi.calibrate,
             {**x, "proposals": anything({"u": "uniform"}, _proposals(), meaning=_legal_proposals),
              "num_samples": _counts(20), "num_repeats": count(6), "level": number(0.5, low=0.0, high=1.0),
              "seed": seed(), "truth": reals([-2.0, -3.0], infinite=True, optional=True),
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


# ---- fits, files -----------------------------------------------------------------------------------------


def fits() -> list[Call]:
    x = {"model": model(t.network, *ENUMERABLE), "x": bits(t.X)}
    held = {"held_out": bits(t.X, optional=True)}
    schedule = {
        "num_epochs": count(1, 0), "patience": count(None, optional=True), "seed": seed(),
        "checkpoint": path(None, optional=True), "progress": progress(),
    }  # fmt: skip
    drawn = word(None, "leave_one_out", "disarm", "vimco", "reparameterized", optional=True)
    fit_particles = [
        name for name in inspect.signature(fastvi.fit_model).parameters if name in ("num_particles", "num_samples")
    ][-1]
    return [
        Call("fit_posterior", fastvi.fit_posterior,
             {**x, "objective": word("reverse_kl", "reverse_kl", "forward_kl", "importance_weighted"),
              "num_restarts": count(1, 0), "max_sweeps": count(20), "tolerance": number(1e-6, low=0.0, closed=True),
              "num_samples": count(None, optional=True), "estimator": drawn,
              "learning_rate": number(None, low=0.0, optional=True), "seed": seed()}),
        Call("fit_posterior[sampled]", _of(fastvi.fit_posterior, t.network),
             {"x": bits(t.X), "num_samples": count(4, optional=True),
              "estimator": word("disarm", "leave_one_out", "disarm", "vimco", "reparameterized", optional=True),
              "max_sweeps": count(5), "learning_rate": number(0.5, low=0.0, optional=True)}),
        Call("fit_posterior[coding]", _of(fastvi.fit_posterior, t.coding), {"x": reals(t.REAL_X)}),
        Call("fit_posterior[linear]", _of(fastvi.fit_posterior, t.linear), {"x": reals(t.REAL_X)}),
        Call("fit_posterior[normal]", _of(fastvi.fit_posterior, t.smooth),
             {"x": bits(t.X), "tolerance": number(1e-6, low=0.0, closed=True)}),
        Call("fit_encoder", fastvi.fit_encoder,
             {**x, "encoder": q(t.encoder, fastvi.Encoder),
              "objective": word("reverse_kl", "reverse_kl", "forward_kl", "importance_weighted"),
              "num_samples": count(None, optional=True), "estimator": drawn, **held,
              "batch_size": count(2), "learning_rate": number(0.5, low=0.0), "amortization_gap": flag(),
              **schedule}),
        Call("fit_encoder[sampled]", _of(fastvi.fit_encoder, t.network),
             {"x": bits(t.X), "encoder": q(t.encoder, fastvi.Encoder), "num_samples": count(4),
              "num_epochs": count(1, 0),
              "estimator": word("disarm", "leave_one_out", "disarm", optional=True)}),
        Call("fit_model", fastvi.fit_model,
             {**x, "objective": word("exact", "exact", "em", "elbo", "importance_weighted", "wake_sleep",
                                     "reweighted_wake_sleep"),
              "encoder": q(None, fastvi.Encoder, optional=True),
              fit_particles: count(None, optional=True), "estimator": drawn, **held,
              "score": word("exact", "exact", "bound"), "batch_size": count(None, optional=True),
              "learning_rate": number(None, low=0.0, optional=True), **schedule}),
        Call("fit_model[wake_sleep]", _of(fastvi.fit_model, t.network),
             {"x": bits(t.X), "objective": word("wake_sleep", "wake_sleep", "elbo", "importance_weighted"),
              "encoder": q(t.encoder, fastvi.Encoder), fit_particles: count(4),
              "num_epochs": count(1, 0), "score": word("bound", "exact", "bound")}),
        Call("fit_model[em]", _of(fastvi.fit_model, t.coding),
             {"x": reals(t.REAL_X), "objective": word("em", "em", "exact"),
              "held_out": reals(t.REAL_X, optional=True), "num_epochs": count(1, 0)}),
    ]  # fmt: skip


def files() -> list[Call]:
    saved, idx = f"{_FOLDER}/model", f"{_FOLDER}/digits"
    t.network.save(saved)
    with open(idx, "wb") as file:
        file.write(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1]))
    return [
        Call("load", fastvi.load, {"path": path(saved)}),
        Call("datasets.load_idx", fastvi.datasets.load_idx, {"path": path(idx)}),
        Call("datasets.digits", lambda: fastvi.datasets.digits().images, {}),
    ]


_FOLDER = tempfile.mkdtemp(prefix="fastvi-fuzz-")


def table() -> list[Call]:
    """Every call."""
    return [*constructors(), *methods(), *exact(), *bounds(), *estimators(), *fits(), *files()]
