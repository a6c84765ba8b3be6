"""The study beyond enumeration, at sizes that take seconds."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace

import cases
import numpy as np
import pytest
from naive import sbn_log_marginal

import fastvi
from fastvi.studies.beyond import study as beyond
from fastvi.studies.common import output
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import own_subject

QUICK = replace(Settings.quick(seed=3), beyond_latents=(13, 3), beyond_largest_exact=3)
SMALL = replace(QUICK, beyond_latents=(2,), beyond_num_images=2)

pytestmark = pytest.mark.slow_without_jit


@pytest.fixture(scope="module")
def result():
    return beyond.run(QUICK, no_progress)


def columns(table, names, size):
    rows = zip(table["num_latents"], *(table[name] for name in names), strict=True)
    return [row[1:] for row in rows if row[0] == size]


def test_intervals(result):
    table = result.table("intervals")
    for size in (13, 3):
        ends = {}
        for index, most, taken, lower, upper, gap, converged in columns(
            table, ("index", "max_bounds", "num_bounds", "lower", "upper", "gap", "converged"), size
        ):
            assert taken <= most
            assert gap == upper - lower
            assert converged == (gap <= 1e-3)
            ends[index] = lower, upper
        assert len(ends) == 3
        for index, count, value in columns(
            result.table("estimates"), ("index", "num_samples", "weighted_bound"), size
        ):
            assert count in QUICK.beyond_num_samples
            # a bound of few samples may be above by chance, by less than 2 nats here
            assert value < ends[index][1] + 2.0
        if size == 3:  # no more than this is enumerated
            exact = dict(columns(result.table("exact"), ("index", "log_marginal"), size))
            assert all(ends[index][0] <= exact[index] <= ends[index][1] for index in ends)
    assert set(result.table("exact")["num_latents"]) == {3}
    # one leaf holds all states of the smaller network
    assert columns(result.table("closing"), ("share_converged",), 3)[-1] == (1.0,)


def test_weighted_bounds():
    rng = np.random.default_rng(0)
    model = fastvi.SigmoidBeliefNetwork(rng.normal(size=(6, 3)), rng.normal(size=6), rng.normal(size=3))
    encoder = fastvi.Encoder.random(6, 4, 3, seed=1)
    x = model.sample(4, 0).x
    found = beyond.weighted_bounds(model, encoder, x, (1, 4000), 2)
    truth = fastvi.log_marginal(model, x)
    elbo = fastvi.elbo(model, x, encoder(x)).value
    # weights of a standard deviation near 1 nat: errors of 1 / sqrt(4000), five of them
    np.testing.assert_allclose(found[:, 1], truth, atol=0.08)
    np.testing.assert_allclose(found[:, 0], elbo, atol=0.15)
    assert (found[:, 0] < found[:, 1]).all()


def test_same_seed_same_numbers_and_pictures(result, tmp_path):
    assert beyond.run(QUICK, no_progress).tables == result.tables
    names = {path.name for path in output.write_result(result, QUICK, tmp_path)}
    assert {"intervals.csv", "closing.csv", "search_seconds.csv", "gaps.png"} <= names
    assert {"intervals_13.png", "intervals_3.png"} <= names
    content = json.loads((tmp_path / "beyond" / "result.json").read_text())
    assert content["settings"]["beyond_latents"] == [13, 3]
    assert not any(" s " in finding for finding in content["findings"])


def write_idx(path, images):
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.astype(np.uint8).tobytes())


def test_images_of_a_file(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "images"
    write_idx(path, rng.integers(0, 256, (30, 4, 5)))
    settings = replace(SMALL, beyond_images=str(path))
    data = beyond.images(settings)
    assert (data.train.shape, data.test.shape, data.sides) == ((27, 20), (2, 20), (4, 5))
    raw = fastvi.datasets.load_idx(path).reshape(30, -1)
    np.testing.assert_array_equal(data.test, raw[data.places] >= 128)
    found = beyond.run(settings, no_progress)
    assert found.arrays["images"]["x"].shape == (2, 4, 5)
    assert set(found.figures(found)) == {"intervals_2", "gaps"}
    write_idx(path, rng.integers(0, 256, (9, 4, 5)))
    with pytest.raises(
        ValueError, match=r"^beyond_images must be at least 20 images of uint8, .*\(9, 4, 5\)$"
    ):
        beyond.images(settings)


def test_a_wrong_file_is_one_line(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(b"no images")
    arguments = ["study", "beyond", "--quick", "--out", str(tmp_path / "out"), "--beyond-images", str(path)]
    process = subprocess.run([sys.executable, "-m", "fastvi", *arguments], capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith("fastvi: --beyond-images: path must name an IDX file")
    assert process.stderr.count("\n") == 1


# ---- a model of one's own --------------------------------------------------------------------------------


def test_own_network():
    model, x = cases.network(4, 6, seed=1), cases.random_bits(5, 4)
    own = own_subject(model, x, "mine", {})
    assert beyond.refusal(own) is None
    found = beyond.run(replace(SMALL, beyond_largest_exact=6), no_progress, own=own)
    truth = dict(columns(found.table("exact"), ("index", "log_marginal"), 6))
    parameters = [part.tolist() for part in (model.weights, model.bias, model.prior_logits)]
    assert truth == {
        n: pytest.approx(sbn_log_marginal(*parameters, x[n].tolist()), abs=1e-12) for n in (0, 1)
    }
    for index, lower, upper in columns(found.table("intervals"), ("index", "lower", "upper"), 6):
        assert lower <= truth[index] <= upper
    assert found.arrays["images"]["x"].shape == (2, 2, 2)
    drawn = found.figures(found)
    assert set(drawn) == {"intervals_6", "gaps"}
    assert all(picture.timed for picture in drawn.values())


def test_own_sparse_coding():
    """Real pixels, which are no image: an interval around a sum over the states by hand."""
    model, x = cases.sparse_coding(3, 4), np.random.default_rng(0).normal(size=(2, 3))
    found = beyond.run(SMALL, no_progress, own=own_subject(model, x, "mine", {}))
    for index, lower, upper in columns(found.table("intervals"), ("index", "lower", "upper"), 4):
        residual = (x[index] - model.bias - cases.states(4) @ model.weights.T) / model.noise_std
        log_p = -0.5 * (residual**2).sum(axis=1) - 3 * np.log(model.noise_std * np.sqrt(2 * np.pi))
        log_p += cases.states(4) @ model.prior_logits - np.logaddexp(0, model.prior_logits).sum()
        assert lower - 1e-12 <= np.logaddexp.reduce(log_p) <= upper + 1e-12
    assert found.arrays["images"]["x"].shape == (2, 3)
    assert set(found.figures(found)) == {"intervals_4", "gaps"}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (cases.decoder((2, 4)), "for this NeuralDecoder there are no certain intervals"),
        (cases.restricted(4, 2), "for this RestrictedBoltzmannMachine no encoder can be fitted"),
    ],
)
def test_refusals(model, reason):
    assert reason in beyond.refusal(own_subject(model, np.zeros((2, 4)), "mine", {}))
