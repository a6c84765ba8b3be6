"""Tiles that are passed over for a datum: what is lost, and that no bit depends on who stands beside it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastvi
from fastvi.engine.states import softplus_form as forms
from fastvi.engine.states import tile_batch
from fastvi.kernels.cpu.states.tile_choice import likely_tiles, sums_of_members, tiles_that_count

pytestmark = pytest.mark.slow_without_jit


def problem(scale, num_latents=12, num_pixels=23, num_data=150):
    rng = np.random.default_rng(7)
    weights, bias = scale * rng.normal(size=(num_pixels, num_latents)), rng.normal(size=num_pixels)
    prior = rng.normal(size=num_latents)
    z = rng.random((num_data, num_latents)) < 0.5
    x = (rng.random((num_data, num_pixels)) < 1 / (1 + np.exp(-(z @ weights.T + bias)))).astype(np.uint8)
    return fastvi.SigmoidBeliefNetwork(weights, bias, prior), x


def by_definition(model, x):
    z = np.array(list(itertools.product([0.0, 1.0], repeat=model.num_latents)))
    eta = z @ model.weights.T + model.bias
    log_joint = x @ eta.T - np.logaddexp(0.0, eta).sum(axis=1)
    log_joint += (z * model.prior_logits - np.logaddexp(0.0, model.prior_logits)).sum(axis=1)
    return np.logaddexp.reduce(log_joint, axis=1)


# nearly all tiles count, some do, hardly any does; a certain and an impossible pixel
@pytest.mark.parametrize("scale", [0.3, 4.0, 30.0])
@pytest.mark.parametrize("dense", [-1.0, 2.0])
def test_the_same_bits_whichever_way_tiles_are_summed(monkeypatch, scale, dense):
    model, x = problem(scale)
    alone = fastvi.log_marginal(model, x)  # each tile summed where it is made
    # some 100 roundings of numbers as large as these
    assert np.allclose(alone, by_definition(model, x), rtol=2e-14, atol=1e-12)
    monkeypatch.setattr(forms, "_NEAR", 0)
    monkeypatch.setattr(tile_batch, "_BLOCK", 17)
    monkeypatch.setattr(tile_batch, "_DENSE", dense)
    assert np.array_equal(fastvi.log_marginal(model, x), alone)
    assert np.array_equal(fastvi.log_marginal(model, x[40:57]), alone[40:57])
    assert np.array_equal(fastvi.exact_posterior(model, x).log_marginal, alone)


@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_what_is_passed_over_is_negligible(scale):
    model, x = problem(scale, num_pixels=200)
    form = forms.softplus_form(model.weights, model.bias, model.prior_logits)
    batch = form.batch(form.terms(x))
    packed, base = batch.packed
    tiles, scales = form.fill_wave(0, most=form.tiling.num_tiles)
    place = scales, tile_batch.log_totals(tiles), 0, batch.outer, base
    full = packed.sums(tiles)
    likely, counting = np.empty(len(x), np.int64), np.empty(full.shape, np.bool_)
    likely_tiles(*place, likely)
    tiles_that_count(full, likely, *place, counting)
    assert not counting[np.arange(len(x)), likely].any()
    outer = np.array(
        [[row @ ((t >> np.arange(row.size)) & 1) for t in range(len(tiles))] for row in batch.outer]
    )
    with np.errstate(divide="ignore"):
        logs = np.log(full) + scales + base[:, None] + outer
    counting[np.arange(len(x)), likely] = True
    lost = np.where(counting, -np.inf, logs)
    kept = np.logaddexp.reduce(np.where(counting, logs, -np.inf), axis=1)
    assert (lost.max(axis=1) <= kept - (60 + np.log2(len(tiles))) * np.log(2.0) + 1e-9).all()
    if scale == 4.0:  # something is passed over, and something is not
        assert 0.13 < counting.mean() < 0.9


@pytest.mark.parametrize("count", [0, 1, 5, 47, 48, 49, 97])
def test_sums_of_gathered_data_have_the_bits_of_all(count):
    model, x = problem(1.0)
    form = forms.softplus_form(model.weights, model.bias, model.prior_logits)
    packed, _ = form.batch(form.terms(x)).packed
    tiles, _ = form.fill_wave(0, most=3)
    wanted = np.zeros((len(x), 3), np.bool_)
    members = np.random.default_rng(count).permutation(len(x))[:count]
    wanted[members, 1:] = True
    out = np.full((packed.padded_data, 3), -1.0)
    sums_of_members(
        tiles[1:], 1, packed.rows, packed.columns, packed.num_rows, packed.padded_rows, wanted, 0, len(x), out
    )
    expected = np.full_like(out, -1.0)
    expected[members, 1:] = packed.sums(tiles)[members, 1:]
    assert np.array_equal(out, expected)
