"""
log Z of a machine by annealing
===============================

A restricted Boltzmann machine has a sum over all its states, Z. Annealed importance sampling moves chains
from an easy distribution to the machine, in steps called temperatures. More temperatures lead nearer to log
Z. Here log Z is summed exactly, so that the error is known.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLACK, BLUE, dress

rng = np.random.default_rng(0)
machine = fastvi.RestrictedBoltzmannMachine(
    rng.normal(0.0, 0.8, (64, 16)), rng.normal(-1.0, 0.5, 64), rng.normal(0.0, 0.5, 16)
)
exact = fastvi.log_partition(machine)

temperatures = [3, 10, 30, 100, 300, 1000]
estimates = [
    fastvi.annealed_importance_sampling(machine, num_temperatures=number, num_chains=50, seed=1)
    for number in temperatures
]
values = np.array([estimate.log_marginal[0] for estimate in estimates])
errors = np.array([estimate.std_error[0] for estimate in estimates])
print(f"exact log Z {exact:.6f}, with 1,000 temperatures {values[-1]:.3f} +- {errors[-1]:.3f}")

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.errorbar(temperatures, values, yerr=2 * errors, fmt="o-", color=BLUE, capsize=3)
axes.axhline(exact, color=BLACK)
axes.text(3, exact, "exact log Z", va="bottom")
axes.set_xscale("log")
off = np.abs(values - exact)
title = f"log Z of 64 + 16 units: 3 temperatures are off by {off[0]:.2f} nats, 1,000 by {off[-1]:.3f}"
dress(axes, title, "temperatures", "log Z, nats (bars: 2 stated errors)")
