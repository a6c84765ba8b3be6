"""Derivatives of log p(x) and of bounds by a complex step, from log joints of all states.

NumPy alone, nothing from fastvi. f(a + i h) = f(a) + i h f'(a) + O(h^2): with h = 1e-30 the imaginary part
over h is f'(a) to the rounding of f, for nothing is subtracted. So everything here is analytic in its
parameters, and takes complex ones. Pixels may be real numbers, which log p(x, z) has a meaning for.

A model is (kind, p): "network", "machine", "restricted", "sparse coding", "linear" or an activation's name,
and its arrays by their names. A network's prior is p["prior_logits"], or another model's arrays.
"""

from __future__ import annotations

import itertools

import numpy as np

STEP = 1e-30


def derivative(function, value):
    """The gradient of a real ``function`` at an array, of its shape."""
    value = np.asarray(value, np.float64)
    out = np.empty(value.shape)
    for index in np.ndindex(value.shape):
        moved = value.astype(np.complex128)
        moved[index] += 1j * STEP
        out[index] = np.imag(function(moved)) / STEP
    return out


def states(d):
    return np.array(list(itertools.product((0.0, 1.0), repeat=d))).reshape(1 << d, d)


def log_sum_exp(values, axis=-1):
    shift = np.real(values).max(axis=axis, keepdims=True)
    return np.log(np.exp(values - shift).sum(axis=axis)) + np.squeeze(shift, axis)


def softplus(t):
    """log(1 + exp(t)), the larger term taken out."""
    positive = np.real(t) > 0
    small = np.exp(np.where(positive, -t, t))
    # log(1 + u) for a real u this small loses nothing that the sums keep; its derivative is 1 / (1 + u)
    return np.log(1 + small) + np.where(positive, t, 0)


def activated(name, t):
    if name == "relu":
        return np.where(np.real(t) > 0, t, 0)
    return {"tanh": np.tanh, "softplus": softplus, "sigmoid": lambda u: 1 / (1 + np.exp(-u))}[name](t)


def energy(couplings, bias, z):
    return np.einsum("si,ij,sj->s", z, couplings, z) / 2 + z @ bias


def log_prior(p, z):
    """log p(z) of rows of bits."""
    if "prior_logits" in p:
        return z @ p["prior_logits"] - softplus(p["prior_logits"]).sum()
    above = {name.removeprefix("prior_"): value for name, value in p.items() if name.startswith("prior_")}
    if "couplings" in above:
        every = states(z.shape[1])
        found = energy(above["couplings"], above["bias"], z)
        return found - log_sum_exp(energy(above["couplings"], above["bias"], every))
    return log_marginal("network", above, z, np.ones(z.shape, bool))


def outputs(kind, p, z):
    """Logits or means (S, D) of the pixels given rows z."""
    if kind in ("network", "sparse coding", "linear"):
        return z @ p["weights"].T + p["bias"]
    if kind == "restricted":
        return z @ p["weights"].T + p["visible_bias"]
    count = sum(name.endswith("_weight") for name in p)
    for i in range(count):
        z = activated(kind, z) if i else z
        z = z @ p[f"layer_{i}_weight"].T + p[f"layer_{i}_bias"]
    return z


def log_likelihood(kind, p, x, seen, z):
    """log p(x_n | z_s) (N, S), or of z_ns (N, S, d); of a restricted machine what x and z enter."""
    rows = z.reshape(-1, z.shape[-1])
    eta = outputs(kind, p, rows).reshape(*z.shape[:-1], x.shape[1])
    eta = eta[None] if z.ndim == 2 else eta
    if "noise_std" in p:
        std = p["noise_std"]
        terms = -(((x[:, None] - eta) / std) ** 2) / 2 - np.log(std) - np.log(2 * np.pi) / 2
    elif kind == "restricted":
        return np.where(seen[:, None], x[:, None] * eta, softplus(eta)).sum(axis=2)
    else:
        terms = x[:, None] * eta - softplus(eta)
    return np.where(seen[:, None], terms, 0).sum(axis=2)


def num_latents(kind, p):
    first = p["layer_0_weight"] if "layer_0_weight" in p else p["weights"]
    return first.shape[1]


def log_joint(kind, p, x, seen, z):
    """log p(x_n, z_s), (N, S)."""
    if kind == "restricted":
        every, nothing = states(z.shape[1]), np.zeros((1, x.shape[1]), bool)
        free = log_likelihood(kind, p, x[:1] * 0, nothing, every)[0] + every @ p["hidden_bias"]
        return log_likelihood(kind, p, x, seen, z) + z @ p["hidden_bias"] - log_sum_exp(free)
    prior = log_prior(p, z.reshape(-1, z.shape[-1])).reshape(z.shape[:-1])
    return log_likelihood(kind, p, x, seen, z) + prior


def log_marginal(kind, p, x, seen):
    """log p(x_n) of the pixels that are seen, (N,)."""
    if kind == "machine":
        z = states(len(p["bias"]))
        values = energy(p["couplings"], p["bias"], z)
        agree = ((z == x[:, None]) | ~seen[:, None]).all(axis=2)
        return log_sum_exp(np.where(agree, values, -np.inf)) - log_sum_exp(values)
    if kind == "linear":
        return np.array([_normal(p, row, kept) for row, kept in zip(x, seen, strict=True)])
    return log_sum_exp(log_joint(kind, p, x, seen, states(num_latents(kind, p))))


def _normal(p, x, kept):
    weights, away = p["weights"][kept], (x - p["bias"])[kept]
    covariance = weights @ weights.T + p["noise_std"] ** 2 * np.eye(len(weights))
    sign, size = np.linalg.slogdet(covariance)
    square = away @ np.linalg.solve(covariance, away)
    return -(square + size + 1j * np.angle(sign) + len(weights) * np.log(2 * np.pi)) / 2


def elbo(kind, p, x, q):
    """E_q[log p(x, z) - log q(z)] (N,), over all states, or over nodes that are exact of quadratics."""
    seen = np.ones(x.shape, bool)
    if kind != "linear":
        z = states(q.shape[1])
        log_q = (z * q[:, None] - softplus(q)[:, None]).sum(axis=2)
        return (np.exp(log_q) * (log_joint(kind, p, x, seen, z) - log_q)).sum(axis=1)
    mean, log_std = np.split(q, 2, axis=1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    noise = np.array(list(itertools.product(nodes, repeat=mean.shape[1])))
    share = np.array(list(itertools.product(weights / weights.sum(), repeat=mean.shape[1]))).prod(axis=1)
    z = mean[:, None] + np.exp(log_std)[:, None] * noise
    entropy = (log_std + np.log(2 * np.pi) / 2 + 0.5).sum(axis=1)
    return (share * (log_likelihood(kind, p, x, seen, z) + standard_normal(z))).sum(axis=1) + entropy


def standard_normal(z):
    return -((z**2 + np.log(2 * np.pi)) / 2).sum(axis=-1)
