"""On a GPU, first of all: what the model on paper predicts beside what is measured, printed and kept."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from fastvi.engine.cuda import blas

BENCH = Path(__file__).parents[2] / "bench"


def test_predicted_beside_measured(on_gpu, monkeypatch, capsys):
    if not on_gpu:
        pytest.skip("there is nothing to measure without a GPU: --device cuda")
    monkeypatch.syspath_prepend(BENCH)
    import cuda_model

    with capsys.disabled():
        print()
        rows = cuda_model.compare(Path("cuda_measured.json"))
    assert len(rows) == 5


def test_predictions_are_operations_over_rates(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.delitem(sys.modules, "cuda_model", raising=False)
    import cuda_model

    card = cuda_model.Card("a card", 100, 1.0, {"float64": 32, "float32": 128}, 1000.0)
    # 100 * 10^9 * 32 instructions a second, of which a kernel reaches a share
    assert card.rate("float64", 0.5) == pytest.approx(3.2e12 * cuda_model.REACHED)
    assert card.rate("float32", 0.5) == pytest.approx(6.4e12 * cuda_model.REACHED)
    found = cuda_model.network(card, 20, 784, 128, "float64")
    assert found.product == pytest.approx(2**20 * 1568 / card.rate("float64", 1.0))
    assert found.batch == pytest.approx(2**20 * 128 / card.rate("float64", 1.0))
    assert cuda_model.network(card, 20, 784, 1, "float64").batch == found.batch  # a block takes 128 data
    with_tensor_cores = dataclasses.replace(card, tensor=10.0)
    for d, tiles, block in ((13, 1, 1 << 14), (20, 128, 4096), (24, 512, 1024)):
        assert blas.block_rows(tiles, 64) == block
        by_cublas = cuda_model.network_by_cublas(with_tensor_cores, d, 784, 1)
        assert by_cublas.batch == pytest.approx(2.0 * 2**d * block / (1e13 * cuda_model.REACHED))
        assert by_cublas.memory == pytest.approx(2**d * block / 128 * 16 / 1e12)
    assert by_cublas.seconds == pytest.approx(by_cublas.product + max(by_cublas.batch, by_cublas.memory))
    assert cuda_model.machine(card, 42, "float64").batch == pytest.approx(2**42 / card.rate("float64", 1.0))
