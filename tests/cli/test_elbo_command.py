"""``fastvi elbo``: the bound of a q that is fitted, saved or an encoder."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from command_line import X, assert_facts, columns_of, facts, invoke, one_line

import fastvi

FIELDS = ("value", "reconstruction", "kl_to_prior", "expected_log_joint", "entropy", "std_error")


def fields_of(found):
    return {name: getattr(found, name) for name in FIELDS}


@pytest.mark.slow_without_jit
def test_a_fitted_q_and_its_gap(network):
    q = fastvi.fit_posterior(network, X, objective="forward_kl", seed=3).q
    ask = ["elbo", "m.npz", "d.npy", "--fit", "forward_kl", "--seed", 3, "--gap", "--save-q", "q.npz"]
    found = facts(*ask)
    assert_facts(found, fields_of(fastvi.elbo(network, X, q)))
    assert_facts(found, {
        "log_marginal": fastvi.log_marginal(network, X),
        "kl_to_posterior": fastvi.kl_to_posterior(network, X, q),
    })  # fmt: skip
    # log p(x) = ELBO + KL(q || p(z|x)): sums of some ten terms of at most ten nats
    sums = np.add(found["value"], found["kl_to_posterior"])
    np.testing.assert_allclose(sums, found["log_marginal"], rtol=0, atol=1e-13)
    assert np.array_equal(fastvi.load("q.npz").logits, q.logits)
    again = facts("elbo", "m.npz", "d.npy", "--q", "q.npz")
    assert_facts(again, {name: found[name] for name in FIELDS})
    assert "exists" in one_line(invoke(*ask))
    assert invoke(*ask, "--force").exit_code == 0


@pytest.mark.parametrize("num_samples", [None, 5])
def test_an_encoder_as_q(network, num_samples):
    encoder = cases.encoder(4, 3, 3)
    encoder.save("encoder.npz")
    options = [] if num_samples is None else ["--num-samples", num_samples, "--seed", 2]
    expected = fastvi.elbo(network, X, encoder, num_samples=num_samples, seed=2)
    ask = ["elbo", "m.npz", "d.npy", "--q", "encoder.npz", *options]
    assert_facts(facts(*ask), fields_of(expected))
    columns = columns_of(invoke(*ask, "--csv", "-", "-q").stdout)
    assert {name: columns[name] for name in FIELDS} == {
        name: values.tolist() for name, values in fields_of(expected).items()
    }
    # an error that is 0 everywhere is not shown
    assert ("std_error" in invoke(*ask).stdout) == (num_samples is not None)


def test_pixels_that_were_not_seen(network):
    cases.bernoulli(3).save("q.npz")
    np.savetxt("mask.csv", [[1, 0, 1, 1]], fmt="%d", delimiter=",")
    seen = np.array([True, False, True, True])
    found = facts("elbo", "m.npz", "d.npy", "--q", "q.npz", "--observed", "mask.csv", "--gap")
    assert_facts(found, fields_of(fastvi.elbo(network, X, cases.bernoulli(3), observed=seen)))
    assert_facts(found, {"log_marginal": fastvi.log_marginal(network, X, observed=seen)})
    line = one_line(invoke("elbo", "m.npz", "d.npy", "--observed", "mask.csv"))
    assert line == "fastvi: --observed comes with --q: a q is fitted to data that were seen whole"


def test_a_machine_with_and_without_log_z(network):
    model, q = cases.restricted(4, 3), cases.bernoulli(3)
    model.save("rbm.npz")
    q.save("q.npz")
    for normalized, options in ((True, []), (False, ["--unnormalized"])):
        found = facts("elbo", "rbm.npz", "d.npy", "--q", "q.npz", *options)
        assert_facts(found, {"value": fastvi.elbo(model, X, q, normalized=normalized).value})
        assert found["normalized"] is normalized
    line = one_line(invoke("elbo", "rbm.npz", "d.npy"))
    assert line.startswith("fastvi: --q must be given where none is fitted: model must be a SigmoidBelief")
    assert "ELBO + log Z" in invoke("elbo", "rbm.npz", "d.npy", "--q", "q.npz", "--unnormalized").stdout


def test_real_latents(network):
    model, q = cases.decoder((2, 3, 4), prior=cases.standard_normal(2)), cases.normal(2)
    model.save("decoder.npz")
    q.save("q.npz")
    found = facts("elbo", "decoder.npz", "d.npy", "--q", "q.npz", "--num-samples", 4)
    assert_facts(found, fields_of(fastvi.elbo(model, X, q, num_samples=4)))


@pytest.mark.slow_without_jit
def test_a_table_and_no_data(network):
    model = fastvi.JointTable([[0.5, 0.125], [0.25, 0.125]])
    model.save("table.npz")
    np.save("rows.npy", np.array([1, 0]))
    q = fastvi.fit_posterior(model, [1, 0]).q
    assert_facts(facts("elbo", "table.npz", "rows.npy"), fields_of(fastvi.elbo(model, [1, 0], q)))
    np.save("none.npy", X[:0])
    found = facts("elbo", "m.npz", "none.npy", "--gap")
    assert (found["num_data"], found["value"], found["kl_to_posterior"]) == (0, [], [])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--q", "q.npz", "--fit", "reverse_kl"], "elbo takes one of --q and --fit, got both"),
        (["--q", "q.npz", "--save-q", "new.npz"], "elbo takes one of --q and --save-q, got both"),
        (["--q", "m.npz"], "--q must hold a distribution or an encoder, got SigmoidBeliefNetwork"),
        (["--q", "none.npz"], "none.npz: No such file or directory"),
        (["--q", "q.npz", "--csv", "q.npz"], "--csv must be another file than --q, got 'q.npz'"),
        (["--save-q", "m.npz", "--force"], "--save-q must be another file than MODEL"),
        (["--csv", "none/e.csv"], "--csv must name a file in a folder that exists"),
        (["--fit", "best"], "'best' is not one of 'reverse_kl'"),
        (["--unnormalized"], "--unnormalized is for models with a log Z"),
        (["--num-samples", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_use_is_one_line_before_the_work(network, monkeypatch, options, words):
    cases.bernoulli(3).save("q.npz")
    monkeypatch.setattr("fastvi.elbo", None)
    monkeypatch.setattr("fastvi.fit_posterior", None)
    assert words in one_line(invoke("elbo", "m.npz", "d.npy", *options))


def test_standard_input_is_read_once(network):
    line = one_line(invoke("elbo", "m.npz", "-", "--q", "-"))
    assert line == "fastvi: only one argument may be - (standard input), got DATA and --q"
