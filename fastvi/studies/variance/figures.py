"""Pictures of the variance study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import StudyResult
from fastvi.studies.common.style import BLACK, BLUE, GREY, ORANGE, dress, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REVERSE, FORWARD = "reverse KL", "forward KL"
_COLORS = {REVERSE: BLUE, FORWARD: ORANGE}


def figures(result: StudyResult) -> dict[str, Figure]:
    """``posteriors``: normal ones and both fits; ``states``: a binary one; ``ratios``: variances."""
    arrays = result.arrays["pictures"]
    return {"posteriors": _posteriors(arrays), "states": _states(arrays), "ratios": _ratios(result)}


def _posteriors(arrays: Any) -> Figure:
    figure = new_figure(10.5, 5.7)
    for axes, word, title in zip(
        figure.subplots(1, 2), ("correlated", "modes"),
        ("A correlated posterior", "A posterior with two modes"), strict=True,
    ):  # fmt: skip
        density, line = arrays[f"density_{word}"], arrays["line"]
        levels = density.max() * np.array([0.02, 0.1, 0.3, 0.6, 1.0])
        axes.contourf(line, line, density.T, levels=levels, cmap="Greys", alpha=0.55)
        for name, color in _COLORS.items():
            mean, std = arrays[f"{name.split()[0]}_{word}"]
            _ellipses(axes, mean, std, color)
            axes.plot([], [], color=color, linewidth=2, label=f"q of the {name}, 1 and 2 standard deviations")
        dress(axes, title, "z_1", "z_2")
        axes.set_aspect("equal")
        axes.legend(loc="lower left", fontsize=9, frameon=False)
    return figure


def _ellipses(axes: Axes, mean: np.ndarray, std: np.ndarray, color: str) -> None:
    from matplotlib.patches import Ellipse

    for times in (1.0, 2.0):
        width, height = 2.0 * times * std
        axes.add_patch(Ellipse(tuple(mean), width, height, fill=False, edgecolor=color, linewidth=2))


def _states(arrays: Any) -> Figure:
    figure = new_figure(10.5, 4.2)
    axes = figure.subplots()
    order = np.argsort(-arrays["p"], kind="stable")
    place = np.arange(len(order))
    bars = (("posterior", GREY, "p"), (REVERSE, BLUE, "q_reverse"), (FORWARD, ORANGE, "q_forward"))
    for k, (name, color, key) in enumerate(bars):
        axes.bar(place + 0.28 * (k - 1), arrays[key][order], 0.28, color=color, label=name)
    words = ["".join(str(bit) for bit in state) for state in arrays["states"][order]]
    axes.set_xticks(place, words, fontsize=9)
    modes = order[:4]  # one of each pair
    share = {key: float(arrays[key][modes].sum()) for _, _, key in bars}
    title = (
        f"One of each pair suffices. The four modes have {share['p']:.2f} of the posterior; reverse KL puts "
        f"{arrays['q_reverse'].max():.2f} on one,\nforward KL {share['q_forward']:.2f} on all four "
        f"and {1.0 - share['q_forward']:.2f} elsewhere"
    )
    dress(axes, title, "z", "probability")
    axes.legend(frameon=False)
    return figure


def _ratios(result: StudyResult) -> Figure:
    table = result.table("variances")
    names = [f"{case}: {what}" for case, what in zip(table["case"], table["direction"], strict=True)][::-1]
    figure = new_figure(9.5, 1.4 + 0.36 * len(names))
    axes = figure.subplots()
    place = np.arange(len(names))
    axes.axvline(1.0, color=BLACK, linewidth=1)
    for name, column in ((REVERSE, "reverse_ratio"), (FORWARD, "forward_ratio")):
        values = np.maximum(np.array(table[column][::-1]), 1e-6)
        axes.plot(values, place, "o", color=_COLORS[name], markersize=8, label=name)
    axes.set_xscale("log")
    axes.set_yticks(place, names, fontsize=9)
    dress(axes, "Variance of q over that of the posterior", "ratio (below 1 underestimates)", "")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    return figure
