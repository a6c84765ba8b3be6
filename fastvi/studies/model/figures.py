"""Pictures of the fitted model."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.functions import sigmoid
from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import (
    BLACK,
    BLUE,
    ORANGE,
    dress,
    headline,
    label_ends,
    legend_within,
    new_figure,
    show_image,
    wrapped,
)

_ROWS, _COLUMNS = 4, 10
_PARTS = {"train": "training images", "test": "held-out images"}


def figures(result: StudyResult) -> dict[str, Picture]:
    """``digits``: held-out digits, samples, weights. ``fit``: likelihood against d."""
    return {"digits": _digits(result), "fit": _fit(result)}


def _montage(images: np.ndarray) -> np.ndarray:
    """Square images of one flattened size in a grid with gaps of one pixel, NaN where there is nothing."""
    side = round(images.shape[1] ** 0.5)
    grid = np.full((_ROWS * (side + 1) - 1, _COLUMNS * (side + 1) - 1), np.nan)
    for number, image in enumerate(images[: _ROWS * _COLUMNS]):
        row, column = (part * (side + 1) for part in divmod(number, _COLUMNS))
        grid[row : row + side, column : column + side] = image.reshape(side, side)
    return grid


def _digits(result: StudyResult) -> Picture:
    model: Any = list(result.models.values())[-1]
    real = result.arrays["held_out"]["x"]
    z, drawn = model.sample(_ROWS * _COLUMNS, 0)
    chance = sigmoid(z @ model.weights.T + model.bias)
    figure = new_figure(12, 4.1)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.55, 1.0])
    top, bottom = parts
    score = result.table("fit")["mean_log_marginal_test"][-1]
    headline(
        top,
        f"{model.num_latents} binary latents learn what digits look like: held-out ones have log p(x) = "
        f"{score:.1f} nats on average",
    )
    panels = (
        ("Held-out digits, made binary", real),
        ("Drawn from the fitted network", drawn),
        ("The same draws: chance of ink given z", chance),
    )
    grid = top.subplots(1, 3, gridspec_kw={"wspace": 0.08})
    for axes, (title, images) in zip(np.ravel(grid), panels, strict=True):
        show_image(axes, _montage(np.asarray(images, dtype=np.float64)))
        axes.spines[:].set_visible(False)
        axes.set_title(title, loc="left", fontsize=10.5)
    reach = float(np.abs(model.weights).max())
    order = np.argsort(-np.abs(model.weights).sum(axis=0), kind="stable")
    maps = np.atleast_1d(bottom.subplots(1, model.num_latents))
    for axes, k in zip(maps, order, strict=True):
        show_image(axes, model.weights[:, k].reshape(8, 8), cmap="PuOr_r", vmin=-reach, vmax=reach)
        axes.set_xlabel(f"on: {float(sigmoid(model.prior_logits[k])):.0%}", fontsize=9, color=BLACK)
    bottom.suptitle(
        "Where each latent adds ink (orange) or takes it away (purple) when it is on, and how often it is on",
        fontsize=10.5,
        x=0.01,
        ha="left",
    )
    caption = (
        "Digits that the network has not seen, digits drawn from it, and the weights of its latents as "
        f"images. The network was fitted by exact maximum likelihood and gives held-out digits {score:.1f} "
        "nats on average."
    )
    alt = (
        f"Three blocks of {_ROWS * _COLUMNS} small images: held-out digits, black on white, binary draws "
        f"and their grey chances of ink. Below, {model.num_latents} small maps in orange and purple."
    )
    return Picture(figure, caption, alt)


def _fit(result: StudyResult) -> Picture:
    table, curves = result.table("fit"), result.table("learning_curves")
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2, sharey=True)
    gain = table["mean_log_marginal_test"][-1] - table["mean_log_marginal_test"][0]
    most = table["num_latents"][-1]
    side = "better" if gain >= 0 else "worse"
    dress(
        left,
        wrapped(f"{most} latents explain a held-out image {abs(gain):.1f} nats {side} than none", 5.4),
        "number d of latents (0: independent pixels)",
        "mean exact log p(x) of an image, nats",
    )
    for name, color in (("train", BLUE), ("test", ORANGE)):
        values = table[f"mean_log_marginal_{name}"]
        left.plot(table["num_latents"], values, "o-", color=color, label=_PARTS[name])
    left.set_xticks(table["num_latents"])
    legend_within(left, "lower right")
    sizes = sorted(set(curves["num_latents"]))
    ends, late = [], []
    for shade, size in zip(np.linspace(0.35, 1.0, len(sizes)), sizes, strict=True):
        points = [(e, v) for d, e, v in zip(*curves.values(), strict=True) if d == size]
        right.plot(*zip(*points, strict=True), color=BLUE, alpha=float(shade))
        ends.append((*points[-1], f"d = {size}", BLUE))
        late.append(points[-1][1] - points[_before_the_end(len(points))][1])
    epochs = max(curves["epoch"])
    few = epochs - _before_the_end(epochs + 1)
    text = f"The last {few} of {epochs} epochs move log p(x) by at most {max(map(abs, late)):.2g} nats"
    dress(right, wrapped(text, 5.4), "epochs (passes over the training images)", "")
    right.set_xlim(0, epochs * 1.15)
    right.locator_params(axis="x", integer=True)
    label_ends(right, ends)
    caption = (
        "Left: the exact log p(x) of training and of held-out images under networks of more and more "
        f"latents; right: of training images while the networks are fitted. {most} latents explain a "
        f"held-out image {abs(gain):.1f} nats {side} than independent pixels."
    )
    alt = (
        "Left, two lines that rise with d. Held-out images, nats: "
        + ", ".join(
            f"{value:.1f} (d = {d})"
            for d, value in zip(table["num_latents"], table["mean_log_marginal_test"], strict=True)
        )
        + ". Right, a curve for each d, steep at first and level at the end."
    )
    return Picture(figure, caption, alt)


def _before_the_end(num_points: int) -> int:
    """Place of the point after which a tenth of the epochs, at least one, is left."""
    epochs = num_points - 1
    return epochs - max(1, epochs // 10) if epochs else 0
