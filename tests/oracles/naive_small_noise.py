"""Gaussian pixels around means eta(z) of all states: log p(x), means, gradients and ELBO, from residuals.

``numbers`` are the arithmetic: NumPy's doubles ("a direct sum in float64") or mpmath's numbers of 300 bits.
"""

import itertools

import mpmath
import numpy as np

BITS = 300


def to_mp(array):
    return np.vectorize(mpmath.mpf, otypes=[object])(np.asarray(array, np.float64))


class Doubles:
    """float64."""

    array = staticmethod(lambda a: np.asarray(a, np.float64))
    exp = staticmethod(np.exp)
    log = staticmethod(np.log)
    pi = np.pi


class Exact:
    """300 bits: residuals of 1e-9 of numbers of 1e5 keep more than 200."""

    array = staticmethod(to_mp)
    exp = staticmethod(lambda a: np.vectorize(mpmath.exp, otypes=[object])(a))
    log = staticmethod(lambda a: np.vectorize(mpmath.log, otypes=[object])(a))

    @property
    def pi(self):
        return +mpmath.pi


def states(num_latents):
    return np.array(list(itertools.product((0, 1), repeat=num_latents)))


def residuals(numbers, means, x):
    """(N, S, D) for ``means`` (S, D) of the states."""
    return numbers.array(x)[:, None] - means[None]


def log_joints(numbers, residual, noise_std, prior_logits, z):
    """(N, S)."""
    s, c = numbers.array(noise_std), numbers.array(prior_logits)
    prior = (z * c - numbers.log(1 + numbers.exp(c))).sum(axis=-1)
    density = numbers.log(s) + numbers.log(numbers.array(2) * numbers.pi) / 2
    return prior - ((residual / s) ** 2 / 2).sum(axis=-1) - residual.shape[-1] * density


def posterior(numbers, joints):
    """log p(x) (N,), p(z | x) (N, S)."""
    largest = joints.max(axis=1)
    evidence = largest + numbers.log(numbers.exp(joints - largest[:, None]).sum(axis=1))
    return evidence, numbers.exp(joints - evidence[:, None])


def sparse_coding(numbers, weights, bias, noise_std, prior_logits, x, logits):
    """All answers about binary sparse coding, by name; ``logits`` are a q's. The gradient in the noise is
    that of each datum, so that errors of a direct sum are seen before they happen to cancel.
    """
    w, b, s, c = (numbers.array(a) for a in (weights, bias, noise_std, prior_logits))
    z = states(w.shape[1])
    residual = residuals(numbers, (z[:, None, :] * w[None]).sum(axis=-1) + b, x)
    joints = log_joints(numbers, residual, noise_std, prior_logits, z)
    evidence, p = posterior(numbers, joints)
    mean = (p[:, :, None] * z).sum(axis=1)
    square = (p * (residual**2).sum(axis=-1)).sum(axis=1)
    gradient = {
        "weights": ((p[:, :, None] * residual)[..., None] * z[None, :, None, :]).sum(axis=(0, 1)) / s**2,
        "bias": (p[:, :, None] * residual).sum(axis=(0, 1)) / s**2,
        "noise_std": square / s**3 - w.shape[0] / s,
        "prior_logits": (mean - 1 / (1 + numbers.exp(-c))).sum(axis=0),
    }
    q = numbers.exp(log_mass(numbers, logits, z))
    elbo = (q * (joints - log_mass(numbers, logits, z))).sum(axis=1)
    return {
        "log_marginal": evidence,
        "mean": mean,
        "square": square,
        "elbo": elbo,
        "posterior": p,
        **gradient,
    }


def log_mass(numbers, logits, z):
    """log q(z) (N, S)."""
    rows = numbers.array(logits)
    zero, one = -numbers.log(1 + numbers.exp(rows)), -numbers.log(1 + numbers.exp(-rows))
    return (z[None] * one[:, None] + (1 - z[None]) * zero[:, None]).sum(axis=-1)


def decoder(numbers, layers, noise_std, prior_logits, x, logits):
    """The same of a "relu" decoder; gradients by layer."""
    s = numbers.array(noise_std)
    layers = [(numbers.array(weight), numbers.array(bias)) for weight, bias in layers]
    z = states(layers[0][0].shape[1])
    hidden = [numbers.array(z)]
    for i, (weight, bias) in enumerate(layers):
        before = hidden[-1] if i == 0 else hidden[-1] * (hidden[-1] > 0)
        hidden[-1] = before
        hidden.append((before[:, None, :] * weight[None]).sum(axis=-1) + bias)
    residual = residuals(numbers, hidden.pop(), x)
    joints = log_joints(numbers, residual, noise_std, prior_logits, z)
    evidence, p = posterior(numbers, joints)
    pull = (p[:, :, None] * residual).sum(axis=0) / s**2
    gradient = {"noise_std": (p[..., None] * residual**2).sum(axis=(1, 2)) / s**3 - x.shape[1] / s}
    for i in reversed(range(len(layers))):
        gradient[f"layer_{i}_weight"] = (pull[:, :, None] * hidden[i][:, None, :]).sum(axis=0)
        gradient[f"layer_{i}_bias"] = pull.sum(axis=0)
        pull = (pull[:, :, None] * layers[i][0][None]).sum(axis=1) * (hidden[i] > 0)
    q = numbers.exp(log_mass(numbers, logits, z))
    elbo = (q * (joints - log_mass(numbers, logits, z))).sum(axis=1)
    mean = (p[:, :, None] * z).sum(axis=1)
    return {"log_marginal": evidence, "mean": mean, "elbo": elbo, **gradient}


def coding_log_joint(numbers, weights, bias, noise_std, prior_logits, x, z):
    """log p(x_n, z) (N, K) of binary sparse coding, from residuals, of states z (N, K, d)."""
    w, b = numbers.array(weights), numbers.array(bias)
    residual = numbers.array(x)[:, None] - ((z[:, :, None, :] * w).sum(axis=-1) + b)
    return normal_logs(numbers, residual, noise_std) + log_prior(numbers, prior_logits, z)


def normal_logs(numbers, residual, noise_std):
    """(...) of residuals (..., D)."""
    s = numbers.array(noise_std)
    density = numbers.log(s) + numbers.log(numbers.array(2) * numbers.pi) / 2
    return -((residual / s) ** 2 / 2).sum(axis=-1) - residual.shape[-1] * density


def log_prior(numbers, logits, z):
    """log of the probability of bits z (..., d), each by itself, so that no huge logit hides another."""
    chosen = numbers.array(np.where(z != 0, -logits, logits).astype(np.float64))
    positive, size = (chosen > 0) * chosen, abs(chosen)
    return -(positive + numbers.log(1 + numbers.exp(-size))).sum(axis=-1)
