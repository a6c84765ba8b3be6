"""
A model of your own
===================

Write log p(x, z) as a Python function of one datum and one state of binary latents. fastvi compiles it and
sums it over all states. Here ten switches share a wire. The current in the wire is measured, with an error.
Which switches were on?
"""

import math

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLUE, GREY, dress

CURRENTS = np.array([1.0, 1.3, 1.7, 2.2, 2.9, 3.7, 4.8, 6.3, 8.2, 10.6])  # amperes, of each switch


def log_joint(x_n, z):
    """Each switch is on with probability 0.3; the measurement has an error of 0.2 amperes."""
    value, current = 0.0, 0.0
    for i in range(len(z)):
        value += math.log(0.3) if z[i] == 1.0 else math.log(0.7)
        current += CURRENTS[i] * z[i]
    error = (x_n[0] - current) / 0.2
    return value - 0.5 * error * error - math.log(0.2 * math.sqrt(2.0 * math.pi))


model = fastvi.LogJoint(log_joint, num_latents=10)
measured = np.array([[12.0], [20.0]])
posterior = fastvi.exact_posterior(model, measured, top_k=3)
for n, (value,) in enumerate(measured):
    likeliest = np.flatnonzero(posterior.mode[n]) + 1
    chance = np.exp(posterior.mode_log_prob[n])
    print(f"{value} A: log p(x) = {posterior.log_marginal[n]:.4f}, ", end="")
    print(f"likeliest switches {likeliest}, with probability {chance:.2f}")

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for n, tint in ((0, BLUE), (1, GREY)):
    place = np.arange(1, 11) + 0.4 * n - 0.2
    axes.bar(place, posterior.mean[n], 0.38, color=tint, label=f"{measured[n, 0]} A")
axes.set_xticks(range(1, 11))
share = np.exp(posterior.mode_log_prob[0])
title = f"12 amperes: the likeliest of 1,024 states has probability {share:.2f}"
dress(axes, title, "switch", "p(on | current)")
axes.legend(frameon=False)
