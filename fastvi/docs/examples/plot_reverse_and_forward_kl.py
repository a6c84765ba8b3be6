"""
Two modes: reverse and forward KL
=================================

Two light bulbs light a room, and a lit room needs one of them. The posterior has a mode for each. A
factorised q cannot say "one of the two". By reverse KL it takes one mode. By forward KL it has the right
means and puts mass where there is none.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastvi
from fastvi.studies.common.style import show_image

# 20 sensors see each bulb; two bulbs would be brighter than what is seen
model = fastvi.BinarySparseCoding(np.ones((20, 2)), np.zeros(20), noise_std=1.0, prior_logits=[0.0, 0.2])
x = np.ones((1, 20))
states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
posterior = fastvi.exact_posterior(model, x)
tables = {"posterior": np.exp(posterior.log_prob(states[:, None]))}
for name, objective in (("reverse KL", "reverse_kl"), ("forward KL", "forward_kl")):
    q = fastvi.fit_posterior(model, x, objective=objective).q
    tables[name] = np.exp(q.log_prob(states[:, None]))
    reverse, forward = fastvi.kl_to_posterior(model, x, q)[0], fastvi.kl_from_posterior(model, x, q)[0]
    print(f"{name}: means {q.mean[0].round(3)}, KL(q || p) {reverse:.3f}, KL(p || q) {forward:.3f}")
print(f"the posterior: means {posterior.mean[0].round(3)}")

figure, panels = plt.subplots(1, 3, figsize=(8, 3.4), layout="constrained")
for axes, (name, table) in zip(panels, tables.items(), strict=True):
    show_image(axes, table.reshape(2, 2), cmap="Blues")
    for (first, second), value in zip(states, table.ravel(), strict=True):
        ink = "white" if value > 0.6 else "black"
        axes.text(second, first, f"{value:.2f}", ha="center", va="center", color=ink)
    axes.set_title(name, fontsize=10)
    axes.set_xticks([0, 1], ["off", "on"])
    axes.set_yticks([0, 1], ["off", "on"])
    axes.set_xlabel("bulb 2")
panels[0].set_ylabel("bulb 1")
one = max(tables["reverse KL"].ravel())
title = f"Reverse KL takes one mode, with probability {one:.2f}; forward KL keeps the means"
figure.suptitle(title + "\nand spreads over what is not there", x=0.01, ha="left", fontsize=11)
