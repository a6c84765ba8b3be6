"""Turn the JSON of ``pytest bench/ --benchmark-json=bench/results.json`` into the README's table.

``python bench/report.py bench/results.json`` rewrites what stands between the lines ``<!-- bench:start -->``
and ``<!-- bench:end -->`` of README.md; ``--stdout`` prints it instead.

A benchmark is one row. What is read of it, all in ``extra_info`` but the median of its rounds:

=================  ===============================================================================
job                what was computed; rows of one job stand together, in the order of the file
who                "fastvi", "fastvi, VARIANT" where a job is done in several ways, or the name of the peer
work               size of the job in its own unit; a peer that did other work than fastvi is scaled by it
measured_at        the sizes that a peer was measured at (shown where it is scaled)
limit_seconds      fastvi only, may be absent: the time of the job at the limit named by ``limit``
limit              "arithmetic" or "copy"
seconds            may be absent: takes the place of the median, for benchmarks of whole processes
note               may be absent: shown with the job
=================  ===============================================================================

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
_README = Path(__file__).resolve().parent.parent / "README.md"


_OWN = "fastvi"


@dataclass(frozen=True)
class Row:
    """One benchmark, in seconds."""

    job: str
    who: str
    work: float
    seconds: float
    limit_seconds: float | None
    limit: str
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
                limit_seconds=info.get("limit_seconds"),
                limit=info.get("limit", ""),
                measured_at=info.get("measured_at", ""),
                note=info.get("note", ""),
            )
        )
    return found


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * length:
            value = seconds / length
            return f"{value:,.0f} {unit}" if value >= 99.95 else f"{value:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _ratio(value: float) -> str:
    return f"{value:,.0f}x" if value >= 9.95 else f"{value:.2g}x"


def table(found: Sequence[Row]) -> list[str]:
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
            lines += _lines(mine, peers)
    return lines


def _lines(mine: Row, peers: Sequence[Row]) -> list[str]:
    share = "-"
    if mine.limit_seconds is not None:
        share = f"{100.0 * mine.limit_seconds / mine.seconds:.0f} % ({mine.limit})"
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


def machine_lines(machine_info: dict[str, Any]) -> list[str]:
    """What the figures were measured on, and what the shares mean."""
    limits = machine_info["limits"]
    versions = ", ".join(f"{name} {version}" for name, version in limits["versions"].items())
    blas = "; ".join(
        dict.fromkeys(f"{info['internal_api']} ({info['architecture']} kernels)" for info in limits["blas"])
    )
    settings = "".join(f", {name}={value}" for name, value in limits["settings"].items())
    lines = [
        f"{limits['cpu']}, {limits['cpus']} CPUs; float64 matrix product "
        f"{limits['dgemm_flops_1_thread'] / 1e9:.1f} GFLOP/s on 1 thread and "
        f"{limits['dgemm_flops_all_threads'] / 1e9:.1f} on all, {blas}{settings}; "
        f"copy {limits['copy_bytes_per_second'] / 1e9:.1f} GB/s; {versions}.",
        "Times are medians, after a call that does not count, all of one run; every result was checked "
        "against an oracle.",
        "Share of the limit: the time of one fused multiply-add and one multiply per state and pixel and one "
        "multiply-add per state and datum (of a Boltzmann machine one per state; of a decoder also one per "
        "state and weight, and one per state, datum and hidden unit) at the rate of that matrix product on "
        "all threads (arithmetic), or of one copy of the array (copy), over the time taken.",
    ]
    if machine_info["absent"]:
        lines.append(f"Not installed, hence not measured: {', '.join(machine_info['absent'])}.")
    return lines


def report(results: dict[str, Any]) -> str:
    """The whole block that goes between the markers."""
    return "\n".join([*machine_lines(results["machine_info"]), "", *table(rows(results))])


def insert(readme: str, block: str) -> str:
    """readme with the block between its markers, each of which must stand there once, in order."""
    for marker in (START, END):
        if readme.count(marker) != 1:
            raise ValueError(f"README.md must hold the marker {marker} once, got {readme.count(marker)}")
    before, _, rest = readme.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"README.md must hold the marker {START} before {END}")
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
    parser.add_argument("--readme", type=Path, default=_README)
    parser.add_argument("--stdout", action="store_true", help="print the block and leave README.md as it is")
    options = parser.parse_args(arguments)
    try:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        block = report(results)
        if options.stdout:
            print(block)
            return 0
        if results["machine_info"]["size"] != "full":
            raise ValueError("results must come from --size full to go into README.md, got --size smoke")
        write_whole(options.readme, insert(options.readme.read_text(encoding="utf-8"), block))
    except KeyError as error:
        print(f"report.py: results has no field {error}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
