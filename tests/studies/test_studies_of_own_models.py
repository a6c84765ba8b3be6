"""Enumeration, sampling and bounds of a caller's own model and data."""

from __future__ import annotations

import math
from dataclasses import replace

import naive
import naive_divergences
import numpy as np
import pytest
from own_subjects import own_network, own_restricted_machine, own_sparse_coding, subject_of

import fastvi
from fastvi.studies.bounds import study as bounds
from fastvi.studies.common import digits
from fastvi.studies.common.kept import Kept
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.words import percent, rounded
from fastvi.studies.enumeration import study as enumeration
from fastvi.studies.sampling import important
from fastvi.studies.sampling import study as sampling

QUICK = replace(Settings.quick(seed=3), num_samples=(10, 100), ais_num_repeats=2)
STUDIES = {"enumeration": enumeration, "sampling": sampling, "bounds": bounds}


def lists(model):
    return model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()


def network_truth(model, x, num_latents=None):
    weights, bias, prior = lists(model)
    cut = [row[:num_latents] for row in weights]
    return [naive.sbn_log_marginal(cut, bias, prior[:num_latents], datum) for datum in x.tolist()]


def sparse_truth(own):
    weights, bias, prior = lists(own.model)
    noise = float(own.model.noise_std)
    return [naive.bsc_log_marginal(weights, bias, noise, prior, datum) for datum in own.x.tolist()]


def machine_truth(own):
    arrays = (own.model.weights, own.model.visible_bias, own.model.hidden_bias)
    parts = [array.tolist() for array in arrays]
    return [naive.rbm_log_marginal(*parts, datum, normalized=True) for datum in own.x.tolist()], parts


# ---- enumeration -----------------------------------------------------------------------------------------


def test_enumeration_takes_the_first_latents_of_an_own_network():
    own = own_network()
    result = enumeration.run(QUICK, no_progress, own=own)
    table = result.tables["agreement"]
    assert table["num_latents"] == [2, 3]
    assert table["random_latents"] == [0, 0]
    for size, mean in zip(table["num_latents"], table["mean_log_marginal"], strict=True):
        truth = network_truth(own.model, own.x, size)
        assert mean == pytest.approx(math.fsum(truth) / len(truth), rel=1e-12)
    for method in ("python_loop", "numpy", "compiled_loop"):
        assert max(table[f"max_abs_difference_{method}"]) < 1e-12
    picture = result.figures(result)["cost"]
    assert picture.timed
    assert "4 data of my.npy" in picture.caption
    assert "digits" not in picture.caption + picture.alt + " ".join(f.text for f in result.findings)


def test_enumeration_compares_another_own_model_with_numpy():
    own = own_sparse_coding()
    result = enumeration.run(QUICK, no_progress, own=own)
    table = result.tables["agreement"]
    truth = sparse_truth(own)
    assert table["mean_log_marginal"][-1] == pytest.approx(math.fsum(truth) / len(truth), rel=1e-12)
    assert max(table["max_abs_difference_numpy"]) < 1e-12
    assert set(result.timings["seconds"]["method"]) == {"NumPy", "fastvi"}


# ---- bounds ----------------------------------------------------------------------------------------------


def test_bounds_of_an_own_network():
    own = own_network()
    result = bounds.run(QUICK, no_progress, own=own)
    table = {name: np.array(values) for name, values in result.tables["images"].items()}
    assert "label" not in table
    np.testing.assert_allclose(table["log_marginal"], network_truth(own.model, own.x), rtol=1e-12)
    assert (table["elbo"] < table["log_marginal"]).all()
    np.testing.assert_allclose(table["log_marginal"] - table["elbo"], table["kl_to_posterior"], atol=1e-12)
    forms = {name: np.array(values) for name, values in result.tables["decompositions"].items()}
    np.testing.assert_allclose(forms["reconstruction"] - forms["kl_to_prior"], table["elbo"], atol=1e-12)
    np.testing.assert_allclose(forms["expected_log_joint"] + forms["entropy"], table["elbo"], atol=1e-12)
    pictures = result.figures(result)
    assert set(pictures) == {"images", "gap", "parts"}
    for picture in pictures.values():
        assert "my.npy" in picture.caption
        assert picture.caption.count(". ") >= 1
        assert picture.alt
    ways = pictures["parts"].figure.axes[0].get_title(loc="left")
    assert ways.endswith("is the same sum in three ways")


def test_bounds_of_a_restricted_machine_are_exact():
    own = own_restricted_machine()
    result = bounds.run(QUICK, no_progress, own=own)
    table = result.tables["images"]
    truth, _ = machine_truth(own)
    np.testing.assert_allclose(table["log_marginal"], truth, rtol=1e-12)
    for name in ("elbo", "weighted_bound_1", "weighted_bound_100"):
        np.testing.assert_allclose(table[name], truth, rtol=1e-12)
    pictures = result.figures(result)
    assert "is log p(x)" in pictures["images"].figure.axes[0].get_title(loc="left")
    ways = pictures["parts"].figure.axes[0].get_title(loc="left")
    assert ways.endswith("is the same sum in two ways")  # it has no prior


def test_many_latents_are_drawn_as_those_that_are_listed(monkeypatch):
    own = own_network()
    listed = bounds.run(QUICK, no_progress, own=own)
    monkeypatch.setattr(bounds, "_MOST_LISTED", 2)
    drawn = bounds.run(QUICK, no_progress, own=own)
    for name in ("weighted_bound_1", "weighted_bound_100_std_error"):
        np.testing.assert_allclose(drawn.tables["images"][name], listed.tables["images"][name], rtol=1e-9)


def test_bounds_of_normal_latents():
    model = fastvi.LinearGaussian([[1.0, 0.5], [0.5, 1.0], [0.0, 0.3]], [0.0, 0.0, 0.0], 0.5)
    own = subject_of(model, model.sample(3, 1).x)
    assert bounds.refusal(own) is None
    table = bounds.run(QUICK, no_progress, own=own).tables["images"]
    assert (np.array(table["elbo"]) < table["log_marginal"]).all()
    bound, error = (np.array(table[f"weighted_bound_1{end}"]) for end in ("", "_std_error"))
    # 10 parts give the standard error, so its own error is 24 %: 6 of them are 4 of the true ones at least
    assert (np.abs(bound - table["elbo"]) < 6 * error).all()


# ---- sampling --------------------------------------------------------------------------------------------


def test_states_that_matter_and_states_that_are_left_out():
    own = own_network()
    result = sampling.run(QUICK, no_progress, own=own)
    assert set(result.tables) == {"by_samples", "images", "states", "log_joint"}  # no digits, no log Z
    table = result.tables["states"]
    states = naive.states(own.model.num_latents)
    learned = fastvi.fit_posterior(own.model, own.x, objective="reverse_kl").q.logits.tolist()
    prior = own.model.prior_logits.tolist()
    for n, datum in enumerate(own.x.tolist()):
        log_joint = [naive.sbn_log_joint(*lists(own.model), datum, z) for z in states]
        p = [math.exp(value) for value in naive_divergences.posterior(log_joint)]
        falling = sorted(p, reverse=True)
        needed = next(k for k in range(1, len(p) + 1) if math.fsum(falling[:k]) >= 0.99)
        assert table["states_for_99_percent"][n] == needed
        assert table["drawn_by_uniform"][n] == pytest.approx(needed / len(states), rel=1e-12)
        first = sorted(range(len(p)), key=lambda k: -p[k])[:needed]
        met = math.fsum(math.exp(naive.bernoulli_log_prob(states[k], prior)) for k in first)
        assert table["drawn_by_prior"][n] == pytest.approx(met, rel=1e-9)
        log_q = [naive.bernoulli_log_prob(z, learned[n]) for z in states]
        terms = [a * a / math.exp(b) for a, b in zip(p, log_q, strict=True)]
        assert table["one_weight_learned_q"][n] == pytest.approx(math.fsum(terms) - 1.0, rel=1e-6)
        assert table["worst_state_share"][n] == pytest.approx(max(terms) / math.fsum(terms), rel=1e-9)
        out = math.fsum(a for a, b in zip(p, log_q, strict=True) if math.exp(b) < a / 100)
        assert table["left_out"][n] == pytest.approx(out, abs=1e-12)
    shares = result.tables["log_joint"]
    for name in ("uniform", "prior", "learned_q"):
        assert math.fsum(shares[name]) == pytest.approx(1.0, rel=1e-12)
    pictures = result.figures(result)
    assert set(pictures) == {"error", "important_states", "left_out", "claims", "intervals"}
    said = " ".join(text for p in pictures.values() for text in (p.caption, p.alt))
    assert "digits" not in said


def test_a_state_that_q_leaves_out_is_found():
    """A posterior of two equal modes, and a q on one of them."""
    log_posterior = np.log([[0.4996, 0.0002, 0.0002, 0.5000]])
    setup = sampling.Setup(
        fastvi.SigmoidBeliefNetwork(np.zeros((1, 2)), [0.0], [0.0, 0.0]),
        np.zeros((1, 1)), np.zeros(1), log_posterior, {"learned q": fastvi.Bernoulli([[9.0, 9.0]])},
    )  # fmt: skip
    table = important.states_table(setup, np.arange(1))
    assert table["left_out"] == [pytest.approx(0.4996)]
    assert table["worst_state"] == [0]
    assert table["worst_state_share"][0] > 0.99
    assert table["one_weight_learned_q"][0] > 1e6


def test_sampling_of_an_own_machine_estimates_its_log_z():
    own = own_restricted_machine()
    result = sampling.run(QUICK, no_progress, own=own)
    truth, parts = machine_truth(own)
    np.testing.assert_allclose(result.tables["states"]["log_marginal"], truth, rtol=1e-12)
    log_z = naive.rbm_log_partition(*parts)
    np.testing.assert_allclose(result.tables["ais_log_partition"]["log_partition"], log_z, rtol=1e-12)
    assert set(result.tables["by_samples"]["proposal"]) == {"uniform", "exact means + uniform"}
    # the posterior is a product over latents, so that only the tenth of uniform draws costs something
    assert max(result.tables["states"]["one_weight_exact_means_and_uniform"]) <= 1 / 0.9 - 1 + 1e-12


def test_sampling_of_a_machine_without_latents_estimates_log_z_alone():
    couplings = [[0.0, 1.0], [1.0, 0.0]]
    own = subject_of(fastvi.BoltzmannMachine(couplings, [0.0, 0.5]), [[0, 1], [1, 1]])
    result = sampling.run(QUICK, no_progress, own=own)
    assert set(result.tables) == {"ais_log_partition"}
    expected = naive.bm_log_partition(couplings, [0.0, 0.5])
    np.testing.assert_allclose(result.tables["ais_log_partition"]["log_partition"], expected, rtol=1e-12)


# ---- all -------------------------------------------------------------------------------------------------


TABLE = subject_of(fastvi.JointTable([[0.3, 0.2], [0.1, 0.4]]), [0, 1])
LINEAR = subject_of(fastvi.LinearGaussian([[1.0], [0.5]], [0.0, 0.0], 0.5), [[0.1, 0.2]])


@pytest.mark.parametrize(
    ("study", "own", "said"),
    [
        ("enumeration", TABLE, "a table has one latent"),
        ("enumeration", own_restricted_machine(), "a formula but for log Z"),
        ("enumeration", own_network(25), "at most d = 24 latents, got 25"),
        ("sampling", LINEAR, "those of a LinearGaussian are real numbers"),
        ("sampling", own_network(15), "at most d = 14 latents, got 15"),
        ("bounds", TABLE, "a table has one latent"),
        ("bounds", own_network(21), "at most d = 20 latents, got 21"),
    ],
)
def test_refusals(study, own, said):
    line = STUDIES[study].refusal(own)
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize("study", STUDIES)
def test_own_networks_and_sparse_coding_are_not_refused(study):
    assert STUDIES[study].refusal(own_network()) is None
    assert STUDIES[study].refusal(own_sparse_coding()) is None


@pytest.mark.parametrize("study", STUDIES)
def test_data_that_cannot_be_are_refused(study):
    model = fastvi.LogJoint(lambda x_n, z: -math.inf if x_n[0] > 0 else -1.0, 2)
    with pytest.raises(ValueError, match=r"log p\(x\) = -inf of datum 1"):
        STUDIES[study].run(QUICK, no_progress, own=subject_of(model, [[0.0], [1.0]]))


def test_fits_are_kept(monkeypatch, tmp_path):
    names = []
    fit_model = fastvi.fit_model

    def recorded(*args, checkpoint=None, **options):
        names.append(checkpoint.name)
        return fit_model(*args, **options)

    monkeypatch.setattr(digits, "_FITTED", {})
    monkeypatch.setattr(fastvi, "fit_model", recorded)
    sampling.run(replace(QUICK, num_epochs=1, num_latents=2), no_progress, kept=Kept(tmp_path))
    assert sorted(names) == ["fit_2_latents.npz", "fit_restricted_machine.npz"]


def test_words():
    assert [rounded(v) for v in (0.0, 0.126, 12.6, 1449.0, 2.5e15)] == ["0", "0.13", "13", "1,400", "2e+15"]
    shares = (0.0, 0.0021, 0.24, 0.9913, 0.99999, 1.0)
    assert [percent(v) for v in shares] == ["0 %", "0.21 %", "24 %", "99.1 %", "above 99.9 %", "100 %"]
