"""Turn the JSON of ``pytest bench/ --benchmark-json=bench/results.json`` into the tables of the documents.

``python bench/report.py bench/results.json`` rewrites what stands between the lines ``<!-- bench:start -->``
and ``<!-- bench:end -->``: in ``fastvi/docs/speed.md`` the whole report, in README.md some rows of it.
``--stdout`` prints the report instead.

A benchmark is one row. What is read of it, all in ``extra_info`` but the median of its rounds:

=================  ===============================================================================
job                what was computed; rows of one job stand together, in the order of the file
who                "fastvi", "fastvi, VARIANT" where a job is done in several ways, or the name of the peer
work               size of the job in its own unit; a peer that did other work than fastvi is scaled by it
measured_at        the sizes that a peer was measured at (shown where it is scaled)
terms              fastvi only, with the next two or absent: sums that are multiplied, a multiplication and an
                   addition each
multiply_adds      multiplications whose addition comes with them
dtype              "float64" or "float32", of both
bytes_read         fastvi only, may be absent: the array that has to be read once
seconds            may be absent: takes the place of the median, for benchmarks of whole processes
note               may be absent: shown with the job
=================  ===============================================================================

The share of the limit is the least time of a job over the time that it took. The least time is that of its
multiplications at the highest rate that anything reached: a loop of registers, the matrix product, or a job
of this very run; an addition counts where the machine has no adders beside its multipliers. Since a job is
among those, no share passes 100 %. The bytes that it reads, likewise.

``machine_info["limits"]`` is what machine.measure returned, ``machine_info["size"]`` the option ``--size``,
and ``machine_info["absent"]`` lists the peers that were not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START = "<!-- bench:start -->"
END = "<!-- bench:end -->"
_ROOT = Path(__file__).resolve().parent.parent

# the rows of the README: a large sum, a middling one, and where the fastest peer is faster
README_JOBS = (
    "exact log p(x), d = 20, D = 784, N = 100",
    "exact gradient of log p(x), concentrated, d = 16, D = 784, N = 1,000",
    "log Z of a Boltzmann machine, d = 30",
    "exact log p(x), decoder 16-200-784, tanh, N = 100",
    "log_mean_exp of (1,000, 10,000)",
)

_OWN = "fastvi"


@dataclass(frozen=True)
class Row:
    """One benchmark, in seconds."""

    job: str
    who: str
    work: float
    seconds: float
    terms: float
    multiply_adds: float
    dtype: str
    bytes_read: float
    measured_at: str
    note: str

    @property
    def own(self) -> bool:
        """Whether it is fastvi's, in whatever variant."""
        return self.who == _OWN or self.who.startswith(f"{_OWN}, ")

    @property
    def title(self) -> str:
        """Job, variant and note."""
        title = self.job + self.who.removeprefix(_OWN)
        return f"{title} ({self.note})" if self.note else title


def rows(results: dict[str, Any]) -> list[Row]:
    """The rows of the JSON, in its order."""
    found = []
    for benchmark in results["benchmarks"]:
        info = benchmark["extra_info"]
        found.append(
            Row(
                job=info["job"],
                who=info["who"],
                work=info["work"],
                seconds=info.get("seconds", benchmark["stats"]["median"]),
                terms=info.get("terms", 0),
                multiply_adds=info.get("multiply_adds", 0),
                dtype=info.get("dtype", ""),
                bytes_read=info.get("bytes_read", 0),
                measured_at=info.get("measured_at", ""),
                note=info.get("note", ""),
            )
        )
    return found


@dataclass(frozen=True)
class Rate:
    """The highest that was reached, in numbers or bytes a second, and by what."""

    per_second: float
    by: str


class Limits:
    """What the machine did at best in this run, and shares of it."""

    def __init__(self, limits: dict[str, Any], found: Sequence[Row]) -> None:
        self._adders = {
            dtype: bool(rates["separate_adders"]) for dtype, rates in limits["multiplications"].items()
        }
        measured = {
            dtype: [Rate(rates["per_second_all_threads"], "a loop of registers")]
            for dtype, rates in limits["multiplications"].items()
        }
        measured["float64"].append(Rate(limits["dgemm_flops_all_threads"] / 2.0, "the matrix product"))
        measured["bytes"] = [Rate(limits["read_bytes_per_second"], "a loop that reads")]
        for row in found:
            for kind, amount in self._amounts(row).items():
                measured[kind].append(Rate(amount / row.seconds, row.title))
        self.best = {
            kind: max(reached, key=lambda rate: rate.per_second) for kind, reached in measured.items()
        }

    def separate_adders(self, dtype: str) -> bool:
        """Whether the machine adds beside its multipliers."""
        return self._adders[dtype]

    def _amounts(self, row: Row) -> dict[str, float]:
        """Instructions of the multipliers, and bytes, that the job takes at least."""
        amounts = {}
        if row.dtype:
            each = 1 if self._adders[row.dtype] else 2
            amounts[row.dtype] = each * row.terms + row.multiply_adds
        if row.bytes_read:
            amounts["bytes"] = row.bytes_read
        return amounts

    def share(self, row: Row) -> str:
        """Least time over time taken, in percent, and of what; "-" where nothing is known."""
        shares = [
            f"{100.0 * amount / self.best[kind].per_second / row.seconds:.0f} % "
            f"({'memory' if kind == 'bytes' else 'arithmetic'})"
            for kind, amount in self._amounts(row).items()
        ]
        return ", ".join(shares) or "-"


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * length:
            value = seconds / length
            return f"{value:,.0f} {unit}" if value >= 99.95 else f"{value:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _ratio(value: float) -> str:
    return f"{value:,.0f}x" if value >= 9.95 else f"{value:.2g}x"


def table(found: Sequence[Row], limits: Limits) -> list[str]:
    """Lines of a Markdown table: a line for each variant of fastvi and each peer, "-" where there is none."""
    lines = ["| job | fastvi | share of the limit | peer | its time | ratio |", "|---|---|---|---|---|---|"]
    for job in dict.fromkeys(row.job for row in found):
        group = [row for row in found if row.job == job]
        own = [row for row in group if row.own]
        variants = {row.who for row in own}
        if not own or len(variants) < len(own):
            raise ValueError(
                f"job {job!r} must have one benchmark of fastvi, or one of each variant, got "
                f"{[row.who for row in own]}"
            )
        peers = [row for row in group if not row.own]
        for mine in own:
            lines += _lines(mine, peers, limits.share(mine))
    return lines


def _lines(mine: Row, peers: Sequence[Row], share: str) -> list[str]:
    start = f"| {mine.title} | {duration(mine.seconds)} | {share} |"
    if not peers:
        return [f"{start} - | - | - |"]
    lines = []
    for peer in peers:
        seconds = peer.seconds * mine.work / peer.work
        origin = f" from {peer.measured_at}" if peer.measured_at else ""
        scaled = "" if peer.work == mine.work else f", scaled{origin}"
        lines.append(f"{start} {peer.who} | {duration(seconds)}{scaled} | {_ratio(seconds / mine.seconds)} |")
        start = "| | | |"
    return lines


def _multiplications(dtype: str, rates: dict[str, Any]) -> str:
    one, every = (rates[f"per_second_{name}"] / 1e9 for name in ("1_thread", "all_threads"))
    beside = "additions beside them" if rates["separate_adders"] else "an addition in place of one"
    return f"{dtype} {one:.1f} * 10^9 multiplications a second on 1 thread and {every:.1f} on all, {beside}"


def machine_lines(machine_info: dict[str, Any], best: Limits) -> list[str]:
    """What the figures were measured on, and what the shares mean."""
    limits = machine_info["limits"]
    versions = ", ".join(f"{name} {version}" for name, version in limits["versions"].items())
    blas = "; ".join(
        dict.fromkeys(f"{info['internal_api']} ({info['architecture']} kernels)" for info in limits["blas"])
    )
    settings = "".join(f", {name}={value}" for name, value in limits["settings"].items())
    cores = "" if limits["cores"] is None else f" of {limits['cores']} cores"
    load = "" if limits["load"] is None else f", load {limits['load']:.1f} before the run"
    loops = "; ".join(_multiplications(dtype, rates) for dtype, rates in limits["multiplications"].items())
    lines = [
        f"{limits['cpu']} ({limits['target']}), {limits['cpus']} CPUs{cores}, {limits['system']}{load}; "
        f"{loops}; "
        f"float64 matrix product {limits['dgemm_flops_1_thread'] / 1e9:.1f} GFLOP/s on 1 thread and "
        f"{limits['dgemm_flops_all_threads'] / 1e9:.1f} on all, {blas}{settings}; "
        f"reading {limits['read_bytes_per_second'] / 1e9:.1f} GB/s on all threads; {versions}.",
        "Times are medians, after a call that does not count, all of one run; every result was checked "
        "against an oracle.",
        "Share of the limit: the least time that this machine could take, over the time taken. Arithmetic: "
        f"one multiplication a state and pixel{_additions(best)}, and one multiply-add a state and datum (of "
        "a Boltzmann machine one a state; of a decoder one a state and weight of its last layer, and one a "
        "state, datum and hidden unit), in the dtype of the job, on all threads, at the highest rate that "
        "anything of this run reached: "
        f"{', '.join(f'{dtype} by {best.best[dtype].by}' for dtype in limits['multiplications'])}. Memory: "
        f"one reading of the array at the highest rate, by {best.best['bytes'].by}.",
    ]
    if machine_info["absent"]:
        lines.append(f"Not installed, hence not measured: {', '.join(machine_info['absent'])}.")
    return lines


def _additions(best: Limits) -> str:
    if best.separate_adders("float64"):
        return " (its addition has units of its own here)"
    return " and one addition, which takes as long here"


def report(results: dict[str, Any]) -> str:
    """The whole block that goes between the markers."""
    found = rows(results)
    limits = Limits(results["machine_info"]["limits"], found)
    return "\n".join([*machine_lines(results["machine_info"], limits), "", *table(found, limits)])


def excerpt(block: str) -> str:
    """Header and rows of README_JOBS in a report, each beside its fastest peer that is not fastvi itself."""
    lines = [line for line in block.splitlines() if line.startswith("|")]
    fastest: dict[str, tuple[float, str]] = {}
    start = ""
    for line in lines[2:]:
        cells = line.strip("| ").split(" | ")
        if not line.startswith("| | | |"):
            job, start = cells[0], " | ".join(cells[:3])
        peer, seconds, ratio = cells[-3:]
        if job in README_JOBS and ratio != "-" and not peer.startswith(f"{_OWN}."):
            number = float(ratio.rstrip("x").replace(",", ""))
            row = f"| {start} | {peer} | {seconds} | {ratio} |"
            fastest[job] = min(fastest.get(job, (number, row)), (number, row))
    for job in README_JOBS:
        if job not in fastest:
            raise ValueError(f"results must hold the job {job!r} and a peer of it")
    return "\n".join([*lines[:2], *(fastest[job][1] for job in README_JOBS)])


def insert(page: str, block: str, name: str) -> str:
    """``page`` with the block between its markers, each of which must stand there once, in order."""
    for marker in (START, END):
        if page.count(marker) != 1:
            raise ValueError(f"{name} must hold the marker {marker} once, got {page.count(marker)}")
    before, _, rest = page.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{name} must hold the marker {START} before {END}")
    return f"{before}{START}\n{block}\n{END}{after}"


def write_whole(path: Path, text: str) -> None:
    """Write beside the file, then rename: a reader sees the old text or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="?", default=Path(__file__).parent / "results.json")
    parser.add_argument("--page", type=Path, default=_ROOT / "fastvi" / "docs" / "speed.md")
    parser.add_argument("--readme", type=Path, default=_ROOT / "README.md")
    parser.add_argument(
        "--stdout", action="store_true", help="print the report and leave the files as they are"
    )
    options = parser.parse_args(arguments)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        block = report(results)
        if options.stdout:
            print(block)
            return 0
        if results["machine_info"]["size"] != "full":
            raise ValueError("results must come from --size full to go into the documents, got --size smoke")
        written = [
            (path, insert(path.read_text(encoding="utf-8"), part, path.name))
            for path, part in ((options.page, block), (options.readme, excerpt(block)))
        ]
        for path, text in written:
            write_whole(path, text)
    except KeyError as error:
        print(f"report.py: results has no field {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
