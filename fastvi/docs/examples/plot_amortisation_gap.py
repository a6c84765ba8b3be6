"""
How much does an encoder lose?
==============================

An encoder answers for all digits at once. What it loses against a q of each digit's own is the amortisation
gap. What that q loses against log p(x) is the approximation gap. Training longer closes the first, and never
the second.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLUE, GREY, dress

digits = fastvi.datasets.digits().images
train, x = digits[:1500], digits[1500:1600]
start = fastvi.SigmoidBeliefNetwork(
    np.random.default_rng(0).normal(0.0, 0.1, (64, 12)), np.zeros(64), np.zeros(12)
)
model = fastvi.fit_model(start, train, num_epochs=20, learning_rate=0.2).model
exact = fastvi.log_marginal(model, x).mean()
own = fastvi.elbo(model, x, fastvi.fit_posterior(model, x).q).value.mean()

epochs, gaps = (2, 5, 10, 20, 40), []
for num_epochs in epochs:
    encoder = fastvi.Encoder.random(64, [100], 12, seed=0)
    encoder = fastvi.fit_encoder(model, train, encoder, num_epochs=num_epochs, batch_size=25).encoder
    gaps.append(own - fastvi.elbo(model, x, encoder(x)).value.mean())
    print(f"{num_epochs} epochs: amortisation gap {gaps[-1]:.3f} nats")

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
place = np.arange(len(epochs))
axes.bar(place, np.full(len(epochs), exact - own), color=GREY, label="approximation gap: a factorised q")
axes.bar(place, gaps, bottom=exact - own, color=BLUE, label="amortisation gap: one network for all")
axes.set_xticks(place, map(str, epochs))
title = f"Amortisation costs {gaps[0]:.1f} nats a digit after 2 epochs, {gaps[-1]:.1f} after 40"
dress(axes, title, "epochs of the encoder", "nats below log p(x)")
axes.legend(frameon=False)
