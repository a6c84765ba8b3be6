"""Cost against latents, data, pixels, samples and threads, with fitted slopes; and many machines on paper.

``python bench/scaling.py --out FOLDER`` writes ``scaling.json``, ``scaling.md`` and ``scaling.png``. A sweep
changes one size. Its slope is that of log seconds against log size (of states, 2^d) over the larger half of
the points, where fixed costs no longer count: 1 is proportional.

What 2^40 states would take on 1, 10 and 1,000 workers follows from one wave: its seconds, the bytes of its
task and of its answer, what travels once to a worker, and the seconds of a merge, which the caller does
alone. The same sum is then made of a run on a few processes and held against the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from problems import Shape, mild_problem, random_problem

import fastvi

_SECONDS = 0.3  # of repeating a call; the fastest counts


class Sweep(NamedTuple):
    """Calls of growing size."""

    title: str
    size: str  # what grows
    points: list[int]
    call: Callable[[int], Callable[[], Any]]
    work: Callable[[int], float]  # what the seconds should be proportional to


def _exact(num_latents: int, num_pixels: int, num_data: int) -> Callable[[], Any]:
    problem = random_problem(Shape(num_latents, num_pixels, num_data))
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x.astype(np.uint8)
    return lambda: fastvi.log_marginal(model, x)


def _sampled(num_samples: int, num_latents: int, num_pixels: int) -> Callable[[], Any]:
    problem = mild_problem(Shape(num_latents, num_pixels, 10, tied=3))
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x.astype(np.uint8)
    return lambda: fastvi.estimate_log_marginal(model, x, proposal="prior", num_samples=num_samples)


def _on_threads(threads: int, num_latents: int, num_pixels: int) -> Callable[[], Any]:
    call = _exact(num_latents, num_pixels, 100)

    def run() -> Any:
        before = os.environ.get("FASTVI_NUM_THREADS")
        os.environ["FASTVI_NUM_THREADS"] = str(threads)
        try:
            return call()
        finally:
            del os.environ["FASTVI_NUM_THREADS"]
            if before is not None:
                os.environ["FASTVI_NUM_THREADS"] = before

    return run


def sweeps(smoke: bool) -> list[Sweep]:
    pixels, most = (16, 10) if smoke else (784, 22)
    middle = 8 if smoke else 16
    cpus = machine.num_cpus()
    threads = sorted({1, cpus, *(1 << k for k in range(cpus.bit_length()))} & set(range(1, cpus + 1)))
    return [
        Sweep(f"exact, D = {pixels}, N = 1", "d", list(range(4, most + 1, 2)),
              lambda d: _exact(d, pixels, 1), lambda d: 2.0**d),
        Sweep(f"exact, d = {middle}, N = 1", "D", [1 << k for k in range(4, 6 if smoke else 12)],
              lambda n: _exact(middle, n, 1), float),
        Sweep(f"exact, d = {middle}, D = {pixels}", "N", [10**k for k in range(3 if smoke else 5)],
              lambda n: _exact(middle, pixels, n), float),
        Sweep(f"sampled, d = 40, D = {pixels}, N = 10", "K", [10**k for k in range(2, 4 if smoke else 6)],
              lambda k: _sampled(k, 40, pixels), float),
        Sweep(f"exact, d = {most - 2}, D = {pixels}, N = 100", "threads", threads,
              lambda n: _on_threads(n, most - 2, pixels), float),
    ]  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    """Of the fastest of several calls, after one that does not count."""
    call()
    best, end = math.inf, time.perf_counter() + _SECONDS
    while True:
        start = time.perf_counter()
        call()
        stop = time.perf_counter()
        best = min(best, stop - start)
        if stop >= end:
            return best


def slope(work: list[float], found: list[float]) -> float:
    """Of log seconds against log work, over the larger half of the points; nan of one point."""
    first = min(len(work) // 2, len(work) - 2)
    if first < 0:
        return math.nan
    return float(np.polyfit(np.log(work[first:]), np.log(found[first:]), 1)[0])


class Counting(Executor):
    """Runs tasks at once, and notes the bytes that travel and the seconds of each."""

    _max_workers = 1

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.answers: list[int] = []
        self.seconds: list[float] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.sent.append(len(pickle.dumps((function, args, kwargs))))
        start, future = time.perf_counter(), Future[Any]()
        future.set_result(function(*args, **kwargs))
        self.seconds.append(time.perf_counter() - start)
        self.answers.append(len(pickle.dumps(future.result())))
        return future


class Wave(NamedTuple):
    """One task: states, seconds of one core, bytes sent, answered, and sent once; seconds of the rest."""

    states: float
    seconds: float
    sent: float
    answered: float
    once: float
    merge: float


def wave_of(num_latents: int, num_pixels: int, num_data: int) -> Wave:
    """What a wave takes, from a run whose tasks are done one by one on one thread."""
    problem = random_problem(Shape(num_latents, num_pixels, num_data))
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x.astype(np.uint8)
    os.environ["FASTVI_NUM_THREADS"] = "1"
    try:
        fastvi.log_marginal(model, x, executor=Counting())
        executor, start = Counting(), time.perf_counter()
        fastvi.log_marginal(model, x, executor=executor)
        whole = time.perf_counter() - start
    finally:
        del os.environ["FASTVI_NUM_THREADS"]
    tasks = len(executor.seconds)
    return Wave(
        2.0**num_latents / tasks, float(np.median(executor.seconds)), float(np.median(executor.sent)),
        float(np.median(executor.answers)), max(executor.sent), (whole - sum(executor.seconds)) / tasks,
    )  # fmt: skip


def on_workers(wave: Wave, states: float, workers: int) -> dict[str, float]:
    """Seconds and bytes of a sum over so many states on workers of one core each."""
    waves = math.ceil(states / wave.states)
    return {
        "workers": workers,
        "waves": waves,
        "seconds of work": math.ceil(waves / workers) * wave.seconds,
        "seconds of the caller": waves * wave.merge,
        "MB sent": (workers * wave.once + waves * wave.sent) / 1e6,
        "MB answered": waves * wave.answered / 1e6,
    }


def on_processes(num_latents: int, num_pixels: int, num_data: int, workers: int) -> float:
    """Seconds of a run on so many processes of one thread each, once they are warm."""
    problem = random_problem(Shape(num_latents, num_pixels, num_data))
    model, x = fastvi.SigmoidBeliefNetwork(*problem[:3]), problem.x.astype(np.uint8)
    os.environ["FASTVI_NUM_THREADS"] = "1"
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
            fastvi.log_marginal(model, x, executor=executor)
            start = time.perf_counter()
            fastvi.log_marginal(model, x, executor=executor)
            return time.perf_counter() - start
    finally:
        del os.environ["FASTVI_NUM_THREADS"]


def measure(smoke: bool) -> dict[str, Any]:
    found = []
    for sweep in sweeps(smoke):
        values = [seconds(sweep.call(point)) for point in sweep.points]
        work = [sweep.work(point) for point in sweep.points]
        found.append(
            {"title": sweep.title, "size": sweep.size, "points": sweep.points, "seconds": values,
             "slope": slope(work, values)}
        )  # fmt: skip
        print(
            f"{sweep.title}: {sweep.size} to {sweep.points[-1]}, slope {found[-1]['slope']:.2f}", flush=True
        )
    latents, pixels, data = (14, 16, 10) if smoke else (24, 784, 100)
    wave = wave_of(latents, pixels, data)
    clock = {
        workers: (on_workers(wave, 2.0**latents, workers), on_processes(latents, pixels, data, workers))
        for workers in (1, 2, 4)
    }
    return {
        "machine": {key: machine.measure(200, 800_000, 10_000)[key] for key in ("cpu", "cpus", "target")},
        "sweeps": found,
        "wave": wave._asdict(),
        "wave_of": f"d = {latents}, D = {pixels}, N = {data}",
        "paper": [on_workers(wave, 2.0**40, workers) for workers in (1, 10, 1000)],
        "processes": [
            {"workers": workers, "on paper": told["seconds of work"] + told["seconds of the caller"],
             "measured": real}
            for workers, (told, real) in clock.items()
        ],
    }  # fmt: skip


def _rows(rows: list[dict[str, float]]) -> list[str]:
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---:" for _ in names)]
    lines += [" | ".join(f"{row[name]:,.4g}" for name in names) for row in rows]
    return [f"| {line} |" for line in lines]


def table(found: dict[str, Any]) -> str:
    """The report, in Markdown."""
    lines = [f"Measured on {found['machine']['cpus']} cores of {found['machine']['cpu']}.", ""]
    lines += ["| what | size | smallest | largest | seconds there | slope |", "|---|---|---:|---:|---:|---:|"]
    lines += [
        f"| {sweep['title']} | {sweep['size']} | {sweep['points'][0]:,} | {sweep['points'][-1]:,} | "
        f"{sweep['seconds'][-1]:.3g} | {sweep['slope']:.2f} |"
        for sweep in found["sweeps"]
    ]
    lines += ["", f"2^40 states on workers of one core, from a wave of {found['wave_of']}:", ""]
    lines += [*_rows(found["paper"]), "", "The same sum and the clock, on processes of this machine:", ""]
    return "\n".join([*lines, *_rows(found["processes"]), ""])


def picture(found: dict[str, Any], path: Path) -> None:
    """Seconds against sizes, a panel for each sweep."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found["sweeps"]), figsize=(4 * len(found["sweeps"]), 3.5))
    for panel, sweep in zip(panels, found["sweeps"], strict=True):
        panel.plot(sweep["points"], sweep["seconds"], "o-")
        panel.set_yscale("log")
        if sweep["size"] != "d":
            panel.set_xscale("log")
        panel.set_xlabel(sweep["size"])
        panel.set_ylabel("seconds")
        panel.set_title(f"{sweep['title']}\nslope {sweep['slope']:.2f}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the three files")
    parser.add_argument("--size", choices=("full", "smoke"), default="full")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    found = measure(options.size == "smoke")
    (options.out / "scaling.json").write_text(json.dumps(found, indent=1), "utf-8")
    (options.out / "scaling.md").write_text(table(found), "utf-8")
    picture(found, options.out / "scaling.png")
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
