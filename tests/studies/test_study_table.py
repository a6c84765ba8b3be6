"""The study of a table: sums over its entries, by hand, beside its numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import naive_tables as naive
import numpy as np
import pytest

import fastvi
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import own_subject
from fastvi.studies.table import study
from fastvi.studies.table.study import EYES
from fastvi.studies.table.words import BLUE, COLOURS

pytestmark = pytest.mark.slow_without_jit
SETTINGS = replace(Settings.quick(seed=2), num_epochs=1, table_num_samples=(10,), table_num_repeats=1000)


@pytest.fixture(scope="module")
def result():
    return study.run(SETTINGS, no_progress)


def test_rows_are_sums_of_entries(result):
    table = result.table("rows")
    np.testing.assert_allclose(table["p_x"], [0.19, 0.37, 0.43], rtol=1e-14)
    assert table["mode"] == [5, 1, 3]
    for x, row in enumerate(EYES):
        found = [table[f"p_z{z + 1}"][x] for z in range(8)]
        np.testing.assert_allclose(found, [entry / math.fsum(row) for entry in row], rtol=1e-14)
        assert table["entropy"][x] == pytest.approx(float(naive.entropy(naive.posterior(EYES, x))), rel=1e-14)


def test_variances_are_those_of_the_formula(result):
    table = result.table("sampling")
    for i, (colour, name) in enumerate(zip(table["x"], table["proposal"], strict=True)):
        x = COLOURS.index(colour)
        p = naive.posterior(EYES, x)
        q = {
            "uniform": [1 / naive.mpmath.mpf(8)] * 8,
            "prior": naive.posterior(EYES, None),
            "halfway": naive.softmax([naive.log(each) / 2 for each in p]),
            "posterior": p,
        }[name]
        expected = float(naive.relative_variance(EYES, x, q)) / 10
        assert table["variance_theory"][i] == pytest.approx(expected, rel=1e-12, abs=1e-16)
        # of 1,000 squares of means of 10 weights in (0, 3): a relative error of 4.5 %, and 4.5 of these
        assert table["variance_measured"][i] == pytest.approx(expected, rel=4.5 * 0.06, abs=1e-28)
        # beyond the first order E[e^3] / 3 <= 2 E[e^2] / (3 K) of weights in (0, 3), and E[e^4] / 4, near
        # 3 E[e^2]^2 / 4; and 4.5 standard errors of 1,000 repeats
        slack = 0.07 * expected + expected**2 + 4.5 * math.sqrt(expected / 1000)
        assert abs(table["bias_of_log_measured"][i] - table["bias_of_log_theory"][i]) <= slack + 1e-14


def test_forms_of_the_elbo(result):
    table = result.table("elbo")
    for i, (colour, name) in enumerate(zip(table["x"], table["q"], strict=True)):
        forms = np.array([table[column][i] for column in list(table)[8:]])
        if colour == "brown" and name in ("uniform", "prior"):
            assert (forms == -math.inf).all()
        else:
            np.testing.assert_allclose(forms, forms[0], rtol=0, atol=1e-14)
            assert forms[0] <= table["log_marginal"][i] + 1e-14
    assert len(forms) == 4


def test_jensen_is_the_divergence(result):
    table, kl = result.table("jensen"), result.table("divergences")["kl_to_posterior"]
    columns = (table[name] for name in ("weights", "log_of_mean", "mean_of_log"))
    for text, found, of_logs in zip(*columns, strict=True):
        assert found >= of_logs - 1e-14, text
        if text.startswith("table, "):
            _, colour, name = text.split(", ")
            x = COLOURS.index(colour)
            assert found == pytest.approx(math.log(math.fsum(EYES[x])), abs=1e-14)
            own = list(zip(*(result.table("divergences")[c] for c in ("x", "q")), strict=True))
            gap = kl[own.index((colour, name))]
            assert found - of_logs == pytest.approx(gap, abs=1e-13)
    assert sum(text.startswith("held-out") for text in table["weights"]) == SETTINGS.num_images


def test_bells_stand_where_no_other_is_closer(result):
    """The least of 100,000 places on a grid, by sums over z in double precision."""
    p = np.array(EYES[BLUE]) / math.fsum(EYES[BLUE])
    places = np.linspace(0.0, 9.0, 100_001)
    q = np.exp(-0.5 * (np.arange(1, 9) - places[:, None]) ** 2)
    q /= q.sum(axis=1, keepdims=True)
    arrays = result.arrays["pictures"]
    reverse, forward = (q * np.log(q / p)).sum(axis=1), (p * np.log(p / q)).sum(axis=1)
    for name, values in (("reverse", reverse), ("forward", forward)):
        assert arrays[f"{name}_place"] == pytest.approx(places[values.argmin()], abs=1e-4)
    # the forward fit has the posterior's mean
    assert arrays["forward"] @ np.arange(1, 9) == pytest.approx(p @ np.arange(1, 9), abs=1e-6)


def test_pictures(result):
    drawn = result.figures(result)
    assert set(drawn) == {"table", "sampling", "jensen", "elbo", "divergences"}
    for picture in drawn.values():
        assert picture.caption.endswith(".")
        assert picture.alt.endswith(".")
    assert "0.99" in drawn["table"].figure.axes[0].get_title(loc="left")
    assert any("add up to 0.99" in finding.text for finding in result.findings)


# ---- a table of one's own --------------------------------------------------------------------------------

OWN = ((0.1, 0.0, 0.2), (0.05, 0.3, 0.35))


def test_own_table():
    """Of the values among the data the one without zeros is looked at, though it is the rarer one."""
    own = own_subject(fastvi.JointTable(OWN), np.array([0, 0, 1]), "mine", {"model": "mine.npz"})
    assert study.refusal(own) is None
    found = study.run(SETTINGS, no_progress, own=own)
    table = found.table("rows")
    assert table["x"] == ["1", "2"]
    np.testing.assert_allclose(table["p_x"], [0.3, 0.7], rtol=1e-14)
    assert table["mode"] == [3, 3]
    bells = found.table("divergences")
    assert [x for x, q in zip(bells["x"], bells["q"], strict=True) if q.startswith("bell")] == ["2", "2"]
    mean = float(naive.posterior(OWN, 1)[1] + 2 * naive.posterior(OWN, 1)[2] + 1)
    assert f"{mean:.2f}" in found.findings[-1].text
    drawn = found.figures(found)
    assert "1.00" in drawn["table"].figure.axes[0].get_title(loc="left")
    assert "textbook" not in drawn["table"].caption
    assert len(drawn["jensen"].figure.axes) == 1


@pytest.mark.parametrize(
    ("model", "x", "reason"),
    [
        (fastvi.JointTable(OWN), [0, 0], "each x of the data has a z with p(x, z) = 0"),
        (fastvi.JointTable([[1.0]]), [0], "this table has one z"),
        (fastvi.JointTable(np.full((13, 2), 1 / 26)), [0], "tables of at most 12 x and 40 z"),
        (fastvi.LinearGaussian([[1.0]], [0.0], 1.0), [[0.0]], "it asks a JointTable"),
    ],
)
def test_refusals(model, x, reason):
    assert reason in study.refusal(own_subject(model, np.array(x), "mine", {}))
