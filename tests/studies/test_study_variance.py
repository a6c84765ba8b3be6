"""The study of variances: formulas, grids and enumeration beside its numbers."""

from __future__ import annotations

import numpy as np
import pytest

import fastvi
from fastvi.studies.common.result import no_progress
from fastvi.studies.common.settings import Settings
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


def test_pictures(result):
    drawn = result.figures(result)
    assert set(drawn) == {"posteriors", "states", "ratios"}
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
