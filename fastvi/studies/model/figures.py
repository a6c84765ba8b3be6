"""Pictures of the fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvi.core.functions import sigmoid
from fastvi.studies.common.result import StudyResult
from fastvi.studies.common.style import (
    BLUE,
    GREY,
    ORANGE,
    dress,
    label_ends,
    label_line,
    new_figure,
    show_image,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS, _COLUMNS = 4, 10


def figures(result: StudyResult) -> dict[str, Figure]:
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


def _digits(result: StudyResult) -> Figure:
    model: Any = list(result.models.values())[-1]
    real = result.arrays["held_out"]["x"]
    z, drawn = model.sample(_ROWS * _COLUMNS, 0)
    chance = sigmoid(z @ model.weights.T + model.bias)
    figure = new_figure(12, 3.6)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.55, 1.0])
    top, bottom = parts
    panels = (
        ("Held-out digits, made binary", real),
        (f"Digits drawn from the model, {model.num_latents} binary latents", drawn),
        ("The same draws: chance of ink given the latents", chance),
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
        axes.set_xlabel(f"p = {float(sigmoid(model.prior_logits[k])):.2f}", fontsize=8.5, color=GREY)
    bottom.suptitle(
        "What each latent adds to the log odds of ink (orange: more, purple: less); p: how often it is on",
        fontsize=10.5,
        x=0.01,
        ha="left",
    )
    return figure


def _fit(result: StudyResult) -> Figure:
    table, curves = result.table("fit"), result.table("learning_curves")
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    gain = table["mean_log_marginal_test"][-1] - table["mean_log_marginal_test"][0]
    dress(
        left,
        f"{table['num_latents'][-1]} latents explain an image {gain:.1f} nats better than none",
        "latents d (0: independent pixels)",
        "mean log p(x), nats an image (exact)",
    )
    for name, color in (("train", BLUE), ("test", ORANGE)):
        values = table[f"mean_log_marginal_{name}"]
        left.plot(table["num_latents"], values, "o-", color=color)
        text, place = ("training images", (-6, 10)) if name == "train" else ("held-out images", (0, -34))
        label_line(left, table["num_latents"][-1], values[-1], text, color, xytext=place, ha="right")
    left.set_xticks(table["num_latents"])
    left.set_ylim(top=max(table["mean_log_marginal_train"]) + 1.0)
    dress(right, "Each fit has levelled off", "epoch (passes over the training images)", "")
    sizes = sorted(set(curves["num_latents"]))
    ends = []
    for shade, size in zip(np.linspace(0.35, 1.0, len(sizes)), sizes, strict=True):
        points = [(e, v) for d, e, v in zip(*curves.values(), strict=True) if d == size]
        right.plot(*zip(*points, strict=True), color=BLUE, alpha=float(shade))
        ends.append((*points[-1], f"d = {size}", BLUE))
    right.set_xlim(0, max(curves["epoch"]) * 1.15)
    label_ends(right, ends)
    return figure
