"""Slow references for learning: one step of expectation maximisation by the definitions, nothing from fastvi.

Lists of Python floats in, mpmath of 40 digits inside: enumeration of all states for binary latents, for
normal ones the joint normal distribution of z and x.
"""

from __future__ import annotations

import itertools

import mpmath

DIGITS = 40


def _expectations_of_bits(model, x):
    """log p(x), E[z] and E[z z^T] of one datum."""
    weights, bias, std, logits = model
    d = len(logits)
    total, mean, second = mpmath.mpf(0), mpmath.zeros(d, 1), mpmath.zeros(d, d)
    for z in itertools.product((0, 1), repeat=d):
        p = mpmath.mpf(1)
        for bit, t in zip(z, logits, strict=True):
            p /= 1 + mpmath.exp(-mpmath.mpf(t) if bit else mpmath.mpf(t))
        for value, row, b in zip(x, weights, bias, strict=True):
            away = mpmath.mpf(value) - b - sum(mpmath.mpf(w) * bit for w, bit in zip(row, z, strict=True))
            p *= mpmath.npdf(away, 0, std)
        state = mpmath.matrix(z)
        total, mean, second = total + p, mean + p * state, second + p * state * state.T
    return mpmath.log(total), mean / total, second / total


def _expectations_of_normals(model, x):
    """The same for z ~ N(0, I): E[z | x] = W^T C^-1 (x - b), Cov = I - W^T C^-1 W, C = W W^T + s^2 I."""
    weights, bias, std = mpmath.matrix(model[0]), mpmath.matrix(model[1]), mpmath.mpf(model[2])
    cov = weights * weights.T + std**2 * mpmath.eye(weights.rows)
    away = mpmath.matrix(x) - bias
    inverse = cov**-1
    mean = weights.T * inverse * away
    square = (away.T * inverse * away)[0]
    log_p = -(square + mpmath.log(mpmath.det(cov)) + weights.rows * mpmath.log(2 * mpmath.pi)) / 2
    return log_p, mean, mpmath.eye(weights.cols) - weights.T * inverse * weights + mean * mean.T


def em_step(model, data):
    """Mean log p(x) before the step, and (weights, bias, noise_std[, prior_logits]) after it.

    ``model`` is (weights, bias, noise_std) of normal latents, or (weights, bias, noise_std, prior_logits).
    """
    with mpmath.workdps(DIGITS):
        expect = _expectations_of_bits if len(model) == 4 else _expectations_of_normals
        found = [expect(model, x) for x in data]
        d, num = len(model[0][0]), len(data)
        moments, cross = mpmath.zeros(d + 1, d + 1), mpmath.zeros(len(model[1]), d + 1)
        for x, (_, mean, second) in zip(data, found, strict=True):
            extended = mpmath.matrix([*mean, 1])
            cross += mpmath.matrix(x) * extended.T
            for i in range(d + 1):
                moments[i, d] += extended[i]
                moments[d, i] += extended[i] if i < d else 0
            for i, j in itertools.product(range(d), repeat=2):
                moments[i, j] += second[i, j]
        solved = cross * moments**-1  # (D, d + 1)
        # E|x - W~ z~|^2 at the optimum is sum |x|^2 - <W~, sum x E[z~]^T>
        squares = sum(mpmath.mpf(v) ** 2 for x in data for v in x)
        squares -= sum(solved[j, i] * cross[j, i] for j in range(cross.rows) for i in range(d + 1))
        weights = [[float(solved[j, i]) for i in range(d)] for j in range(cross.rows)]
        after = [weights, [float(solved[j, d]) for j in range(cross.rows)]]
        after.append(float(mpmath.sqrt(squares / (num * cross.rows))))
        if len(model) == 4:
            shares = [sum(mean[i] for _, mean, _ in found) / num for i in range(d)]
            after.append([float(mpmath.log(p / (1 - p))) for p in shares])
        return float(sum(log_p for log_p, _, _ in found) / num), after
