"""Pictures of the study of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    dress,
    headline,
    label_line,
    legend_below,
    legend_within,
    new_figure,
    wrapped,
)
from fastvi.studies.table import words
from fastvi.studies.table.jensen_figure import jensen
from fastvi.studies.table.words import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TINTS = (RED, BLUE, GREEN)
_OF_Q = {"uniform": ORANGE, "prior": PURPLE, "halfway": SKY, "posterior": BLACK}
_TEXT_OF_Q = {
    "uniform": "q uniform", "prior": "q = p(z), the prior",
    "halfway": "q halfway (geometric mean of uniform and posterior)",
    "posterior": "q = p(z | x), the posterior",
}  # fmt: skip


def figures(result: StudyResult, word: Words = words.EYES) -> dict[str, Picture]:
    """Draw the table, its posteriors, sampled p(x), Jensen's inequality, the ELBO and both divergences."""
    arrays = result.arrays["pictures"]
    return {
        "table": _table(result, arrays, word),
        "sampling": _sampling(result, word),
        "jensen": jensen(arrays, word),
        "elbo": _elbo(result, word),
        "divergences": _divergences(result, arrays, word),
    }


def _columns(axes: Axes, places: np.ndarray) -> None:
    """Numbers of z, not all of them where they would lie upon each other."""
    step = -(-len(places) // 12)
    axes.set_xticks(places[::step], [str(n + 1) for n in range(0, len(places), step)])


def _table(result: StudyResult, arrays: Any, word: Words) -> Picture:
    probabilities, sums = arrays["probabilities"], result.table("rows")["p_x"]
    number = "{:.2f}".format if word is words.EYES else "{:.2g}".format
    (num_x, num_z), total = probabilities.shape, float(probabilities.sum())
    figure = new_figure(12.0, 1.9 + max(2.4, 0.4 * num_x))
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.1))
    most = float(probabilities.max())
    left.imshow(probabilities, cmap="Greys", vmin=0.0, vmax=2.0 * most, aspect="auto")
    if num_z <= 10:
        for x, z in np.ndindex(num_x, num_z):
            left.text(z, x, number(probabilities[x, z]), ha="center", va="center", color=BLACK)
    tint = dict(zip(word.panels, _TINTS, strict=False))
    for x in range(num_x):
        left.text(num_z - 0.3, x, number(sums[x]), va="center", color=tint.get(x, BLACK), fontweight="bold")
    left.text(num_z - 0.3, -0.62, "p(x)", va="center", color=BLACK, fontweight="bold")
    printed = ", not to 1.00 as printed" if word is words.EYES else ""
    dress(left, f"p(x, z): its entries add up to {total:.2f}{printed}", word.z, word.x)
    left.grid(False)
    _columns(left, np.arange(num_z))
    left.set_yticks(range(num_x), word.rows)
    place, width = np.arange(num_z), 0.82 / len(word.panels)
    for k, x in enumerate(word.panels):
        name = f"p(z | {word.row(x)})"
        shift = width * (k - 0.5 * (len(word.panels) - 1))
        right.bar(place + shift, arrays["posteriors"][x], width, color=tint[x], label=name)
    right.step(
        np.append(place - 0.5, num_z - 0.5), np.append(arrays["prior"], arrays["prior"][-1]), where="post",
        color=BLACK, linewidth=1, label="p(z)",
    )  # fmt: skip
    _columns(right, place)
    before, after = arrays["prior"], arrays["posteriors"][word.shown]
    z = int((after - before).argmax())
    change = f"p(z = {z + 1}) from {before[z]:.2f} to {after[z]:.2f}"
    who = word.row(word.shown)
    dress(right, wrapped(f"To see {who} changes {change}", 6.0), word.z, "probability")
    right.set_ylim(top=1.45 * float(max(arrays["posteriors"][list(word.panels)].max(), before.max())))
    legend_within(right, "upper right", 2)
    printed_too = (
        f"; the textbook prints a total of 1.00, its entries add up to {total:.2f}" if printed else ""
    )
    caption = (
        "Left: p(x, z), and at the right of each row its sum p(x). Right: p(z | x), a row divided by its "
        f"sum, beside p(z), the sums of the columns: {who} change {change}{printed_too}."
    )
    alt = (
        f"A grey table of {num_x} rows and {num_z} columns with sums p(x) of "
        + ", ".join(f"{value:.2f} ({name})" for name, value in zip(word.rows, sums, strict=True))
        + f"; bars of p(z | x) for {len(word.panels)} values of x over {num_z} values of z, and p(z) as "
        "steps."
    )
    return Picture(figure, caption, alt)


def _sampling(result: StudyResult, word: Words) -> Picture:
    table = result.table("sampling")
    keys = list(zip(table["x"], table["proposal"], strict=True))
    figure = new_figure(12.0, 4.8)
    panels = np.atleast_1d(figure.subplots(1, len(word.panels), sharey=True))
    for axes, x in zip(panels, word.panels, strict=True):
        for name, tint in _OF_Q.items():
            own = [i for i, key in enumerate(keys) if key == (word.rows[x], name)]
            counts = [table["num_samples"][i] for i in own]
            theory = np.array([table["variance_theory"][i] for i in own])
            if theory.max() < 1e-12:  # the posterior: every weight is p(x)
                continue
            measured = [table["variance_measured"][i] for i in own]
            axes.plot(counts, theory, color=tint, linewidth=1.5)
            axes.plot(counts, measured, "o", color=tint, markersize=5, label=_TEXT_OF_Q[name])
        axes.set_xscale("log")
        axes.set_yscale("log")
        y_label = "variance of estimate / p(x)" if axes is panels[0] else ""
        dress(axes, word.row(x), "draws K", y_label)
    legend_below(panels[0], 3)
    uniform, prior = (  # of one draw; the formula ends just below 0 where it is 0
        max(0.0, table["variance_theory"][row] * table["num_samples"][row])
        for row in (keys.index((word.rows[word.shown], q)) for q in ("uniform", "prior"))
    )
    title = (
        f"p(x) estimated from K draws: for {word.row(word.shown)} the variance is {uniform:.2f} / K with "
        f"uniform draws of z, {prior:.2f} / K with draws from p(z), and 0 with draws from p(z | x)"
    )
    headline(figure, title)
    caption = (
        "Importance sampling: p(x) is estimated by the mean of K weights p(x, z) / q(z) with z drawn from "
        "q. Points are measured variances, lines the formula (sum over z of p(z | x)^2 / q(z), less 1) / K."
    )
    alt = (
        f"{len(word.panels)} panels, one for each of "
        + ", ".join(word.row(x) for x in word.panels)
        + ": falling straight lines on logarithmic axes, with points on them. The variance of one draw is "
        f"{uniform:.2f} from uniform and {prior:.2f} from p(z) for {word.row(word.shown)}."
    )
    return Picture(figure, caption, alt)


def _elbo(result: StudyResult, word: Words) -> Picture:
    table, who = result.table("elbo"), word.row(word.shown)
    figure = new_figure(12.0, 5.6)
    axes = figure.subplots()
    forms = (
        ("E[log p(x | z)] - KL(q || p(z))", "reconstruction", "kl_to_prior", -1.0),
        ("E[log p(x, z)] + entropy of q", "expected_log_joint", "entropy", 1.0),
        ("log p(x) - KL(q || p(z | x))", "log_marginal", "kl_to_posterior", -1.0),
    )
    rows = list(zip(table["x"], table["q"], strict=True))
    height, ticks, names, bounds, ends = 0.0, [], [], {}, [0.0]
    labels: list[tuple[float, str, str]] = []
    for name, tint in _OF_Q.items():
        row = rows.index((word.rows[word.shown], name))
        bounds[name] = table["reconstruction_minus_kl_to_prior"][row]
        for text, first, second, sign in forms:
            _parts(axes, height, table[first][row], sign * table[second][row], tint)
            ends += [table[first][row], bounds[name]]
            ticks.append(height)
            names.append(text)
            height -= 1.0
        axes.vlines(bounds[name], height + 0.5, height + 3.5, color=tint, linewidth=2)
        label = wrapped(f"{_TEXT_OF_Q[name]}:", 2.6) + f"\nELBO {bounds[name]:.3f}"
        labels.append((height + 2.0, label, tint))
        height -= 0.7
    truth = table["log_marginal"][rows.index((word.rows[word.shown], "posterior"))]
    axes.axvline(truth, color=BLACK, linewidth=1, linestyle="--")
    axes.set_yticks(ticks, names, fontsize=9.5)
    least, most = min(ends), max(ends)
    for place, label, tint in labels:
        label_line(axes, most, place, label, tint, xytext=(8, 0))
    axes.set_xlim(least - 0.03 * (most - least), most + 0.42 * (most - least))
    axes.set_xticks([tick for tick in axes.get_xticks() if least - 0.03 <= tick <= most])
    gap = truth - bounds["uniform"]
    dress(
        axes,
        wrapped(
            f"Three forms of the ELBO give one value: for {who} under a uniform q {bounds['uniform']:.3f}, "
            f"{gap:.2f} nats below log p(x); under the posterior log p(x) itself", 11.0,
        ),
        f"nats. Dark bars: first term, from 0; light bars: second term; dashed: log p(x) = {truth:.3f}", "",
    )  # fmt: skip
    axes.grid(False, axis="y")
    caption = (
        f"The ELBO of {who} for four q, in three forms of two terms each: the dark bar is the first term, "
        "the light bar goes on, or back, by the second and ends at the ELBO, the upright line. The forms "
        "agree; the closer q is to the posterior, the closer is the ELBO to log p(x)."
    )
    alt = (
        "Four groups of three bars. Values of the ELBO: "
        + ", ".join(f"{value:.3f} (q {name})" for name, value in bounds.items())
        + f"; log p(x) is {truth:.3f}."
    )
    return Picture(figure, caption, alt)


def _parts(axes: Axes, height: float, first: float, second: float, tint: str) -> None:
    """Draw the first part from 0, and the second from its end, beside it where it leads back."""
    axes.barh(height + 0.15, first, height=0.4, color=tint)
    axes.barh(height - 0.22, second, left=first, height=0.28, color=tint, alpha=0.45)


def _divergences(result: StudyResult, arrays: Any, word: Words) -> Picture:
    table, curves = result.table("divergences"), result.table("bells")
    named, who = list(zip(table["x"], table["q"], strict=True)), word.row(word.shown)
    figure = new_figure(12.0, 4.8)
    left, right = figure.subplots(1, 2)
    place = np.arange(arrays["prior"].size) + 1
    right.bar(place, arrays["posteriors"][word.shown], 0.7, color="#CCCCCC", label=f"p(z | {who})")
    at, least = {}, {}
    for name, key, column, tint in (
        ("KL(q || p), reverse", "reverse", "kl_to_posterior", BLUE),
        ("KL(p || q), forward", "forward", "kl_from_posterior", ORANGE),
    ):
        row = named.index((word.rows[word.shown], f"bell by {key} KL"))
        at[key], least[key] = float(arrays[f"{key}_place"]), table[column][row]
        left.plot(curves["place"], curves[column], color=tint, linewidth=2, label=name)
        left.plot(at[key], least[key], "o", color=tint, markersize=8)
        right.plot(place, arrays[key], "o-", color=tint, linewidth=2, label=f"q of the least {name}")
    left.set_ylim(0.0, 1.6 * max(0.05, *least.values()))
    mean = float(arrays["posteriors"][word.shown] @ place)
    title = f"KL(q || p) is least at {at['reverse']:.2f}, KL(p || q) at {at['forward']:.2f} ({who})"
    dress(left, wrapped(title, 5.4), f"where the bell q stands, {word.z}", "divergence, nats")
    legend_within(left, "lower left")
    title = (
        f"The bell of forward KL has the posterior's mean, {mean:.2f}; that of reverse KL follows what is "
        f"around {at['reverse']:.1f}"
    )
    dress(right, wrapped(title, 5.4), word.z, "probability")
    _columns(right, place)
    highest = max(float(arrays[key].max()) for key in ("reverse", "forward"))
    right.set_ylim(top=1.55 * max(highest, float(arrays["posteriors"][word.shown].max())))
    legend_within(right, "upper left")
    caption = (
        "q is a bell of standard deviation 1 over the numbers of z, wherever it may stand. Left: both "
        f"divergences from p(z | {who}); right: the bells at which they are least."
    )
    alt = (
        f"Left, two curves with a lowest point each: KL(q || p) {least['reverse']:.2f} nats at "
        f"{at['reverse']:.2f}, KL(p || q) {least['forward']:.2f} nats at {at['forward']:.2f}. Right, grey "
        "bars of the posterior and two bells that stand there."
    )
    return Picture(figure, caption, alt)
