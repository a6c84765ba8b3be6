"""The study of learning, at sizes that take seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fastvi
from fastvi.studies.common.digits import split
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.learning import study as learning
from fastvi.studies.learning.figures import ENCODER, EXACT, OWN

SETTINGS = replace(Settings.quick(seed=2), learning_own_latents=3)

pytestmark = pytest.mark.slow_without_jit


@pytest.fixture(scope="module")
def result():
    return learning.run(SETTINGS, no_progress)


def test_rows(result):
    table = result.table("learning")
    ways = list(learning._OBJECTIVES)
    expected = [(3, way) for way in ways] + [(4, way) for way in ways if way != OWN]
    assert list(zip(table["num_latents"], table["way"], strict=True)) == expected
    assert len(result.table("history")["epoch"]) == 3 * len(expected)
    assert table["behind_exact"][0] == 0.0
    for i in range(len(expected)):
        own = table["log_marginal"][0 if table["num_latents"][i] == 3 else len(ways)]
        assert table["behind_exact"][i] == pytest.approx(own - table["log_marginal"][i], abs=1e-10)


def test_gaps_add_up():
    parts = split(SETTINGS)
    start = fastvi.SigmoidBeliefNetwork(np.full((64, 3), 0.1) * np.arange(3), np.zeros(64), np.zeros(3))
    encoder = fastvi.Encoder.random(64, 5, 3, seed=1)
    learned = learning.train_by(ENCODER, start, encoder, parts.train, parts.test, SETTINGS)
    found = learning.gaps(learned, parts.test[:5], 0)
    bound = fastvi.elbo(learned.model, parts.test[:5], learned.encoder).value
    assert np.allclose(found.log_marginal, bound + found.approximation + found.amortization, atol=1e-10)
    assert (found.approximation >= -1e-10).all()
    assert (found.amortization >= -1e-6).all()
    assert learned.history.max() == pytest.approx(fastvi.log_marginal(learned.model, parts.test).mean())


def test_same_seed_same_numbers_and_pictures(result):
    again = learning.run(SETTINGS, no_progress)
    assert again.tables == result.tables
    assert set(result.figures(result)) == {"curves", "gaps", "samples", "completions"}
    arrays = result.arrays["pictures"]
    lower = np.arange(64) >= 32
    assert np.array_equal(arrays[f"completions_{EXACT}"][:, lower], arrays["x"][:, lower])
