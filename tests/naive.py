"""Slow references in pure Python: sums over every state, ``math`` only, nothing from fastvi.

Arrays are nested lists (anything that indexes and iterates will do). Everything is in nats. Each function is
the definition, written down: where a kernel is clever, this file is not.
"""

from __future__ import annotations

import itertools
import math

# ---- scalar functions ------------------------------------------------------------------------------------


def softplus(t):
    """log(1 + exp(t))."""
    return t + math.log1p(math.exp(-t)) if t > 0 else math.log1p(math.exp(t))


def log_sigmoid(t):
    return -softplus(-t)


def sigmoid(t):
    return 1 / (1 + math.exp(-t)) if t >= 0 else math.exp(t) / (1 + math.exp(t))


def log_sum_exp(values):
    """log(sum(exp(v))); -inf for no values and for values that are all -inf."""
    values = list(values)
    top = max(values, default=-math.inf)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(v - top) for v in values))


def log(p):
    return math.log(p) if p > 0 else -math.inf


def times(weight, value):
    """weight * value where a weight of 0 makes 0 of anything, infinities too."""
    return weight * value if weight else 0.0


def states(d):
    """All of {0, 1}^d."""
    return list(itertools.product((0, 1), repeat=d))


# ---- Bernoulli distributions over d latents --------------------------------------------------------------


def bernoulli_log_prob(z, logits):
    """log q(z) for one z (d,) and logits (d,)."""
    return math.fsum(log_sigmoid(t if bit else -t) for bit, t in zip(z, logits, strict=True))


def bernoulli_entropy(logits):
    """By the definition: minus the sum of q(z) log q(z) over all z."""
    terms = [bernoulli_log_prob(z, logits) for z in states(len(logits))]
    return -math.fsum(times(math.exp(t), t) for t in terms)


def bernoulli_kl(q_logits, p_logits):
    """By the definition: the sum of q(z) log(q(z) / p(z)) over all z; loses digits where q is close to p."""
    total = []
    for z in states(len(q_logits)):
        log_q, log_p = bernoulli_log_prob(z, q_logits), bernoulli_log_prob(z, p_logits)
        if log_q > -math.inf:
            total.append(times(math.exp(log_q), log_q - log_p))
    return math.fsum(total)


# ---- joint tables ----------------------------------------------------------------------------------------


def joint_table_log_marginal(table, x):
    """log p(x) of one x: log of the sum of its row, entries as given."""
    return log(math.fsum(table[x]))


# ---- sigmoid belief networks -----------------------------------------------------------------------------


def sbn_logits(weights, bias, z):
    """eta = W z + b."""
    return [
        math.fsum([*(w * bit for w, bit in zip(row, z, strict=True)), b])
        for row, b in zip(weights, bias, strict=True)
    ]


def sbn_log_likelihood(weights, bias, x, z, observed=None):
    """log p(x | z) of the pixels that are observed (all where ``observed`` is None)."""
    eta = sbn_logits(weights, bias, z)
    seen = [True] * len(eta) if observed is None else observed
    return math.fsum(log_sigmoid(e if bit else -e) for e, bit, keep in zip(eta, x, seen, strict=True) if keep)


def sbn_log_joint(weights, bias, prior_logits, x, z, observed=None):
    """log p(x, z) for one x (D,) and one z (d,)."""
    return sbn_log_likelihood(weights, bias, x, z, observed) + bernoulli_log_prob(z, prior_logits)


def sbn_log_marginal(weights, bias, prior_logits, x, observed=None):
    """log p(x) of one x, by enumeration of all 2^d states."""
    return log_sum_exp(
        sbn_log_joint(weights, bias, prior_logits, x, z, observed) for z in states(len(prior_logits))
    )


def sbn_log_posterior(weights, bias, prior_logits, x, observed=None):
    """log p(z | x) for all z, in the order of ``states``."""
    joint = [sbn_log_joint(weights, bias, prior_logits, x, z, observed) for z in states(len(prior_logits))]
    evidence = log_sum_exp(joint)
    return [value - evidence for value in joint]


# ---- bounds of a mean-field q on a sigmoid belief network ------------------------------------------------


def sbn_elbo(weights, bias, prior_logits, x, q_logits, observed=None):
    """sum over z of q(z) (log p(x, z) - log q(z)), by enumeration."""
    total = []
    for z in states(len(prior_logits)):
        log_q = bernoulli_log_prob(z, q_logits)
        if log_q > -math.inf:
            gap = sbn_log_joint(weights, bias, prior_logits, x, z, observed) - log_q
            total.append(times(math.exp(log_q), gap))
    return math.fsum(total)


def sbn_kl_to_posterior(weights, bias, prior_logits, x, q_logits, observed=None):
    """KL(q || p(z | x)), by enumeration; it does not go through the ELBO."""
    posterior = sbn_log_posterior(weights, bias, prior_logits, x, observed)
    total = []
    for z, log_p in zip(states(len(prior_logits)), posterior, strict=True):
        log_q = bernoulli_log_prob(z, q_logits)
        if log_q > -math.inf:
            total.append(times(math.exp(log_q), log_q - log_p))
    return math.fsum(total)


# ---- random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, section 3.3) ----------------------


def philox(counter, key):
    """Ten rounds on four 32-bit words with a key of two."""
    word = 2**32 - 1
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1 = (second >> 32) ^ c1 ^ k0, second & word
        c2, c3 = (first >> 32) ^ c3 ^ k1, first & word
        k0, k1 = (k0 + 0x9E3779B9) & word, (k1 + 0xBB67AE85) & word
    return c0, c1, c2, c3


def bernoulli_draw(logits, seed, datum, sample):
    """One z: bit i is 1 when a 64-bit number is below p_i 2^64. Its low half is drawn only on a tie."""
    word = 2**32 - 1
    key = (seed & word, seed >> 32)
    z = []
    for i, logit in enumerate(logits):
        small = math.exp(-abs(logit))
        unlikely = int(small / (1 + small) * 2**64)  # rounded down
        threshold = unlikely if logit <= 0 else 2**64 - unlikely
        counter = [i // 4, sample & word, sample >> 32, datum]
        number = philox(counter, key)[i % 4] << 32
        if number >> 32 == threshold >> 32:
            counter[0] |= 1 << 31
            number |= philox(counter, key)[i % 4]
        z.append(int(number < threshold))
    return z
