"""Pictures of the bounds study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastvi
from fastvi.studies.common import style
from fastvi.studies.common.result import StudyResult, Table
from fastvi.studies.common.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, SKY, dress, label_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 14
_TINTS = (SKY, BLUE, GREEN, ORANGE)


def figures(result: StudyResult) -> dict[str, Figure]:
    """``images``: bounds of some images beside them. ``gap``: gap against K, and ELBO + KL = log p(x)."""
    return {"images": _images(result), "gap": _gap(result)}


def _sizes(table: Table) -> list[int]:
    """K of the importance-weighted bounds."""
    names = [name.removeprefix("weighted_bound_") for name in table if name.startswith("weighted_bound_")]
    return [int(name) for name in names if name.isdecimal()]


def _images(result: StudyResult) -> Figure:
    """The images are spread over the range of gaps; log p(x) is the zero of each line."""
    table = result.table("images")
    truth, elbo = np.array(table["log_marginal"]), np.array(table["elbo"])
    gap = truth - elbo
    order = np.argsort(gap, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int))]
    data = fastvi.datasets.digits()
    figure = style.new_figure(10.5, 1.1 + 0.42 * len(shown))
    axes = figure.subplots()
    sizes = [size for size in _sizes(table) if size > 1]
    top = len(shown) - 1
    for height, n in enumerate(shown):
        style.add_thumbnail(axes, height, data.images[table["index"][n]].reshape(data.image_shape))
        axes.barh(height, -gap[n], height=0.16, color="#CCCCCC", zorder=1)
        marks = [("ELBO", -gap[n], 0.0, RED)]
        for size, tint in zip(sizes, _TINTS, strict=False):
            name = f"weighted_bound_{size}"
            marks.append((f"K = {size:,}", table[name][n] - truth[n], table[f"{name}_std_error"][n], tint))
        for name, value, std_error, tint in marks:
            axes.plot([value - 2 * std_error, value + 2 * std_error], [height, height], color=tint, zorder=3)
            axes.plot(value, height, "o" if name == "ELBO" else "D", color=tint, markersize=5.5, zorder=3)
            if height == top:
                label_line(axes, value, top, name, tint, xytext=(0, 12), ha="center")
    axes.axvline(0.0, color=BLACK, linewidth=2)
    label_line(axes, 0.0, -0.4, "log p(x)", BLACK)
    axes.set_ylim(-0.6, top + 0.8)
    span = f"{gap.min():.2g} to {gap.max():.2g}"
    title = f"The ELBO stops {gap.mean():.2g} nats short of log p(x) on average ({span})"
    dress(
        axes,
        f"{title}; importance weighting closes part of the gap",
        "nats relative to log p(x). Grey: KL(q || p(z|x)). Line through a point: 2 standard errors each way",
        "",
    )
    axes.grid(False, axis="y")
    axes.set_yticks([])
    axes.tick_params(axis="y", pad=24)
    axes.spines["left"].set_visible(False)
    return figure


def _gap(result: StudyResult) -> Figure:
    table = result.table("images")
    truth, elbo, kl = (np.array(table[name]) for name in ("log_marginal", "elbo", "kl_to_posterior"))
    sizes = _sizes(table)
    gaps = np.stack([truth - np.array(table[f"weighted_bound_{size}"]) for size in sizes])
    errors = np.stack([np.array(table[f"weighted_bound_{size}_std_error"]) for size in sizes])
    figure = style.new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    left.plot(sizes, gaps, color="#CCCCCC", linewidth=0.7)
    left.errorbar(
        sizes,
        gaps.mean(axis=1),
        2 * np.sqrt((errors**2).sum(axis=1)) / len(truth),
        fmt="o-",
        color=BLUE,
        linewidth=2,
    )
    left.set_xscale("log")
    left.axhline(0.0, color=BLACK, linewidth=1)
    for size, value in zip(sizes, gaps.mean(axis=1), strict=True):
        label_line(left, size, value, f"{value:.2g}", BLUE, xytext=(4, 9))
    dress(
        left,
        f"{sizes[-1]:,} samples leave {gaps[-1].mean():.2g} of the ELBO's {(truth - elbo).mean():.2g} nats",
        "samples K in the importance-weighted bound",
        "log p(x) - bound, nats (grey: one image)",
    )
    residual = float(np.abs(truth - elbo - kl).max())
    limit = 10.0 ** np.ceil(np.log10(max(residual, 1e-16)))
    reach = 1.05 * float(max(kl.max(), 1e-3))
    right.plot([0, reach], [0, reach], color=GREY, linewidth=1)
    right.plot(kl, truth - elbo, "o", color=RED, markersize=5, alpha=0.7)
    dress(
        right,
        f"The gap is the KL divergence: equal within {limit:.0e} nats",
        "KL(q || p(z|x)), nats, computed on its own",
        "log p(x) - ELBO, nats",
    )
    return figure
