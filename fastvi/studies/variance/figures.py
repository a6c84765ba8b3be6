"""Pictures of the variance study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    RED,
    dress,
    label_line,
    legend_below,
    legend_within,
    new_figure,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REVERSE, FORWARD = "reverse KL", "forward KL"
_COLORS = {REVERSE: BLUE, FORWARD: ORANGE}
_NAMES = {REVERSE: "least KL(q || p), reverse", FORWARD: "least KL(p || q), forward"}
_WHICH = (
    "The q of reverse KL has the least KL(q || p), that of forward KL the least KL(p || q), p being the "
    "posterior p(z | x)."
)


def figures(result: StudyResult) -> dict[str, Picture]:
    """``continuous``: p(x) as an area; ``posteriors``, ``states``: both fits; ``ratios``: variances."""
    if "pictures" not in result.arrays:
        return {"ratios": _ratios(result)}
    arrays = result.arrays["pictures"]
    return {
        "continuous": _continuous(result, arrays),
        "posteriors": _posteriors(result, arrays),
        "states": _states(arrays),
        "ratios": _ratios(result),
    }


def _continuous(result: StudyResult, arrays: Any) -> Picture:
    table = {name: np.array(column) for name, column in result.table("continuous").items()}
    truth, best = float(table["log_marginal"][0]), int(table["gap"].argmin())
    half, double = (int(np.abs(np.log2(table["times_posterior"]) - power).argmin()) for power in (-1, 1))
    figure = new_figure(11.0, 4.4)
    left, right = figure.subplots(1, 2)
    z, joint = arrays["z"], arrays["p_x_z"]
    left.plot(z, arrays["p_z"], color=GREY, linewidth=1.5, label="p(z), before anything is seen")
    left.plot(z, joint, color=BLUE, linewidth=1.5)
    left.fill_between(z, joint, color=BLUE, alpha=0.3, linewidth=0, label="p(x, z); its area is p(x)")
    dress(
        left,
        f"z may be any number:\np(x) = {np.exp(truth):.3f} is the area under p(x, z)",
        "latent z",
        "density",
    )
    left.set_ylim(0.0, 1.35 * float(arrays["p_z"].max()))
    legend_within(left, "upper left")
    right.axhline(truth, color=BLACK, linewidth=1)
    right.plot(table["std_q"], table["elbo"], color=BLUE, linewidth=2)
    for row, shift, align in ((half, (8, -12), "left"), (double, (-8, -10), "right")):
        right.plot(table["std_q"][row], table["elbo"][row], "o", color=RED)
        text = f"{table['times_posterior'][row]:g} times as wide:\n{table['gap'][row]:.2f} nats below"
        label_line(
            right, table["std_q"][row], table["elbo"][row], text, RED, xytext=shift, ha=align, va="top"
        )
    right.plot(table["std_q"][best], table["elbo"][best], "D", color=BLACK, zorder=3)
    label_line(
        right, table["std_q"][best], truth, f"log p(x) = {truth:.3f}", BLACK, xytext=(0, 10), ha="center"
    )
    dress(
        right, f"The ELBO reaches log p(x) where q is as wide\nas the posterior: {table['std_q'][best]:.2f}",
        "standard deviation of q", "ELBO, nats",
    )  # fmt: skip
    right.set_ylim(truth - 1.9, truth + 0.3)
    caption = (
        "A latent z with a standard normal prior is seen with noise as x = 1. Left: p(x) is the integral "
        "of p(x, z) over z; right: the ELBO of a normal q around the posterior's mean is log p(x) less "
        "KL(q || p(z | x)), which is 0 only for the posterior itself."
    )
    alt = (
        "Left, two bells over z: the grey prior, and the smaller p(x, z), whose filled area is "
        f"{np.exp(truth):.3f}. Right, the ELBO against the width of q: it rises to log p(x) = {truth:.3f} "
        f"at a width of {table['std_q'][best]:.2f} and falls again; at half that width it is "
        f"{table['gap'][half]:.2f} nats below, at twice that width {table['gap'][double]:.2f}."
    )
    return Picture(figure, caption, alt)


def _share(result: StudyResult, case: str, direction: str) -> tuple[float, float]:
    """Variances of both fits over that of the posterior."""
    table = result.table("variances")
    row = list(zip(table["case"], table["direction"], strict=True)).index((case, direction))
    return table["reverse_ratio"][row], table["forward_ratio"][row]


def _posteriors(result: StudyResult, arrays: Any) -> Picture:
    figure = new_figure(11.0, 6.0)
    shares = []
    for axes, word, case, title in zip(
        figure.subplots(1, 2), ("correlated", "modes"), ("correlated normal", "two normal modes"),
        ("A correlated posterior", "A posterior with two modes"), strict=True,
    ):  # fmt: skip
        density, line = arrays[f"density_{word}"], arrays["line"]
        levels = density.max() * np.array([0.02, 0.1, 0.3, 0.6, 1.0])
        axes.contourf(line, line, density.T, levels=levels, cmap="Greys", alpha=0.55)
        for name, color in _COLORS.items():
            mean, std = arrays[f"{name.split()[0]}_{word}"]
            _ellipses(axes, mean, std, color)
            axes.plot([], [], color=color, linewidth=2, label=f"q of the {_NAMES[name]}")
        reverse, forward = _share(result, case, "z_1")
        shares.append((title, reverse, forward))
        text = f"{title}: reverse KL has {reverse:.2g} of the variance of z_1, forward KL {forward:.2g}"
        dress(axes, wrapped(text, 5.0), "latent z_1", "latent z_2")
        axes.set_aspect("equal")
        legend_within(axes, "lower left")
    caption = (
        "Grey: the posterior of two real latents given x; ellipses: the normal q with independent latents "
        f"that either divergence fits, at 1 and 2 standard deviations. {_WHICH}"
    )
    alt = (
        "Left, a long narrow cloud along a diagonal: the q of reverse KL is a small circle within it, that "
        "of forward KL a larger one that reaches beyond it. Right, two clouds side by side: the q of "
        "reverse KL lies on one of them, that of forward KL spans both. "
        + " ".join(
            f"{title}: reverse KL has {reverse:.2g} of the variance of z_1, forward KL {forward:.2g}."
            for title, reverse, forward in shares
        )
    )
    return Picture(figure, caption, alt)


def _ellipses(axes: Axes, mean: np.ndarray, std: np.ndarray, color: str) -> None:
    from matplotlib.patches import Ellipse

    for times in (1.0, 2.0):
        width, height = 2.0 * times * std
        axes.add_patch(Ellipse(tuple(mean), width, height, fill=False, edgecolor=color, linewidth=2))


def _states(arrays: Any) -> Picture:
    figure = new_figure(11.0, 4.4)
    axes = figure.subplots()
    order = np.argsort(-arrays["p"], kind="stable")
    place = np.arange(len(order))
    bars = (
        ("posterior p(z | x)", GREY, "p"), (f"q of the {_NAMES[REVERSE]}", BLUE, "q_reverse"),
        (f"q of the {_NAMES[FORWARD]}", ORANGE, "q_forward"),
    )  # fmt: skip
    for k, (name, color, key) in enumerate(bars):
        axes.bar(place + 0.28 * (k - 1), arrays[key][order], 0.28, color=color, label=name)
    words = ["".join(str(bit) for bit in state) for state in arrays["states"][order]]
    axes.set_xticks(place, words, fontsize=9)
    modes = order[:4]  # one of each pair
    share = {key: float(arrays[key][modes].sum()) for _, _, key in bars}
    title = (
        f"The four best states have {share['p']:.2f} of the posterior: reverse KL puts "
        f"{arrays['q_reverse'].max():.2f} on one of them, forward KL {share['q_forward']:.2f} on all four "
        f"and {1.0 - share['q_forward']:.2f} elsewhere"
    )
    dress(axes, wrapped(title, 10.5), "state z: four binary latents, in two pairs", "probability")
    legend_within(axes, "upper right")
    caption = (
        "Four causes in two pairs, of which one in each pair suffices to explain what was seen; bars are "
        f"the probabilities of the 16 states. {_WHICH}"
    )
    alt = (
        f"Three bars for each of 16 states. The posterior stands on {', '.join(words[:4])}, a quarter on "
        f"each; the q of reverse KL has {arrays['q_reverse'].max():.2f} on one of them; the q of forward KL "
        "is nearly as high on all 16."
    )
    return Picture(figure, caption, alt)


def _ratios(result: StudyResult) -> Picture:
    table = result.table("variances")
    names = [f"{case}: {what}" for case, what in zip(table["case"], table["direction"], strict=True)][::-1]
    figure = new_figure(10.0, 1.7 + 0.36 * max(4, len(names)))
    axes = figure.subplots()
    place = np.arange(len(names))
    axes.axvline(1.0, color=BLACK, linewidth=1)
    ranges = []
    for name, column in ((REVERSE, "reverse_ratio"), (FORWARD, "forward_ratio")):
        values = np.maximum(np.array(table[column][::-1]), 1e-6)
        ranges.append(f"{name} has {np.nanmin(values):.2g} to {np.nanmax(values):.3g} times")
        axes.plot(values, place, "o", color=_COLORS[name], markersize=8, label=f"q of the {_NAMES[name]}")
    axes.set_xscale("log")
    axes.set_yticks(place, names, fontsize=9)
    axes.set_ylim(-0.7, len(names) - 0.3)
    title = f"Of the posterior's variance {ranges[0]}, {ranges[1]}"
    dress(axes, title, "variance of q / variance of the posterior (below 1: too small)", "")
    legend_below(axes, 2)
    caption = (
        f"Variances of single latents and of sums of latents under q, over those of the posterior. {_WHICH}"
    )
    alt = "A line for each latent or sum of latents with two points. " + "; ".join(
        f"{name}: reverse KL {reverse:.2g}, forward KL {forward:.2g}"
        for name, reverse, forward in zip(
            names[::-1], table["reverse_ratio"], table["forward_ratio"], strict=True
        )
    )
    return Picture(figure, caption, f"{alt}.")
