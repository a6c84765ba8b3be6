"""Picture of the enumeration study."""

from __future__ import annotations

from typing import Any

from fastvi.studies.common.result import Picture, StudyResult
from fastvi.studies.common.style import BLUE, GREEN, ORANGE, RED, dress, label_ends, new_figure
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import counted, rounded

METHODS = ("Python loop", "NumPy", "compiled loop", "fastvi")
_COLORS = dict(zip(METHODS, (RED, ORANGE, GREEN, BLUE), strict=True))
_SCALE = {
    1e-4: "0.1 ms", 1e-3: "1 ms", 1e-2: "10 ms", 0.1: "0.1 s", 1.0: "1 s", 10.0: "10 s", 60.0: "1 min",
    600.0: "10 min", 3600.0: "1 hour", 36_000.0: "10 hours", 864_000.0: "10 days",
}  # fmt: skip


def figures(result: StudyResult, subject: Subject) -> dict[str, Picture]:
    """``cost``: seconds against d, measured (solid) and extrapolated (dashed)."""
    table = result.table("seconds")
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    figure = new_figure(9.5, 5.8)
    axes = figure.subplots()
    sizes = sorted(set(table["num_latents"]))
    first, last = sizes[0], sizes[-1]
    ends = []
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        measured = _points(own, extrapolated=False)
        dashed = measured[-1:] + _points(own, extrapolated=True)
        color = _COLORS[method]
        axes.plot(*zip(*measured, strict=True), "o-", color=color, linewidth=2, markersize=4.5)
        if len(dashed) > 1:
            axes.plot(*zip(*dashed, strict=True), "--", color=color, linewidth=1.3)
        threads = own[0]["threads"]
        text = f"{method}, {threads} thread{'s' if threads > 1 else ''}\n{duration(dashed[-1][1])}"
        ends.append((last, dashed[-1][1], text, color))
    axes.set_yscale("log")
    dress(
        axes,
        _title(rows, subject, last),
        _below(result),
        f"time for {counted(subject)}",
    )
    axes.set_xticks(sizes)
    span = max(last - first, 4)
    axes.set_xlim(first - 0.05 * span, last + 0.01 * span)  # labels stand beside the panel
    _mark_seconds(axes)
    label_ends(axes, ends)
    taken = {text.split(",")[0]: seconds for _, seconds, text, _ in ends}
    best = min(taken, key=lambda method: taken[method])
    caption = (
        f"Time to sum over all states of the latents for {counted(subject)}, on a logarithmic scale, against "
        f"the number of latents. At d = {last} {best} takes the least, {duration(taken[best])}"
    )
    slowest = max(taken, key=lambda method: taken[method])
    caption += f", and a {slowest} {duration(taken[slowest])}." if slowest != "NumPy" else "."
    values = "; ".join(text.replace("\n", ": ") for *_, text, _ in ends)
    alt = f"Rising lines of seconds against latents, d = {first} to {last}. At d = {last}: {values}."
    return {"cost": Picture(figure, caption, alt, timed=True)}


def _below(result: StudyResult) -> str:
    table = result.table("agreement")
    fitted = [d for d, added in zip(table["num_latents"], table["random_latents"], strict=True) if not added]
    added = (
        f"; from d = {max(fitted, default=0) + 1} on some are random" if any(table["random_latents"]) else ""
    )
    return (
        f"number of latents d, for 2^d states{added}\n"
        "solid: measured; dashed: extrapolated, twice the time for each further latent"
    )


def _points(rows: list[dict[str, Any]], *, extrapolated: bool) -> list[tuple[int, float]]:
    return [(row["num_latents"], row["seconds"]) for row in rows if row["extrapolated"] == extrapolated]


def _mark_seconds(axes: Any) -> None:
    """Ticks in units that one feels, in place of powers of ten."""
    low, high = axes.get_ylim()
    if high < 30.0 * low:
        low, high = low / 4.0, 4.0 * high
        axes.set_ylim(low, high)
    within = [seconds for seconds in _SCALE if low < seconds < high]
    axes.set_yticks(within, [_SCALE[seconds] for seconds in within])
    axes.minorticks_off()


def _title(rows: list[dict[str, Any]], subject: Subject, last: int) -> str:
    """Title: seconds at the largest d, and ratios where all compiled ways were measured."""
    own = next(row["seconds"] for row in rows if row["method"] == "fastvi" and row["num_latents"] == last)
    text = f"{counted(subject)} under 2^{last} = {1 << last:,} states take {duration(own)}"
    fast = [name for name in ("compiled loop", "NumPy") if any(row["method"] == name for row in rows)]
    if not fast:
        return text
    measured = [
        {row["num_latents"] for row in rows if row["method"] == name and not row["extrapolated"]}
        for name in fast
    ]
    common = max(set.intersection(*measured))
    ratio = {row["method"]: row["times_fastvi"] for row in rows if row["num_latents"] == common}
    parts = " and ".join(f"{'a ' if name != 'NumPy' else ''}{name} {rounded(ratio[name])}" for name in fast)
    return f"{text}\nMeasured at d = {common}: {parts} times as long as fastvi"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them, two digits."""
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "min"), (1.0, "s")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s" if seconds >= 0.095 else f"{seconds * 1e3:.2g} ms"
