"""Questions about a table of joint probabilities, term by term with 60 digits."""

from __future__ import annotations

import mpmath

mpmath.mp.dps = 60
INF = mpmath.inf


def row(table, x):
    """p(x, z) of every z, of an x that was not seen (None) p(z): entries are exact as they stand."""
    if x is not None:
        return [mpmath.mpf(entry) for entry in table[x]]
    return [mpmath.fsum(mpmath.mpf(line[z]) for line in table) for z in range(len(table[0]))]


def softmax(logits):
    """Probabilities of logits, of which some may be -inf."""
    weights = [mpmath.mpf(0) if t == -INF else mpmath.exp(mpmath.mpf(t)) for t in logits]
    total = mpmath.fsum(weights)
    return [w / total for w in weights]


def log(p):
    return mpmath.log(p) if p else -INF


def log_marginal(table, x):
    return log(mpmath.fsum(row(table, x)))


def posterior(table, x):
    """p(z | x) of every z; None where p(x) is 0."""
    joint = row(table, x)
    total = mpmath.fsum(joint)
    return [p / total for p in joint] if total else None


def expectation(q, values):
    """E_q[values], a term of q = 0 being 0."""
    return mpmath.fsum(w * v for w, v in zip(q, values, strict=True) if w)


def entropy(q):
    return -expectation(q, [log(w) for w in q])


def kl(q, p):
    """KL(q || p) by the definition."""
    return expectation(q, [log(w) - log(v) if w else 0 for w, v in zip(q, p, strict=True)])


def elbo_parts(table, x, logits):
    """ELBO, E_q[log p(x | z)], KL(q || p(z)), E_q[log p(x, z)], H(q); p(z) is normalised."""
    q, joint, prior = softmax(logits), row(table, x), posterior(table, None)
    likelihood = [p / c if c else mpmath.mpf(0) for p, c in zip(joint, prior, strict=True)]
    parts = [expectation(q, [log(p) for p in likelihood]), kl(q, prior)]
    parts += [expectation(q, [log(p) for p in joint]), entropy(q)]
    return [parts[2] + parts[3], *parts]


def chi_square_bound(table, x, logits):
    """log E_q[(p(x, z) / q(z))^2] / 2."""
    q = softmax(logits)
    terms = [(p**2 / w if w else INF) if p else 0 for p, w in zip(row(table, x), q, strict=True)]
    return INF if INF in terms else log(mpmath.fsum(terms)) / 2


def relative_variance(table, x, q):
    """Relative variance of one weight p(x, z) / q(z), z from q: chi^2(p(z | x) || q)."""
    return mpmath.fsum(p**2 / w for p, w in zip(posterior(table, x), q, strict=True) if p) - 1
