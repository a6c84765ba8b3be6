"""
A grid of 100 spins, exactly
============================

A Boltzmann machine of 10 by 10 units has 2^100 states. Each unit is coupled with its neighbours alone. Then
units can be summed one after the other. fastvi does so unasked, and gives log Z and every probability
exactly.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLUE, dress, show_image

side = 10
unit = np.arange(side * side).reshape(side, side)
couplings = np.zeros((side * side, side * side))
couplings[unit[:, :-1], unit[:, 1:]] = couplings[unit[:-1], unit[1:]] = 1.0
couplings += couplings.T


def grid(strength):
    """No unit prefers on or off; neighbours like to be equal."""
    return fastvi.BoltzmannMachine(strength * couplings, -0.5 * strength * couplings.sum(axis=0))


strengths = np.linspace(0.0, 4.0, 9)
posteriors = [fastvi.exact_posterior(grid(strength), pairwise=True) for strength in strengths]
corner = [2 * posterior.second_moment[0, 0, -1] for posterior in posteriors]  # both on, or both off
print(f"log Z at strength 2: {fastvi.log_partition(grid(2.0)):.9f}")
print(fastvi.plan(grid(2.0), question="log_partition").ways)

figure, panels = plt.subplots(1, 4, figsize=(10, 3), layout="constrained", width_ratios=(2.2, 1, 1, 1))
panels[0].plot(strengths, corner, "o-", color=BLUE)
title = f"2^100 states: opposite corners agree with\nprobability {corner[0]:.2f} to {corner[-1]:.2f}"
dress(panels[0], title, "strength of couplings", "p(corners agree)")
for axes, strength in zip(panels[1:], (0.5, 1.8, 3.0), strict=True):
    show_image(axes, fastvi.exact_posterior(grid(strength)).sample(1, seed=3)[0, 0].reshape(side, side))
    axes.set_title(f"a draw at {strength}", fontsize=10)
