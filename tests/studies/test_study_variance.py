"""The study of variances: formulas, grids and enumeration beside its numbers."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from naive import sbn_log_posterior, states

import fastvi
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
from fastvi.studies.common.subject import own_subject
from fastvi.studies.variance import study as variance
from fastvi.studies.variance.figures import FORWARD, REVERSE
from fastvi.studies.variance.study import CORRELATED, CORRELATION, DIGITS, MODES, PAIRS

pytestmark = pytest.mark.slow_without_jit


@pytest.fixture(scope="module")
def result():
    return variance.run(Settings.quick(seed=1), no_progress)


def rows(result, case):
    table = result.table("variances")
    return {
        name: {column: table[column][i] for column in table}
        for i, name in enumerate(table["direction"])
        if table["case"][i] == case
    }


def test_the_correlated_normal_is_the_formula(result):
    found = rows(result, CORRELATED)
    share = 1 - CORRELATION**2
    for latent in ("z_1", "z_2"):
        assert found[latent]["reverse_ratio"] == pytest.approx(share, rel=1e-12)
        assert found[latent]["forward_ratio"] == pytest.approx(1.0, rel=1e-12)
    # variances of sum and difference are 2 v (1 -+ rho), those of a q 2 v or 2 v (1 - rho^2)
    assert found["z_1 + z_2"]["forward_ratio"] == pytest.approx(1 / (1 - CORRELATION), rel=1e-10)
    assert found["z_1 - z_2"]["forward_ratio"] == pytest.approx(1 / (1 + CORRELATION), rel=1e-10)
    assert found["z_1 + z_2"]["reverse_ratio"] == pytest.approx(1 + CORRELATION, rel=1e-10)


def test_modes_and_causes(result):
    for case, latent, most in ((PAIRS, "a latent (mean)", 0.12), (MODES, "z_1", 0.05)):
        assert rows(result, case)[latent]["reverse_ratio"] < most
        assert rows(result, case)[latent]["forward_ratio"] == pytest.approx(1.0, abs=1e-9)
    assert rows(result, PAIRS)["z_1 + z_2"]["forward_ratio"] > 10
    assert rows(result, DIGITS)["a latent (mean)"]["forward_ratio"] == pytest.approx(1.0, abs=1e-9)
    model, x = variance.two_causes()
    z = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(np.uint8)
    p = np.exp(model.log_joint(x[0], z))
    p /= p.sum()
    first = z[:, 0] + z[:, 1].astype(int)
    expected = p @ first**2 - (p @ first) ** 2
    assert rows(result, PAIRS)["z_1 + z_2"]["posterior"] == pytest.approx(expected, rel=1e-10)


def test_causes_do_not_depend_on_the_mode_that_is_found():
    """Which of each pair is on differs between seeds; the reported variances are those of a fixed point of
    mean field, from all 16 states, whichever it is.
    """
    model, x = variance.two_causes()
    z = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(np.uint8)
    log_p = model.log_joint(x[0], z)
    mean = np.array([1.0, 0.0, 1.0, 0.0])
    for _ in range(200):
        for i in range(4):
            share = np.prod(np.where(z == 1, mean, 1 - mean)[:, np.arange(4) != i], axis=1)
            logit = share[z[:, i] == 1] @ log_p[z[:, i] == 1] - share[z[:, i] == 0] @ log_p[z[:, i] == 0]
            mean[i] = 1 / (1 + np.exp(-logit))
    expected = (mean * (1 - mean)).mean()
    on = set()
    for seed in range(4):
        case = variance.fit_both(model, x, seed)
        on.add(tuple((case.fits[REVERSE].mean[0] > 0.5).tolist()))
        found = variance.latents_and_sums(case, {"z_1 + z_2": [0, 1]})
        # a fit stops when no mean moves by more than 1e-8
        assert found[0].q[REVERSE] == pytest.approx(expected, abs=1e-7)
        assert found[1].q[REVERSE] == pytest.approx(2 * expected, abs=1e-7)
    assert len(on) > 1


def test_divergences_are_those_of_the_exact_functions(result):
    table = result.table("divergences")
    for name in ("kl_to_posterior", "kl_from_posterior"):
        assert min(table[name]) > 0
    model, x = variance.two_causes()
    for i, fit in enumerate((REVERSE, FORWARD)):
        assert (table["case"][i], table["fit"][i]) == (PAIRS, fit)
    forward = fastvi.fit_posterior(model, x, objective="forward_kl")
    assert table["kl_from_posterior"][1] == pytest.approx(forward.objective[0], abs=1e-9)
    assert table["kl_to_posterior"][0] < table["kl_to_posterior"][1]
    assert table["kl_from_posterior"][1] < table["kl_from_posterior"][0]
    # both normal KLs of the correlated pair are 1/2 log(1 / (1 - rho^2))
    gap = -0.5 * np.log(1 - CORRELATION**2)
    own = [i for i, case in enumerate(table["case"]) if case == CORRELATED]
    assert table["kl_to_posterior"][own[0]] == pytest.approx(gap, abs=1e-10)
    assert table["kl_from_posterior"][own[1]] == pytest.approx(gap, abs=1e-10)


def test_a_continuous_latent(result):
    """By the formulas of two normal numbers: x has the variance 1 + s^2, and KL of two normal densities."""
    table, s = result.table("continuous"), 0.5
    truth = -0.5 * np.log(2 * np.pi * (1 + s**2)) - 0.5 / (1 + s**2)
    np.testing.assert_allclose(table["log_marginal"], truth, rtol=1e-13)
    width = np.sqrt(s**2 / (1 + s**2))
    times = np.array(table["std_q"]) / width
    np.testing.assert_allclose(times, table["times_posterior"], rtol=1e-13)
    np.testing.assert_allclose(table["gap"], 0.5 * (times**2 - 1) - np.log(times), atol=1e-13)
    arrays = result.arrays["pictures"]
    step = arrays["z"][1] - arrays["z"][0]
    # 4.9 standard deviations of the posterior are drawn at the upper end: 5e-7 of the area lies beyond
    assert arrays["p_x_z"].sum() * step == pytest.approx(np.exp(truth), rel=6e-7)


def test_pictures(result):
    drawn = result.figures(result)
    assert set(drawn) == {"continuous", "posteriors", "states", "ratios"}
    for picture in drawn.values():
        assert picture.caption.endswith(".")
        assert picture.alt.endswith(".")
    arrays = result.arrays["pictures"]
    for key in ("p", "q_reverse", "q_forward"):
        assert arrays[key].sum() == pytest.approx(1.0, abs=1e-12)
    # normalised by the sum over a grid twice as wide, beyond which less than 1e-9 lies
    model, x = variance.two_modes()
    wide = np.linspace(-6.4, 6.4, 321)
    z = np.stack(np.meshgrid(wide, wide, indexing="ij"), axis=-1)
    density = np.exp(model.log_joint(x[0], z.reshape(-1, 2))).reshape(321, 321)
    density /= density.sum() * (wide[1] - wide[0]) ** 2
    np.testing.assert_allclose(arrays["line"], wide[80:241], atol=1e-14)
    np.testing.assert_allclose(arrays["density_modes"], density[80:241, 80:241], rtol=1e-8, atol=1e-12)


# ---- a model of one's own --------------------------------------------------------------------------------


def test_own_network():
    """Variances of the posterior by its 8 states; those of q by its means."""
    model, x = cases.network(5, 3, seed=2), cases.random_bits(4, 5)
    found = variance.run(Settings.quick(), no_progress, own=own_subject(model, x, "mine", {}))
    own = rows(found, "mine")
    assert list(own) == ["a latent (mean)", "sum of all z", "z_1", "z_2", "z_3"]
    parameters = [part.tolist() for part in (model.weights, model.bias, model.prior_logits)]
    p = np.exp([np.array(sbn_log_posterior(*parameters, datum), float) for datum in x.tolist()])
    z = np.array(states(3), float)
    each = p @ z * (1 - p @ z)
    total = p @ z.sum(axis=1) ** 2 - (p @ z.sum(axis=1)) ** 2
    for i in range(3):
        assert own[f"z_{i + 1}"]["posterior"] == pytest.approx(each[:, i].mean(), rel=1e-10)
        assert own[f"z_{i + 1}"]["forward_ratio"] == pytest.approx(1.0, abs=1e-9)
    assert own["sum of all z"]["posterior"] == pytest.approx(total.mean(), rel=1e-10)
    q = fastvi.fit_posterior(model, x, seed=0).q.mean
    assert own["a latent (mean)"]["reverse"] == pytest.approx((q * (1 - q)).mean(), rel=1e-12)
    assert set(found.figures(found)) == {"ratios"}
    assert found.findings[0].text.startswith("mine: ")


def test_own_linear_gaussian():
    model, x = cases.linear_gaussian(4, 2), np.random.default_rng(0).normal(size=(3, 4))
    found = rows(variance.run(Settings.quick(), no_progress, own=own_subject(model, x, "mine", {})), "mine")
    covariance = np.linalg.inv(np.eye(2) + model.weights.T @ model.weights / model.noise_std**2)
    for i in range(2):
        own = found[f"z_{i + 1}"]
        assert own["posterior"] == pytest.approx(covariance[i, i], rel=1e-12)
        # the reverse fit has the precision of the posterior, not its variance
        precision = np.linalg.inv(covariance)[i, i]
        assert own["reverse_ratio"] == pytest.approx(1 / (precision * covariance[i, i]), rel=1e-9)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (fastvi.JointTable([[0.5, 0.5]]), "the best one is the posterior itself"),
        (cases.restricted(4, 2), "no q of independent latents can be fitted by both divergences"),
        (cases.network(4, 25), "at most 24 latents, of 25 here"),
        (cases.decoder((4, 2), prior=cases.standard_normal(4)), "at most 3 real latents, of 4 here"),
    ],
)
def test_refusals(model, reason):
    assert reason in variance.refusal(own_subject(model, np.zeros((2, 4)), "mine", {}))
