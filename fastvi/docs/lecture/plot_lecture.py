r"""
The lecture in numbers
======================

Variational inference is taught with many claims: most terms of a sum do not matter, sampling is noisy, a
bound lies below. On this page each claim has a few lines of code, a number and a picture. All of them were
computed when this page was built. Nothing here is an estimate unless it says so, because fastvi sums every
state.

Logarithms are natural, in nats. Lines that only draw are left out; the script at the end of the page has
them.
"""

import numpy as np

import fastvi

# sphinx_gallery_start_ignore
# isort: split
# fmt: off
import logging

import matplotlib.pyplot as plt

from fastvi.studies.common.style import BLACK, GREEN, GREY, ORANGE, PURPLE, RED, SKY, dress
from fastvi.studies.common.style import BLUE as TINT

logging.getLogger("fastvi").setLevel(logging.ERROR)  # its warnings of k-hat are shown below, by numbers
COLOUR_OF = {"uniform": ORANGE, "prior": PURPLE, "learned q": TINT, "mixture": GREEN}


def canvas(width, height, panels=1):
    """A figure of this page, and its axes."""
    return plt.subplots(1, panels, figsize=(width, height), layout="constrained")


# sphinx_gallery_end_ignore

# %%
# The marginal likelihood is a sum
# --------------------------------
# A person has an eye colour x and a nationality z. We see x, and z is latent. The table holds p(x, z): brown,
# blue and green eyes in its rows, eight nationalities in its columns. Then p(x) is the sum of a row:
#
# .. math:: p(x) = \sum_z p(x, z)
#
# The printed table has 1.00 as its total. Its entries sum to 0.99. fastvi refuses such a table, unless you
# say that it is unnormalized. Then it keeps every entry as it is printed.

EYES = [[0.02, 0.03, 0.02, 0.01, 0.07, 0.03, 0.01, 0.00],
        [0.09, 0.01, 0.03, 0.03, 0.08, 0.04, 0.03, 0.06],
        [0.01, 0.01, 0.08, 0.06, 0.07, 0.08, 0.06, 0.06]]
try:
    fastvi.JointTable(EYES)
except ValueError as error:
    print(error)
table = fastvi.JointTable(EYES, unnormalized=True)
p_x = np.exp(fastvi.log_marginal(table))
print(f"p(x) = {p_x.round(2)}, in all {table.total:.2f}")

# sphinx_gallery_start_ignore
# sphinx_gallery_thumbnail_number = 9
figure, axes = canvas(7.2, 2.6)
axes.imshow(table.probabilities, cmap="Greys", vmin=0.0, vmax=0.2, aspect="auto")
for row, column in np.ndindex(3, 8):
    axes.text(column, row, f"{EYES[row][column]:.2f}", ha="center", va="center", color=BLACK)
for row in range(3):
    axes.text(7.65, row, f"{p_x[row]:.2f}", va="center", color=RED, fontweight="bold")
axes.text(7.65, -0.68, "p(x)", color=RED, fontweight="bold")
title = f"p(x) is the sum of a row. All entries sum to {table.total:.2f}"
dress(axes, title, "nationality z", "eye colour x")
axes.grid(False)
axes.set_xticks(range(8), range(1, 9))
axes.set_yticks(range(3), ("brown", "blue", "green"))
# sphinx_gallery_end_ignore

# %%
# The posterior is a row over its sum
# -----------------------------------
# What do blue eyes say about the nationality? Bayes' rule divides the row by p(x):
#
# .. math:: p(z | x) = p(x, z) \, / \, p(x)

BLUE = 1
posterior = fastvi.exact_posterior(table, [BLUE])
print(posterior.probabilities.round(2), f"entropy {posterior.entropy[0]:.3f} nats")

# sphinx_gallery_start_ignore
best = int(posterior.probabilities[0].argmax())
figure, axes = canvas(7.2, 3.0)
axes.bar(range(1, 9), posterior.probabilities[0], color=SKY, label="p(z | blue)")
axes.stairs(table.probabilities.sum(axis=0) / table.total, np.arange(0.5, 9), color=BLACK, label="p(z)")
dress(axes, f"Blue eyes: nationality {best + 1} is the likeliest, with probability "
      f"{posterior.probabilities[0, best]:.2f}", "nationality z", "probability")
axes.legend(frameon=False)
# sphinx_gallery_end_ignore

# %%
# A sum of :math:`2^d` terms
# --------------------------
# Models of images have d binary latents. Each state of them is a term, so there are :math:`2^d`. Each further
# latent doubles the work. That is why people stop here, and turn to sampling and to bounds.

A_YEAR = 365.25 * 24 * 3600  # seconds
print("at a billion terms a second:")
for d in (12, 20, 40, 64):
    print(f"d = {d}: {2**d:,} terms, {2**d / 1e9 / A_YEAR:.1e} years")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 3.2)
sizes = np.arange(1, 65)
axes.semilogy(sizes, 2.0**sizes, color=TINT, linewidth=2)
for count, text in ((1e9, "a second"), (1e9 * 86400, "a day"), (1e9 * A_YEAR, "a year")):
    axes.axhline(count, color=GREY, linewidth=1, linestyle=":")
    axes.text(1, 1.3 * count, text + " at a billion terms a second", color=GREY, fontsize=9)
day = int(np.log2(1e9 * 86400))
axes.plot(day, 2.0**day, "o", color=RED)
dress(axes, f"A day of a billion terms a second ends at d = {day} latents", "latents d", "terms of p(x)")
# sphinx_gallery_end_ignore

# %%
# fastvi sums them all, as long as d is small enough. Here a sigmoid belief network of 12 latents learns
# handwritten digits by exact maximum likelihood. Then log p(x) of 50 held-out digits is known to the last
# digits.

digits = fastvi.datasets.digits().images
order = np.random.default_rng(0).permutation(len(digits))
train, x = digits[order[:1500]], digits[order[1500:1550]]
share = train.mean(axis=0).clip(0.01, 0.99)
weights = np.random.default_rng(0).normal(0.0, 0.1, (64, 12))
start = fastvi.SigmoidBeliefNetwork(weights, np.log(share / (1 - share)), np.zeros(12))
model = fastvi.fit_model(start, train, num_epochs=50, learning_rate=0.2).model
exact = fastvi.log_marginal(model, x)
print(f"mean log p(x) of 50 digits: {exact.mean():.9f}")

# sphinx_gallery_start_ignore
by_likelihood = exact.argsort()[::-1]
figure, panels = canvas(7.2, 1.9, 8)
for axes, n in zip(panels, [*by_likelihood[:4], *by_likelihood[-4:]], strict=True):
    axes.imshow(x[n].reshape(8, 8), cmap="Greys", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"{exact[n]:.1f}")
figure.suptitle("The four likeliest and the four least likely of 50 digits, with log p(x)", x=0.01, ha="left",
                fontsize=11)
# sphinx_gallery_end_ignore

# %%
# Most states are unimportant
# ---------------------------
# Naive Monte Carlo draws states :math:`z_k` and averages :math:`p(x, z_k)`. But for one digit nearly all of
# its p(x) comes from few of the 4,096 states. Uniform draws seldom meet them, and draws of the prior p(z)
# neither. A q(z) that was fitted to the digit finds them.

one = x[:1]
q, prior = fastvi.fit_posterior(model, one).q, fastvi.Bernoulli(model.prior_logits)
top = fastvi.exact_posterior(model, one, top_k=4096).top_log_probs[0]
important = np.searchsorted(np.exp(top).cumsum(), 0.99) + 1
print(f"{important} of 4,096 states hold 99 % of p(x), log p(x) is {exact[0]:.1f}")
proposals = {"uniform": fastvi.Uniform(12), "prior": prior, "learned q": q}
draws = {name: proposal.sample(10_000, seed=0) for name, proposal in proposals.items()}
log_joint = {name: model.log_joint(one, z)[:, 0] for name, z in draws.items()}
for name, values in log_joint.items():
    print(f"z from {name}: median log p(x, z) {np.median(values):.1f}")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 3.6)
lowest = min(values.min() for values in log_joint.values())
bins = np.linspace(lowest, exact[0] + 1, 70)
for name, values in log_joint.items():
    share = np.full(10_000, 1e-4)
    axes.hist(values, bins, color=COLOUR_OF[name], alpha=0.65, label=f"z from {name}", weights=share)
axes.axvline(exact[0], color=BLACK)
axes.text(exact[0], axes.get_ylim()[1] * 0.97, "log p(x) ", ha="right", va="top", color=BLACK)
below = exact[0] - np.median(log_joint["uniform"])
title = f"{important} of 4,096 states hold 99 % of p(x). A uniform draw lies {below:.0f} nats below"
dress(axes, title, "log p(x, z), nats", "share of 10,000 draws")
axes.legend(frameon=False, loc="upper left")
# sphinx_gallery_end_ignore

# %%
# Importance sampling
# -------------------
# Draws of any q will do, if each is weighted:
#
# .. math:: \hat p(x) = \frac{1}{K} \sum_{k=1}^K w_k, \quad w_k = \frac{p(x, z_k)}{q(z_k)}, \quad z_k \sim q
#
# The average is right for every q. Its variance is not the same. The relative variance of one weight is
# :math:`\sum_z p(z|x)^2 / q(z) - 1`. It is large where q leaves out what the posterior holds. A q that was
# fitted by reverse KL does so on some digits. Mixed with a tenth of the prior, no weight exceeds 10 p(x|z).

learned = fastvi.fit_posterior(model, x).q
mixture = fastvi.Mixture([learned, prior], [0.9, 0.1])
ways = {"uniform": "uniform", "prior": prior, "learned q": learned, "mixture": mixture}
sizes = (10, 100, 1_000)
found = fastvi.calibrate(model, x, proposals=ways, num_samples=sizes, num_repeats=4)
at = {entry.proposal: entry for entry in found.entries if entry.num_samples == 1_000}
for name, entry in at.items():
    error = np.sqrt(np.mean(entry.rms_error**2))
    print(f"{name}: error {error:.2f} nats, {entry.ess.mean():.0f} effective draws of 1,000")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 3.6)
worst = {}
for name in ways:
    own = [entry for entry in found.entries if entry.proposal == name]
    errors = [np.sqrt(np.mean(entry.rms_error**2)) for entry in own]
    axes.loglog([entry.num_samples for entry in own], errors, "o-", color=COLOUR_OF[name], label=name)
    worst[name] = errors[2]
axes.axvline(4096, color=GREY, linestyle=":")
axes.text(4300, axes.get_ylim()[1] * 0.5, "all states:\nno error", color=GREY, fontsize=9, va="top")
title = (f"1,000 uniform draws miss log p(x) by {worst['uniform']:.2f} nats, "
         f"the mixture's by {worst['mixture']:.2f}")
dress(axes, title, "draws K", "root mean square error, nats")
axes.legend(frameon=False)
# sphinx_gallery_end_ignore

# %%
# k-hat tells the weights that cannot be trusted
# ----------------------------------------------
# The largest weights have a tail, and k-hat is its shape. Above 0.7 the average is ruled by few draws, and
# the stated error is too small.

for name, entry in at.items():
    bad = entry.pareto_k > 0.7
    print(f"{name}: k-hat above 0.7 on {bad.sum()} of 50 digits")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 3.6)
for name, entry in at.items():
    own = {"color": COLOUR_OF[name], "label": name, "alpha": 0.7, "markersize": 5}
    axes.semilogy(entry.pareto_k, entry.rms_error, "o", **own)
axes.axvline(0.7, color=GREY, linestyle=":")
every = np.concatenate([entry.pareto_k for entry in at.values()])
errors = np.concatenate([entry.rms_error for entry in at.values()])
low, high = (np.sqrt(np.mean(errors[side] ** 2)) for side in (every <= 0.7, every > 0.7))
title = f"k-hat up to 0.7: error {low:.2f} nats. Above: {high:.2f} nats"
dress(axes, title, "k-hat of 1,000 weights, median of 4 runs", "root mean square error, nats")
axes.legend(frameon=False)
# sphinx_gallery_end_ignore

# %%
# Jensen's inequality
# -------------------
# The logarithm bends downwards. So the logarithm of an average is at least the average of the logarithms:
#
# .. math:: \log p(x) = \log E_q[w] \ge E_q[\log w] = \mathrm{ELBO}
#
# The right side is the evidence lower bound, the ELBO. Take blue eyes and a uniform q.

w = table.probabilities[BLUE] / (1 / 8)
log_of_mean, mean_of_log = np.log(w.mean()), np.log(w).mean()
bound = fastvi.elbo(table, [BLUE], fastvi.Categorical(np.zeros(8)))
truth = fastvi.log_marginal(table, [BLUE])
print(f"log E[w] = {log_of_mean:.12f}, log p(x) = {truth[0]:.12f}")
print(f"E[log w] = {mean_of_log:.12f}, ELBO     = {bound.value[0]:.12f}")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 3.8)
line = np.linspace(0.06, 0.78, 200)
axes.plot(line, np.log(line), color=GREY, label="log w")
values, counts = np.unique(w.round(12), return_counts=True)
axes.scatter(values, np.log(values), s=45 * counts, color=TINT, zorder=3, label="weights of the eight z")
axes.plot(w.mean(), log_of_mean, "D", color=BLACK, label="log of the mean: log p(x)")
axes.plot(w.mean(), mean_of_log, "D", color=RED, label="mean of the logs: ELBO")
axes.vlines(w.mean(), mean_of_log, log_of_mean, color=RED, linewidth=2)
dress(axes, f"The log of the mean is {log_of_mean - mean_of_log:.3f} nats above the mean of the logs",
      "weight w = p(x, z) / q(z)", "log w")
axes.legend(frameon=False, loc="lower right")
# sphinx_gallery_end_ignore

# %%
# Three forms of the ELBO
# -----------------------
# The same number can be read in three ways:
#
# - reconstruction less the divergence from the prior: :math:`E_q[\log p(x|z)] - KL(q \| p(z))`
# - energy and entropy: :math:`E_q[\log p(x, z)] + H(q)`
# - evidence less the divergence from the posterior: :math:`\log p(x) - KL(q \| p(z|x))`
#
# Each is computed here by a sum of its own. They agree to rounding.

bound = fastvi.elbo(model, one, q, decomposition="reconstruction")
joint = fastvi.elbo(model, one, q, decomposition="joint")
gap = fastvi.kl_to_posterior(model, one, q)
forms = {"reconstruction - KL to prior": bound.reconstruction - bound.kl_to_prior,
         "energy + entropy": joint.expected_log_joint + joint.entropy,
         "log p(x) - KL to posterior": exact[:1] - gap}
for name, value in forms.items():
    print(f"{value[0]:.13f}  {name}")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 2.9)
parts = (
    (bound.reconstruction, -bound.kl_to_prior),
    (joint.expected_log_joint, joint.entropy),
    (exact[:1], -gap),
)
for row, (first, second) in enumerate(parts):
    axes.barh(-row + 0.16, first[0], 0.32, color=TINT)
    axes.barh(-row - 0.16, second[0], 0.32, left=first[0], color=ORANGE)
    axes.text(0.3, -row, f"{first[0]:.2f} {'-' if second[0] < 0 else '+'} {abs(second[0]):.2f}", va="center")
axes.axvline(bound.value[0], color=RED)
axes.set_yticks([0, -1, -2], forms)
axes.set_xlim(right=5.5)
title = f"Three sums of two parts lead to one ELBO, {bound.value[0]:.3f} nats"
dress(axes, title, "nats (blue: first part, orange: second part, red: the ELBO)", "")
axes.grid(False, axis="y")
# sphinx_gallery_end_ignore

# %%
# Reverse and forward KL
# ----------------------
# Let q be a bell over the nationalities, of standard deviation 1. Where should it stand? Reverse KL,
# :math:`KL(q \| p)`, punishes q for lying where p is small. It seeks a mode. Forward KL, :math:`KL(p \| q)`,
# punishes q for leaving out what p holds. It covers the mass.

z, places = np.arange(1, 9), np.linspace(0, 9, 901)
bells = fastvi.Categorical(-0.5 * (z - places[:, None]) ** 2)
blue = np.full(len(places), BLUE)
reverse = fastvi.kl_to_posterior(table, blue, bells)
forward = fastvi.kl_from_posterior(table, blue, bells)
mean = (posterior.probabilities[0] * z).sum()
seeking, covering = places[reverse.argmin()], places[forward.argmin()]
print(f"reverse KL is least at {seeking:.2f}, forward KL at {covering:.2f}")
print(f"the posterior's mean is {mean:.2f}")

# sphinx_gallery_start_ignore
figure, (left, right) = canvas(9.2, 3.6, 2)
for values, name, tint in ((reverse, "reverse KL(q || p)", TINT), (forward, "forward KL(p || q)", ORANGE)):
    least = values.argmin()
    left.plot(places, values, color=tint, label=name)
    left.plot(places[least], values[least], "o", color=tint)
    right.plot(z, bells.probabilities[least], "o-", color=tint, label=f"best by {name}")
right.bar(z, posterior.probabilities[0], color="#CCCCCC", label="p(z | blue)")
left.set_ylim(0, 3)
title = f"Reverse KL is least at {seeking:.2f}, forward at {covering:.2f}"
dress(left, title, "where the bell stands", "nats")
dress(right, f"The mass has its mean at {mean:.2f}", "nationality z", "probability")
right.set_ylim(top=0.68)
left.legend(frameon=False, fontsize=9)
right.legend(frameon=False, fontsize=9)
# sphinx_gallery_end_ignore

# %%
# A q that has mass where p has none pays without limit by reverse KL. Nobody of nationality 8 has brown eyes
# in the table.

BROWN = 0
flat = fastvi.Categorical(np.zeros(8))
print("reverse", fastvi.kl_to_posterior(table, [BROWN], flat)[0])
print("forward", fastvi.kl_from_posterior(table, [BROWN], flat)[0])

# %%
# Amortisation
# ------------
# A q of its own for each digit has to be fitted for each digit. An encoder is a network that is fitted once
# and gives q(z|x) for every x. That is cheaper, and looser. What it loses is the amortisation gap: the ELBO
# of the digit's own q less that of the encoder's.

encoder = fastvi.Encoder.random(64, [100], 12, seed=0)
encoder = fastvi.fit_encoder(model, train, encoder, num_epochs=100, batch_size=25).encoder
own = fastvi.elbo(model, x, learned).value
amortised = fastvi.elbo(model, x, encoder(x)).value
print(f"log p(x)             {exact.mean():.3f}")
print(f"ELBO, a q of its own {own.mean():.3f}, {np.mean(exact - own):.3f} below")
print(f"ELBO, encoder        {amortised.mean():.3f}, {np.mean(own - amortised):.3f} lower")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 3.6)
place = np.arange(50)
rank = exact.argsort()[::-1]
axes.vlines(place, own[rank], exact[rank], color="#BBBBBB", linewidth=4)
axes.vlines(place, amortised[rank], own[rank], color=SKY, linewidth=4)
axes.plot(place, exact[rank], "_", color=BLACK, label="log p(x)")
axes.plot(place, own[rank], "_", color=RED, label="ELBO, a q of its own (grey: its gap)")
axes.plot(place, amortised[rank], "_", color=TINT, label="ELBO, encoder (blue: the amortisation gap)")
loss, first = np.mean(own - amortised), np.mean(exact - own)
title = f"One encoder for all loses {loss:.2f} nats a digit, on top of {first:.2f}"
dress(axes, title, "50 held-out digits, likeliest first", "nats")
axes.legend(frameon=False, loc="lower left")
# sphinx_gallery_end_ignore

# %%
# Importance-weighted bounds
# --------------------------
# The average of K weights is still right on average, so its logarithm is still a lower bound. It grows with
# K, from the ELBO at K = 1 to log p(x).
#
# .. math:: \mathrm{ELBO} = L_1 \le L_K = E\left[\log \frac{1}{K} \sum_k w_k\right] \le \log p(x)

draws = learned.sample(20_000, seed=0)
log_w = np.ascontiguousarray((model.log_joint(x, draws) - learned.log_prob(draws)).T)
sizes = (1, 10, 100, 1_000, 10_000)
bounds = [fastvi.importance_weighted_bound(log_w, k).mean() for k in sizes]
print(f"ELBO {own.mean():.4f}, log p(x) {exact.mean():.4f}")
for k, value in zip(sizes, bounds, strict=True):
    print(f"K = {k}: {value:.4f}")

# sphinx_gallery_start_ignore
figure, axes = canvas(7.2, 3.4)
axes.semilogx(sizes, bounds, "o-", color=TINT)
axes.axhline(exact.mean(), color=BLACK)
axes.axhline(own.mean(), color=RED)
axes.text(1, exact.mean(), "log p(x)", va="bottom")
axes.text(1e4, own.mean(), "ELBO", color=RED, va="bottom", ha="right")
axes.set_ylim(top=exact.mean() + 0.06)
closed = (bounds[-1] - own.mean()) / (exact.mean() - own.mean())
dress(axes, f"10,000 weights close {closed:.0%} of the ELBO's gap of {np.mean(exact - own):.2f} nats",
      "weights K", "nats, mean of 50 digits")
# sphinx_gallery_end_ignore

# %%
# Where to go on
# --------------
# :doc:`/quickstart` asks these questions of your own model. :doc:`/generated/gallery/index` has more of them,
# one a page. :doc:`/which` says when to enumerate, to bound and to sample.
