"""
Can these weights be trusted?
=============================

An estimate of log p(x) states its error. That error can be believed only if no few weights rule the sum. They
do where q is narrower than the posterior. k-hat measures it: above 0.7 take a wider q. Here the truth is
known, so that the stated 95 % intervals can be counted.
"""

import logging

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import BLACK, BLUE, GREY, ORANGE, dress, label_line

logging.getLogger("fastvi").setLevel(logging.ERROR)  # it warns of each k-hat above 0.7

model = fastvi.LinearGaussian(np.ones((10, 1)), np.zeros(10), noise_std=2.0)
x = model.sample(2000, seed=0).x
exact = fastvi.log_marginal(model, x)
q = fastvi.fit_posterior(model, x).q  # one latent: q is the posterior

widths = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
k_hats, shares = [], []
for width in widths:
    narrow = fastvi.Normal(q.mean, width * q.std)
    estimate = fastvi.estimate_log_marginal(model, x, proposal=narrow, num_samples=1000, seed=1)
    low, high = estimate.interval(0.95)
    k_hats.append(np.median(estimate.pareto_k))
    shares.append(np.mean((low <= exact) & (exact <= high)))
    print(f"q {width} times as wide: k-hat {k_hats[-1]:.2f}, truth in {shares[-1]:.1%} of intervals")

figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.plot(k_hats, shares, "o-", color=BLUE)
for width, k_hat, share in zip(widths, k_hats, shares, strict=True):
    label_line(axes, k_hat, share, f"{width}", ORANGE, xytext=(-20, -9))
axes.axvline(0.7, color=GREY, linestyle=":")
axes.axhline(0.95, color=BLACK, linewidth=1)
title = f"At k-hat {k_hats[0]:.2f} intervals of 95 % hold the truth in {shares[0]:.0%}"
beneath = "median k-hat of 1,000 weights (at the points: width of q over that of the posterior)"
axes.set_ylim(bottom=0.3)
dress(axes, title, beneath, "share of intervals that hold log p(x)")
