"""Random questions about a problem: what fastvi says, and what brute force says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import naive
import naive_log_weights
import numpy as np

import fastvi

from .problems import Parameters, Problem


class Check(NamedTuple):
    """``got`` must be within ``tolerance`` of ``want``; equal infinities are equal."""

    name: str
    got: Any
    want: Any
    tolerance: float

    def error(self) -> float:
        got, want = np.asarray(self.got, dtype=float), np.asarray(self.want, dtype=float)
        if got.shape != want.shape:
            return math.inf
        with np.errstate(invalid="ignore"):
            apart = np.where(got == want, 0.0, np.abs(got - want))
        apart = np.where(np.isnan(got) & np.isnan(want), 0.0, apart)
        return float(np.where(np.isnan(apart), math.inf, apart).max(initial=0.0))

    def holds(self) -> bool:
        return self.error() <= self.tolerance


def _log_marginals(p: Problem) -> list[float]:
    return [p.log_marginal(n) for n in range(p.num_data)]


def _posteriors(p: Problem) -> list[list[float]]:
    """log p(z | x_n)."""
    tables = [p.table(n) for n in range(p.num_data)]
    return [[t - naive.log_sum_exp(table) for t in table] for table in tables]


def _states(p: Problem) -> np.ndarray:
    return np.array(naive.states(p.num_latents), dtype=float)


def log_marginal(p: Problem, rng: np.random.Generator) -> list[Check]:
    found = fastvi.log_marginal(p.model, p.x, observed=p.observed)
    checks = [Check("log_marginal", found, _log_marginals(p), p.tolerance)]
    if p.num_data:  # a datum in any batch
        n = int(rng.integers(p.num_data))
        seen = p.mask(n)
        mask = None if seen is None else np.array(seen, dtype=bool)
        alone = fastvi.log_marginal(p.model, p.x[n : n + 1], observed=mask)
        checks.append(Check("log_marginal of one datum", alone, found[n : n + 1], 0.0))
    if p.log_z is not None:
        free = fastvi.log_marginal(p.model, p.x, observed=p.observed, normalized=False)
        want = [naive.log_sum_exp(p.table(n)) for n in range(p.num_data)]
        checks.append(Check("log_marginal, not normalized", free, want, p.tolerance))
        checks.append(
            Check("log_partition", fastvi.log_partition(p.model), p.log_z(p.parameters), p.tolerance)
        )
    return checks


def log_joint(p: Problem, rng: np.random.Generator) -> list[Check]:
    if p.kind == "machine":  # its x is a copy of z
        z = _states(p)
        want = [naive.bm_log_joint(p.parameters["couplings"], p.parameters["bias"], s) for s in z.tolist()]
        return [Check("log_joint", p.model.log_joint(None, z), want, p.tolerance)]
    found = p.model.log_joint(p.x[:, None], _states(p)[None])
    want = [[p.joint(p.parameters, x, z, None) for z in naive.states(p.num_latents)] for x in p.x.tolist()]
    return [Check("log_joint", found, np.reshape(want, (p.num_data, 1 << p.num_latents)), p.tolerance)]


def exact_posterior(p: Problem, rng: np.random.Generator) -> list[Check]:
    top_k = int(rng.integers(0, min(4, 1 << min(_fewest(p), 4)) + 1))
    pairwise = bool(rng.random() < 0.5)
    found = fastvi.exact_posterior(p.model, p.x, observed=p.observed, top_k=top_k, pairwise=pairwise)
    z, logs = _states(p), np.reshape(_posteriors(p), (p.num_data, 1 << p.num_latents))
    mass = np.exp(logs)
    # a probability is off by its own size times the error of its logarithm, at most by that
    tol = 4 * p.tolerance + 2.0**-50
    checks = [
        Check("posterior.log_marginal", found.log_marginal, _log_marginals(p), p.tolerance),
        Check("posterior.mean", found.mean, mass @ z, tol),
        Check("posterior.mode_log_prob", found.mode_log_prob, logs.max(axis=1), 2 * p.tolerance),
    ]
    # -p log p changes by (1 + |log p|) p of what log p is off; p |log p| < 0.4, summed over 2^d states
    entropy = [-math.fsum(naive.times(math.exp(t), t) for t in row) for row in logs.tolist()]
    checks.append(Check("posterior.entropy", found.entropy, entropy, tol * (1 << p.num_latents)))
    if pairwise:
        pairs = np.einsum("ns,si,sj->nij", mass, z, z)
        checks.append(Check("posterior.second_moment", found.second_moment, pairs, tol))
    if top_k:
        best = -np.sort(-logs, axis=1)[:, :top_k]
        checks.append(Check("posterior.top_log_probs", found.top_log_probs, best, 2 * p.tolerance))
    if p.num_data:
        one = found.sample(3, int(rng.integers(2**63)))
        drawn = np.moveaxis(one, -2, 0) if one.shape[0] == p.num_data != 3 else one
        drawn = drawn.reshape(-1, p.num_latents)
        possible = (logs > -700).any(axis=0)  # of any datum
        index = (drawn.astype(int) * (1 << np.arange(p.num_latents)[::-1])).sum(axis=1)
        checks.append(Check("posterior.sample is possible", possible[index].all(), True, 0.0))
    return checks


def _fewest(p: Problem) -> int:
    """Latents that the data leave free."""
    if p.kind != "machine":
        return p.num_latents
    if p.observed is None:
        return 0
    return int((~p.observed).sum(axis=-1).min(initial=p.num_latents))


def gradient(p: Problem, rng: np.random.Generator) -> list[Check]:
    """Against central differences of the oracle, at some entries of each parameter."""
    if p.kind == "user's log joint":
        return []
    weights = rng.normal(size=p.num_data)
    found = fastvi.log_marginal_gradient(p.model, p.x, observed=p.observed, data_weights=weights)
    step = 1e-4

    def total(parameters: Parameters) -> float:
        return math.fsum(w * p.log_marginal(n, parameters) for n, w in enumerate(weights.tolist()))

    checks = []
    for name, value in found.items():
        where = [tuple(int(rng.integers(size)) for size in value.shape) for _ in range(min(2, value.size))]
        for index in where:
            if p.kind == "machine" and name == "couplings" and index[0] == index[1]:
                continue
            if "layer" in name and p.model.activation in ("relu", "leaky_relu", "elu"):
                continue  # a step may go over a kink
            # steps of the noise are relative: size / s^2 has a third derivative of 24 size / s^5
            unit = p.parameters["noise_std"] if name == "noise_std" else 1.0
            ends = [total(_moved(p.parameters, name, index, s * unit)) for s in (-step, step)]
            # of the differences: step^2 / 6 of the third derivative, which the scale of x and s bounds by
            # about size^1.5, in units of the noise by 24 / 6 size more, and the rounding of two totals over
            # 2 step
            curved = 1 + p.size**1.5 + (4 * p.size if name == "noise_std" else 0.0)
            tol = float(np.abs(weights).sum() + 1) * (step**2 * curved + p.tolerance / step) / unit
            got = float(value[index]) if index else float(value)
            want = (ends[1] - ends[0]) / (2 * step * unit)
            checks.append(Check(f"gradient in {name}{index}", got, want, tol))
    return checks


def _moved(parameters: Parameters, name: str, index: tuple[int, ...], step: float) -> Parameters:
    array = np.array(parameters[name], dtype=float)
    array[index] += step
    return {**parameters, name: array.tolist()}


def _q(p: Problem, rng: np.random.Generator) -> tuple[Any, list[list[float]]]:
    """A Bernoulli, shared or one for each datum, and log q(z) of each datum."""
    scale = float(rng.choice([0.0, 1.0, 10.0]))
    logits = scale * rng.normal(size=(p.num_data, p.num_latents) if rng.random() < 0.5 else p.num_latents)
    rows = np.broadcast_to(logits, (p.num_data, p.num_latents)).tolist()
    return fastvi.Bernoulli(logits), [
        [naive.bernoulli_log_prob(z, row) for z in naive.states(p.num_latents)] for row in rows
    ]


def bounds(p: Problem, rng: np.random.Generator) -> list[Check]:
    if p.kind == "machine":  # q is over the units that are not observed; its own tests say how
        return []
    q, logs = _q(p, rng)
    log_z = p.log_z(p.parameters) if p.log_z else 0.0
    joint = [[t - log_z for t in p.table(n)] for n in range(p.num_data)]
    posterior = _posteriors(p)
    reach = max((abs(t) for row in logs for t in row), default=0.0)
    tol = 2 * p.tolerance + 64 * 2.0**-53 * reach
    kind = [None, "joint", "log_ratio", "reconstruction"][rng.integers(4)]
    if kind == "reconstruction" and p.kind in ("restricted machine", "user's log joint"):
        kind = None
    return [
        Check(
            f"elbo, {kind}",
            fastvi.elbo(p.model, p.x, q, observed=p.observed, decomposition=kind).value,
            [
                _mean(lq, [a - b for a, b in zip(row, lq, strict=True)])
                for row, lq in zip(joint, logs, strict=True)
            ],
            tol,
        ),
        Check(
            "kl_to_posterior",
            fastvi.kl_to_posterior(p.model, p.x, q, observed=p.observed),
            [
                _mean(lq, [b - a for a, b in zip(row, lq, strict=True)])
                for row, lq in zip(posterior, logs, strict=True)
            ],
            tol,
        ),
        Check(
            "kl_from_posterior",
            fastvi.kl_from_posterior(p.model, p.x, q, observed=p.observed),
            [
                _mean(row, [a - b for a, b in zip(row, lq, strict=True)])
                for row, lq in zip(posterior, logs, strict=True)
            ],
            tol,
        ),
        Check(
            "chi_square_bound",
            fastvi.chi_square_bound(p.model, p.x, q, observed=p.observed),
            [
                0.5 * naive.log_sum_exp(2 * a - b for a, b in zip(row, lq, strict=True) if a > -math.inf)
                for row, lq in zip(joint, logs, strict=True)
            ],
            tol,
        ),
    ]


def upper_bound(p: Problem, rng: np.random.Generator) -> list[Check]:
    if "upper_bound" not in fastvi.supported(p.model):
        return []
    found, want = fastvi.upper_bound(p.model, p.x, observed=p.observed), _log_marginals(p)
    return [Check("upper_bound", np.minimum(found, want), want, p.tolerance)]


def _mean(logs: list[float], values: list[float]) -> float:
    """Of values under exp(logs); what has no mass does not count."""
    return math.fsum(naive.times(math.exp(t), v) for t, v in zip(logs, values, strict=True))


def estimate(p: Problem, rng: np.random.Generator) -> list[Check]:
    """The same draws, weighed by the oracle: no chance is left."""
    seed, num = int(rng.integers(2**63)), int(rng.integers(2, 40))
    scale = float(rng.choice([0.0, 1.0]))
    logits = scale * rng.normal(size=p.num_latents)
    proposal: Any = fastvi.Bernoulli(logits) if scale else "uniform"
    observed = {} if p.observed is None else {"observed": p.observed}
    if p.kind == "machine":
        return []
    found = fastvi.estimate_log_marginal(
        p.model, p.x, proposal=proposal, num_samples=num, seed=seed, **observed
    )
    log_z = p.log_z(p.parameters) if p.log_z else 0.0
    wanted = []
    for n in range(p.num_data):
        x, mask, log_w = p.x[n].tolist(), p.mask(n), []
        for k in range(num):
            z = naive.bernoulli_draw(logits.tolist(), seed, n, k)
            log_w.append(
                p.joint(p.parameters, x, z, mask) - log_z - naive.bernoulli_log_prob(z, logits.tolist())
            )
        wanted.append(naive_log_weights.estimate(log_w)[:1] + naive_log_weights.estimate(log_w)[2:3])
    want = np.reshape(wanted, (p.num_data, 2))
    return [
        Check("estimate.log_marginal", found.log_marginal, want[:, 0], 2 * p.tolerance),
        # a ratio of sums of weights: twice the error of log weights, relative
        Check("estimate.ess", found.ess, want[:, 1], num * (8 * p.tolerance + 2.0**-48)),
    ]


def fit(p: Problem, rng: np.random.Generator) -> list[Check]:
    """What a fit says of its q is what that q has, and no more than log p(x)."""
    if p.kind not in ("network", "deep network", "sparse coding", "decoder") or not p.num_data:
        return []
    found = fastvi.fit_posterior(p.model, p.x, num_restarts=1, max_steps=30, seed=3)
    whole = Problem(**{**vars(p), "observed": None})
    logs = [
        [naive.bernoulli_log_prob(z, row) for z in naive.states(p.num_latents)]
        for row in found.q.logits.tolist()
    ]
    want = [_mean(lq, [a - b for a, b in zip(whole.table(n), lq, strict=True)]) for n, lq in enumerate(logs)]
    reach = max((abs(t) for row in logs for t in row), default=0.0)
    tol = 2 * p.tolerance + 64 * 2.0**-53 * reach
    above = [max(0.0, a - whole.log_marginal(n)) for n, a in enumerate(found.objective.tolist())]
    return [
        Check("fit_posterior.objective", found.objective, want, tol),
        Check("fit_posterior.objective is a bound", above, np.zeros(p.num_data), tol),
    ]


def weights(p: Problem, rng: np.random.Generator) -> list[Check]:
    """Functions of given log weights; the problem plays no part."""
    num, rows = int(rng.integers(2, 200)), int(rng.integers(1, 4))
    log_w = float(rng.choice([0.0, 1.0, 30.0])) * rng.normal(size=(rows, num)) + float(
        rng.choice([0.0, -700.0])
    )
    if rng.random() < 0.3:
        log_w[:, : num // 2] = -math.inf
    axis = int(rng.choice([-1, 0]))
    given, lists = (log_w if axis == -1 else log_w.T), log_w.tolist()
    # each weight is off by the rounding of log w less the largest, of |log w| 2^-53
    finite = np.abs(log_w[np.isfinite(log_w)])
    tol = 64 * 2.0**-53 * (1 + float(finite.max(initial=0.0)))
    alpha = float(rng.choice([-1.0, 0.5, 2.0, 1.0]))
    k = int(rng.integers(1, num + 1))
    summary = fastvi.LogWeights()
    cut = int(rng.integers(0, num + 1))
    summary.update(log_w[:, :cut])
    summary.update(log_w[:, cut:])
    return [
        Check(
            "log_mean_exp",
            fastvi.log_mean_exp(given, axis),
            [naive_log_weights.log_mean_exp(r) for r in lists],
            tol,
        ),
        Check(
            "LogWeights",
            summary.estimate().log_marginal,
            [naive_log_weights.log_mean_exp(r) for r in lists],
            tol,
        ),
        Check(
            "effective_sample_size",
            fastvi.effective_sample_size(given, axis),
            [naive_log_weights.effective_sample_size(r) for r in lists],
            4 * num * tol,
        ),
        Check(
            "importance_weighted_bound",
            fastvi.importance_weighted_bound(given, k, axis=axis),
            [naive_log_weights.importance_weighted_bound(r, k) for r in lists],
            tol,
        ),
        Check(
            "renyi_bound",
            fastvi.renyi_bound(given, alpha, axis),
            [naive_log_weights.renyi_bound(r, alpha) for r in lists],
            4 * tol,
        ),
        # K times a difference of two means
        Check(
            "jackknife_bound",
            fastvi.jackknife_bound(given, axis),
            [naive_log_weights.jackknife_bound(r) for r in lists],
            4 * num * tol,
        ),
    ]


QUESTIONS: tuple[Callable[[Problem, np.random.Generator], list[Check]], ...] = (
    log_marginal, log_joint, exact_posterior, gradient, bounds, upper_bound, estimate, fit, weights,
)  # fmt: skip
