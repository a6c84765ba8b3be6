"""
Exact log p(x) of a decoder
===========================

A variational autoencoder has a neural decoder and an encoder. Its ELBO is what one usually sees. With two
normal latents fastvi integrates log p(x) to 1e-8 nats. Here a decoder and an encoder learn digits together.
Then log p(x) is held against their bound.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLUE, GREY, dress

digits = fastvi.datasets.digits().images
train, x = digits[:1500], digits[1500:]
rng = np.random.default_rng(0)
first, last = rng.normal(0.0, 0.5, (50, 2)), rng.normal(0.0, 0.1, (64, 50))
layers = [(first, np.zeros(50)), (last, np.zeros(64))]
decoder = fastvi.NeuralDecoder(layers, "tanh", fastvi.Normal(np.zeros(2), np.ones(2)))
encoder = fastvi.Encoder.random(64, [50], 2, family="normal", seed=0)
options = {"objective": "elbo", "score": "bound", "num_samples": 1, "learning_rate": 0.01}
fit = fastvi.fit_model(decoder, train, encoder=encoder, num_epochs=60, **options)
exact = fastvi.log_marginal(fit.model, x)
bound = fastvi.elbo(fit.model, x, fit.encoder(x)).value
gap = exact - bound
print(f"log p(x) {exact.mean():.3f}, ELBO {bound.mean():.3f}")

figure, axes = plt.subplots(figsize=(5, 4.4), layout="constrained")
axes.plot(exact, bound, "o", color=BLUE, markersize=3)
axes.axline((exact.min(), exact.min()), slope=1, color=GREY)
title = f"The ELBO is {gap.mean():.2f} nats below log p(x),\n{gap.max():.1f} at worst"
dress(axes, title, "exact log p(x), nats", "ELBO of the encoder, nats")
