"""A continuous latent: p(x) is an area, and the ELBO touches its logarithm where q is the posterior."""

from __future__ import annotations

import numpy as np

import fastvi
from fastvi.studies.common.result import Table, rows_to_table

SEEN, NOISE_STD = 1.0, 0.5  # x, and the standard deviation of x given z
_TIMES = np.exp2(np.linspace(-2.5, 1.5, 81))  # widths of q, of that of the posterior; 1 is one of them


def seen_with_noise() -> tuple[fastvi.LinearGaussian, np.ndarray]:
    """Return a latent of one real number, standard normal, and what was seen of it with noise."""
    return fastvi.LinearGaussian([[1.0]], [0.0], NOISE_STD), np.array([[SEEN]])


def posterior_moments() -> tuple[float, float]:
    """Mean and standard deviation of p(z | x): precisions add up."""
    precision = 1.0 + 1.0 / NOISE_STD**2
    return SEEN / NOISE_STD**2 / precision, precision**-0.5


def elbo_by_width() -> Table:
    """Table of the ELBO of q at the posterior's mean: std_q, times_posterior, elbo, log_marginal, gap."""
    model, x = seen_with_noise()
    mean, std = posterior_moments()
    truth = float(fastvi.log_marginal(model, x)[0])
    widths = std * _TIMES
    q = fastvi.Normal(np.full((len(widths), 1), mean), widths[:, None])
    bounds = fastvi.elbo(model, np.repeat(x, len(widths), axis=0), q).value
    rows = [
        (float(width), float(times), float(bound), truth, truth - float(bound))
        for width, times, bound in zip(widths, _TIMES, bounds, strict=True)
    ]
    return rows_to_table(("std_q", "times_posterior", "elbo", "log_marginal", "gap"), rows)


def curves() -> dict[str, np.ndarray]:
    """Densities along z: p(z), p(x, z)."""
    model, x = seen_with_noise()
    line = np.linspace(-2.5, 3.0, 221)
    prior = np.exp(-0.5 * line**2) / np.sqrt(2.0 * np.pi)
    return {"z": line, "p_z": prior, "p_x_z": np.exp(model.log_joint(x[0], line[:, None]))}
