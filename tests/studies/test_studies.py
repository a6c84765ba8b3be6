"""What the studies compute, draw and write, at sizes that take seconds."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from naive import sbn_log_marginal

import fastvi
from fastvi.studies.bounds import study as bounds
from fastvi.studies.common import digits, output
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.enumeration import baselines
from fastvi.studies.enumeration import study as enumeration
from fastvi.studies.enumeration.models import widened
from fastvi.studies.model import study as model
from fastvi.studies.sampling import study as sampling

QUICK = replace(Settings.quick(seed=3), num_epochs=2)
PROPOSALS = ("uniform", "prior", "learned q", "learned q + prior", "exact means + prior")
STUDIES = {"model": model, "enumeration": enumeration, "sampling": sampling, "bounds": bounds}


@pytest.fixture(scope="module", params=STUDIES)
def written(request, tmp_path_factory):
    """Each study's result and the folder that it was written to."""
    result = STUDIES[request.param].run(QUICK, no_progress)
    out = tmp_path_factory.mktemp("results")
    return result, out, output.write_result(result, QUICK, out)


def random_network(num_pixels, num_latents, seed=0):
    generator = np.random.default_rng(seed)
    parameters = (
        generator.normal(size=(num_pixels, num_latents)),
        generator.normal(size=num_pixels),
        generator.normal(size=num_latents),
    )
    return parameters, generator.integers(0, 2, (4, num_pixels)).astype(float)


# ---- fit -------------------------------------------------------------------------------------------------


def test_fit_climbs_and_repeats(monkeypatch):
    epochs: list[tuple[int, int]] = []
    settings = replace(QUICK, num_train=300, num_epochs=4, seed=7)
    first = digits.fitted(settings, 3, lambda step, done, total: epochs.append((done, total)))
    assert epochs[-1] == (4, 4)
    assert digits.fitted(settings, 3, no_progress) is first
    monkeypatch.setattr(digits, "_FITTED", {})
    again = digits.fitted(settings, 3, no_progress)
    other = digits.fitted(replace(settings, seed=8), 3, no_progress)
    assert first.history[-1] > first.history[0] + 0.5
    assert np.array_equal(first.model.weights, again.model.weights)
    assert not np.array_equal(first.model.weights, other.model.weights)
    train = digits.split(settings).train
    mean = math.fsum(sbn_log_marginal(*_lists(first.model), x) for x in train.tolist()) / len(train)
    assert float(first.objective) == pytest.approx(mean, rel=1e-13)


@pytest.mark.usefixtures("each_report")
def test_a_fit_that_was_cut_short_ends_the_study(monkeypatch):
    def interrupt(step, done, total):
        if done == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(digits, "_FITTED", {})
    with pytest.raises(KeyboardInterrupt):
        digits.fitted(QUICK, 2, interrupt)
    assert not digits._FITTED


def test_held_out_images_are_not_trained_on():
    full = replace(QUICK, num_train=1500)
    parts = digits.split(full)
    assert (len(parts.train), len(parts.test)) == (1500, 297)
    data = fastvi.datasets.digits()
    assert np.array_equal(data.images[parts.test_index], parts.test)
    assert np.array_equal(data.labels[parts.test_index], parts.test_labels)
    # together they are the whole set, each image once
    together = np.sort(np.packbits(np.concatenate([parts.train, parts.test]), axis=1).view(">u8").ravel())
    assert np.array_equal(together, np.sort(np.packbits(data.images, axis=1).view(">u8").ravel()))
    assert np.array_equal(digits.split(QUICK).test, parts.test)


def test_independent_pixels_by_hand():
    train, test = np.array([[1, 0], [1, 1], [1, 0]]), np.array([[1, 1]])
    # shares with half a pixel each way: 3.5 / 4 and 1.5 / 4
    assert model.independent_pixels(train, test)[1] == pytest.approx(math.log(3.5 / 4) + math.log(1.5 / 4))


# ---- enumeration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [baselines.python_loop, baselines.numpy_chunks, baselines.compiled_loop])
@pytest.mark.parametrize("num_latents", [1, 4])
def test_baselines_are_right(way, num_latents):
    parameters, x = random_network(6, num_latents)
    naive = [sbn_log_marginal(*(p.tolist() for p in parameters), datum) for datum in x.tolist()]
    np.testing.assert_allclose(way(*parameters, x), naive, rtol=1e-13)


def test_compiled_loop_has_the_same_bits_on_any_number_of_threads(monkeypatch):
    parameters, x = random_network(6, 13)
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("FASTVI_NUM_THREADS", threads)
        found.append(baselines.compiled_loop(*parameters, x))
    assert np.array_equal(*found)
    np.testing.assert_allclose(found[0], baselines.numpy_chunks(*parameters, x), rtol=1e-12)


def test_widened_model_keeps_its_first_latents():
    parameters, _ = random_network(6, 3)
    base = fastvi.SigmoidBeliefNetwork(*parameters)
    wide, wider = (widened(base, d, 0) for d in (5, 6))
    assert np.array_equal(wide.weights[:, :3], base.weights)
    assert np.array_equal(wider.weights[:, :5], wide.weights)
    assert np.array_equal(widened(base, 2, 0).weights, base.weights[:, :2])


def test_extrapolation_doubles_and_is_marked():
    result = enumeration.run(QUICK, no_progress)
    table = result.timings["seconds"]
    rows = {(m, d): (s, guessed) for m, _, d, _, s, guessed, _ in zip(*table.values(), strict=True)}
    largest = {"Python loop": 4, "NumPy": 5, "compiled loop": 5, "fastvi": 6}
    sizes = QUICK.enumeration_latents
    assert result.tables["agreement"]["random_latents"] == [max(0, d - QUICK.num_latents) for d in sizes]
    for (method, d), (seconds, guessed) in rows.items():
        assert guessed == (d > largest[method])
        if guessed:
            assert seconds == rows[method, largest[method]][0] * 2.0 ** (d - largest[method])
    agreement = result.tables["agreement"]
    for method, last in (("python_loop", 4), ("numpy", 5), ("compiled_loop", 5)):
        for d, value in zip(agreement["num_latents"], agreement[f"max_abs_difference_{method}"], strict=True):
            assert value is None if d > last else value < 1e-11


# ---- sampling and bounds ---------------------------------------------------------------------------------


def test_sampling_table_is_the_library_s_calibration():
    result = sampling.run(QUICK, no_progress)
    network = digits.fitted(QUICK, 4, no_progress).model
    x = digits.split(QUICK).test[:6]
    truth = np.array([sbn_log_marginal(*_lists(network), datum) for datum in x.tolist()])
    found = fastvi.calibrate(
        network, x, proposals={"prior": fastvi.Bernoulli(network.prior_logits)}, num_samples=100,
        num_repeats=QUICK.num_repeats, seed=QUICK.seed, truth=truth,
    )["prior"]  # fmt: skip
    table = result.tables["by_samples"]
    keys = list(zip(table["proposal"], table["num_samples"], strict=True))
    row = keys.index(("prior", 100))
    for name in ("bias", "rms_error", "relative_variance", "coverage", "ess"):
        assert table[name][row] == pytest.approx(found.row()[name], abs=1e-9), name
    assert table["variance"][row] == pytest.approx((found.std**2).mean(), abs=1e-9)
    # chi^2 of the prior over the posterior, all states summed
    z = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(np.uint8)[:, None]
    log_p = network.log_joint(x, z) - truth
    chi = np.exp(2 * log_p - fastvi.Bernoulli(network.prior_logits).log_prob(z)).sum(axis=0) - 1
    assert table["relative_variance_theory"][row] == pytest.approx(chi.mean() / 100, rel=1e-9)
    assert set(keys) == {(p, k) for p in PROPOSALS for k in QUICK.num_samples}
    for p in PROPOSALS:  # with many times the samples, a fraction of the error
        errors = [e for name, e in zip(table["proposal"], table["rms_error"], strict=True) if name == p]
        assert errors[-1] < errors[0] / 2
    sweep = result.tables["by_latents"]
    assert sorted(set(sweep["num_latents"])) == list(QUICK.fitted_latents)


def test_annealing_in_the_sampling_study_is_near_the_exact_log_z():
    table = sampling.run(QUICK, no_progress).tables["ais_log_partition"]
    assert len(set(table["log_partition"])) == 1
    assert (np.array(table["low"]) < np.array(table["high"])).all()
    errors = np.abs(np.array(table["estimate"]) - table["log_partition"][0])
    assert (errors <= 4.5 * np.array(table["std_error"])).all()


def _lists(network):
    return network.weights.tolist(), network.bias.tolist(), network.prior_logits.tolist()


def test_bounds_are_ordered_and_the_gap_is_the_divergence():
    result = bounds.run(QUICK, no_progress)
    table = {name: np.array(values) for name, values in result.tables["images"].items()}
    network = digits.fitted(QUICK, 4, no_progress).model
    parts = digits.split(QUICK)
    truth = [sbn_log_marginal(*_lists(network), datum) for datum in parts.test[:6].tolist()]
    np.testing.assert_allclose(table["log_marginal"], truth, rtol=1e-12)
    assert np.array_equal(table["label"], parts.test_labels[:6])
    assert np.abs(table["residual"]).max() < 1e-11
    assert (table["elbo"] < table["log_marginal"]).all()
    # the bound of one sample is the ELBO in the mean; more samples bring it closer to log p(x)
    one, error = table["weighted_bound_1"], table["weighted_bound_1_std_error"]
    # 10 parts give the standard error, so its own error is 24 %: 6 of them are 4 of the true ones at least
    assert (np.abs(one - table["elbo"]) < 6 * error).all()
    means = result.tables["means"]
    assert means["bound"] == ["ELBO", *(f"importance-weighted, K = {k}" for k in (1, 10, 100)), "log p(x)"]
    assert means["mean"][0] < means["mean"][2] < means["mean"][-1] + 1e-3
    first, *others = (np.array(result.tables["decompositions"][name]) for name in (
        "elbo", "reconstruction_minus_kl_to_prior", "expected_log_joint_plus_entropy",
        "log_marginal_minus_kl_to_posterior",
    ))  # fmt: skip
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-10)


def test_weighted_bound_of_equal_weights_is_that_weight():
    q = fastvi.Bernoulli(np.zeros((2, 3)))

    def weigh(z):
        return np.tile([[-3.0], [5.0]], (1, len(z)))

    for bound in bounds.weighted_bounds(weigh, q, (1, 10), 40, 0, no_progress).values():
        np.testing.assert_allclose(bound.value, [-3.0, 5.0], rtol=1e-14)
        np.testing.assert_allclose(bound.std_error, 0.0, atol=1e-14)


def test_weights_of_states_are_looked_up_by_the_state_s_number():
    parameters, x = random_network(6, 3)
    network, q = (
        fastvi.SigmoidBeliefNetwork(*parameters),
        fastvi.Bernoulli(np.linspace(-1, 1, 12).reshape(4, 3)),
    )
    table = bounds.log_weights_of_states(network, x, q)
    for number, z in enumerate([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1)]):
        expected = network.log_joint(x, [z]) - q.log_prob(np.tile(z, (4, 1)))
        np.testing.assert_allclose(table[:, number], expected, rtol=1e-13)


# ---- files -----------------------------------------------------------------------------------------------


def read_csv(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def test_files_hold_the_tables_and_what_they_were_made_with(written):
    result, out, paths = written
    folder = out / result.name
    assert all(path.parent == folder and path.stat().st_size > 0 for path in paths)
    assert sorted(folder.iterdir()) == sorted(paths)  # no unfinished file is left
    for name, table in {**result.tables, **result.timings}.items():
        read = read_csv(folder / f"{name}.csv")
        assert list(read) == list(table)
        for column, values in table.items():
            assert read[column] == ["" if value is None else str(value) for value in values]
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert content["study"] == result.name
    assert content["settings"]["seed"] == 3
    assert content["versions"]["fastvi"] == fastvi.__version__
    assert content["versions"]["numpy"] == np.__version__
    assert content["threads"] >= 1
    assert content["cpu"]
    assert set(content["tables"]) == set(result.tables)
    assert (folder / "timings.json").exists() == bool(result.timings)


def test_pictures_are_png_of_a_readable_size(written):
    _, _, paths = written
    pictures = [path for path in paths if path.suffix == ".png"]
    assert pictures
    for path in pictures:
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
        assert 1000 <= width <= 2400
        assert 400 <= height <= 1600


def test_same_seed_writes_the_same_bytes_apart_from_timings(written, tmp_path, monkeypatch):
    result, out, _ = written
    monkeypatch.setattr(digits, "_FITTED", {})
    again = STUDIES[result.name].run(QUICK, no_progress)
    paths = output.write_result(again, QUICK, tmp_path)
    timed = {"timings.json", "cost.png", *(f"{name}.csv" for name in result.timings)}
    compared = [path.name for path in paths if path.name not in timed]
    assert compared
    for name in compared:
        assert (tmp_path / result.name / name).read_bytes() == (out / result.name / name).read_bytes(), name


def test_model_and_held_out_images_can_be_read_back(tmp_path):
    result = model.run(QUICK, no_progress)
    output.write_result(result, QUICK, tmp_path)
    network = fastvi.load(tmp_path / "model" / "model_4_latents.npz")
    with np.load(tmp_path / "model" / "held_out.npz") as archive:
        x = archive["x"]
    mean = result.tables["fit"]["mean_log_marginal_test"][-1]
    assert fastvi.log_marginal(network, x).mean() == mean
    naive = math.fsum(sbn_log_marginal(*_lists(network), datum) for datum in x[:40].tolist()) / 40
    assert fastvi.log_marginal(network, x[:40]).mean() == pytest.approx(naive, rel=1e-13)


def test_json_has_no_infinities():
    assert json.loads(output.json_text({"a": [math.inf, math.nan, 1.5], "b": (None, "x")})) == {
        "a": [None, None, 1.5],
        "b": [None, "x"],
    }


def test_another_seed_gives_other_numbers():
    fits = [digits.fitted(replace(QUICK, seed=seed), 2, no_progress).model for seed in (3, 4)]
    assert not np.array_equal(fits[0].weights, fits[1].weights)
    splits = [digits.split(replace(QUICK, seed=seed)).test_index for seed in (3, 4)]
    assert not np.array_equal(*splits)
