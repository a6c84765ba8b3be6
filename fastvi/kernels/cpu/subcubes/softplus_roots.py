"""Bounds of the whole cube under A(z) = sum_j softplus(eta_j(z)), eta = W z + b, for many data at once.

For any g in [0, 1]^D, softplus(eta) >= g eta + H(g), H the entropy of a coin. So log p(x, z) =
c + <t, z> - A(z) is at most linear in z, and the sum over z is a product:

    U(g) = c - sum_j [g_j b_j + H(g_j)] + sum_i softplus(f_i),    f = t - W' g

(Jaakkola and Jordan 1996, "Computing upper and lower bounds on likelihoods in intractable networks"). At
g = sigmoid(W q + b) it is the tangent of A at q. The best q maximises the concave

    F(q) = c + <t, q> + H(q) - A(q) = U(g) - KL,    KL = sum_i [softplus(f_i) - q_i f_i - H(q_i)] >= 0,

so KL tells how far U may be from the best. Newton's step in the logits l of q is dl = r - W' S W V dl, with
r = f - l, S = diag(g (1 - g)) and V = diag(q (1 - q)). Conjugate gradients find V^1/2 dl of the symmetric
system; dl itself is r less the products that they took anyway, so that bits whose V is 0 get theirs.

An evaluation and a product of the conjugate gradients both take a vector of bits through W, work on pixels
and take these back through W'. So data stand in rows, each at its own point of the work, and go through both
matrix products together, one round after another; where one has ended the next takes its row. Rows do not
touch each other. Held-out digits under trained networks (D = 784, d = 24 to 200) take 35 rounds, of which 5
are Newton's steps; with weights twice as large 62 to 66.

Where weights are large, A has kinks that shorten Newton's steps. There the whole exponent is divided by a
temperature, which falls to 1 in stages. Each tangent on the way gives a bound, and the least one counts.
Measured with weights of trained networks times 10, up to 18: 8e-5 nats from the best in the median.
"""

from __future__ import annotations

import math

import numpy as np

from fastvi.kernels.cpu.dense.products import ROWS, pack_rows, product
from fastvi.kernels.cpu.subcubes.coins import softplus_of
from fastvi.kernels.jit import inline, reducing_inline, reducing_kernel
from fastvi.kernels.scalar import exp_of_negative, log_fast

_FACTORS = 512  # factors 1 + exp(-|eta|) <= 2 of a running product before its logarithm is taken
_FARTHEST = 40.0  # largest |logit| of a tangent point: beyond it q is 0 or 1 to the last place
_LONGEST = 8.0  # of a step, in the logit that moves most
_SHORTEST = 1e-3  # part of a step that is tried: what is still worse then is so by rounding
_COOLING = 2.0
_WARM_GAP = 0.1  # nats, of temperatures above 1
_WARM_ROUNDS = 120
_ROUNDS = 400  # at temperature 1; the bound is valid whatever was reached
_MOST_PRODUCTS = 80  # of a Newton step
_LOOSE, _TIGHT = 0.02, 1e-3  # residual of the conjugate gradients: of the first one; squared, of the gap

# rows of ``vectors`` and entries of ``numbers``, of each datum under way
_LOGITS, _TRIAL, _STEP, _ROOT_V, _RESIDUAL, _DIRECTION, _BEST = range(7)
NUM_VECTORS = 7
(
    _DATUM, _SEARCHES, _FRACTION, _VALUE, _LOWEST, _SQUARE, _ENOUGH, _PRODUCTS, _ROUND, _TEMPERATURE,
    _ENTROPY, _LEVEL,
) = range(12)  # fmt: skip
NUM_NUMBERS = 12


@inline
def _begin(vectors, numbers, datum, temperature):
    """Start a datum at q = 1/2."""
    for i in range(vectors.shape[1]):
        vectors[_TRIAL, i] = 0.0
        vectors[_BEST, i] = 0.0
    numbers[_DATUM], numbers[_TEMPERATURE] = datum, temperature
    numbers[_LOWEST] = math.inf
    _begin_stage(numbers)


@inline
def _begin_stage(numbers):
    numbers[_SEARCHES], numbers[_ROUND], numbers[_FRACTION], numbers[_VALUE] = 0.0, 0.0, 1.0, -math.inf


@reducing_inline
def _tangent(row, bias, coldness, curvature):
    """Set a row W q to g = sigmoid((W q + b) / T), ``curvature`` to g (1 - g) / T; ``coldness`` is 1 / T.

    Returns sum_j H(g_j) and sum_j g_j b_j.
    """
    entropy, level = 0.0, 0.0
    for first in range(0, row.size, _FACTORS):
        # parts: a loop over an index that does not begin at 0 does not vectorise
        part, offsets = row[first : first + _FACTORS], bias[first : first + _FACTORS]
        slopes = curvature[first : first + _FACTORS]
        factors, rest, linear = 1.0, 0.0, 0.0
        for j in range(part.size):
            e = (part[j] + offsets[j]) * coldness
            small = exp_of_negative(-abs(e))
            factor = 1.0 + small
            inverse = 1.0 / factor
            less = small * inverse
            g = inverse if e >= 0.0 else less
            factors *= factor
            rest += abs(e) * less
            linear += g * offsets[j]
            part[j] = g
            slopes[j] = less * inverse * coldness
        entropy += rest + math.log(factors)
        level += linear
    return entropy, level


@inline
def _scale(row, curvature):
    for j in range(row.size):
        row[j] *= curvature[j]


@inline
def _move(vectors, numbers):
    """Set the logits that are tried next."""
    for i in range(vectors.shape[1]):
        there = vectors[_LOGITS, i] + numbers[_FRACTION] * vectors[_STEP, i]
        vectors[_TRIAL, i] = min(max(there, -_FARTHEST), _FARTHEST)


@inline
def _end_of_search(vectors, numbers):
    """Take Newton's step, or as much of it as is not too long."""
    longest = 0.0
    for i in range(vectors.shape[1]):
        longest = max(longest, abs(vectors[_STEP, i]))
    numbers[_SEARCHES] = 0.0
    numbers[_FRACTION] = _LONGEST / longest if longest > _LONGEST else 1.0
    _move(vectors, numbers)


@reducing_inline
def _after_product(vectors, numbers, back):
    """Go on with the conjugate gradients, given W' S W of their direction."""
    size, curved = vectors.shape[1], 0.0
    for i in range(size):
        curved += vectors[_DIRECTION, i] * (
            vectors[_DIRECTION, i] + vectors[_ROOT_V, i] * back[i] / numbers[_TEMPERATURE]
        )
    length, square = numbers[_SQUARE] / curved, 0.0
    for i in range(size):
        bent = back[i] / numbers[_TEMPERATURE]
        vectors[_STEP, i] -= length * bent
        left = vectors[_RESIDUAL, i] - length * (vectors[_DIRECTION, i] + vectors[_ROOT_V, i] * bent)
        vectors[_RESIDUAL, i] = left
        square += left * left
    turn = square / numbers[_SQUARE]
    for i in range(size):
        vectors[_DIRECTION, i] = vectors[_RESIDUAL, i] + turn * vectors[_DIRECTION, i]
    numbers[_SQUARE] = square
    numbers[_PRODUCTS] += 1.0
    # not (a > b), so that nan ends it
    if not square > numbers[_ENOUGH] or numbers[_PRODUCTS] >= _MOST_PRODUCTS:
        _end_of_search(vectors, numbers)


@reducing_inline
def _after_evaluation(vectors, numbers, back, linear, constant, gap):
    """Take or shorten a step, given W' g at the logits tried; return whether the datum is done."""
    size, temperature = vectors.shape[1], numbers[_TEMPERATURE]
    upper = constant - numbers[_ENTROPY] - numbers[_LEVEL]
    warm, away = (constant - numbers[_LEVEL]) / temperature - numbers[_ENTROPY], 0.0
    for i in range(size):
        field, logit = linear[i] - back[i], vectors[_TRIAL, i]
        f, small_q = field / temperature, exp_of_negative(-abs(logit))
        less = small_q / (1.0 + small_q)
        q = 1.0 / (1.0 + small_q) if logit >= 0.0 else less
        upper += softplus_of(field)
        above = softplus_of(f)
        warm += above
        away += (above - q * f) - (log_fast(1.0 + small_q) + abs(logit) * less)
    # a bound at any temperature
    if upper < numbers[_LOWEST]:
        numbers[_LOWEST] = upper
        for i in range(size):
            vectors[_BEST, i] = vectors[_TRIAL, i]
    value, before = warm - away, numbers[_VALUE]
    close = away <= (gap if temperature == 1.0 else _WARM_GAP)
    # a step that makes F smaller is halved; its rounding is allowed for
    worse = not value >= before - (1e-9 + 1e-13 * abs(before)) and not close
    over = numbers[_ROUND] >= (_ROUNDS if temperature == 1.0 else _WARM_ROUNDS)
    if worse and numbers[_FRACTION] > _SHORTEST and not over:
        numbers[_FRACTION] *= 0.5
        _move(vectors, numbers)
        return False
    if close or worse or over:
        if temperature == 1.0:
            return True
        cooler = max(1.0, temperature / _COOLING)
        for i in range(size):
            there = vectors[_TRIAL, i] * (temperature / cooler)
            vectors[_TRIAL, i] = min(max(there, -_FARTHEST), _FARTHEST)
        numbers[_TEMPERATURE] = cooler
        _begin_stage(numbers)
        return False
    square = 0.0
    for i in range(size):
        f, logit = (linear[i] - back[i]) / temperature, vectors[_TRIAL, i]
        small = exp_of_negative(-abs(logit))
        root = math.sqrt(small) / (1.0 + small)
        vectors[_LOGITS, i] = logit
        vectors[_STEP, i] = f - logit
        vectors[_ROOT_V, i] = root
        vectors[_RESIDUAL, i] = root * (f - logit)
        vectors[_DIRECTION, i] = vectors[_RESIDUAL, i]
        square += vectors[_RESIDUAL, i] * vectors[_RESIDUAL, i]
    numbers[_VALUE], numbers[_SQUARE], numbers[_PRODUCTS] = value, square, 0.0
    loose = min(_LOOSE, math.sqrt(square))
    aim = gap if temperature == 1.0 else _WARM_GAP
    numbers[_ENOUGH] = max(loose * loose * square, _TIGHT * aim)
    numbers[_SEARCHES] = 1.0
    if not square > numbers[_ENOUGH]:
        _end_of_search(vectors, numbers)
    return False


@reducing_kernel
def bound_roots(
    to_pixels, to_bits, zeros, bias, linear, constant, temperature, gap, vectors, numbers, curvatures,
    upper, logits,
):  # fmt: skip
    """Bound log sum_z exp(c + <t, z> - A(z)) for each datum.

    Parameters
    ----------
    to_pixels, to_bits
        W' (f, D) and W (D, f) in panels of columns.
    zeros
        As many as the longer of both is wide, in whole panels.
    bias : (D,)
    linear, constant : (n, f) and (n,), t(x) and c(x)
    temperature
        At which a datum begins, at least 1.
    gap
        Nats from the best bound at which a datum is done.
    vectors, numbers, curvatures
        Scratch of the data under way: (G, NUM_VECTORS, f), (G, NUM_NUMBERS) and (G, D).
    upper, logits : (n,) and (n, f)
        Set to the bounds, and to the logits of their tangent points.
    """
    num_bits, num_pixels = linear.shape[1], bias.size
    rows = min(numbers.shape[0], linear.shape[0])
    panels = -(-rows // ROWS)
    bits, pixels = np.empty((rows, num_bits)), np.empty((rows, num_pixels))
    packed = np.empty(panels * ROWS * max(num_bits, num_pixels))
    places = np.arange(rows)  # where in the scratch a row's datum is
    for r in range(rows):
        _begin(vectors[r], numbers[r], r, temperature)
    active, following = rows, rows
    while active > 0:
        for r in range(active):
            vector, number = vectors[places[r]], numbers[places[r]]
            number[_ROUND] += 1.0
            for i in range(num_bits):
                if number[_SEARCHES] > 0.0:
                    bits[r, i] = vector[_ROOT_V, i] * vector[_DIRECTION, i]
                else:
                    logit = vector[_TRIAL, i]
                    small = exp_of_negative(-abs(logit))
                    bits[r, i] = (1.0 if logit >= 0.0 else small) / (1.0 + small)
        pack_rows(bits[:active], packed)
        product(packed, to_pixels, zeros, num_bits, pixels[:active])
        for r in range(active):
            at = places[r]
            if numbers[at, _SEARCHES] > 0.0:
                _scale(pixels[r], curvatures[at])
            else:
                coldness = 1.0 / numbers[at, _TEMPERATURE]
                found = _tangent(pixels[r], bias, coldness, curvatures[at])
                numbers[at, _ENTROPY], numbers[at, _LEVEL] = found
        pack_rows(pixels[:active], packed)
        product(packed, to_bits, zeros, num_pixels, bits[:active])
        r = 0
        while r < active:
            at = places[r]
            datum = int(numbers[at, _DATUM])
            done = False
            if numbers[at, _SEARCHES] > 0.0:
                _after_product(vectors[at], numbers[at], bits[r])
            else:
                done = _after_evaluation(
                    vectors[at], numbers[at], bits[r], linear[datum], constant[datum], gap
                )
            if not done:
                r += 1
                continue
            upper[datum] = numbers[at, _LOWEST]
            for i in range(num_bits):
                logits[datum, i] = vectors[at, _BEST, i]
            if following < linear.shape[0]:
                _begin(vectors[at], numbers[at], following, temperature)
                following += 1
                r += 1
            else:  # the last row comes into its place
                active -= 1
                places[r] = places[active]
                for i in range(num_bits):
                    bits[r, i] = bits[active, i]
