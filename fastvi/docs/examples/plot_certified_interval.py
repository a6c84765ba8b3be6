"""
An interval that closes on log p(x)
===================================

With 30 latents there are a billion states. A search bounds parts of them from above and below. The interval
holds log p(x) for certain at any moment, and every further bound narrows it.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLACK, BLUE, dress

rng = np.random.default_rng(0)
weights = rng.normal(0.0, 1.0, (784, 30)) * (rng.random((784, 30)) < 0.3)
model = fastvi.SigmoidBeliefNetwork(weights, np.full(784, -1.5), np.full(30, -1.0))
x = model.sample(1, seed=2).x

budgets = [1, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200]
bounds = [fastvi.log_marginal_bounds(model, x, tolerance=1e-6, max_bounds=most) for most in budgets]
lower = np.array([found.lower[0] for found in bounds])
upper = np.array([found.upper[0] for found in bounds])
for most, low, high in zip(budgets, lower, upper, strict=True):
    print(f"{most} bounds: log p(x) in [{low:.6f}, {high:.6f}]")

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
axes.fill_between(budgets, lower, upper, color=BLUE, alpha=0.25, linewidth=0)
axes.plot(budgets, upper, "o-", color=BLUE)
axes.plot(budgets, lower, "o-", color=BLUE)
axes.text(100, (lower[0] + upper[0]) / 2, "log p(x) lies here, for certain", color=BLACK, va="center")
width = upper - lower
last = bounds[-1].num_bounds[0]
title = f"2^30 states: {width[0]:.1f} nats wide after one bound, {width[-1]:.0e} after {last:,}"
dress(axes, title, "bounds of subcubes, at most", "log p(x), nats")
