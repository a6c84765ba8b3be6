"""Loops that measure what a machine multiplies (bench/arithmetic.py) and what is said of it (machine.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.needs_jit  # the loops are emitted


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder of the benchmarks, importable for one test."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "bench")
    yield
    for name in ("arithmetic", "machine"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bits", [128, 256])
def test_loops_do_what_is_counted(bench: Any, bits: int, dtype: str) -> None:
    import arithmetic

    registers, length = 16, 5
    lanes = bits // (64 if dtype == "float64" else 32)
    a, b = 2.0, 0.5  # all that comes of them is exact
    for loop in arithmetic.Rates._fields:
        run, numbers = arithmetic.compiled(loop, dtype, bits, registers)
        chains = 7 if loop == "pair" else 14
        assert numbers == chains * lanes
        held, total = a, a
        for _ in range(length):
            total += b
            held = {"multiply": held * a, "multiply_add": held * a + b, "pair": held * total}[loop]
        memory = np.array([a, b, 0.0], dtype)
        run(memory, length)
        assert memory[2] == np.dtype(dtype).type(chains * held)


def test_rates_of_each_number_of_threads(bench: Any) -> None:
    import arithmetic

    found = arithmetic.rates("float64", (1, 2), length=1000, repeats=1)
    assert list(found) == [1, 2]
    assert all(rate > 0.0 for rates in found.values() for rate in rates)
    assert arithmetic.read_bytes_per_second(8 * 1001, 2, repeats=1) > 0.0


def test_adders_are_separate_where_a_pair_takes_the_time_of_a_product(bench: Any) -> None:
    import arithmetic

    assert arithmetic.Rates(16.0, 16.0, 15.0).separate_adders
    assert not arithmetic.Rates(16.0, 16.0, 8.0).separate_adders
    assert arithmetic.Rates(15.0, 16.0, 8.0).best == 16.0


def test_what_was_measured_is_stated(bench: Any) -> None:
    import machine

    stated = json.loads(json.dumps(machine.measure(n=20, read_bytes=8000, length=100)))
    assert stated["cpu"]
    assert stated["cpus"] >= 1
    assert stated["cores"] is None or 1 <= stated["cores"] <= stated["cpus"]
    assert set(stated["multiplications"]) == {"float64", "float32"}
    for rates in stated["multiplications"].values():
        assert rates["per_second_1_thread"] == max(rates["loops_1_thread"].values())
        assert rates["per_second_all_threads"] == max(rates["loops_all_threads"].values())
