"""Picture of the enumeration study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvi.studies.common.result import StudyResult
from fastvi.studies.common.style import BLUE, GREEN, GREY, ORANGE, RED, dress, label_ends, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("Python loop", "NumPy", "compiled loop", "fastvi")
_COLORS = dict(zip(METHODS, (RED, ORANGE, GREEN, BLUE), strict=True))
_SCALE = ((1.0, "a second"), (60.0, "a minute"), (3600.0, "an hour"), (86400.0, "a day"))


def figures(result: StudyResult) -> dict[str, Figure]:
    """``cost``: seconds against d, measured (solid) and extrapolated (dashed)."""
    table = result.table("seconds")
    rows = list(zip(*table.values(), strict=True))
    figure = new_figure(9.5, 5.6)
    axes = figure.subplots()
    last = max(table["num_latents"])
    ends = []
    for method in METHODS:
        own = [(d, s, guessed) for name, d, _, s, guessed, _ in rows if name == method]
        measured = [(d, s) for d, s, guessed in own if not guessed]
        dashed = measured[-1:] + [(d, s) for d, s, guessed in own if guessed]
        color = _COLORS[method]
        axes.plot(*zip(*measured, strict=True), "o-", color=color, linewidth=2, markersize=4.5)
        if len(dashed) > 1:
            axes.plot(*zip(*dashed, strict=True), "--", color=color, linewidth=1.3)
        ends.append((last, own[-1][1], f"{method}\n{_duration(own[-1][1])}", color))
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    for seconds, name in _SCALE:
        if low < seconds < high:
            axes.axhline(seconds, color=GREY, linewidth=0.8, linestyle=":")
            axes.annotate(
                name, (min(table["num_latents"]), seconds), xytext=(0, 3), textcoords="offset points",
                fontsize=8.5, color=GREY,
            )  # fmt: skip
    dress(
        axes,
        _title(rows, last),
        "latents d (2^d states summed for every image)",
        f"seconds for {table['num_images'][0]} images",
    )
    axes.set_xticks(sorted(set(table["num_latents"])))
    axes.set_xlim(right=last + 0.2 * (last - min(table["num_latents"])))
    note = "solid: measured\ndashed: extrapolated, twice the time for each further latent"
    axes.text(0.98, 0.03, note, transform=axes.transAxes, ha="right", fontsize=8.5, color=GREY)
    label_ends(axes, ends)
    return {"cost": figure}


def _title(rows: list[tuple[str, int, int, float, bool, float]], last: int) -> str:
    """Title: seconds at the largest d, and ratios where all compiled ways were measured."""
    own = next(seconds for method, d, _, seconds, _, _ in rows if method == "fastvi" and d == last)
    text = f"{rows[0][2]} images under 2^{last} = {1 << last:,} states in {_duration(own)}."
    fast = ("compiled loop", "NumPy")
    measured = [
        {d for method, d, _, _, guessed, _ in rows if method == name and not guessed} for name in fast
    ]
    common = max(set.intersection(*measured))
    ratio = {method: r for method, d, _, _, _, r in rows if d == common}
    loop, numpy = (_rounded(ratio[name]) for name in fast)
    return f"{text}\nMeasured at d = {common}: a compiled loop takes {loop}x as long, NumPy {numpy}x"


def _rounded(value: float) -> str:
    """Two digits that count."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.1f}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "min"), (1.0, "s")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s" if seconds >= 0.095 else f"{seconds * 1e3:.2g} ms"
