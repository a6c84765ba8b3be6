"""What the CUDA kernels should take, on paper: operations over what a card can issue. Predictions, not
measurements.

``python bench/cuda_model.py`` prints the table of ``fastvi/docs/gpu.md``; on a machine with a GPU,
``pytest tests/cuda --device cuda`` first runs :func:`compare`, which sets what was measured beside what is
predicted.

Where the numbers come from. Cards: their vendor's data sheets (boost clock, multiprocessors, lanes of each
kind, memory). Operations a state: two for each pixel in the product (an addition and a multiplication: no
fused form has fewer), one multiply-add for each datum. ``PRODUCT_SHARE``, ``BATCH_SHARE``: floating-point
instructions of all that are issued in the loop over chunks of pixels, counted in the machine code; it binds
where the lanes take a warp's instruction every cycle of every scheduler (float32), and not where they take
one in four or in two (float64 on the A100 and the H100), since the others are issued meanwhile.
``REACHED``: what kernels of this shape reach of that, a guess to be replaced by the first measurement. Rows
"cuBLAS": its product at the data sheets' rate of float64 tensor cores, by the same guess, and what it writes
and reads at the full rate of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

PRODUCT_SHARE = 0.75  # 516 of about 684 in the loop over chunks of pixels; of its inner loop alone 0.87
BATCH_SHARE = 0.64  # 260 of about 404 in the loop over panels; of its inner loop alone 0.78
REACHED = 0.85
TILE_STATES = 1 << 13
PAIR_STATES, PAIR_NUMBERS = 1 << 18, 144  # states of a tile, numbers of a row of the batch


@dataclass(frozen=True)
class Card:
    """Of one GPU: multiprocessors, GHz, lanes of a multiprocessor, GB/s of memory."""

    name: str
    multiprocessors: int
    clock: float
    lanes: dict[str, int]
    bandwidth: float
    tensor: float = 0.0  # 10^12 operations a second of float64 tensor cores

    def rate(self, dtype: str, share: float) -> float:
        """Floating-point instructions of one lane a second, where they are that share of all."""
        lanes = self.lanes[dtype]
        issued = min(lanes, 128 * share)  # four schedulers of 32 threads
        return self.multiprocessors * self.clock * 1e9 * issued * REACHED


CARDS = (
    Card("A100 SXM 80 GB", 108, 1.41, {"float64": 32, "float32": 64}, 2039.0, 19.5),
    Card("H100 SXM", 132, 1.98, {"float64": 64, "float32": 128}, 3350.0, 66.9),
    Card("RTX 4090", 128, 2.52, {"float64": 2, "float32": 128}, 1008.0),
)
# known where one is met, and in no table: the H100's multiprocessors beside faster memory
OTHERS = (Card("H200 SXM", 132, 1.98, {"float64": 64, "float32": 128}, 4800.0, 66.9),)


@dataclass(frozen=True)
class Prediction:
    """Seconds of one call, and what they are made of."""

    card: str
    question: str
    dtype: str
    seconds: float
    product: float
    batch: float
    memory: float  # overlaps with the others


def network(card: Card, d: int, num_pixels: int, num_data: int, dtype: str) -> Prediction:
    """log p(x) of a sigmoid belief network."""
    states = 2.0**d
    size = 8 if dtype == "float64" else 4
    rows = -(-num_data // 128) * 128  # a block of threads takes 128 data
    product = states * 2.0 * num_pixels / card.rate(dtype, PRODUCT_SHARE)
    batch = states * rows / card.rate(dtype, BATCH_SHARE)
    # a tile is written and read; sums of each datum and tile are written and read
    moved = states * 2 * size + states / TILE_STATES * rows * 16.0
    memory = moved / (card.bandwidth * 1e9)
    name = f"network d={d}, D={num_pixels}, N={num_data}"
    return Prediction(card.name, name, dtype, max(product + batch, memory), product, batch, memory)


def machine(card: Card, d: int, dtype: str) -> Prediction:
    """log Z of a Boltzmann machine."""
    states, rate = 2.0**d, card.rate(dtype, BATCH_SHARE)
    size = 8 if dtype == "float64" else 4
    batch = states / rate
    rows = states / PAIR_STATES
    # tables: an operation and a write a number, read for each block of 64 columns
    product = rows * PAIR_NUMBERS * 2.0 / rate
    memory = rows * (PAIR_NUMBERS + 8 * 72) * size / (card.bandwidth * 1e9)
    return Prediction(
        card.name, f"machine d={d}", dtype, max(product + batch, memory), product, batch, memory
    )


def by_cublas(card: Card, own: Prediction, states: float, numbers: float) -> Prediction:
    """The same by a matrix product of float64 tensor cores, which writes ``numbers`` numbers and reads
    them.
    """
    batch = 2.0 * states / (card.tensor * 1e12 * REACHED)
    memory = 16.0 * numbers / (card.bandwidth * 1e9)
    seconds = own.product + max(batch, memory)
    return Prediction(card.name, f"{own.question}, cuBLAS", own.dtype, seconds, own.product, batch, memory)


def network_by_cublas(card: Card, d: int, num_pixels: int, num_data: int) -> Prediction:
    """log p(x) with FASTVI_CUBLAS=1: of a tile and datum 64 numbers are written, for blocks of data of which
    the tiles of a launch, 512 at most, have 2^25 together.
    """
    tiles = min(512, max(1, 2**d // TILE_STATES))
    block = min(1 << 14, (1 << 25) // (tiles * 64))
    states = 2.0**d * -(-num_data // block) * block
    own = network(card, d, num_pixels, num_data, "float64")
    return by_cublas(card, own, states, 64.0 * states / TILE_STATES)


def machine_by_cublas(card: Card, d: int) -> Prediction:
    """log Z with it: 512 numbers of a product and 1,024 of its factors for 2^18 states."""
    states = 2.0**d
    own = machine(card, d, "float64")
    return by_cublas(card, own, states, 1536.0 * states / PAIR_STATES)


def predictions() -> list[Prediction]:
    """Those of the table."""
    found = []
    for card in CARDS:
        for dtype in ("float64",) if card.lanes["float64"] >= 16 else ("float32", "float64"):
            found += [network(card, d, 784, 10_000, dtype) for d in (20, 30, 36)]
            found += [machine(card, d, dtype) for d in (42, 48)]
        if card.tensor:
            found += [network_by_cublas(card, d, 784, 10_000) for d in (20, 30, 36)]
            found += [machine_by_cublas(card, d) for d in (42, 48)]
    return found


def shown(seconds: float) -> str:
    """Three digits, in the unit that suits."""
    for limit, factor, unit in (
        (1e-3, 1e6, "us"),
        (1.0, 1e3, "ms"),
        (120.0, 1.0, "s"),
        (7200.0, 1 / 60, "min"),
    ):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"


def table(found: list[Prediction]) -> str:
    """In Markdown."""
    lines = [
        "| card | question | dtype | predicted, never run | product | batch | memory |",
        "|" + "---|" * 7,
    ]
    for row in found:
        parts = " | ".join(shown(part) for part in (row.product, row.batch, row.memory))
        lines.append(f"| {row.card} | {row.question} | {row.dtype} | {shown(row.seconds)} | {parts} |")
    return "\n".join(lines)


def this_card() -> Card:
    """The machine's first GPU, by what its driver says."""
    from numba import cuda

    device = cuda.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    known = [card for card in (*CARDS, *OTHERS) if any(word in name for word in card.name.split()[:1])]
    capability = device.compute_capability
    lanes = {(8, 0): (32, 64), (9, 0): (64, 128), (10, 0): (64, 128)}.get(tuple(capability), (2, 128))
    bandwidth, tensor = (known[0].bandwidth, known[0].tensor) if known else (1000.0, 0.0)
    return Card(
        name, device.MULTIPROCESSOR_COUNT, device.CLOCK_RATE * 1e-6,
        {"float64": lanes[0], "float32": lanes[1]}, bandwidth, tensor,
    )  # fmt: skip


def cublas() -> Any:
    """A context in which cuBLAS multiplies."""
    return mock.patch.dict(os.environ, FASTVI_CUBLAS="1")


def compare(path: Path | None = None) -> list[dict[str, object]]:
    """Measured beside predicted on this machine's GPU; written as JSON to ``path``."""
    import numpy as np

    import fastvi

    card, rows = this_card(), []
    rng = np.random.default_rng(0)
    cases = [
        (20, 10_000, "float64", False),
        (24, 1, "float64", False),
        (24, 1, "float32", False),
        (22, 2000, "float32", False),
    ]
    if card.tensor and find_spec("cupy") is not None:
        cases.append((20, 10_000, "float64", True))
    for d, num_data, dtype, by in cases:
        model = fastvi.SigmoidBeliefNetwork(
            0.1 * rng.normal(size=(784, d)), rng.normal(size=784), rng.normal(size=d)
        )
        x = (rng.random((num_data, 784)) < 0.5).astype(np.uint8)
        prediction = (
            network_by_cublas(card, d, 784, num_data) if by else network(card, d, 784, num_data, dtype)
        )
        with cublas() if by else contextlib.nullcontext():
            fastvi.log_marginal(model, x[:1], device="cuda", dtype=dtype)  # compiles
            begin = time.perf_counter()
            fastvi.log_marginal(model, x, device="cuda", dtype=dtype)
            rows.append(asdict(prediction) | {"measured": time.perf_counter() - begin})
    couplings = np.triu(0.3 * rng.normal(size=(36, 36)), 1)
    small = fastvi.BoltzmannMachine(np.zeros((14, 14)), np.zeros(14))
    fastvi.log_partition(small, device="cuda")  # compiles
    machine_of_36 = fastvi.BoltzmannMachine(couplings + couplings.T, rng.normal(size=36))
    begin = time.perf_counter()
    fastvi.log_partition(machine_of_36, device="cuda")
    rows.append(asdict(machine(card, 36, "float64")) | {"measured": time.perf_counter() - begin})
    for row in rows:
        expected, taken = shown(row["seconds"]), shown(row["measured"])
        print(f"{row['question']}, {row['dtype']}: predicted {expected}, measured {taken}")
    if path is not None:
        path.write_text(json.dumps({"card": asdict(card), "rows": rows}, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--compare", type=Path, metavar="JSON", help="run on this machine's GPU, and write the file"
    )
    given = parser.parse_args()
    if given.compare is None:
        print(table(predictions()))
    else:
        compare(given.compare)
    sys.exit(0)
