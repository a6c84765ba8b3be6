"""``fastvi report``: what it says of a model, its data and a q."""

from __future__ import annotations

import csv
import json
import math

import cases
import html5lib
import numpy as np
import pytest
from command_line import invoke, one_line
from naive import bsc_log_marginal, sbn_elbo, sbn_kl_to_posterior, sbn_log_marginal
from naive_distributions import encoder_parameters
from naive_models import deep_sbn_log_marginal, linear_gaussian_log_marginal

import fastvi
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.subject import own_subject
from fastvi.studies.report import study
from fastvi.studies.report.settings import ReportSettings

SEED = 3


def arrays(tables):
    return {
        name: {column: np.array(values) for column, values in table.items()} for name, table in tables.items()
    }


def report(model, x, q=None, **settings):
    """Tables and findings, without files."""
    own = own_subject(model, x, "x", {})
    result = study.run(ReportSettings(seed=SEED, **settings), no_progress, own=own, q=q)
    return arrays(result.tables), [finding.text for finding in result.findings]


def save(folder, model, x):
    model.save(folder / "model.npz")
    np.save(folder / "x.npy", x)


def lists(model):
    return model.weights.tolist(), model.bias.tolist(), model.prior_logits.tolist()


def found_in(findings, words):
    return [text for text in findings if words in text]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A network with an encoder: folder, model, data, encoder, and what the command says."""
    folder = tmp_path_factory.mktemp("network")
    model = cases.network(5, 3, scale=2.0)
    x = np.random.default_rng(1).integers(0, 2, (6, 5)).astype(np.uint8)
    encoder = fastvi.Encoder.random(5, 4, 3, seed=2)
    save(folder, model, x)
    encoder.save(folder / "encoder.npz")
    result = invoke(
        "report", folder / "model.npz", folder / "x.npy", "--out", folder / "out", "--seed", SEED, "--json",
        "--encoder", folder / "encoder.npz",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    return folder, model, x, encoder, (arrays(answer["tables"]), answer["findings"])


def test_a_network_and_an_encoder_by_oracles(judged):
    _, model, x, encoder, (tables, findings) = judged
    data = tables["data"]
    layers = [(w.tolist(), b.tolist()) for w, b in encoder.layers]
    for n, row in enumerate(x.tolist()):
        (logits,) = encoder_parameters(layers, encoder.activation, "bernoulli", row)
        truth = sbn_log_marginal(*lists(model), row)
        assert data["log_marginal"][n] == pytest.approx(truth, rel=1e-12)
        assert data["log_marginal_low"][n] == data["log_marginal_high"][n] == data["log_marginal"][n]
        assert data["elbo"][n] == pytest.approx(sbn_elbo(*lists(model), row, logits), rel=1e-11)
        assert data["gap"][n] == pytest.approx(sbn_kl_to_posterior(*lists(model), row, logits), rel=1e-9)
    assert not data["elbo_std_error"].any()
    np.testing.assert_allclose(data["log_marginal"] - data["elbo"], data["gap"], atol=1e-11)
    np.testing.assert_allclose(data["best_elbo"] + data["best_gap"], data["log_marginal"], atol=1e-11)
    np.testing.assert_allclose(data["best_elbo"] - data["elbo"], data["amortization_gap"], atol=1e-11)
    assert (data["amortization_gap"] > 0).all()
    assert found_in(findings, "exactly: all 8 states are summed")
    assert found_in(findings, "what the encoder loses beside it")


def test_the_best_q_is_the_one_that_is_fitted(judged):
    _, model, x, _, (tables, _) = judged
    best = fastvi.elbo(model, x, fastvi.fit_posterior(model, x).q).value
    # random starts may end elsewhere, but where the ELBO is the same
    np.testing.assert_allclose(tables["data"]["best_elbo"], best, atol=1e-6)


def test_weighted_bounds_and_weights(judged):
    _, model, x, encoder, (tables, _) = judged
    data, q = tables["data"], encoder(x)
    z = q.sample(10_000, 99)
    log_w = model.log_joint(x, z) - q.log_prob(z)
    for size in (10, 100):
        blocks = np.logaddexp.reduce(log_w.reshape(-1, size, len(x)), axis=1) - math.log(size)
        error = np.hypot(blocks.std(axis=0) / math.sqrt(len(blocks)), data[f"bound_{size}_std_error"])
        assert (np.abs(data[f"bound_{size}"] - blocks.mean(axis=0)) < 5 * error).all(), size
    weights = np.exp(log_w - log_w.max(axis=0))
    ess = weights.sum(axis=0) ** 2 / np.square(weights).sum(axis=0)
    mean = log_w.max(axis=0) + np.log(weights.mean(axis=0))
    largest, error = data["bound_1000"], data["bound_1000_std_error"]
    assert (np.abs(largest - mean) < 5 * error * math.sqrt(1.1)).all()
    # ten times the samples are worth about ten times as many
    np.testing.assert_allclose(data["ess"], ess / 10, rtol=0.3)
    assert set(data) >= {"pareto_k", "max_weight_share"}
    means = dict(zip(tables["means"]["quantity"], tables["means"]["mean"], strict=True))
    assert means["bound, K = 100"] == data["bound_100"].mean()
    assert means["effective samples of 1,000"] == data["ess"].mean()
    errors = dict(zip(tables["means"]["quantity"], tables["means"]["std_error"], strict=True))
    assert errors["ELBO"] == pytest.approx(data["elbo"].std(ddof=1) / math.sqrt(len(x)), rel=1e-12)


def test_calibration_is_that_of_the_library(judged):
    _, model, x, encoder, (tables, findings) = judged
    table = tables["calibration"]
    found = fastvi.calibrate(
        model, x, proposals={"q": encoder}, num_samples=(10, 100, 1000), num_repeats=100, seed=SEED
    )
    assert table["num_samples"].tolist() == [10, 100, 1000]
    for entry, bias, rms, coverage in zip(
        found.entries, table["bias"], table["rms_error"], table["coverage"], strict=True
    ):
        # other draws: the standard error of both means is that of 600 repeats at most
        assert abs(bias - entry.bias.mean()) < 6 * np.sqrt((entry.std**2).mean() / 100)
        assert rms == pytest.approx(entry.row()["rms_error"], rel=0.5)
        assert abs(coverage - entry.coverage.mean()) < 0.15
    by_datum = tables["calibration_data"]
    for row, size in enumerate(table["num_samples"]):
        own = by_datum["num_samples"] == size
        assert by_datum["coverage"][own].mean() == pytest.approx(table["coverage"][row])
        assert by_datum["bias"][own].mean() == pytest.approx(table["bias"][row])
    text = f"hold log p(x) in {100 * table['coverage'][-1]:.1f} % of cases"
    assert found_in(findings, text)


def test_files_and_page(judged):
    folder, *_ = judged
    names = {path.name for path in (folder / "out" / "report").iterdir()}
    assert names == {
        "result.json", "timings.json", "data.csv", "means.csv", "calibration.csv", "calibration_data.csv",
        "seconds.csv", "plan.csv", "gaps.png", "weights.png", "calibration.png", "cost.png",
    }  # fmt: skip
    content = json.loads((folder / "out" / "report" / "result.json").read_text())
    timed = json.loads((folder / "out" / "report" / "timings.json").read_text())
    assert set(content["pictures"]) == {"gaps.png", "weights.png", "calibration.png"}
    assert set(timed["pictures"]) == {"cost.png"}
    for words in [*content["pictures"].values(), *timed["pictures"].values()]:
        assert len(words["caption"].split(". ")) >= 2
        assert words["alt"]
    assert timed["tables"]["plan"]["states"] == [8]
    assert "out" not in content["source"]["command"]
    with open(folder / "out" / "report" / "data.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 6
    text = (folder / "out" / "index.html").read_text(encoding="utf-8")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    assert len(tree.findall(".//img")) == 4
    assert content["source"]["command"] in "".join(tree.itertext())


def test_the_same_bytes_again(judged, tmp_path):
    folder, *_ = judged
    out = tmp_path / "elsewhere"
    arguments = "report", folder / "model.npz", folder / "x.npy", "--seed", SEED
    result = invoke(*arguments, "--out", out, "--encoder", folder / "encoder.npz", "--quiet")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "log p(x), exact" in said
    assert "amortisation gap" in said
    assert "k-hat is above 0.67 for" in said
    assert str(tmp_path) not in said  # a note, which --quiet leaves out
    timed = {"timings.json", "seconds.csv", "plan.csv", "cost.png"}
    for path in sorted((folder / "out" / "report").iterdir()):
        if path.name not in timed:
            assert path.read_bytes() == (out / "report" / path.name).read_bytes(), path.name


def test_a_q_of_ones_own(judged):
    _, model, x, encoder, (tables, _) = judged
    again, findings = report(model, x, encoder(x))
    for name, values in tables["data"].items():
        assert np.array_equal(values.astype(float), again["data"][name]), name  # JSON has "inf" as text
    assert found_in(findings, "the ELBO of the given q is")


def test_sparse_coding_without_an_encoder():
    rng = np.random.default_rng(5)
    model = fastvi.BinarySparseCoding(rng.normal(size=(4, 3)), rng.normal(size=4), 0.7, rng.normal(size=3))
    x = model.sample(5, 1).x
    tables, findings = report(model, x, num_samples=25)
    data = tables["data"]
    parts = model.weights.tolist(), model.bias.tolist(), model.noise_std, model.prior_logits.tolist()
    truth = [bsc_log_marginal(*parts, row) for row in x.tolist()]
    np.testing.assert_allclose(data["log_marginal"], truth, rtol=1e-11)
    best = fastvi.elbo(model, x, fastvi.fit_posterior(model, x).q).value
    np.testing.assert_allclose(data["elbo"], best, atol=1e-6)
    assert {name for name in data if name.startswith("bound")} == {
        "bound_10", "bound_10_std_error", "bound_25", "bound_25_std_error"
    }  # fmt: skip
    assert "best_elbo" not in data
    assert found_in(findings, "fitted by reverse KL, exactly")


def test_too_many_states_give_an_interval(judged):
    _, model, x, encoder, (exact, _) = judged
    tables, findings = report(model, x, encoder, max_states=4)
    data, truth = tables["data"], exact["data"]["log_marginal"]
    assert (data["log_marginal_low"] <= truth).all()
    assert (truth <= data["log_marginal_high"]).all()
    assert ((data["log_marginal_high"] - data["log_marginal_low"]) < 1e-3).all()
    # the ELBO is sampled there
    error = data["elbo_std_error"]
    assert (error > 0).all()
    assert (np.abs(data["elbo"] - exact["data"]["elbo"]) < 5 * error).all()
    np.testing.assert_allclose(data["log_marginal_low"] - data["elbo"], data["gap_low"], atol=1e-12)
    np.testing.assert_allclose(data["log_marginal_high"] - data["elbo"], data["gap_high"], atol=1e-12)
    assert found_in(findings, "for certain, from at most 10,000 bounds a datum: 6 of 6 intervals")
    assert "calibration" in tables  # the intervals are as good as the truth


def test_wide_intervals_calibrate_nothing():
    model = cases.network(12, 8, scale=3.0)
    x = np.random.default_rng(1).integers(0, 2, (3, 12)).astype(np.uint8)
    tables, findings = report(model, x, max_states=1, max_bounds=1)
    truth = [sbn_log_marginal(*lists(model), row) for row in x.tolist()]
    low, high = (tables["data"][f"log_marginal_{end}"] for end in ("low", "high"))
    assert (low <= truth).all()
    assert (truth <= high).all()
    assert (high - low > 1e-3).all()
    assert (tables["data"]["gap_low"] >= 0).all()
    means = dict(zip(tables["means"]["quantity"], tables["means"]["mean"], strict=True))
    assert means["log p(x), at least"] == low.mean()
    assert means["log p(x), at most"] == high.mean()
    assert "calibration" not in tables
    assert found_in(findings, "calibration is left out: no interval is at most 0.001 wide")


def test_without_intervals_an_estimate_says_that_it_is_one():
    model = cases.deep_network(4, 3, 2)
    x = np.random.default_rng(1).integers(0, 2, (3, model.num_pixels)).astype(np.uint8)
    tables, findings = report(model, x, max_states=1)
    upper = model.prior
    truth = [
        deep_sbn_log_marginal(model.weights.tolist(), model.bias.tolist(), lists(upper), row)
        for row in x.tolist()
    ]
    data = tables["data"]
    half = (data["log_marginal_high"] - data["log_marginal_low"]) / 2
    assert (half > 0).all()
    assert (np.abs(data["log_marginal"] - truth) < 3 * half).all()  # 95 %: 5.9 standard errors
    assert "calibration" not in tables
    assert found_in(findings, "nothing certifies it")
    assert found_in(findings, "calibration is left out: log p(x) is an estimate")


def test_continuous_latents():
    rng = np.random.default_rng(2)
    model = fastvi.LinearGaussian(rng.normal(size=(4, 2)), rng.normal(size=4), 0.6)
    x = model.sample(4, 1).x
    tables, findings = report(model, x)
    data = tables["data"]
    parts = model.weights.tolist(), model.bias.tolist(), model.noise_std
    truth = [linear_gaussian_log_marginal(*parts, row) for row in x.tolist()]
    np.testing.assert_allclose(data["log_marginal"], truth, rtol=1e-10)
    np.testing.assert_allclose(data["log_marginal"] - data["elbo"], data["gap"], atol=1e-9)
    assert found_in(findings, "without a sum over states")


def test_states_that_q_misses_are_told():
    """A q that hardly draws one of two modes: its weights are equal, and p(x) is halved."""
    model = fastvi.SigmoidBeliefNetwork([[0.0], [0.0]], [0.0, 0.0], [0.0])
    tables, findings = report(model, np.array([[0, 1], [1, 1]]), fastvi.Bernoulli([40.0]))
    np.testing.assert_allclose(tables["data"]["bound_1000"], math.log(0.125), rtol=1e-12)
    np.testing.assert_allclose(tables["data"]["log_marginal"], math.log(0.25), rtol=1e-12)
    assert found_in(
        findings, "for 2 of 2 data k-hat is small, yet the estimate lies more than 4 standard errors"
    )


def test_a_table_and_a_restricted_machine_have_exact_posteriors():
    table = fastvi.JointTable([[0.1, 0.3], [0.6, 0.0]])
    tables, findings = report(table, np.array([1, 0]))
    np.testing.assert_allclose(tables["data"]["log_marginal"], np.log([0.6, 0.4]), rtol=1e-12)
    assert found_in(findings, "the exact posterior, a table")
    assert tables["data"]["gap"].max() < 1e-12
    machine = fastvi.RestrictedBoltzmannMachine([[1.0, -1.0], [0.5, 2.0]], [0.0, 0.3], [0.1, 0.5])
    tables, findings = report(machine, np.array([[1, 0], [0, 1]]))
    assert found_in(findings, "the exact posterior, whose latents are independent")
    assert tables["data"]["gap"].max() < 1e-12


# ---- wrong use -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-samples", "9"], "9 is not in the range"),
        (["--encoder", "{folder}/encoder.npz", "--q", "{folder}/q.npz"], "at most one of --encoder and --q"),
        (["--encoder", "{folder}/q.npz"], "--encoder must hold an Encoder, got Bernoulli"),
        (["--q", "{folder}/encoder.npz"], "--q must hold a Bernoulli, Normal or Categorical, got Encoder"),
        (["--q", "{folder}/none.npz"], "No such file"),
        (["--q", "{folder}/q.npz"], "q must"),  # of other latents
        (["--encoder", "{folder}/narrow.npz"], "must"),  # of other pixels
        (["--limit", "0"], "0 is not in the range"),
        (["--observed", "{folder}/mask.npy"], "DATA must be seen whole for a report"),
        (["--out", "{folder}/x.npy"], "is a file"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(judged, tmp_path, arguments, words):
    _, model, x, encoder, _ = judged
    save(tmp_path, model, x)
    encoder.save(tmp_path / "encoder.npz")
    fastvi.Bernoulli(np.zeros(4)).save(tmp_path / "q.npz")
    fastvi.Encoder.random(7, 2, 3, seed=0).save(tmp_path / "narrow.npz")
    np.save(tmp_path / "mask.npy", np.arange(x.size).reshape(x.shape) > 3)
    given = [text.format(folder=tmp_path) for text in arguments]
    if "--out" not in given:
        given += ["--out", tmp_path / "out"]
    assert words in one_line(invoke("report", tmp_path / "model.npz", tmp_path / "x.npy", *given))
    assert not (tmp_path / "out" / "report").exists()


def test_models_without_a_report_say_why(tmp_path):
    machine = fastvi.BoltzmannMachine([[0.0, 1.0], [1.0, 0.0]], [0.0, 0.0])
    save(tmp_path, machine, np.array([[0, 1]]))
    given = "report", tmp_path / "model.npz", tmp_path / "x.npy", "--out", tmp_path / "out"
    assert "must have latents beside its pixels for a report" in one_line(invoke(*given))
    machine = fastvi.RestrictedBoltzmannMachine(np.ones((3, 4)), np.zeros(3), np.zeros(4))
    save(tmp_path, machine, np.array([[0, 1, 1]]))
    line = one_line(invoke(*given, "--max-states", 7))
    assert "a log Z of at most 7 states (max_states) for a report, got 8" in line
    save(tmp_path, fastvi.LinearGaussian([[1.0]], [0.0], 1.0), np.zeros((1, 1)))
    assert "dtype must be 'float64' where" in one_line(invoke(*given, "--dtype", "float32"))
    model = cases.network(3, 2)
    save(tmp_path, model, np.empty((0, 3)))
    assert "x must hold at least 1 datum for a report" in one_line(invoke(*given))
    save(tmp_path, fastvi.JointTable([[0.0, 0.0], [0.5, 0.5]]), np.array([1, 0]))
    assert "x must have log p(x) > -inf in a fit, got -inf at index 1" in one_line(invoke(*given))
