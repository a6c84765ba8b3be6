"""log p(x) of machines, and what log Z and it have in common: equal bits, progress, limits."""

from __future__ import annotations

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import naive
import numpy as np
import pytest
import strategies
from cases import NEVER, bits, machine, random_bits, restricted, strongly_clamped
from hypothesis import given
from hypothesis import strategies as st
from interpreted import few_without_jit
from references import naive_log_marginal
from tolerances import assert_close, rounding

import fastvi
from fastvi.core.registry import rules_of
from fastvi.engine.posterior import log_sum
from fastvi.engine.run.runs import Run
from fastvi.engine.states.form import Form
from fastvi.engine.states.pair_form import PairForm

# ---- log marginals ----------------------------------------------------------------------------------------


@given(st.one_of(strategies.boltzmann_machines(), strategies.restricted_machines()), st.booleans(), st.data())
def test_marginals_equal_the_definition(model, normalized, data):
    x = data.draw(strategies.bits((data.draw(st.integers(0, 3)), model.num_pixels)))
    shape = data.draw(st.sampled_from([None, (model.num_pixels,), x.shape]))
    observed = None if shape is None else data.draw(strategies.bits(shape)).astype(bool)
    found = fastvi.log_marginal(model, x, observed=observed, normalized=normalized)
    expected = naive_log_marginal(model, x, observed, normalized)
    assert_close(found, expected, 2 * rounding(model))


@pytest.mark.parametrize("model", [machine(11, exclusive=0.1), restricted(7, 4), restricted(3, 9)])
@pytest.mark.parametrize("normalized", few_without_jit([False, True], [False]))
def test_masks_of_a_few_units(model, normalized):
    x, masks = random_bits(6, model.num_pixels), random_bits(6, model.num_pixels, 4).astype(bool)
    for observed in (masks, masks[0], ~masks[1], None):
        found = fastvi.log_marginal(model, x, observed=observed, normalized=normalized)
        assert_close(found, naive_log_marginal(model, x, observed, normalized), 2 * rounding(model))


@pytest.mark.parametrize("model", [machine(4, exclusive=0.2), restricted(4, 2), restricted(3, 5)])
def test_probabilities_of_all_data_sum_to_one(model):
    x = np.array(naive.states(model.num_pixels))
    assert np.exp(fastvi.log_marginal(model, x)).sum() == pytest.approx(1, abs=1e-13)
    observed = np.arange(model.num_pixels) != 1
    x = x[x[:, 1] == 0]
    assert np.exp(fastvi.log_marginal(model, x, observed=observed)).sum() == pytest.approx(1, abs=1e-13)


def test_nothing_observed():
    model = machine(6)
    log_z = fastvi.log_partition(model)
    assert fastvi.log_marginal(model, normalized=False).tolist() == [log_z]
    assert fastvi.log_marginal(model).tolist() == [0.0]
    nothing = np.zeros(6, bool)
    assert fastvi.log_marginal(model, np.full((3, 6), np.nan), observed=nothing).tolist() == [0.0] * 3
    assert fastvi.log_marginal(model, np.empty((0, 6))).shape == (0,)
    small = restricted(6, 3)
    unseen = fastvi.log_marginal(small, np.zeros((2, 6)), observed=nothing, normalized=False)
    assert_close(unseen, [fastvi.log_partition(small)] * 2, rounding(small))


@pytest.mark.parametrize("observed", [None, np.zeros(4, bool)])
def test_only_a_boltzmann_machine_lacks_data(observed):
    normal = np.random.default_rng(0).normal
    square, four = normal(size=(4, 4)), normal(size=4)
    others = (
        fastvi.RestrictedBoltzmannMachine(square, four, four),
        fastvi.SigmoidBeliefNetwork(square, four, four),
        fastvi.BinarySparseCoding(square, four, 1.0, four),
    )
    for model in others:
        for function in (fastvi.log_marginal, fastvi.exact_posterior, fastvi.log_marginal_gradient):
            with pytest.raises(TypeError, match=r"^x must be an array of shape \(num_data, 4\), got None"):
                function(model, observed=observed)


def test_a_mask_without_data_is_refused():
    with pytest.raises(TypeError, match=r"^x must be an array .* where observed is given, got None"):
        fastvi.log_marginal(machine(3), observed=np.zeros(3, bool))


def test_units_that_exclude_each_other_have_probability_zero():
    couplings = np.zeros((10, 10))
    couplings[0, 1] = couplings[1, 0] = NEVER
    model = fastvi.BoltzmannMachine(couplings, np.zeros(10))
    x = np.zeros((3, 10))
    x[0, :2], x[1, 0] = 1, 1
    for observed in (None, np.arange(10) < 2, np.arange(10) < 9):
        for normalized in (False, True):
            found = fastvi.log_marginal(model, x, observed=observed, normalized=normalized)
            assert np.isneginf(found).tolist() == [True, False, False]
    # one of the two is not seen: it is off
    unseen = fastvi.log_marginal(model, x[:2], observed=np.arange(10) != 1, normalized=False)
    assert unseen == pytest.approx([0.0, 0.0], abs=1e-15)


@pytest.mark.slow_without_jit
def test_clamped_units_that_bar_everything_else():
    """Every free unit but one is excluded by a clamped one, in a machine of several outer states."""
    couplings = np.zeros((14, 14))
    couplings[0, 1:13] = couplings[1:13, 0] = NEVER
    model = fastvi.BoltzmannMachine(couplings, np.r_[1.0, np.full(12, 500.0), 2.0])
    observed = np.arange(14) == 0
    found = fastvi.log_marginal(model, np.eye(14)[[0]], observed=observed, normalized=False)
    assert found == pytest.approx([1 + np.logaddexp(0, 2)], rel=1e-14)


# ---- log space ------------------------------------------------------------------------------------------


def test_clamped_data_are_summed_again_in_log_space(caplog):
    model, x, observed = strongly_clamped()
    with caplog.at_level(logging.INFO, logger="fastvi"):
        found = fastvi.log_marginal(model, x, observed=observed, normalized=False)
    assert "data are summed again in log space" in caplog.text
    assert_close(found, naive_log_marginal(model, x, observed), rounding(model))


def test_the_log_space_path_equals_the_fast_one():
    model, x, observed = machine(13, exclusive=0.1), random_bits(5, 13), np.arange(13) < 2
    form = rules_of(model).form(observed, "float64")
    assert isinstance(form, PairForm)
    seen = x[:, observed]
    slow = log_sum.log_space_sums_of(form, form.data.terms(seen), np.full(5, -np.inf), Run())
    assert_close(slow, log_sum.log_sums(form, seen, Run()), rounding(model))


# ---- the same bits ----------------------------------------------------------------------------------------


def questions(case, **options):
    """log Z and some log marginals."""
    model, x, observed = case
    log_z = fastvi.log_partition(model, **options)
    return bits(log_z, fastvi.log_marginal(model, x, observed=observed, **options))


CASES = {
    "a machine": lambda: (machine(13, exclusive=0.1), random_bits(11, 13), np.arange(13) < 2),
    "its log space": strongly_clamped,
    "a restricted machine": lambda: (restricted(20, 12), random_bits(11, 20), np.arange(20) < 5),
}


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("name", CASES)
def test_same_bits_for_any_number_of_threads(same_bits, name):
    case = CASES[name]()
    same_bits(lambda: questions(case), threads=(1, 2, 3, 7))


def set_wave_tiles(count):
    """Several waves of small problems, here and in the processes of a pool."""
    PairForm.wave_tiles = Form.wave_tiles = count


@pytest.fixture
def several_waves(monkeypatch):
    monkeypatch.setattr(PairForm, "wave_tiles", 3)
    monkeypatch.setattr(Form, "wave_tiles", 3)


@pytest.mark.slow_without_jit
@pytest.mark.usefixtures("several_waves")
@pytest.mark.parametrize("processes", [False, True])
def test_same_bits_from_executors(processes):
    spawn = {
        "mp_context": multiprocessing.get_context("spawn"),
        "initializer": set_wave_tiles,
        "initargs": (3,),
    }
    cases = {name: case() for name, case in CASES.items()}
    assert all(
        len(rules_of(case[0]).partition_form().wave_starts()) > 1
        for case in cases.values()
        if case[0].num_pixels > 11
    )
    with ProcessPoolExecutor(2, **spawn) if processes else ThreadPoolExecutor(2) as executor:
        for case in cases.values():
            assert questions(case, executor=executor) == questions(case)


@pytest.mark.parametrize("name", CASES)
def test_same_bits_for_a_datum_in_any_batch(name):
    model, x, observed = CASES[name]()
    whole = fastvi.log_marginal(model, x, observed=observed, normalized=False)
    for part in (slice(0, 1), slice(3, 8), slice(None, None, -1)):
        some = fastvi.log_marginal(model, x[part], observed=observed, normalized=False)
        assert some.tobytes() == whole[part].tobytes()


def test_waves_of_any_size_agree_to_rounding(monkeypatch):
    model = machine(13, exclusive=0.1)
    whole = fastvi.log_partition(model)
    monkeypatch.setattr(PairForm, "wave_tiles", 3)
    assert abs(fastvi.log_partition(model) - whole) <= rounding(model)


# ---- progress, limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "states"), [(machine(10), 1 << 10), (restricted(12, 9), 1 << 9), (restricted(5, 12), 1 << 5)]
)
def test_progress_counts_all_states(model, states):
    seen = []
    fastvi.log_partition(model, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (states, states)


@pytest.mark.slow_without_jit
def test_too_many_states_are_refused():
    couplings = 1.0 - np.eye(41)  # of which no way leaves anything out
    model = fastvi.BoltzmannMachine(couplings, np.zeros(41))
    with pytest.raises(ValueError, match=r"^max_states .*log Z under 2\^41 states"):
        fastvi.log_partition(model)
    with pytest.raises(ValueError, match=r"^max_states .*log Z"):
        fastvi.log_marginal(model, np.zeros((1, 41)))
    assert fastvi.log_marginal(model, np.zeros((1, 41)), normalized=False).tolist() == [0.0]
    wide = restricted(50, 45)
    with pytest.raises(ValueError, match=r"^max_states .*log Z under 2\^45 states"):
        fastvi.log_partition(wide)
    with pytest.raises(ValueError, match=r"^max_states .*2\^45 states"):
        fastvi.exact_posterior(wide, np.zeros((1, 50)), normalized=False)
    assert np.isfinite(fastvi.log_marginal(wide, np.zeros((1, 50)), normalized=False)).all()
