"""Annealed importance sampling of one chain in pure Python: lists, ``math`` only, nothing from fastvi."""

from __future__ import annotations

import math

import naive


def draws(probabilities, seed, chain, step, layer):
    """Bits that are 1 where a 64-bit number is below p 2^64; its low half is that of a second counter."""
    word = 2**32 - 1
    key = (seed & word, seed >> 32)
    bits = []
    for unit, p in enumerate(probabilities):
        block = 4 * (unit // 16) + unit % 4 | 1 << 29
        high, low = (
            naive.philox((number, step, chain, layer), key)[unit % 16 // 4]
            for number in (block, block | 1 << 31)
        )
        bits.append(int((high << 32) + low < p * 2**64))
    return bits


def fields(rows, bias, bits):
    """bias + the sum of the rows whose bit is 1."""
    return [
        math.fsum([b, *(row[k] for row, bit in zip(rows, bits, strict=True) if bit)])
        for k, b in enumerate(bias)
    ]


def rbm_log_weight(weights, visible_bias, hidden_bias, num_temperatures, seed, chain):
    """Relative to the machine without weights and hidden biases."""
    transposed = [list(column) for column in zip(*weights, strict=True)]
    v = draws([naive.sigmoid(b) for b in visible_bias], seed, chain, 0, 0)
    total = 0.0
    for step in range(1, num_temperatures + 1):
        before, beta = (step - 1) / num_temperatures, step / num_temperatures
        a = fields(weights, hidden_bias, v)
        total += math.fsum(naive.softplus(beta * t) - naive.softplus(before * t) for t in a)
        h = draws([naive.sigmoid(beta * t) for t in a], seed, chain, step, 1)
        sums = fields(transposed, [0.0] * len(v), h)
        chances = [naive.sigmoid(b + beta * t) for b, t in zip(visible_bias, sums, strict=True)]
        v = draws(chances, seed, chain, step, 0)
    return total


def bm_log_weight(couplings, bias, num_temperatures, seed, chain):
    """Relative to the machine without couplings; pairs of -inf hold from the first draw on."""

    def allowed(z, i):
        return not any(z[j] and couplings[i][j] == -math.inf for j in range(len(z)))

    def draw(p, i, step):
        return draws([0.0] * i + [p], seed, chain, step, 0)[i]

    z, total = [0] * len(bias), 0.0
    for i, h in enumerate(bias):
        if allowed(z, i):
            z[i] = draw(naive.sigmoid(h), i, 0)
        else:
            total -= naive.softplus(h)
    for step in range(1, num_temperatures + 1):
        before, beta = (step - 1) / num_temperatures, step / num_temperatures
        energy = naive.bm_log_joint(couplings, [0.0] * len(z), z)
        total += (beta - before) * energy
        for i, h in enumerate(bias):
            z[i] = 0
            if allowed(z, i):
                pairs = [couplings[i][j] for j in range(len(z)) if z[j]]
                z[i] = draw(naive.sigmoid(h + beta * math.fsum(pairs)), i, step)
    return total
