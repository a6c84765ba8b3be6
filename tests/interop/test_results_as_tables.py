"""Results as tables of pandas and xarray."""

from __future__ import annotations

import numpy as np
import pytest
from optional import package

pandas = package("pandas")
xarray = package("xarray")

import fastvi  # noqa: E402

pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
NETWORK = fastvi.SigmoidBeliefNetwork(RNG.normal(size=(5, 3)), RNG.normal(size=5), RNG.normal(size=3))
X = RNG.integers(0, 2, (4, 5))
LOG_W = RNG.normal(size=(4, 40))
ATTRIBUTES = {"fastvi_version": fastvi.__version__, "units": "nats"}


def equal(table, name, values):
    np.testing.assert_array_equal(table[name].to_numpy(), values)


def test_estimates():
    estimate = fastvi.diagnose(LOG_W)
    names = ["log_marginal", "std_error", "ess", "pareto_k", "max_weight_share", "num_samples"]
    table = estimate.to_dataframe()
    assert list(table.columns) == names
    assert table.index.name == "datum"
    assert list(table.index) == [0, 1, 2, 3]
    for name in names[:-1]:
        equal(table, name, getattr(estimate, name))
    equal(table, "num_samples", [40] * 4)
    data = estimate.to_xarray()
    assert data.sizes == {"datum": 4}
    assert data.num_samples.dims == ()
    assert data.attrs == ATTRIBUTES | {"result": "Estimate"}
    for name in names:
        equal(data, name, getattr(estimate, name))
    some = estimate[[2, 0]].to_dataframe()
    equal(some, "ess", estimate.ess[[2, 0]])


def test_estimates_with_numbers_of_samples_of_their_own():
    estimate = fastvi.estimate_log_marginal(NETWORK, X, num_samples=3000, target_std_error=0.04)
    equal(estimate.to_dataframe(), "num_samples", estimate.num_samples)
    assert estimate.to_xarray().num_samples.dims == ("datum",)


def test_estimates_of_weights_of_more_axes():
    estimate = fastvi.diagnose(RNG.normal(size=(2, 50, 3, 4)), axis=(0, 1))
    table = estimate.to_dataframe()
    assert table.index.names == ["datum_0", "datum_1"]
    assert len(table) == 12
    assert table.loc[(2, 1), "ess"] == estimate.ess[2, 1]
    assert estimate.to_xarray().ess.dims == ("datum_0", "datum_1")


def test_posteriors_of_tables():
    posterior = fastvi.exact_posterior(fastvi.JointTable([[0.25, 0.5], [0.0, 0.25]]), top_k=1)
    table, data = posterior.to_dataframe(), posterior.to_xarray()
    equal(table, "probabilities_1", posterior.probabilities[:, 1])
    equal(data, "probabilities", posterior.probabilities)
    assert data.probabilities.dims == ("datum", "category")
    assert data.top_states.dims == ("datum", "rank")
    fit = fastvi.fit_posterior(fastvi.JointTable([[0.25, 0.75]]), [0]).to_xarray()
    assert fit.probabilities.dims == ("datum", "category")


def test_posteriors():
    posterior = fastvi.exact_posterior(NETWORK, X, top_k=2, pairwise=True)
    table = posterior.to_dataframe()
    assert list(table.columns[:4]) == ["log_marginal", "mean_0", "mean_1", "mean_2"]
    for i in range(3):
        equal(table, f"mean_{i}", posterior.mean[:, i])
        equal(table, f"mode_{i}", posterior.mode[:, i])
        equal(table, f"second_moment_{i}_1", posterior.second_moment[:, i, 1])
        equal(table, f"top_states_1_{i}", posterior.top_states[:, 1, i])
    data = posterior.to_xarray()
    dims = {
        "log_marginal": (), "mean": ("latent",), "entropy": (), "mode": ("latent",), "mode_log_prob": (),
        "top_states": ("rank", "latent"), "top_log_probs": ("rank",),
        "second_moment": ("latent", "other_latent"),
    }  # fmt: skip
    assert {name: each.dims[1:] for name, each in data.data_vars.items()} == dims
    for name in dims:
        equal(data, name, getattr(posterior, name))


def test_posteriors_without_a_second_pass():
    posterior = fastvi.exact_posterior(NETWORK, X)
    assert set(posterior.to_xarray().data_vars) == {"log_marginal", "mean"}
    assert posterior.entropy.shape == (4,)
    assert "entropy" in posterior.to_xarray()


def test_bounds_and_fits():
    bound = fastvi.elbo(NETWORK, X, fastvi.Bernoulli([0.5, -0.5, 0.0]))
    equal(bound.to_dataframe(), "kl_to_prior", bound.kl_to_prior)
    assert bound.to_xarray().attrs["result"] == "Elbo"
    fit = fastvi.fit_posterior(NETWORK, X)
    table = fit.to_dataframe()
    equal(table, "logits_2", fit.q.logits[:, 2])
    equal(table, "converged", fit.converged)
    assert fit.to_xarray().logits.dims == ("datum", "latent")
    bracket = fastvi.bidirectional_monte_carlo(NETWORK, 4, num_temperatures=4, num_chains=3)
    table = bracket.to_dataframe()
    equal(table, "lower", bracket.lower.log_marginal)
    equal(table, "upper_std_error", bracket.upper.std_error)
    equal(table, "z_1", bracket.z[:, 1])
    assert bracket.to_xarray().x.dims == ("datum", "pixel")


def calibration():
    return fastvi.calibrate(
        NETWORK, X, proposals={"prior": "prior", "even": "uniform"}, num_samples=[30, 20], num_repeats=3
    )


def test_calibrations():
    result = calibration()
    table = result.to_dataframe()
    assert len(table) == 16
    row = table[(table.proposal == "even") & (table.num_samples == 20)].loc[2]
    assert row.bias == result["even", 20].bias[2]
    assert row.error_ratio == result["even", 20].error_ratio[2]
    assert row.truth == result.truth[2]
    data = result.to_xarray()
    assert data.bias.dims == ("entry", "datum")
    assert list(data.proposal.values) == ["prior", "prior", "even", "even"]
    assert list(data.num_samples.values) == [30, 20, 30, 20]
    equal(data, "truth", result.truth)
    for i, entry in enumerate(result.entries):
        np.testing.assert_array_equal(data.coverage.values[i], entry.coverage)
    assert data.attrs == ATTRIBUTES | {"result": "Calibration"}
    equal(result.entries[0].to_dataframe(), "seconds", [result.entries[0].seconds] * 4)


def test_no_data():
    for result in (fastvi.diagnose(LOG_W), fastvi.exact_posterior(NETWORK, X, top_k=1), calibration()):
        none = result[[]]
        assert len(none.to_dataframe()) == 0
        assert list(none.to_dataframe().columns) == list(result.to_dataframe().columns)
        assert none.to_xarray().sizes["datum"] == 0


# ---- as ArviZ keeps them ---------------------------------------------------------------------------------


def test_posteriors_with_draws():
    posterior = fastvi.exact_posterior(NETWORK, X, top_k=1)
    tree = posterior.to_datatree(num=9, seed=4)
    assert list(tree.children) == ["posterior", "sample_stats", "exact_posterior"]
    assert tree.posterior["z"].dims == ("chain", "draw", "datum", "latent")
    drawn = posterior.sample(9, seed=4)
    np.testing.assert_array_equal(tree.posterior["z"].values, drawn[None])
    assert tree.sample_stats["lp"].dims == ("chain", "draw", "datum")
    np.testing.assert_array_equal(tree.sample_stats["lp"].values, posterior.log_prob(drawn)[None])
    xarray.testing.assert_identical(tree["exact_posterior"].to_dataset(), posterior.to_xarray())
    assert tree.attrs == ATTRIBUTES | {"result": "ExactPosterior"}
    assert posterior.to_datatree().posterior.sizes["draw"] == 1000


def test_draws_are_read_by_arviz():
    arviz_stats = package("arviz_stats")
    posterior = fastvi.exact_posterior(NETWORK, X)
    tree = posterior.to_datatree(num=400, seed=0)
    summary = arviz_stats.summary(tree, kind="stats", round_to="none")
    assert summary.shape[0] == 12
    # means of 400 independent draws of 0 and 1, 4.5 standard errors
    np.testing.assert_allclose(summary["mean"], posterior.mean.ravel(), rtol=0, atol=4.5 * 0.5 / 20)


def test_estimates_with_their_log_weights():
    estimate = fastvi.diagnose(LOG_W)
    assert list(estimate.to_datatree().children) == ["estimate"]
    tree = estimate.to_datatree(LOG_W)
    assert tree.sample_stats["log_weight"].dims == ("chain", "draw", "datum")
    np.testing.assert_array_equal(tree.sample_stats["log_weight"].values, LOG_W.T[None])
    xarray.testing.assert_identical(tree["estimate"].to_dataset(), estimate.to_xarray())
    for wrong, error in ((LOG_W[:3], ValueError), (LOG_W[0], ValueError), ("text", TypeError)):
        with pytest.raises(error, match=r"^log_w must "):
            estimate.to_datatree(wrong)


def test_calibrations_as_trees():
    result = calibration()
    tree = result.to_datatree()
    assert list(tree.children) == ["calibration"]
    xarray.testing.assert_identical(tree["calibration"].to_dataset(), result.to_xarray())


def test_files_of_arviz(tmp_path):
    """What is written as zarr comes back."""
    package("zarr")
    posterior = fastvi.exact_posterior(NETWORK, X)
    tree = posterior.to_datatree(num=5, seed=1)
    tree.to_zarr(tmp_path / "posterior.zarr", consolidated=False)
    with xarray.open_datatree(tmp_path / "posterior.zarr", engine="zarr", consolidated=False) as again:
        xarray.testing.assert_equal(again.load(), tree)
