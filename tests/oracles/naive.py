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


def sbn_likelihood_gradient(weights, bias, xs, zs, shares):
    """Gradient of sum_r shares_r log p(xs_r | zs_r) in the weights (D, d) and the bias (D,)."""
    of_weights, of_bias = [[0.0] * len(row) for row in weights], [0.0] * len(bias)
    for x, z, share in zip(xs, zs, shares, strict=True):
        for j, eta in enumerate(sbn_logits(weights, bias, z)):
            pull = share * (x[j] - sigmoid(eta))
            of_bias[j] += pull
            for i, bit in enumerate(z):
                of_weights[j][i] += pull * bit
    return of_weights, of_bias


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


# ---- Boltzmann machines ----------------------------------------------------------------------------------


def agrees(z, x, observed):
    """Whether z has the value of x in every unit that is observed (all where ``observed`` is None)."""
    seen = [True] * len(z) if observed is None else observed
    return all(a == b for a, b, keep in zip(z, x, seen, strict=True) if keep)


def bm_log_joint(couplings, bias, z):
    """The unnormalised log p~(z) = z^T J z / 2 + h^T z for one z (d,); a pair that is off counts 0."""
    d = len(bias)
    pairs = [times(z[i] * z[j], couplings[i][j]) / 2 for i in range(d) for j in range(d)]
    return math.fsum([*pairs, *(h * bit for h, bit in zip(bias, z, strict=True))])


def bm_log_partition(couplings, bias):
    """log Z, by enumeration of all 2^d states."""
    return log_sum_exp(bm_log_joint(couplings, bias, z) for z in states(len(bias)))


def bm_log_marginal(couplings, bias, x, observed=None, normalized=False):
    """log p~ of the observed units of x, summed over the others; minus log Z where ``normalized``."""
    clamped = log_sum_exp(
        bm_log_joint(couplings, bias, z) for z in states(len(bias)) if agrees(z, x, observed)
    )
    return clamped - bm_log_partition(couplings, bias) if normalized else clamped


def bm_log_posterior(couplings, bias, x, observed=None):
    """log p(z | observed units of x) for all z, in the order of ``states``; -inf where z is not x there.

    NaN where the observed units exclude each other: what is impossible has no posterior.
    """
    evidence = bm_log_marginal(couplings, bias, x, observed)
    return [
        bm_log_joint(couplings, bias, z) - evidence if agrees(z, x, observed) else -math.inf
        for z in states(len(bias))
    ]


# ---- restricted Boltzmann machines -----------------------------------------------------------------------


def rbm_log_joint(weights, visible_bias, hidden_bias, v, h):
    """The unnormalised v^T W h + b^T v + c^T h for one v (D,) and one h (d,)."""
    pairs = [w * a * b for row, a in zip(weights, v, strict=True) for w, b in zip(row, h, strict=True)]
    alone = [w * bit for w, bit in zip([*visible_bias, *hidden_bias], [*v, *h], strict=True)]
    return math.fsum([*pairs, *alone])


def rbm_log_sum_over_hidden(weights, visible_bias, hidden_bias, v):
    """b^T v + sum_k softplus(c_k + sum_j W_jk v_j): the other layer is summed unit by unit."""
    total = [b * bit for b, bit in zip(visible_bias, v, strict=True)]
    for k, c in enumerate(hidden_bias):
        total.append(softplus(math.fsum([c, *(row[k] * bit for row, bit in zip(weights, v, strict=True))])))
    return math.fsum(total)


def rbm_log_partition(weights, visible_bias, hidden_bias):
    """log Z, by enumeration of the smaller layer."""
    if len(hidden_bias) < len(visible_bias):  # the same machine with its layers exchanged
        weights = [[row[k] for row in weights] for k in range(len(hidden_bias))]
        visible_bias, hidden_bias = hidden_bias, visible_bias
    return log_sum_exp(
        rbm_log_sum_over_hidden(weights, visible_bias, hidden_bias, v) for v in states(len(visible_bias))
    )


def rbm_log_partition_of_all_states(weights, visible_bias, hidden_bias):
    """log Z, by enumeration of all 2^(D + d) pairs: for tiny machines."""
    return log_sum_exp(
        rbm_log_joint(weights, visible_bias, hidden_bias, v, h)
        for v in states(len(visible_bias))
        for h in states(len(hidden_bias))
    )


def rbm_log_marginal(weights, visible_bias, hidden_bias, x, observed=None, normalized=False):
    """log p~ of the observed pixels of x, summed over the others and all h; minus log Z if ``normalized``."""
    total = log_sum_exp(
        rbm_log_joint(weights, visible_bias, hidden_bias, v, h)
        for v in states(len(visible_bias))
        if agrees(v, x, observed)
        for h in states(len(hidden_bias))
    )
    return total - rbm_log_partition(weights, visible_bias, hidden_bias) if normalized else total


def rbm_log_posterior(weights, visible_bias, hidden_bias, x, observed=None):
    """log p(h | observed pixels of x) for all h, in the order of ``states``."""
    visible = [v for v in states(len(visible_bias)) if agrees(v, x, observed)]
    evidence = rbm_log_marginal(weights, visible_bias, hidden_bias, x, observed)
    return [
        log_sum_exp(rbm_log_joint(weights, visible_bias, hidden_bias, v, h) for v in visible) - evidence
        for h in states(len(hidden_bias))
    ]


# ---- binary sparse coding --------------------------------------------------------------------------------


def normal_log_density(x, mean, std):
    return -(((x - mean) / std) ** 2) / 2 - math.log(std) - math.log(2 * math.pi) / 2


def bsc_log_joint(weights, bias, noise_std, prior_logits, x, z, observed=None):
    """log p(x, z) of the pixels that are observed, for one x (D,) and one z (d,)."""
    means = sbn_logits(weights, bias, z)
    seen = [True] * len(means) if observed is None else observed
    likelihood = [
        normal_log_density(value, mean, noise_std)
        for value, mean, keep in zip(x, means, seen, strict=True)
        if keep
    ]
    return math.fsum(likelihood) + bernoulli_log_prob(z, prior_logits)


def bsc_log_marginal(weights, bias, noise_std, prior_logits, x, observed=None):
    """log p(x) of one x, by enumeration of all 2^d states."""
    return log_sum_exp(
        bsc_log_joint(weights, bias, noise_std, prior_logits, x, z, observed)
        for z in states(len(prior_logits))
    )


def bsc_log_posterior(weights, bias, noise_std, prior_logits, x, observed=None):
    """log p(z | x) for all z, in the order of ``states``."""
    evidence = bsc_log_marginal(weights, bias, noise_std, prior_logits, x, observed)
    return [
        bsc_log_joint(weights, bias, noise_std, prior_logits, x, z, observed) - evidence
        for z in states(len(prior_logits))
    ]
