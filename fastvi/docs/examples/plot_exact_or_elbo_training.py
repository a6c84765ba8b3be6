"""
Training by log p(x) or by the ELBO
===================================

A bound can stand in for log p(x) when a model learns. Then it learns to have a posterior that the encoder can
follow. Here two networks start alike. One climbs exact log p(x), the other the ELBO of an encoder. Both are
judged by exact log p(x) of held-out digits.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLACK, RED, dress, label_ends

digits = fastvi.datasets.digits().images
train, held_out = digits[:1500], digits[1500:]
start = fastvi.SigmoidBeliefNetwork(
    np.random.default_rng(0).normal(0.0, 0.1, (64, 12)), np.zeros(64), np.zeros(12)
)
options = {"num_epochs": 40, "batch_size": 100, "learning_rate": 0.03, "held_out": held_out}
by_exact = fastvi.fit_model(start, train, objective="exact", **options)
encoder = fastvi.Encoder.random(64, [50], 12, seed=0)
by_bound = fastvi.fit_model(start, train, objective="elbo", encoder=encoder, **options)
exact, bound = (fastvi.log_marginal(fit.model, held_out).mean() for fit in (by_exact, by_bound))
print(f"held-out log p(x): {exact:.3f} by exact training, {bound:.3f} by the ELBO")

figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
ends = []
for fit, name, tint in ((by_exact, "by log p(x)", BLACK), (by_bound, "by the ELBO", RED)):
    axes.plot(fit.history, color=tint)
    ends.append((40, fit.history[-1], name, tint))
axes.set_ylim(-26, -18)
title = f"The network that climbs the ELBO ends {exact - bound:.2f} nats lower, by held-out log p(x)"
dress(axes, title, "epoch", "log p(x) of a held-out digit, nats")
label_ends(axes, ends)
