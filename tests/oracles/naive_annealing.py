"""Annealed importance sampling of one chain in pure Python: lists, ``math`` only, nothing from fastvi."""

from __future__ import annotations

import math
import statistics

import naive
import naive_models

MACHINES, DATA = 2**29, 2**29 + 2**27
REVERSED, PILOT = 2**26, 2**25


def draws(probabilities, seed, chain, step, datum, tag=MACHINES):
    """Bits that are 1 where a 64-bit number is below p 2^64; its low half is that of a second counter."""
    word = 2**32 - 1
    key = (seed & word, seed >> 32)
    bits = []
    for unit, p in enumerate(probabilities):
        block = 4 * (unit // 16) + unit % 4 | tag
        high, low = (
            naive.philox((number, step, chain, datum), key)[unit % 16 // 4]
            for number in (block, block | 1 << 31)
        )
        bits.append(int((high << 32) + low < p * 2**64))
    return bits


def layer_draws(probabilities, seed, chain, step, layer, tag=MACHINES):
    """Bits of a layer, 1 where a 48-bit number is below p 2^48: its high 16 are half of a word, the low
    32 are the same word of a second counter.
    """
    word = 2**32 - 1
    key = (seed & word, seed >> 32)
    bits = []
    for unit, p in enumerate(probabilities):
        tile, part, i = unit // 32, unit % 32 // 8, unit % 8
        block, which = 4 * tile + i // 2, i % 2 + part // 2 * 2
        high = naive.philox((block | tag, step, chain, layer), key)[which]
        second = 2 * block + part % 2 | tag | 1 << 31
        low = naive.philox((second, step, chain, layer), key)[which]
        high = high >> 16 if part % 2 else high % 2**16
        bits.append(int((high << 32) + low < p * 2**48))
    return bits


def draw_one(p, unit, *rest):
    return draws([0.0] * unit + [p], *rest)[unit]


def fields(rows, bias, bits):
    """bias + the sum of the rows whose bit is 1."""
    return [
        math.fsum([b, *(row[k] for row, bit in zip(rows, bits, strict=True) if bit)])
        for k, b in enumerate(bias)
    ]


def moves(num_temperatures, is_reversed):
    """Pairs (step that is weighed, temperature to move at; 0 where there is no move)."""
    steps = range(1, num_temperatures + 1)
    if is_reversed:
        return [(step, step - 1) for step in reversed(steps)]
    return [(step, step if step < num_temperatures else 0) for step in steps]


def rbm_log_weight(weights, visible_bias, hidden_bias, num_temperatures, seed, chain, start=None):
    """Relative to the machine without weights and hidden biases; with visible units ``start`` the chain runs
    back from them.
    """
    transposed = [list(column) for column in zip(*weights, strict=True)]
    tag, v, total = MACHINES, start, 0.0
    if start is None:
        v = layer_draws([naive.sigmoid(b) for b in visible_bias], seed, chain, 0, 0)
    else:
        tag |= REVERSED
    for step, move in moves(num_temperatures, start is not None):
        before, beta = (step - 1) / num_temperatures, step / num_temperatures
        a = fields(weights, hidden_bias, v)
        total += math.fsum(naive.softplus(beta * t) - naive.softplus(before * t) for t in a)
        beta = move / num_temperatures
        h = layer_draws([naive.sigmoid(beta * t) for t in a], seed, chain, move, 1, tag)
        sums = fields(transposed, [0.0] * len(v), h)
        chances = [naive.sigmoid(b + beta * t) for b, t in zip(visible_bias, sums, strict=True)]
        v = layer_draws(chances, seed, chain, move, 0, tag)
    return total


def bm_log_weight(couplings, bias, num_temperatures, seed, chain, start=None):
    """Relative to the machine without couplings; pairs of -inf hold from the first draw on. With ``start``
    the chain runs back from it.
    """

    def allowed(z, i):
        return not any(z[j] and couplings[i][j] == -math.inf for j in range(len(z)))

    units = range(len(bias))
    tag, z, total = MACHINES, [0] * len(bias), 0.0
    if start is None:
        for i, h in enumerate(bias):
            if allowed(z, i):
                z[i] = draw_one(naive.sigmoid(h), i, seed, chain, 0, 0, tag)
            else:
                total -= naive.softplus(h)
    else:
        tag, z = tag | REVERSED, list(start)
    for step, move in moves(num_temperatures, start is not None):
        energy = naive.bm_log_joint(couplings, [0.0] * len(z), z)
        total += (step / num_temperatures - (step - 1) / num_temperatures) * energy
        for i in reversed(units) if start is not None else units:
            if move:
                z[i] = 0
                if allowed(z, i):
                    pairs = [couplings[i][j] for j in range(len(z)) if z[j]]
                    p = naive.sigmoid(bias[i] + move / num_temperatures * math.fsum(pairs))
                    z[i] = draw_one(p, i, seed, chain, move, 0, tag)
    if start is not None:
        for i in units:
            if not allowed([bit if j < i else 0 for j, bit in enumerate(z)], i):
                total -= naive.softplus(bias[i])
    return total


def latents_log_weight(log_joint, logits, num_temperatures, seed, datum, chain, start=None):
    """Of log p(x): ``log_joint(z)`` of one datum, from units of log odds ``logits``; with ``start`` the chain
    runs back from it.
    """
    units, total = range(len(logits)), 0.0
    if start is None:
        tag, z = DATA, draws([naive.sigmoid(t) for t in logits], seed, chain, 0, datum, DATA)
    else:
        tag, z = DATA | REVERSED, list(start)
    for step, move in moves(num_temperatures, start is not None):
        share = step / num_temperatures - (step - 1) / num_temperatures
        total += share * (log_joint(z) - naive.bernoulli_log_prob(z, logits))
        for i in reversed(units) if start is not None else units:
            if move:
                off, on = (log_joint([*z[:i], bit, *z[i + 1 :]]) for bit in (0, 1))
                if on == off == -math.inf:
                    continue
                beta = move / num_temperatures
                logit = logits[i] + beta * (on - off - logits[i])
                p = float(logit > 0) if math.isinf(logit) else naive.sigmoid(logit)
                z[i] = draw_one(p, i, seed, chain, move, datum, tag)
    return total


def trajectory_numbers(num_latents, seed, step, chain, datum, tag):
    """Normal numbers of the momenta, and two uniform ones."""
    word = 2**32 - 1
    key, momenta = (seed & word, seed >> 32), []
    for i in range(num_latents):
        words = naive.philox((i // 2 | 1 << 23 | tag, step, chain, datum), key)
        high, low = words[2 * (i % 2)], words[2 * (i % 2) + 1]
        tail = ((high * 2**32 + low) // 2**11 + 0.5) / 2**54
        size = -statistics.NormalDist().inv_cdf(tail)
        momenta.append(size if low % 2 == 0 else -size)
    words = naive.philox((2 << 23 | tag, step, chain, datum), key)
    return momenta, [((words[k] << 32) + words[k + 1] >> 11) / 2**53 for k in (0, 2)]


def hamiltonian_log_weight(
    log_joint, gradient, mean, std, sizes, num_leapfrog, num_temperatures, seed, datum, chain, start=None
):
    """Of log p(x) with continuous latents: ``sizes[k]`` is the step size at temperature k."""
    units = range(len(mean))

    def point(y):
        return [mean[i] + std[i] * y[i] for i in units]

    def log_f(beta, y):
        return beta * log_joint(point(y)) - (1 - beta) * math.fsum(t * t for t in y) / 2

    def slope(beta, y):
        pull = gradient(point(y))
        return [beta * std[i] * pull[i] - (1 - beta) * y[i] for i in units]

    total, tag = 0.0, DATA if start is None else DATA | REVERSED
    if start is None:
        y = trajectory_numbers(len(mean), seed, 0, chain, datum, tag)[0]
    else:
        y = [(start[i] - mean[i]) / std[i] for i in units]
    for step, move in moves(num_temperatures, start is not None):
        log_q = naive_models.normal_log_prob(point(y), mean, std)
        share = step / num_temperatures - (step - 1) / num_temperatures
        total += share * (log_joint(point(y)) - log_q)
        if not move:
            continue
        beta = move / num_temperatures
        p, (accept, vary) = trajectory_numbers(len(mean), seed, move, chain, datum, tag)
        size = sizes[move] * (0.8 + 0.4 * vary)
        new, before = y, log_f(beta, y) - math.fsum(t * t for t in p) / 2
        for _ in range(num_leapfrog):
            p = [a + size / 2 * b for a, b in zip(p, slope(beta, new), strict=True)]
            new = [a + size * b for a, b in zip(new, p, strict=True)]
            p = [a + size / 2 * b for a, b in zip(p, slope(beta, new), strict=True)]
        change = log_f(beta, new) - math.fsum(t * t for t in p) / 2 - before
        y = new if accept < math.exp(min(change, 0.0)) else y
    return total
