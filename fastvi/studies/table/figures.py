"""Pictures of the study of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import StudyResult
from fastvi.studies.common.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("brown", "blue", "green")
_TINTS = (RED, BLUE, GREEN)
_OF_Q = {"uniform": ORANGE, "prior": PURPLE, "halfway": SKY, "posterior": BLACK}
_SHOWN = 1  # blue: the row without a zero


def figures(result: StudyResult) -> dict[str, Figure]:
    """Draw the table, its posteriors, sampled p(x), Jensen's inequality, the ELBO and both divergences."""
    arrays = result.arrays["pictures"]
    return {
        "table": _table(result, arrays),
        "sampling": _sampling(result),
        "jensen": _jensen(arrays),
        "elbo": _elbo(result),
        "divergences": _divergences(result, arrays),
    }


def _table(result: StudyResult, arrays: Any) -> Figure:
    probabilities, sums = arrays["probabilities"], result.table("rows")["p_x"]
    num_x, num_z = probabilities.shape
    figure = new_figure(11.5, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.15))
    left.imshow(probabilities, cmap="Greys", vmin=0.0, vmax=0.2, aspect="auto")
    for x, z in np.ndindex(num_x, num_z):
        left.text(z, x, f"{probabilities[x, z]:.2f}", ha="center", va="center", color=BLACK)
    for x in range(num_x):
        left.text(num_z - 0.3, x, f"{sums[x]:.2f}", va="center", color=_TINTS[x], fontweight="bold")
    left.text(num_z - 0.3, -0.62, "p(x)", va="center", color=BLACK, fontweight="bold")
    dress(left, "p(x, z)", "nationality z", "eye colour x")
    left.grid(False)
    left.set_xticks(range(num_z), [str(z + 1) for z in range(num_z)])
    left.set_yticks(range(num_x), COLOURS)
    place = np.arange(num_z)
    for x, (name, tint) in enumerate(zip(COLOURS, _TINTS, strict=True)):
        right.bar(place + 0.27 * (x - 1), arrays["posteriors"][x], 0.27, color=tint, label=f"p(z | {name})")
    right.step(
        np.append(place - 0.5, num_z - 0.5), np.append(arrays["prior"], arrays["prior"][-1]), where="post",
        color=BLACK, linewidth=1, label="p(z)",
    )  # fmt: skip
    right.set_xticks(place, [str(z + 1) for z in range(num_z)])
    dress(right, "Nationality given eye colour", "nationality z", "probability")
    right.legend(frameon=False, fontsize=9)
    return figure


def _sampling(result: StudyResult) -> Figure:
    table = result.table("sampling")
    figure = new_figure(11.5, 4.2)
    panels = figure.subplots(1, len(COLOURS), sharey=True)
    for axes, colour in zip(panels, COLOURS, strict=True):
        for name, tint in _OF_Q.items():
            own = [
                i
                for i, key in enumerate(zip(table["x"], table["proposal"], strict=True))
                if key == (colour, name)
            ]
            counts = [table["num_samples"][i] for i in own]
            theory = np.array([table["variance_theory"][i] for i in own])
            if theory.max() < 1e-12:  # the posterior: every weight is p(x)
                continue
            axes.plot(counts, theory, color=tint, linewidth=1.5, label=f"{name}: formula")
            measured = [table["variance_measured"][i] for i in own]
            axes.plot(counts, measured, "o", color=tint, markersize=5, label=f"{name}: measured")
        axes.set_xscale("log")
        axes.set_yscale("log")
        y_label = "variance of p_hat(x) / p(x)" if colour == COLOURS[0] else ""
        dress(axes, f"{colour} eyes", "samples K", y_label)
    panels[-1].legend(frameon=False, fontsize=8.5)
    figure.suptitle(
        "Importance sampling of p(x): its variance is (sum of p(z|x)^2 / q(z) - 1) / K; of the posterior 0",
        x=0.01, ha="left", fontsize=11, color=BLACK,
    )  # fmt: skip
    return figure


def _jensen(arrays: Any) -> Figure:
    figure = new_figure(11.5, 4.6)
    left, right = figure.subplots(1, 2)
    weights = arrays["probabilities"][_SHOWN] * arrays["probabilities"].shape[1]  # over uniform q
    mean, mean_log = float(weights.mean()), float(np.log(weights).mean())
    line = np.linspace(0.6 * weights.min(), 1.1 * weights.max(), 200)
    left.plot(line, np.log(line), color=GREY, linewidth=1.5)
    values, counts = np.unique(weights, return_counts=True)
    left.scatter(
        values, np.log(values), s=40 * counts, color=BLUE, zorder=3, label="w = p(x, z) / q(z) of each z"
    )
    left.plot(mean, np.log(mean), "D", color=BLACK, label="log E[w] = log p(x)")
    left.plot(mean, mean_log, "D", color=RED, label="E[log w] = ELBO")
    left.vlines(mean, mean_log, np.log(mean), color=RED, linewidth=2)
    dress(
        left, f"The table, blue eyes, uniform q: the gap is {np.log(mean) - mean_log:.2f} nats",
        "weight w", "log w",
    )  # fmt: skip
    left.legend(frameon=False, loc="lower right", fontsize=9)

    log_w, q = arrays["digit_log_w"] - float(arrays["digit_log_mean"]), arrays["digit_q"]
    gap = float(arrays["digit_log_mean"] - arrays["digit_mean_log"])
    order = np.argsort(log_w, kind="stable")
    low, high = log_w[order][np.searchsorted(np.cumsum(q[order]), (0.005, 0.995))]
    bins = np.linspace(min(float(low), -1.2 * gap), max(float(high), 0.2 * gap), 40)
    right.hist(np.clip(log_w, bins[0], bins[-1]), bins=bins, weights=q, color="#BBBBBB")
    right.axvline(0.0, color=BLACK, linewidth=2, label="log E[w] = log p(x)")
    right.axvline(-gap, color=RED, linewidth=2, label="E[log w] = ELBO")
    dress(
        right, f"The digit that a fitted q follows least: the gap is {gap:.2f} nats",
        "log w - log p(x), nats (0.5 % at each end in the last bars)", "probability under q",
    )  # fmt: skip
    right.legend(frameon=False, loc="upper left", fontsize=9)
    return figure


def _elbo(result: StudyResult) -> Figure:
    table = result.table("elbo")
    figure = new_figure(11.5, 5.0)
    axes = figure.subplots()
    forms = (
        ("E[log p(x|z)] - KL(q || p(z))", "reconstruction", "kl_to_prior", -1.0),
        ("E[log p(x, z)] + H(q)", "expected_log_joint", "entropy", 1.0),
        ("log p(x) - KL(q || p(z|x))", "log_marginal", "kl_to_posterior", -1.0),
    )
    height, ticks, names = 0.0, [], []
    for name, tint in _OF_Q.items():
        row = list(zip(table["x"], table["q"], strict=True)).index((COLOURS[_SHOWN], name))
        bound = table["reconstruction_minus_kl_to_prior"][row]
        for text, first, second, sign in forms:
            _parts(axes, height, table[first][row], sign * table[second][row], tint)
            ticks.append(height)
            names.append(f"{text}")
            height -= 1.0
        axes.vlines(bound, height + 0.5, height + 3.5, color=tint, linewidth=2)
        label = f"q {name}: ELBO {bound:.3f}"
        axes.annotate(
            label, (0.0, height + 2.0), xytext=(8, 0), textcoords="offset points", va="center", color=tint,
        )  # fmt: skip
        height -= 0.7
    axes.axvline(table["log_marginal"][_SHOWN], color=BLACK, linewidth=1, linestyle="--")
    axes.set_yticks(ticks, names, fontsize=9)
    axes.set_xlim(right=0.9)
    dress(
        axes, "Three forms of the ELBO, blue eyes. Dark: the first part; light: the second, to the ELBO",
        "nats (dashed: log p(x))", "",
    )  # fmt: skip
    axes.grid(False, axis="y")
    return figure


def _parts(axes: Axes, height: float, first: float, second: float, tint: str) -> None:
    """The first part from 0, and the second from its end, beside it where it leads back."""
    axes.barh(height + 0.15, first, height=0.4, color=tint)
    axes.barh(height - 0.22, second, left=first, height=0.28, color=tint, alpha=0.45)


def _divergences(result: StudyResult, arrays: Any) -> Figure:
    table, curves = result.table("divergences"), result.table("bells")
    named = list(zip(table["x"], table["q"], strict=True))
    figure = new_figure(11.5, 4.4)
    left, right = figure.subplots(1, 2)
    place = np.arange(arrays["prior"].size) + 1
    right.bar(place, arrays["posteriors"][_SHOWN], 0.7, color="#CCCCCC", label="p(z | blue)")
    for name, key, column, tint in (
        ("reverse KL(q || p)", "reverse", "kl_to_posterior", BLUE),
        ("forward KL(p || q)", "forward", "kl_from_posterior", ORANGE),
    ):
        row = named.index((COLOURS[_SHOWN], f"bell by {key} KL"))
        at = float(arrays[f"{key}_place"])
        left.plot(curves["place"], curves[column], color=tint, linewidth=2, label=name)
        left.plot(at, table[column][row], "o", color=tint, markersize=8)
        right.plot(place, arrays[key], "o-", color=tint, linewidth=2, label=f"least {name}, at {at:.2f}")
    left.set_ylim(0.0, 3.0)
    dress(left, "Bells q of standard deviation 1, blue eyes",
          "where the bell stands", "nats")  # fmt: skip
    left.legend(frameon=False, fontsize=9)
    dress(right, "The best of each beside the posterior", "nationality z", "probability")
    right.set_ylim(top=0.62)
    right.legend(frameon=False, fontsize=9)
    return figure
