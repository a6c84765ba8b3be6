"""Predicted beside measured on a GPU: kernels, launches and transfers apart; and the same work by others."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import cuda_model
import numpy as np
import oracle
from gpu_stages import Absent, Checks
from memory import BLOCKS
from problems import Problem, Shape, random_machine, random_problem

import fastvi
from fastvi.engine.cuda.device import Device, use

_CHECKED = 5  # data that are compared with the oracle's


class TimedDevice(Device):
    """Another device, each of whose calls is waited for and timed."""

    def __init__(self, on: Device, timed: Callable[[Callable[[], None]], float]) -> None:
        self._on, self._timed = on, timed
        self.index, self.name = on.index, on.name
        self.kernels: dict[str, list[float]] = {}  # launches, seconds on the device, on the host
        self.moved: dict[str, list[float]] = {"to": [0, 0.0, 0.0], "from": [0, 0.0, 0.0]}  # calls, s, bytes

    def put(self, array: Any) -> Any:
        return self._move("to", lambda: self._on.put(array), array)

    def get(self, held: Any) -> Any:
        return self._move("from", lambda: self._on.get(held))

    def _move(self, way: str, call: Callable[[], Any], array: Any = None) -> Any:
        begin = time.perf_counter()
        found = call()
        row = self.moved[way]
        row[0] += 1
        row[1] += time.perf_counter() - begin
        row[2] += (found if array is None else array).nbytes  # of the host's array
        return found

    def empty(self, shape: Any, dtype: Any) -> Any:
        return self._on.empty(shape, dtype)

    def adopt(self, array: Any) -> Any:
        return self._on.adopt(array)

    def launch(self, kernel: Any, grid: Any, *arguments: Any) -> None:
        self._run(kernel.name, lambda: self._on.launch(kernel, grid, *arguments))

    def matmul(self, left: Any, right: Any, out: Any) -> None:
        self._run("matmul", lambda: self._on.matmul(left, right, out))

    def _run(self, name: str, call: Callable[[], None]) -> None:
        host = 0.0

        def watched() -> None:
            nonlocal host
            begin = time.perf_counter()
            call()
            host = time.perf_counter() - begin

        row = self.kernels.setdefault(name, [0, 0.0, 0.0])
        row[1] += self._timed(watched)
        row[0] += 1
        row[2] += host

    def memory(self) -> tuple[int, int]:
        return self._on.memory()


def by_events(call: Callable[[], None]) -> float:
    """Seconds between two events of the default stream around the call."""
    from numba import cuda

    first, last = cuda.event(), cuda.event()
    first.record()
    call()
    last.record()
    last.synchronize()
    return float(cuda.event_elapsed_time(first, last)) / 1e3


def by_clock(call: Callable[[], None]) -> float:
    """Seconds of the call, where it returns when all is done."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


@contextlib.contextmanager
def _cublas(by: bool) -> Iterator[None]:
    with cuda_model.cublas() if by else contextlib.nullcontext():
        yield


@dataclass(frozen=True)
class Case:
    """One question: log p(x) of a network, or log Z of a machine where ``num_data`` is 0."""

    d: int
    num_pixels: int
    num_data: int
    dtype: str = "float64"
    cublas: bool = False

    @property
    def title(self) -> str:
        what = f"log p(x), d={self.d}, D={self.num_pixels}, N={self.num_data}"
        what = what if self.num_data else f"log Z, d={self.d}"
        return f"{what}, {self.dtype}" + (", cuBLAS" if self.cublas else "")

    def prediction(self, card: cuda_model.Card) -> dict[str, Any] | None:
        if not self.cublas:
            if self.num_data:
                of = cuda_model.network(card, self.d, self.num_pixels, self.num_data, self.dtype)
            else:
                of = cuda_model.machine(card, self.d, self.dtype)
        elif not card.tensor:
            return None
        elif self.num_data:
            of = cuda_model.network_by_cublas(card, self.d, self.num_pixels, self.num_data)
        else:
            of = cuda_model.machine_by_cublas(card, self.d)
        return asdict(of)

    def question(self) -> tuple[Callable[[], Any], Callable[[], Any], Any]:
        """The call, a smaller one of the same kernels, and the oracle's answer to some of it."""
        if self.num_data:
            # columns that are equal give the oracle few distinct states
            *parameters, x = random_problem(
                Shape(self.d, self.num_pixels, self.num_data, tied=min(self.d, 7))
            )
            model = fastvi.SigmoidBeliefNetwork(*parameters)
            want = oracle.log_marginal(*parameters, x[:_CHECKED])
            pixels = x.astype(np.uint8)

            def ask(num: int | None) -> Any:
                return fastvi.log_marginal(model, pixels[:num], device="cuda", dtype=self.dtype)

            return lambda: ask(None), lambda: ask(1), want
        couplings, bias = random_machine(self.d, BLOCKS)
        machine = fastvi.BoltzmannMachine(couplings, bias)
        small = fastvi.BoltzmannMachine(*random_machine(8, 1))
        want = np.array([oracle.log_partition(couplings, bias)])
        return (
            lambda: np.array([fastvi.log_partition(machine, device="cuda", dtype=self.dtype)]),
            lambda: fastvi.log_partition(small, device="cuda", dtype=self.dtype),
            want,
        )

    def allowed(self, want: Any) -> float:
        scale = max(1.0, float(np.max(np.abs(want))))
        if self.dtype == "float64":
            return 1e-9 * scale
        # what tests/cuda allows, in nats: units of a pixel, and of what sums a tile; of a machine's exponents
        # units of the value
        return float((3 * (self.num_pixels + 1) + 192) * 2.0**-24 * (1.0 if self.num_data else scale))


def cases(small: bool) -> list[Case]:
    """Cheapest first."""
    if small:
        return [Case(8, 16, 20), Case(8, 16, 20, "float32"), Case(12, 0, 0), Case(8, 16, 20, cublas=True)]
    return [
        Case(20, 784, 10_000),
        Case(36, 0, 0),
        Case(20, 784, 10_000, cublas=True),
        Case(30, 784, 10_000),
        Case(42, 0, 0),
        Case(30, 784, 10_000, cublas=True),
        Case(42, 0, 0, cublas=True),
        Case(20, 784, 10_000, "float32"),
        Case(30, 784, 10_000, "float32"),
        Case(42, 0, 0, "float32"),
    ]


def measured_stage(checks: Checks, device: Callable[[], Device], *, on_gpu: bool, small: bool) -> None:
    """Each case alone, then with every launch and transfer timed."""

    def measure(case: Case) -> dict[str, Any]:
        if case.cublas and find_spec("cupy") is None:
            raise Absent("CuPy is not installed")
        ask, warm, want = case.question()
        on = device()
        # on the CPU any card will do: nothing is measured there
        predicted = case.prediction(cuda_model.this_card() if on_gpu else cuda_model.CARDS[0])
        with _cublas(case.cublas):
            with use(on):
                warm()
                got, seconds = None, []
                while len(seconds) < 5 and (sum(seconds) < 2.0 or not seconds):
                    begin = time.perf_counter()
                    got = ask()
                    seconds.append(time.perf_counter() - begin)
            watched = TimedDevice(on, by_events if on_gpu else by_clock)
            with use(watched):
                ask()
        error = float(np.max(np.abs(np.asarray(got)[: len(want)] - want)))
        rows = {
            name: {"launches": row[0], "seconds": row[1], "host_seconds": row[2]}
            for name, row in watched.kernels.items()
        }
        found = {
            "title": case.title,
            "predicted": predicted,
            "measured": min(seconds),
            "rounds": len(seconds),
            "kernel_seconds": sum(row["seconds"] for row in rows.values()),
            "launch_seconds": sum(row["host_seconds"] for row in rows.values()),
            "launches": sum(row["launches"] for row in rows.values()),
            "kernels": rows,
            "transfers": {
                way: {"calls": row[0], "seconds": row[1], "bytes": row[2]}
                for way, row in watched.moved.items()
            },
            "error_nats": error,
        }
        if not error <= case.allowed(want):
            raise AssertionError(f"off by {error:.3g} nats, allowed {case.allowed(want):.3g}: {found}")
        return found

    for case in cases(small):
        checks(case.title, lambda case=case: measure(case))


def peers_stage(checks: Checks, device: Callable[[], Device], *, on_gpu: bool, small: bool) -> None:
    """The same problems by PyTorch, CuPy and JAX on the same card, fastvi beside them."""
    network = Shape(*((8, 16, 20) if small else (20, 784, 10_000)), tied=7)
    units = 12 if small else 28
    problem, couplings = random_problem(network), random_machine(units, BLOCKS)
    want = oracle.log_marginal(*problem[:3], problem.x[:_CHECKED])
    want_machine = oracle.log_partition(*couplings)

    def timed(ask: Callable[[], Any], want: Any, title: str, who: str) -> dict[str, Any]:
        ask()  # compiles
        seconds, got = [], None
        while len(seconds) < 3 and (sum(seconds) < 3.0 or not seconds):
            begin = time.perf_counter()
            got = np.atleast_1d(ask())
            seconds.append(time.perf_counter() - begin)
        error = float(np.max(np.abs(got[: np.size(want)] - want)))
        if not error <= 1e-9 * max(1.0, float(np.max(np.abs(want)))):
            raise AssertionError(f"off by {error:.3g} nats")
        return {"title": title, "who": who, "measured": min(seconds), "error_nats": error}

    def fastvi_calls() -> tuple[Callable[[], Any], Callable[[], Any]]:
        model, machine = fastvi.SigmoidBeliefNetwork(*problem[:3]), fastvi.BoltzmannMachine(*couplings)
        pixels = problem.x.astype(np.uint8)
        return (
            lambda: fastvi.log_marginal(model, pixels, device="cuda"),
            lambda: fastvi.log_partition(machine, device="cuda"),
        )

    def run(who: str, which: int) -> dict[str, Any]:
        title = (f"log p(x), {network}", f"log Z, d = {units}")[which]
        right = (want, want_machine)[which]
        if who == "fastvi":
            with use(device()):
                return timed(fastvi_calls()[which], right, title, who)
        if find_spec(who) is None:
            raise Absent(f"{who} is not installed")
        if who == "cupy" and not on_gpu:
            raise Absent("there is no GPU")
        baseline = importlib.import_module(f"baselines.{who}_gpu")
        found = _where(who, on_gpu)
        calls = (
            lambda: baseline.log_marginal(*Problem(*problem)),
            lambda: baseline.log_partition(*couplings),
        )
        return timed(calls[which], right, title, who) | {"on": found}

    for which in (0, 1):
        for who in ("fastvi", "torch", "cupy", "jax"):
            checks(f"{('network', 'machine')[which]}, {who}", lambda who=who, which=which: run(who, which))


def _where(who: str, on_gpu: bool) -> str:
    """The device that a library computes on; an error where it should be a GPU and is not."""
    if who == "torch":
        import torch

        place = "cuda" if torch.cuda.is_available() else "cpu"
    elif who == "jax":
        import jax

        place = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    else:
        place = "cuda"
    if on_gpu and place != "cuda":
        raise RuntimeError(f"{who} finds no GPU: it would compute on {place}")
    return place
