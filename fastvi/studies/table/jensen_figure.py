"""Picture of Jensen's inequality, for a row of a table and for a digit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import Picture
from fastvi.studies.common.style import BLACK, BLUE, GREY, RED, dress, legend_within, new_figure, wrapped
from fastvi.studies.table.words import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def jensen(arrays: Any, word: Words) -> Picture:
    """Draw the weights of a row and their logarithms; beside them, if there is one, a digit's."""
    digits = "digit_log_w" in arrays
    figure = new_figure(12.0 if digits else 7.0, 4.8)
    panels = figure.subplots(1, 2 if digits else 1, squeeze=False)[0]
    left, who = panels[0], word.row(word.shown)
    weights = arrays["probabilities"][word.shown] * arrays["probabilities"].shape[1]  # over uniform q
    mean, mean_log = float(weights.mean()), float(np.log(weights).mean())
    line = np.linspace(0.6 * weights.min(), 1.25 * weights.max(), 200)
    left.plot(line, np.log(line), color=GREY, linewidth=1.5)
    values, counts = np.unique(weights, return_counts=True)
    left.scatter(values, np.log(values), s=40 * counts, color=BLUE, zorder=3, label="one weight for each z")
    left.vlines(mean, mean_log, np.log(mean), color=RED, linewidth=2)
    left.plot(mean, np.log(mean), "D", color=BLACK, zorder=4, label="log of the average weight: log p(x)")
    left.plot(mean, mean_log, "D", color=RED, zorder=4, label="average of the logs: the ELBO")
    gap = float(np.log(mean) - mean_log)
    title = (
        f"Jensen: the average of the logs is {gap:.2f} nats below the log of the average ({who}, q uniform)"
    )
    dress(left, wrapped(title, 5.4), "weight w = p(x, z) / q(z)", "log w")
    legend_within(left, "lower right")
    caption = (
        f"Blue: the weight of each z of {who} and its logarithm, a curve that bends down. So the average of "
        "the logs, the ELBO, is below the log of the average, log p(x) (Jensen's inequality)."
    )
    alt = (
        f"A rising curve that bends down, with a point for each weight. At the average weight {mean:.2f} a "
        f"black diamond on the curve at {np.log(mean):.2f} and a red one {gap:.2f} below it."
    )
    if digits:
        far = _of_digit(panels[1], arrays)
        caption = caption[:-1] + (
            f"; right: for the digit whose fitted q fits worst the ELBO is {far:.2f} nats below log p(x)."
        )
        alt += (
            " Right, bars of log w less log p(x) under q; a black line at 0, and a red one, their mean, "
            f"{far:.2f} to its left."
        )
    return Picture(figure, caption, alt)


def _of_digit(axes: Axes, arrays: Any) -> float:
    log_w, q = arrays["digit_log_w"] - float(arrays["digit_log_mean"]), arrays["digit_q"]
    gap = float(arrays["digit_log_mean"] - arrays["digit_mean_log"])
    order = np.argsort(log_w, kind="stable")
    low, high = log_w[order][np.searchsorted(np.cumsum(q[order]), (0.005, 0.995))]
    bins: Any = np.linspace(min(float(low), -1.2 * gap), max(float(high), 0.2 * gap), 40)
    axes.hist(
        np.clip(log_w, bins[0], bins[-1]),
        bins=bins,
        weights=q,
        color="#BBBBBB",
        label="log weights of z from q",
    )
    axes.axvline(0.0, color=BLACK, linewidth=2, label="log of the average weight: log p(x)")
    axes.axvline(-gap, color=RED, linewidth=2, label="average of the logs: the ELBO")
    title = f"A handwritten digit: where a fitted q fits worst, the ELBO is {gap:.2f} nats below log p(x)"
    dress(
        axes, wrapped(title, 5.4), "log w - log p(x), nats (0.5 % at each end in the last bars)",
        "probability under q",
    )  # fmt: skip
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9.5)
    return gap
