"""Hypothesis strategies: small models with data, joint tables, logits of Bernoulli distributions."""

from __future__ import annotations

import numpy as np
from cases import symmetric
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastvi

ORDINARY = st.floats(-4, 4)
# saturated units, values on both sides of zero, and exact zeros in one array
EXTREME = st.one_of(ORDINARY, st.floats(-1e3, 1e3), st.sampled_from([-1e3, -300.0, 0.0, 300.0, 1e3]))
# couplings of units that exclude each other among others
EXCLUSIVE = st.one_of(EXTREME, st.just(-np.inf))
INFINITE = st.one_of(EXTREME, st.sampled_from([-np.inf, np.inf]))


def floats(shape, elements=EXTREME):
    return hnp.arrays(np.float64, shape, elements=elements)


def bits(shape):
    return hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))


@st.composite
def sigmoid_belief_networks(draw, max_latents=4, max_pixels=5, elements=EXTREME):
    """A model with d in 1 ... ``max_latents`` and D in 0 ... ``max_pixels``."""
    d = draw(st.integers(1, max_latents))
    num_pixels = draw(st.integers(0, max_pixels))
    return fastvi.SigmoidBeliefNetwork(
        draw(floats((num_pixels, d), elements)), draw(floats(num_pixels, elements)), draw(floats(d, elements))
    )


@st.composite
def networks_with_data(draw, max_data=3, **options):
    """A model and binary data (N, D), N in 0 ... ``max_data``."""
    model = draw(sigmoid_belief_networks(**options))
    return model, draw(bits((draw(st.integers(0, max_data)), model.num_pixels)))


@st.composite
def networks_with_data_and_q(draw, max_data=3, q_elements=EXTREME, **options):
    """A model, binary data (N, D) and logits (N, d) of a mean-field q for each datum."""
    model, x = draw(networks_with_data(max_data=max_data, **options))
    return model, x, draw(floats((len(x), model.num_latents), q_elements))


@st.composite
def boltzmann_machines(draw, max_units=5, couplings=EXCLUSIVE, biases=EXTREME):
    """A machine of 1 to ``max_units`` units."""
    d = draw(st.integers(1, max_units))
    return fastvi.BoltzmannMachine(symmetric(draw(floats((d, d), couplings))), draw(floats(d, biases)))


@st.composite
def restricted_machines(draw, max_pixels=5, max_latents=4, elements=EXTREME):
    """A restricted machine of at least one unit a layer."""
    shape = draw(st.integers(1, max_pixels)), draw(st.integers(1, max_latents))
    return fastvi.RestrictedBoltzmannMachine(
        *(draw(floats(size, elements)) for size in (shape, shape[0], shape[1]))
    )


@st.composite
def joint_tables(draw, max_side=4):
    """An unnormalised table with some entries of 0 and at least one that is not."""
    shape = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)))
    table = draw(floats(shape, st.one_of(st.just(0.0), st.floats(1e-6, 1.0))))
    table[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = draw(st.floats(1e-6, 1.0))
    return fastvi.JointTable(table, unnormalized=True)


@st.composite
def bernoulli_logits(draw, num_latents=None, max_latents=4, max_data=3, elements=INFINITE):
    """Logits (d,) or (N, d)."""
    d = draw(st.integers(1, max_latents)) if num_latents is None else num_latents
    num_data = draw(st.one_of(st.none(), st.integers(0, max_data)))
    return draw(floats((d,) if num_data is None else (num_data, d), elements))
