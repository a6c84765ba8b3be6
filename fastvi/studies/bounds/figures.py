"""Pictures of the bounds study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastvi.studies.common import style
from fastvi.studies.common.result import Picture, StudyResult, Table
from fastvi.studies.common.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, SKY, dress, label_line
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import counted, percent, rounded, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = 14
_TINTS = (SKY, BLUE, GREEN, ORANGE)
_ROUNDING = 1e-6  # nats: gaps below are not drawn as wide as the panel
_NEAR = 0.085  # of the panel's width: two labels closer than that would touch


def figures(result: StudyResult, subject: Subject) -> dict[str, Picture]:
    """Three pictures.

    ``images``: bounds of some data beside them. ``gap``: gap against K, and ELBO + KL = log p(x). ``parts``:
    three ways of adding up the ELBO.
    """
    return {
        "images": _images(result, subject),
        "gap": _gap(result, subject),
        "parts": _parts(result, subject),
    }


def _sizes(table: Table) -> list[int]:
    """K of the importance-weighted bounds."""
    names = [name.removeprefix("weighted_bound_") for name in table if name.startswith("weighted_bound_")]
    return [int(name) for name in names if name.isdecimal()]


def _images(result: StudyResult, subject: Subject) -> Picture:
    """The data are spread over the range of gaps; log p(x) is the zero of each line."""
    table = result.table("images")
    truth, elbo = np.array(table["log_marginal"]), np.array(table["elbo"])
    gap = truth - elbo
    order = np.argsort(gap, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int))]
    figure = style.new_figure(10.5, 1.5 + 0.42 * len(shown))
    axes = figure.subplots()
    sizes = [size for size in _sizes(table) if size > 1][-len(_TINTS) :]
    top = len(shown) - 1
    heads: list[tuple[float, str, str]] = []
    for height, n in enumerate(shown):
        _datum(axes, height, subject, n)
        axes.barh(height, -gap[n], height=0.16, color="#CCCCCC", zorder=1)
        marks = [("ELBO", -gap[n], 0.0, RED)]
        for size, tint in zip(sizes, _TINTS, strict=False):
            name = f"weighted_bound_{size}"
            marks.append((f"K = {size:,}", table[name][n] - truth[n], table[f"{name}_std_error"][n], tint))
        for name, value, std_error, tint in marks:
            axes.plot([value - 2 * std_error, value + 2 * std_error], [height, height], color=tint, zorder=3)
            axes.plot(value, height, "o" if name == "ELBO" else "D", color=tint, markersize=5.5, zorder=3)
            if height == top:
                heads.append((value, name, tint))
    heads.append((0.0, "log p(x)", BLACK))
    axes.axvline(0.0, color=BLACK, linewidth=2, zorder=2)
    axes.set_ylim(-0.6, top + 0.6)
    low, high = axes.get_xlim()
    low, high = min(low, -_ROUNDING), max(high, 0.05 * _ROUNDING)
    axes.set_xlim(low, high)
    places = _apart([head[0] for head in heads], _NEAR * (high - low))
    for place, (_, name, tint) in zip(places, heads, strict=True):
        axes.annotate(
            name, (place, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 5),
            textcoords="offset points", ha="center", color=tint, fontsize=10,
        )  # fmt: skip
    exact = gap.max() < _ROUNDING
    closes = "" if exact else f"; {_share_closed(table, truth, gap)}"
    best = "the best q whose latents are independent"
    if exact:
        limit = 10.0 ** np.ceil(np.log10(max(float(np.abs(gap).max()), 1e-16)))
        title = f"The ELBO of {best} is log p(x)\nwithin {limit:.0e} nats"
    else:
        title = (
            f"The ELBO of {best} stops {rounded(gap.mean())} nats\nshort of log p(x) on average "
            f"({rounded(gap.min())} to {rounded(gap.max())}){closes}"
        )
    dress(
        axes,
        title,
        "nats relative to log p(x); grey bar: the divergence KL(q || p(z|x))\n"
        "circle: ELBO; diamond: importance-weighted bound of K samples (Burda et al. 2016), "
        "2 standard errors each way",
        "",
    )
    axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=11, color=BLACK, pad=24)
    axes.grid(False, axis="y")
    axes.set_yticks([])
    axes.tick_params(axis="y", pad=24)
    axes.spines["left"].set_visible(False)
    caption = (
        f"Bounds of {len(shown)} of {counted(subject)}, one a line, as distances from the exact log p(x) at "
        f"the right. The ELBO lies below by KL(q || p(z|x)), {rounded(gap.mean())} nats on average over all "
        f"of them{closes}."
    )
    worst = ", ".join(f"{name} {rounded(value)}" for value, name, _ in heads[:-1])
    alt = (
        f"{len(shown)} horizontal bars, each with marks for the ELBO and for importance-weighted bounds that "
        f"move right towards log p(x) as K grows. Nats from log p(x) in the uppermost: {worst}."
    )
    return Picture(figure, caption, alt)


def _share_closed(table: Table, truth: np.ndarray, gap: np.ndarray) -> str:
    """Text of how much of the mean gap the largest K closes, as far as the draws tell."""
    size = _sizes(table)[-1]
    left, error = _mean_left(table, truth, size)
    if left < 2 * error:
        return f"{size:,} samples close it within {rounded(2 * error)} nats (2 standard errors)"
    return f"{size:,} samples close {percent(1.0 - left / gap.mean())} of that"


def _mean_left(table: Table, truth: np.ndarray, size: int) -> tuple[float, float]:
    """Mean distance of the bound of K samples from log p(x), and its standard error."""
    errors = np.array(table[f"weighted_bound_{size}_std_error"])
    left = truth - np.array(table[f"weighted_bound_{size}"])
    return float(left.mean()), float(np.sqrt((errors**2).sum())) / len(truth)


def _datum(axes: Axes, height: int, subject: Subject, n: int) -> None:
    """The image, or the number of a datum that is none."""
    if subject.image_shape is not None:
        style.add_thumbnail(axes, height, subject.x[n].reshape(subject.image_shape))
    else:
        axes.annotate(
            str(subject.index[n]), (0.0, height), xycoords=("axes fraction", "data"), xytext=(-6, 0),
            textcoords="offset points", ha="right", va="center", fontsize=9.5, color=BLACK,
        )  # fmt: skip


def _apart(places: list[float], distance: float) -> list[float]:
    """Rising places of labels, moved to the left of the next where they would touch it."""
    moved: list[float] = []
    for place in reversed(places):
        moved.append(min(place, moved[-1] - distance) if moved else place)
    return moved[::-1]


def _gap(result: StudyResult, subject: Subject) -> Picture:
    table = result.table("images")
    truth, elbo, kl = (np.array(table[name]) for name in ("log_marginal", "elbo", "kl_to_posterior"))
    sizes = _sizes(table)
    gaps = np.stack([truth - np.array(table[f"weighted_bound_{size}"]) for size in sizes])
    means, errors = (
        np.array(part) for part in zip(*(_mean_left(table, truth, k) for k in sizes), strict=True)
    )
    figure = style.new_figure(11.5, 5)
    left, right = figure.subplots(1, 2)
    left.plot(sizes, gaps, color="#CCCCCC", linewidth=0.7)
    left.errorbar(
        sizes,
        means,
        2 * errors,
        fmt="o-",
        color=BLUE,
        linewidth=2,
    )
    left.set_xscale("log")
    left.axhline(0.0, color=BLACK, linewidth=1)
    for size, value in zip(sizes, means, strict=True):
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
        side = {"xytext": (-6, 11), "ha": "right"} if size == sizes[-1] else {"xytext": (6, 11), "ha": "left"}
        label_line(left, size, value, rounded(value), BLUE, bbox=box, **side)
    first, last = rounded(means[0]), f"{rounded(means[-1])} +- {2 * errors[-1]:.1g}"
    dress(
        left,
        f"More samples, a tighter bound:\n{first} nats below log p(x) at K = 1, {last} at K = {sizes[-1]:,}",
        "samples K in the importance-weighted bound\n(Burda et al. 2016)",
        f"log p(x) - bound, nats\n(grey: one {unit(subject)}; blue: mean)",
    )
    residual = float(np.abs(truth - elbo - kl).max())
    limit = 10.0 ** np.ceil(np.log10(max(residual, 1e-16)))
    reach = 1.05 * float(max(kl.max(), 1e-3))
    right.plot([0, reach], [0, reach], color=GREY, linewidth=1)
    right.plot(kl, truth - elbo, "o", color=RED, markersize=5, alpha=0.7)
    dress(
        right,
        f"The ELBO's gap is the divergence of q from p(z|x):\nboth agree within {limit:.0e} nats",
        f"KL(q || p(z|x)), nats, summed on its own\n(one point: one {unit(subject)}; line: equal)",
        "log p(x) - ELBO, nats",
    )
    caption = (
        f"Left: distance of importance-weighted bounds from the exact log p(x) for {counted(subject)}; "
        f"right: the distance of the ELBO against KL(q || p(z|x)). The mean distance falls from {first} to "
        f"{last} nats with {sizes[-1]:,} samples, and for the ELBO it is the divergence."
    )
    alt = (
        f"Left: lines that fall with K from {first} to {last} nats on average. Right: points on the "
        f"diagonal, from {rounded(kl.min())} to {rounded(kl.max())} nats."
    )
    return Picture(figure, caption, alt)


def _parts(result: StudyResult, subject: Subject) -> Picture:
    """Means over the data; a bar starts where the one before it ends."""
    table = result.table("decompositions")
    mean = {name: float(np.mean(values)) for name, values in table.items()}
    truth = float(np.mean(result.table("images")["log_marginal"]))
    rows = [
        (("log p(x)", truth), ("- KL(q || p(z|x))", mean["elbo"] - truth)),
        (("energy: mean log p(x, z)", mean["expected_log_joint"]), ("+ entropy of q", mean["entropy"])),
    ]
    if np.isfinite(mean["reconstruction"]):
        rebuilt = ("reconstruction: mean log p(x|z)", mean["reconstruction"])
        rows.append((rebuilt, ("- KL(q || prior)", -mean["kl_to_prior"])))
    figure = style.new_figure(10.5, 1.6 + 0.95 * len(rows))
    axes = figure.subplots()
    for height, ((first, start), (second, step)) in enumerate(rows):
        axes.barh(height + 0.14, start, height=0.26, color=SKY)
        axes.barh(height - 0.14, step, left=start, height=0.26, color=ORANGE)
        texts = f"{first}: {start:.2f}", f"{second}: {step:+.2f}"
        axes.text(
            0.0, height + 0.32, texts[0], va="bottom", ha="left" if start > 0 else "right", fontsize=9.5
        )
        axes.annotate(
            texts[1], (max(start, start + step), height - 0.14), xytext=(6, 0), textcoords="offset points",
            va="center", fontsize=9.5,
        )  # fmt: skip
    elbo = mean["elbo"]
    axes.plot([elbo, elbo], [-0.45, len(rows) - 0.5], color=RED, linewidth=2)
    axes.annotate(
        f"ELBO {elbo:.2f}", (elbo, len(rows) - 0.5), xytext=(0, 3), textcoords="offset points",
        ha="center", va="bottom", color=RED, fontsize=10,
    )  # fmt: skip
    axes.set_ylim(-0.5, len(rows) - 0.1)
    names = ("one", "two", "three")
    ways = f"{names[len(rows) - 1]} ways"
    title = f"The mean ELBO of {counted(subject)}, {elbo:.2f} nats, is the same sum in {ways}"
    dress(axes, title, "nats: blue from 0, then orange from where blue ends (means over z from q)", "")
    axes.grid(False)
    axes.use_sticky_edges = False
    axes.margins(x=0.05)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    sums = "; ".join(f"{a} {x:.2f}, {b} {y:+.2f}" for (a, x), (b, y) in rows[::-1])
    caption = (
        f"The mean ELBO of {counted(subject)} under their best q, added up in {ways}: a blue bar, and an "
        f"orange one from its end. All end at {elbo:.2f} nats."
    )
    return Picture(
        figure, caption, f"Pairs of bars that end at the same line, the ELBO of {elbo:.2f} nats: {sums}."
    )
