"""
Complete the missing half of a digit
====================================

The lower half of a digit is seen. The probability of an unseen pixel is p(pixel on, lower half) / p(lower
half). Both are exact: ``observed`` says which pixels count, and the others are summed out.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import show_image

digits = fastvi.datasets.digits().images
start = fastvi.SigmoidBeliefNetwork(
    np.random.default_rng(0).normal(0.0, 0.1, (64, 14)), np.zeros(64), np.zeros(14)
)
model = fastvi.fit_model(start, digits[:1500], num_epochs=20, learning_rate=0.2).model
x = digits[1500:1510]

seen = np.arange(64) >= 32
lower_half = fastvi.log_marginal(model, x, observed=seen)
completed = x.astype(float)
for pixel in np.flatnonzero(~seen):
    switched_on = x.copy()
    switched_on[:, pixel] = 1
    both = fastvi.log_marginal(model, switched_on, observed=seen | (np.arange(64) == pixel))
    completed[:, pixel] = np.exp(both - lower_half)
log_prob = fastvi.log_marginal(model, x) - lower_half
print(f"log p(upper half | lower half): {log_prob.round(2)}")

figure, panels = plt.subplots(3, 10, figsize=(9, 3.4), layout="constrained")
for column in range(10):
    for row, picture in enumerate((np.where(seen, x[column], 0.15), completed[column], x[column])):
        show_image(panels[row, column], picture.reshape(8, 8))
for row, name in enumerate(("seen", "completed", "true")):
    panels[row, 0].set_ylabel(name)
mean, guess = log_prob.mean(), -32 * np.log(2)
title = f"Upper halves from lower ones: log p is {mean:.1f} nats on average, {guess:.1f} by guessing"
figure.suptitle(title, x=0.01, ha="left", fontsize=11)
