"""ArviZ's statistics with fastvi's kernels, against ArviZ's own."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from optional import package

arviz_base = package("arviz_base")
arviz_stats = package("arviz_stats")
xarray = package("xarray")
engine = package("fastvi.interop.arviz").engine
own = package("arviz_stats.base").array_stats

import fastvi  # noqa: E402

pytestmark = pytest.mark.peers
INF, NAN = math.inf, math.nan

# k is a mean of logarithms of O(100) at most, weighed by a posterior whose exponents are good to about 1e-11;
# weights follow from k and from logarithms that cancel no more than that
ATOL = 1e-8


def psislw_of(function, ary, **options):
    """What it returns, or the text of its ValueError."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function.psislw(ary, **options)
        except ValueError as error:
            return str(error)


def check(ary, **options):
    found = psislw_of(engine.array_stats, ary, **options)
    wanted = psislw_of(own, ary, **options)
    if isinstance(wanted, str):
        assert found == wanted
        return
    for mine, other in zip(found, wanted, strict=True):
        assert np.shape(mine) == np.shape(other)
        np.testing.assert_allclose(mine, other, rtol=0, atol=ATOL)


@pytest.mark.parametrize("r_eff", [0.05, 0.3, 0.9, 1, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("num", [25, 30, 224, 225, 226, 250, 400, 1001])
def test_tails_of_every_length(num, r_eff):
    """Floor(K / 5), or floor(3 sqrt(K / r_eff)) where K r_eff > 225; longer than all draws, too."""
    rng = np.random.default_rng(num)
    check(rng.normal(size=(5, num)) * np.array([[0.01], [0.5], [1.0], [3.0], [20.0]]), r_eff=r_eff)


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 1), [0, 2], (1, 0), np.arange(-2, 0), None])
def test_axes(axis):
    ary = np.random.default_rng(1).normal(size=(26, 25, 27)) * 2
    check(ary[::-1, :, ::1], r_eff=0.8, axis=axis)
    if np.ndim(axis):
        check(np.asfortranarray(ary), axis=axis)


def test_odd_rows_are_as_arviz_has_them():
    """Ties, at the end of the tail too, infinities, NaN, weights that are 0 in doubles."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(9, 300))
    rows[1] = np.round(rows[1] * 4) / 4
    rows[2, :100] = 1e3
    rows[3, 100:] = 1e3
    rows[4, 7] = INF
    rows[5, :200] = rng.normal(size=200) * 400
    rows[6] += 1e3
    rows[7, 7] = -800.0
    for n in range(len(rows)):
        check(rows[n])
    check(rows)
    for value in (NAN, -INF):
        broken = rows[:2].copy()
        broken[0, 3] = value
        check(broken)


@pytest.mark.parametrize(
    "ary",
    [
        np.zeros((2, 300)),
        np.arange(20.0),
        np.concatenate([np.zeros(100), np.ones(200)]),
        np.random.default_rng(3).normal(size=(2, 300)).astype(np.float32).astype(np.float64),
        np.zeros((0, 300)),
    ],
    ids=["equal", "20 draws", "equal tail", "rounded", "no data"],
)
def test_what_arviz_refuses_is_refused(ary):
    check(ary)


def test_float32_is_computed_in_doubles():
    ary = np.random.default_rng(4).normal(size=(3, 400)).astype(np.float32)
    found = engine.array_stats.psislw(ary)
    wanted = own.psislw(ary.astype(np.float64))
    for mine, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=ATOL)


def model(num_data=7, chains=2, draws=150):
    rng = np.random.default_rng(5)
    mean = rng.normal(size=(chains, draws)) * 0.4
    y = rng.normal(size=num_data)
    log_likelihood = -0.5 * (y - mean[..., None]) ** 2 - 0.5 * math.log(2 * math.pi)
    replicated = mean[..., None] + rng.normal(size=(chains, draws, num_data))
    return arviz_base.from_dict(
        {
            "posterior": {"mean": mean},
            "log_likelihood": {"y": log_likelihood},
            "posterior_predictive": {"y": replicated},
            "observed_data": {"y": y},
        },
        coords={"place": [f"p{n}" for n in range(num_data)]},
        dims={"y": ["place"]},
    )


def with_engine(function, *args, **options):
    with arviz_base.rc_context({"stats.module": engine}):
        return function(*args, **options)


@pytest.mark.parametrize("pointwise", [True, False])
@pytest.mark.parametrize("reff", [None, 0.7])
def test_loo(pointwise, reff):
    data = model()
    wanted = arviz_stats.loo(data, pointwise=pointwise, reff=reff)
    found = with_engine(arviz_stats.loo, data, pointwise=pointwise, reff=reff)
    for name in ("elpd", "se", "p", "good_k"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), abs=ATOL)
    for name in ("n_samples", "n_data_points", "warning", "kind", "scale"):
        assert getattr(found, name) == getattr(wanted, name)
    xarray.testing.assert_allclose(found.log_weights, wanted.log_weights, rtol=0, atol=ATOL)
    assert found.log_weights.dims == wanted.log_weights.dims
    if pointwise:
        for name in ("elpd_i", "pareto_k"):
            xarray.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=0, atol=ATOL)
            assert getattr(found, name).name == getattr(wanted, name).name
    assert str(found) == str(wanted)


def test_loo_with_a_jacobian_and_with_given_weights():
    data = model()
    jacobian = xarray.DataArray(
        np.linspace(-1, 1, 7), dims="place", coords={"place": data.log_likelihood.place}
    )
    first = arviz_stats.loo(data, pointwise=True)
    for options in (
        {"log_jacobian": jacobian},
        {"log_weights": first.log_weights, "pareto_k": first.pareto_k},
        {"log_weights": first.log_weights.transpose("draw", "place", "chain"), "pareto_k": first.pareto_k},
    ):
        wanted = arviz_stats.loo(data, pointwise=True, **options)
        found = with_engine(arviz_stats.loo, data, pointwise=True, **options)
        xarray.testing.assert_allclose(found.elpd_i, wanted.elpd_i, rtol=0, atol=ATOL)
        assert found.p == pytest.approx(wanted.p, abs=ATOL)


def test_what_is_built_on_psislw():
    data = model()
    wanted, found = arviz_stats.loo_pit(data), with_engine(arviz_stats.loo_pit, data)
    xarray.testing.assert_allclose(found["y"], wanted["y"], rtol=0, atol=ATOL)
    for kind in ("mean", "var"):
        wanted = arviz_stats.loo_expectations(data, kind=kind)
        found = with_engine(arviz_stats.loo_expectations, data, kind=kind)
        for mine, other in zip(found, wanted, strict=True):
            xarray.testing.assert_allclose(mine, other, rtol=0, atol=ATOL)
    wanted, found = arviz_stats.loo_i(3, data), with_engine(arviz_stats.loo_i, 3, data)
    assert found.elpd == pytest.approx(wanted.elpd, abs=ATOL)


def test_all_else_is_arviz():
    data = model()
    for function in (arviz_stats.ess, arviz_stats.rhat, arviz_stats.mcse, arviz_stats.hdi):
        wanted = function(data.posterior)
        xarray.testing.assert_identical(with_engine(function, data.posterior), wanted)
    wanted = arviz_stats.summary(data, var_names=["mean"])
    assert with_engine(arviz_stats.summary, data, var_names=["mean"]).equals(wanted)


def test_threshold_is_that_of_arviz():
    from fastvi.weights.estimate import reliable_k

    for chains, draws in ((1, 30), (2, 150), (4, 600)):
        found = arviz_stats.loo(model(3, chains, draws))
        assert reliable_k(chains * draws) == pytest.approx(found.good_k, rel=1e-15)


def test_fastvi_has_the_longer_tail():
    """Its own psis rounds the tail up, as the paper has it; the engine rounds as ArviZ."""
    log_w = np.random.default_rng(6).normal(size=(2, 1000)) * 2
    assert math.floor(3 * math.sqrt(1000)) != math.ceil(3 * math.sqrt(1000))
    _, of_engine = engine.array_stats.psislw(-log_w)
    assert not np.allclose(of_engine, fastvi.pareto_k(log_w), rtol=0, atol=1e-6)
    log_w = log_w[:, :900]  # 3 sqrt(900) is whole
    _, of_engine = engine.array_stats.psislw(-log_w)
    np.testing.assert_allclose(of_engine, fastvi.pareto_k(log_w), rtol=0, atol=ATOL)


def test_a_missing_arviz_is_named_in_one_line():
    code = (
        "import sys; sys.modules['arviz_stats'] = None\n"
        "try:\n    import fastvi; fastvi.interop.arviz\n"
        "except ImportError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.match(
        r"^fastvi\.interop\.arviz needs ArviZ: pip install 'fastvi\[arviz\]', or '\.\[arviz\]' in", said
    )
    assert said.count("\n") == 1
