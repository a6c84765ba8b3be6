"""The study of missing data: fits, answers and pictures, at sizes that take seconds."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import cases
import numpy as np
import pytest
from cases import states
from naive import bm_log_joint, log_sum_exp, sbn_log_marginal

import fastvi
from fastvi.studies.common import digits, output
from fastvi.studies.common.completion import BASELINE, MACHINE, NETWORK, YOURS
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import own_subject
from fastvi.studies.missing import study as missing
from fastvi.studies.missing.pseudo_likelihood import fit_boltzmann_machine, negative_objective, unit_terms

QUICK = replace(Settings.quick(seed=3), num_epochs=2)


@pytest.fixture(scope="module")
def result():
    return missing.run(QUICK, no_progress)


# ---- fit -------------------------------------------------------------------------------------------------


def test_unit_terms_are_conditionals_of_the_machine():
    machine = cases.machine(5)
    z = states(5)
    terms = unit_terms(machine.couplings, machine.bias, z.astype(float))
    for unit in range(5):
        other = z.copy()
        other[:, unit] ^= 1
        log_p, log_other = machine.log_joint(None, z), machine.log_joint(None, other)
        np.testing.assert_allclose(terms[:, unit], log_p - np.logaddexp(log_p, log_other), rtol=1e-12)


def test_objective_is_the_pseudo_likelihood_and_its_gradient_the_finite_difference():
    generator = np.random.default_rng(1)
    x, centre = generator.integers(0, 2, (7, 4)).astype(float), generator.random(4)
    theta, start = generator.normal(size=(2, 10))
    couplings = np.zeros((4, 4))
    couplings[np.triu_indices(4, 1)] = theta[:6]
    couplings += couplings.T
    terms = unit_terms(couplings, theta[6:] - couplings @ centre, x)
    expected = -terms.sum(axis=1).mean() + 0.25 * ((theta - start) ** 2).sum()
    value, gradient = negative_objective(theta, x, centre, start, 0.5)
    assert value == pytest.approx(expected, rel=1e-13)
    for i, slope in enumerate(gradient):
        step = np.zeros(10)
        step[i] = 1e-5
        ends = [negative_objective(theta + sign * step, x, centre, start, 0.5)[0] for sign in (1, -1)]
        # central differences: 1e-10 from the third derivative, 1e-11 from rounding
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-9)


def test_fit_finds_the_machine_that_the_data_come_from():
    machine = cases.machine(4)
    log_p = machine.log_joint(None, states(4))
    share = np.exp(log_p - log_p.max())
    share /= share.sum()
    # every state as often as its probability says, within one of 200,000: no sampling error
    x = np.repeat(states(4), np.rint(200_000 * share).astype(int), axis=0)
    found = fit_boltzmann_machine(x, 0.0)
    wanted, reached = (np.concatenate([m.couplings[np.triu_indices(4, 1)], m.bias]) for m in (machine, found))

    def objective(theta):
        return negative_objective(theta, x.astype(float), np.zeros(4), theta, 0.0)

    (best, left), (other, rounding) = objective(reached), objective(wanted)
    # 16 counts that are off by half of one datum move a mean of numbers up to 2 by 8e-5
    assert np.abs(rounding).max() <= 8e-5
    # the fit stops at 1e-5 in centred units: units' slopes, of which pairs' are moved by as much again
    assert np.abs(left).max() <= 2e-5
    # slopes that small are this near to each other, by the smallest curvature between them
    steps = 1e-4 * np.eye(10)
    middle = (wanted + reached) / 2
    curvature = np.array([objective(middle + step)[1] - objective(middle - step)[1] for step in steps]) / 2e-4
    least = np.linalg.eigvalsh((curvature + curvature.T) / 2)[0]
    # by convexity the smallest value is no further below than this
    assert best <= other + left @ left / (2 * least)
    assert np.linalg.norm(reached - wanted) <= 1.1 * np.linalg.norm(rounding - left) / least < 0.02


def test_fit_repeats_and_is_finite_for_units_that_never_change():
    x = fastvi.datasets.digits().images[:100]
    assert (x.mean(axis=0) == 0).any()
    first, again = (fit_boltzmann_machine(x, 0.01) for _ in range(2))
    assert np.array_equal(first.couplings, again.couplings)
    assert np.array_equal(first.bias, again.bias)
    assert np.abs(first.bias).max() < 20
    small = fit_boltzmann_machine(x, 1.0)
    assert np.abs(small.couplings).max() < np.abs(first.couplings).max()


# ---- answers ---------------------------------------------------------------------------------------------


def test_seen_pixels_are_the_lower_rows():
    seen = missing.seen_pixels(3).reshape(8, 8)
    assert not seen[:3].any()
    assert seen[3:].all()


def test_machine_s_answer_is_the_sum_over_all_images(result):
    """Against z^T J z / 2 + h^T z of all 2^16 images."""
    machine = result.models["boltzmann_machine"]
    arrays = result.arrays["completions"]
    top = states(16)
    for n, x in enumerate(arrays["x"]):
        z = np.tile(x, (len(top), 1)).astype(float)
        z[:, :16] = top
        value = 0.5 * np.einsum("si,ij,sj->s", z, machine.couplings, z, optimize=True) + z @ machine.bias
        weight = np.exp(value - value.max())
        true = value[(top == x[:16]).all(axis=1)].item()
        expected = true - value.max() - math.log(weight.sum())
        assert log_prob(result, MACHINE)[n] == pytest.approx(expected, abs=1e-10)
        mean = arrays["mean_boltzmann_machine"][n]
        np.testing.assert_allclose(mean[:16], weight @ top / weight.sum(), atol=1e-12)
        assert np.array_equal(mean[16:], x[16:])


def log_prob(result, name):
    table = result.tables["images"]
    return [value for model, value in zip(table["model"], table["log_prob"], strict=True) if model == name]


def test_network_s_answer_is_the_posterior_mean_of_its_pixels(result):
    network = digits.fitted(QUICK, 4, no_progress).model
    arrays = result.arrays["completions"]
    z = states(4)
    eta = z @ network.weights.T + network.bias
    chance = 1.0 / (1.0 + np.exp(-eta))
    prior = z @ network.prior_logits
    lower = [part.tolist() for part in (network.weights[16:], network.bias[16:], network.prior_logits)]
    whole = [part.tolist() for part in (network.weights, network.bias, network.prior_logits)]
    for n, x in enumerate(arrays["x"]):
        expected = sbn_log_marginal(*whole, x.tolist()) - sbn_log_marginal(*lower, x[16:].tolist())
        assert log_prob(result, NETWORK)[n] == pytest.approx(expected, abs=1e-10)
        log_joint = prior + np.where(x == 1, -np.logaddexp(0, -eta), -np.logaddexp(0, eta))[:, 16:].sum(
            axis=1
        )
        posterior = np.exp(log_joint - log_joint.max())
        mean = arrays["mean_sigmoid_belief_network"][n]
        np.testing.assert_allclose(mean[:16], (posterior @ chance / posterior.sum())[:16], atol=1e-12)
        assert np.array_equal(mean[16:], x[16:])


def test_lower_half_is_the_sum_over_all_upper_halves(result):
    network = digits.fitted(QUICK, 4, no_progress).model
    table, arrays = result.tables["lower_half"], result.arrays["completions"]
    lower = [part.tolist() for part in (network.weights[16:], network.bias[16:], network.prior_logits)]
    whole = [part.tolist() for part in (network.weights, network.bias, network.prior_logits)]
    for n, x in enumerate(arrays["x"].tolist()):
        seen, true = sbn_log_marginal(*lower, x[16:]), sbn_log_marginal(*whole, x)
        assert table["log_seen"][n] == pytest.approx(seen, abs=1e-10)
        assert table["log_true"][n] == pytest.approx(true, abs=1e-10)
        parts = arrays["log_prob_drawn"][n]
        parts = parts[np.isfinite(parts)]
        assert (
            len(parts) == table["num_distinct"][n] <= table["num_drawn"][n] == QUICK.missing_num_completions
        )
        assert table["log_best_drawn"][n] == parts.max() < table["log_seen"][n]
        assert table["share_drawn"][n] == pytest.approx(math.fsum(np.exp(parts - seen)), rel=1e-9)
        assert 0 < table["share_drawn"][n] < 1


@pytest.mark.parametrize("name", [MACHINE, NETWORK])
def test_samples_have_the_exact_means(result, name):
    seen, x = missing.seen_pixels(1), digits.split(QUICK).test[:2]
    if name == MACHINE:
        machine = result.models["boltzmann_machine"]
        answer = missing.complete_by_machine(machine, x, seen, 4000, 5, missing.Clock(), no_progress)
    else:
        answer = missing.complete_by_network(
            digits.fitted(QUICK, 4, no_progress).model, x, seen, 4000, 5, missing.Clock()
        )
    assert answer.samples.shape == (2, 4000, 64)
    assert np.array_equal(answer.samples[:, :, 8:], np.repeat(x[:, None, 8:], 4000, axis=1))
    error = np.sqrt(answer.mean * (1 - answer.mean) / 4000)
    # 16 pixels, beyond 5 standard errors by chance once in 10^5
    assert (np.abs(answer.samples.mean(axis=1) - answer.mean) <= 5 * error + 1e-3).all()
    # and in pairs: neighbours on the first row agree with their moments under the exact posterior
    if name == MACHINE:
        posterior = fastvi.exact_posterior(machine, x, observed=seen, normalized=False, pairwise=True)
        moments = np.einsum("nsi,nsj->nij", *[answer.samples[:, :, :8].astype(float)] * 2) / 4000
        # at most half of 1 / sqrt(4000), 5 times
        np.testing.assert_allclose(moments, posterior.second_moment[:, :8, :8], atol=0.04)


def test_baseline_by_hand():
    train, x = np.array([[1, 0], [1, 1], [1, 0]]), np.array([[1, 1]])
    answer = missing.complete_by_shares(train, x, np.array([False, True]))
    assert answer.log_prob == pytest.approx([math.log(3.5 / 4)])
    assert answer.mean.tolist() == [[3.5 / 4, 1.0]]


def test_tables(result):
    images, means = result.tables["images"], result.tables["means"]
    assert images["model"] == [MACHINE] * 2 + [NETWORK] * 2 + [BASELINE] * 2
    assert images["index"] == digits.split(QUICK).test_index[:2].tolist() * 3
    assert means["num_states"] == [1 << 16, 1 << 4, 1]
    base = np.array(log_prob(result, BASELINE))
    for n, name in enumerate(means["model"]):
        value = np.array(log_prob(result, name))
        assert means["mean_log_prob"][n] == pytest.approx(value.mean())
        assert means["mean_gain"][n] == pytest.approx((value - base).mean())
        assert means["share_better"][n] == (value > base).mean()
        found = result.arrays["completions"][f"mean_{missing.array_name(name)}"]
        error = np.abs(found - result.arrays["completions"]["x"])[:, :16].mean(axis=1)
        shown = [v for m, v in zip(images["model"], images["mean_abs_error"], strict=True) if m == name]
        np.testing.assert_allclose(shown, error)
    fit = result.tables["fit"]
    for part in ("train", "test"):
        independent, machine = fit[f"mean_pseudo_log_likelihood_{part}"]
        assert machine > independent + 1
    seconds = result.timings["seconds"]
    assert seconds["step"] == ["fit", *["log-probabilities and means", "samples"] * 2]
    assert min(seconds["seconds"]) >= 0


# ---- files -----------------------------------------------------------------------------------------------


def test_files_repeat_byte_for_byte_apart_from_timings(result, tmp_path):
    again = missing.run(QUICK, no_progress)
    first, second = (output.write_result(r, QUICK, tmp_path / n) for r, n in ((result, "a"), (again, "b")))
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        if one.name not in ("timings.json", "seconds.csv"):
            assert one.read_bytes() == other.read_bytes(), one.name
    folder = tmp_path / "a" / "missing"
    with (folder / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["log_prob"]) for row in rows] == result.tables["images"]["log_prob"]
    content = json.loads((folder / "result.json").read_text())
    assert content["settings"]["missing_num_rows"] == 2
    assert len(content["findings"]) == 3
    machine = fastvi.load(folder / "boltzmann_machine.npz")
    assert np.array_equal(machine.couplings, result.models["boltzmann_machine"].couplings)
    for path in folder.glob("*.png"):
        content = path.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
        assert 1000 <= width <= 2400
        assert 400 <= height <= 1600
    assert {path.name for path in folder.glob("*.png")} == {
        "completions.png",
        "log_prob.png",
        "lower_half.png",
    }


def test_more_images_and_samples_than_the_pictures_show():
    settings = replace(QUICK, missing_num_images=12, missing_num_rows=1, missing_num_samples=5)
    found = missing.run(settings, no_progress)
    assert found.arrays["completions"]["samples_boltzmann_machine"].shape == (12, 5, 64)
    figure = found.figures(found)["completions"].figure
    # a row of what was seen, a mean and three samples of two models, the baseline's mean, the truth
    assert len(figure.axes) == 11 * 10


# ---- a model of one's own --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [cases.network(16, 2, seed=1), cases.decoder((2, 3, 16), seed=1), cases.machine(16, scale=0.3)]
)
def test_own_model(model):
    """Of 4 x 4 pixels the upper row is hidden: all 16 ways to fill it in, one by one."""
    x = cases.random_bits(3, 16)
    own = own_subject(model, x, "mine", {})
    assert missing.refusal(own) is None
    found = missing.run(QUICK, no_progress, own=own)
    arrays, table = found.arrays["completions"], found.tables["lower_half"]
    assert arrays["seen"].tolist() == [False] * 4 + [True] * 12
    fillings = states(4)
    machine = isinstance(model, fastvi.BoltzmannMachine)
    for n, datum in enumerate(x[:2]):
        images = np.tile(datum, (16, 1))
        images[:, :4] = fillings
        log_p = np.array([log_joint_of(model, image) for image in images.tolist()])
        seen = float(log_sum_exp(log_p.tolist()))
        assert table["log_seen"][n] == pytest.approx(seen, abs=1e-10)
        true = log_p[(fillings == datum[:4]).all(axis=1)].item()
        assert log_prob(found, YOURS)[n] == pytest.approx(true - seen, abs=1e-10)
        share = np.exp(log_p - seen)
        np.testing.assert_allclose(arrays["mean_your_model"][n, :4], share @ fillings, atol=1e-10)
        # of the other images, half a pixel each way
        others = np.delete(x[:2], n, axis=0)
        shares = (others.sum(axis=0) + 0.5) / (len(others) + 1)
        by_hand = np.where(datum == 1, np.log(shares), np.log1p(-shares))[:4].sum()
        assert log_prob(found, BASELINE)[n] == pytest.approx(by_hand, abs=1e-12)
    assert ("Z" in found.figures(found)["lower_half"].figure.axes[0].get_xlabel()) == machine
    assert found.models == {}


def log_joint_of(model, image):
    """log p(image); of a machine without log Z. By loops over latents in plain Python."""
    if isinstance(model, fastvi.BoltzmannMachine):
        return float(bm_log_joint(model.couplings.tolist(), model.bias.tolist(), image))
    if isinstance(model, fastvi.SigmoidBeliefNetwork):
        return float(sbn_log_marginal(*cases.parameters_of(model), image))
    terms = []
    for z in states(2).tolist():
        value = np.array(z, float)
        for place, (weights, bias) in enumerate(model.layers):
            value = weights @ value + bias
            value = np.tanh(value) if place + 1 < len(model.layers) else value
        terms.append(
            sum(z[i] * eta - np.logaddexp(0, eta) for i, eta in enumerate(model.prior.logits))
            + sum(pixel * eta - np.logaddexp(0, eta) for pixel, eta in zip(image, value, strict=True))
        )
    return float(log_sum_exp(terms))


@pytest.mark.parametrize(
    ("model", "x", "reason"),
    [
        (cases.network(6, 2), np.zeros((2, 6)), "these data are no images"),
        (cases.network(4, 2), np.full((2, 4), 0.5), "pixels of 0 and 1, and these data have others"),
        (cases.network(4, 21), np.zeros((2, 4)), "of at most 20 latents"),
        (cases.sparse_coding(4, 2), np.zeros((2, 4)), "this BinarySparseCoding has no pixels of 0 and 1"),
        (cases.linear_gaussian(4, 2), np.zeros((2, 4)), "this LinearGaussian cannot sum"),
        (cases.machine(33 * 33), np.zeros((2, 33 * 33)), "more than 2^32 states"),
    ],
)
def test_refusals(model, x, reason):
    assert reason in missing.refusal(own_subject(model, x, "mine", {}))
