"""Style of all pictures. The only place that imports matplotlib, and only when something is drawn."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, SubFigure

# Okabe and Ito (2008): told apart with any common form of colour blindness
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#222222", "#777777"


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """A figure that no window or global state knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", **options)
    FigureCanvasAgg(figure)
    return figure


def wrapped(text: str, inches: float, size: float = 11.0) -> str:
    """Cut text into lines that fit into a width, for letters of ``size`` points."""
    return textwrap.fill(text, max(12, int(126.0 / size * inches)), break_long_words=False)


def headline(figure: Figure | SubFigure, text: str) -> None:
    """Title of a whole picture, at its left, as wide as the picture."""
    width = figure.get_figure(root=True).get_figwidth()  # type: ignore[union-attr]
    figure.suptitle(wrapped(text, float(width)), x=0.01, ha="left", fontsize=11.5, color=BLACK)


def legend_within(axes: Axes, place: Any, num_columns: int = 1) -> None:
    """Legend within the axes, whose grid does not strike through it."""
    axes.legend(
        loc=place, fontsize=9.5, ncols=num_columns, facecolor="white", edgecolor="none", framealpha=0.9
    )


def legend_below(axes: Axes, num_columns: int) -> None:
    """Legend of the axes below all of the picture, where it covers nothing."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles=handles, labels=labels, loc="outside lower center", frameon=False, fontsize=9.5,
        ncols=num_columns,
    )  # fmt: skip


def dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Title at the left, light grid, no box."""
    axes.set_title(title, loc="left", fontsize=11, color=BLACK)
    axes.set_xlabel(x_label, color=BLACK)
    axes.set_ylabel(y_label, color=BLACK)
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.tick_params(colors=GREY, labelcolor=BLACK)


def whole_ticks(axis: Axis) -> None:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def label_line(axes: Axes, x: float, y: float, text: str, color: str, **options: Any) -> None:
    """Text beside a point of a line, instead of a legend."""
    place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 9.5, **options}
    axes.annotate(text, (x, y), color=color, **place)


def label_ends(axes: Axes, ends: list[tuple[float, float, str, str]], gap: float = 13.0) -> None:
    """Texts (x, y, text, color) to the right of the ends of lines, ``gap`` points or more for a line of text.

    Called when the limits and the scale of the axes are final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # lays out, so that data coordinates have their place
    points = 72.0 / figure.dpi
    placed: list[tuple[float, float, float, str, str]] = []
    ceiling = -float("inf")
    for x, y, text, color in sorted(ends, key=lambda end: end[1]):
        own = float(axes.transData.transform((x, y))[1]) * points
        half = gap * (text.count("\n") + 1) / 2
        middle = max(own, ceiling + half)
        ceiling = middle + half
        placed.append((x, y, middle - own, text, color))
    for x, y, shift, text, color in placed:
        label_line(axes, x, y, text, color, xytext=(7, shift))


def show_image(axes: Axes, picture: Any, **options: Any) -> None:
    """A small picture without ticks; black ink on white unless told otherwise."""
    shown = {"cmap": "Greys", "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest", **options}
    axes.imshow(picture, **shown)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#BBBBBB")
    axes.spines[:].set_linewidth(0.5)


def add_thumbnail(axes: Axes, height: float, picture: Any) -> None:
    """A small binary image to the left of the axes, at ``height`` in data coordinates."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    image = OffsetImage(picture, zoom=20.8 / max(picture.shape), cmap="Greys", interpolation="nearest")
    frame = {"edgecolor": "#BBBBBB", "linewidth": 0.5}
    axes.add_artist(
        AnnotationBbox(
            image, (0.0, height), xycoords=("axes fraction", "data"), xybox=(-16, 0),
            boxcoords="offset points", pad=0.1, bboxprops=frame,
        )
    )  # fmt: skip
