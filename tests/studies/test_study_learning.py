"""The study of learning, at sizes that take seconds."""

from __future__ import annotations

from dataclasses import replace

import cases
import numpy as np
import pytest

import fastvi
from fastvi.studies.common.digits import split
from fastvi.studies.common.kept import Kept
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import own_subject
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
    drawn = result.figures(result)
    assert set(drawn) == {"curves", "gaps", "samples", "completions"}
    for picture in drawn.values():
        assert picture.caption.endswith(".")
        assert picture.alt.endswith(".")
    arrays = result.arrays["pictures"]
    lower = np.arange(64) >= 32
    assert np.array_equal(arrays[f"completions_{EXACT}"][:, lower], arrays["x"][:, lower])


# ---- data of one's own -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [cases.network(6, 2), cases.decoder((3, 4, 9))])
def test_own_data(model, tmp_path):
    """As many latents as the model has; a fifth of the data is held out, and checkpoints change nothing."""
    x = cases.random_bits(25, model.num_pixels)
    own = own_subject(model, x, "mine", {})
    assert learning.refusal(own) is None
    settings = replace(SETTINGS, learning_num_epochs=1)
    task = learning._task(settings, own)
    assert (task.train.shape, task.test.shape) == ((20, model.num_pixels), (5, model.num_pixels))
    together = np.concatenate([task.train, task.test])
    assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, x.tolist()))
    found = learning.run(settings, no_progress, own=own, kept=Kept(tmp_path))
    assert set(found.table("learning")["num_latents"]) == {model.num_latents}
    names = {path.name for path in tmp_path.iterdir()}
    assert f"learning_{model.num_latents}_exact.npz" in names
    again = learning.run(settings, no_progress, own=own, kept=Kept(tmp_path))
    assert again.tables == found.tables
    assert set(found.figures(found)) == (
        {"curves", "gaps"} if own.image_shape is None else {"curves", "gaps", "samples", "completions"}
    )


@pytest.mark.parametrize(
    ("model", "x", "reason"),
    [
        (cases.network(4, 2), np.zeros((19, 4)), "at least 20 data, and these are 19"),
        (cases.network(4, 17), np.zeros((20, 4)), "at most 16 latents, and the model has 17"),
        (cases.network(4, 2), np.full((20, 4), 2), "data of 0 and 1"),
        (cases.machine(4), np.zeros((20, 4)), "BoltzmannMachine has none"),
        (cases.linear_gaussian(4, 2), np.zeros((20, 4)), "LinearGaussian has none"),
    ],
)
def test_refusals(model, x, reason):
    assert reason in learning.refusal(own_subject(model, x, "mine", {}))
