"""
What explains this digit?
=========================

A network of 12 latents has 4,096 explanations of a digit. The exact posterior ranks them. It also says how
likely each latent is on, and by its entropy how undecided it is.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLUE, dress, show_image

digits = fastvi.datasets.digits().images
start = fastvi.SigmoidBeliefNetwork(
    np.random.default_rng(0).normal(0.0, 0.1, (64, 12)), np.zeros(64), np.zeros(12)
)
model = fastvi.fit_model(start, digits[:1500], num_epochs=20, learning_rate=0.2).model
x = digits[1501:1502]
posterior = fastvi.exact_posterior(model, x, top_k=4)
states, share = posterior.top_states[0], np.exp(posterior.top_log_probs[0])
print(f"entropy {posterior.entropy[0]:.3f} nats; the four likeliest states hold {share.sum():.1%}")

figure = plt.figure(figsize=(9, 4.4), layout="constrained")
pictures = figure.add_gridspec(2, 5)
show_image(figure.add_subplot(pictures[0, 0]), x[0].reshape(8, 8))
figure.axes[0].set_title("the digit", fontsize=10)
for place, state in enumerate(states):
    axes = figure.add_subplot(pictures[0, place + 1])
    show_image(axes, (1 / (1 + np.exp(-(model.weights @ state + model.bias)))).reshape(8, 8))
    axes.set_title(f"explanation {place + 1}: {share[place]:.1%}", fontsize=10)
axes = figure.add_subplot(pictures[1, :])
axes.bar(range(1, 13), posterior.mean[0], color=BLUE)
axes.set_xticks(range(1, 13))
title = f"4 of 4,096 states hold {share.sum():.0%} of the posterior"
dress(axes, title, "latent", "p(latent on | digit)")
