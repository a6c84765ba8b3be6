"""Picture of annealed importance sampling of log Z."""

from __future__ import annotations

import numpy as np

from fastvi.studies.common.result import Picture, Table
from fastvi.studies.common.style import BLACK, BLUE, RED, dress, label_ends, new_figure
from fastvi.studies.common.subject import Subject
from fastvi.studies.common.words import rounded

_TINY = 1e-12  # a logarithmic axis shows no error of 0


def log_partition(table: Table, subject: Subject) -> Picture:
    """Intervals of one run each, and the error of many runs, against the number of temperatures."""
    columns = {name: np.array(values, dtype=np.float64) for name, values in table.items()}
    counts, exact = columns["num_temperatures"], columns["log_partition"][0]
    figure = new_figure(13, 5.2)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xscale("log")
    value, finite = columns["estimate"], np.isfinite(columns["low"])
    width = np.where(finite, value - np.where(finite, columns["low"], value), 0.0)
    left.axhline(exact, color=BLACK, linewidth=1)
    left.errorbar(counts, value, width, fmt="o", color=BLUE, capsize=3)
    held = int(((columns["low"] <= exact) & (exact <= columns["high"])).sum())
    machine = subject.title if subject.own else f"a restricted Boltzmann machine of {subject.title}"
    method = f"temperatures of annealed importance sampling (Neal 2001),\n{table['num_chains'][0]:,} chains"
    dress(
        left,
        f"log Z of {machine}:\n{held} of {len(counts)} intervals of 95 % hold the exact {exact:.2f}",
        method,
        "log Z, nats (line: exact; points: one run each)",
    )
    right.set_yscale("log")
    ends = []
    for name, text, color in (("rms_error", "true error", RED), ("std_error", "claimed", BLUE)):
        shown = np.isfinite(columns[name])
        points = counts[shown], np.maximum(columns[name][shown], _TINY)
        right.plot(*points, "o-", color=color, linewidth=2)
        if shown.any():
            ends.append((points[0][-1], points[1][-1], text, color))
    right.set_xlim(right=counts[-1] * (counts[-1] / counts[0]) ** 0.04)
    first, last = (rounded(columns["rms_error"][i]) for i in (0, -1))
    ends_at = _temperatures(counts[0]), _temperatures(counts[-1])
    falls = columns["rms_error"][-1] < columns["rms_error"][0]
    dress(
        right,
        f"The error {'falls from' if falls else 'is'} {first} nats at {ends_at[0]}\n"
        f"{'to' if falls else 'and'} {last} at {ends_at[1]}",
        method,
        "error of log Z, nats (root mean square over runs)",
    )
    label_ends(right, ends)
    caption = (
        f"Estimates of log Z of {machine} by annealed importance sampling beside the exact value (left), and "
        f"their error over repeated runs (right). The error is {first} nats at {_temperatures(counts[0])} "
        f"and {last} at {_temperatures(counts[-1])}."
    )
    alt = (
        f"Left: points with error bars about a line at {exact:.2f} nats, which {held} of {len(counts)} hold. "
        f"Right: true and claimed error against temperatures, {first} and {last} nats at the ends of the "
        "true one."
    )
    return Picture(figure, caption, alt)


def _temperatures(count: float) -> str:
    return f"{int(count):,} temperature{'s' if count > 1 else ''}"
