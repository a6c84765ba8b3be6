"""Energies of spins and of bits as other programs keep them, against their definition."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

import fastvi

RNG = np.random.default_rng(2)
H, BETA, OFFSET = RNG.normal(size=4), 0.7, -1.5
J = {(0, 1): 0.5, (1, 0): 0.25, (3, 1): -2.0, (2, 3): 1.0}
MATRIX = np.zeros((4, 4))
for (row, column), value in J.items():
    MATRIX[min(row, column), max(row, column)] += value
BITS = np.array(list(itertools.product((0, 1), repeat=4)))


def log_weights(values):
    """-beta E of each row."""
    return [
        -BETA
        * (OFFSET + sum(H[i] * s[i] for i in range(4)) + sum(v * s[i] * s[j] for (i, j), v in J.items()))
        for s in values
    ]


@pytest.mark.parametrize(
    "pairs", [J, MATRIX, MATRIX.T, MATRIX + MATRIX.T], ids=["dict", "upper", "lower", "both"]
)
@pytest.mark.parametrize("fields", [H, dict(enumerate(H))], ids=["array", "dict"])
def test_ising_models(fields, pairs):
    machine = fastvi.BoltzmannMachine.from_ising(fields, pairs, BETA, OFFSET)
    # ten numbers of a few units: some tens of roundings
    assert machine.log_joint(None, BITS) == pytest.approx(log_weights(2 * BITS - 1), rel=0.0, abs=1e-13)


def test_names_come_in_the_order_of_h_and_then_of_pairs():
    machine = fastvi.BoltzmannMachine.from_ising({"b": 1.0}, {("c", "b"): 2.0, ("c", "a"): 3.0})
    # s_i s_j = 4 z_i z_j + ...
    assert machine.couplings.tolist() == [[0, -8, 0], [-8, 0, -12], [0, -12, 0]]


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY", SimpleNamespace(name="SPIN")])
def test_quadratic_models(vartype):
    bqm = SimpleNamespace(
        variables=range(4), linear=dict(enumerate(H)), quadratic=J, offset=OFFSET, vartype=vartype
    )
    machine = fastvi.BoltzmannMachine.from_bqm(bqm, BETA)
    values = BITS if vartype == "BINARY" else 2 * BITS - 1
    assert machine.log_joint(None, BITS) == pytest.approx(log_weights(values), rel=0.0, abs=1e-13)


@pytest.mark.parametrize(
    ("h", "pairs", "more", "line"),
    [
        ([], {}, {}, "h must have 1 ... 4096 variables, got 0"),
        ([0.0] * 4097, {}, {}, "h must have 1 ... 4096 variables, got 4097"),
        ([np.nan], {}, {}, "h must be finite"),
        ([0.0, 0.0], {(0, 0): 1.0}, {}, "J must have pairs of two variables as keys, got (0, 0)"),
        ([0.0, 0.0], {0: 1.0}, {}, "J must have pairs of two variables as keys, got 0"),
        ([0.0, 0.0], {(0, 2): 1.0}, {}, "J must speak of the 2 variables of h, got 2"),
        ([0.0, 0.0], {(0, 1): np.inf}, {}, "J[(0, 1)] must be a finite number, got inf"),
        ({"a": "1"}, {}, {}, "h['a'] must be a finite number, got '1'"),
        ({"a": 1.0}, [[0.0]], {}, "h must speak of the 1 variables of h, got 'a'"),
        ([0.0, 0.0], [[0.0, 1.0], [2.0, 0.0]], {}, "J must be symmetric or triangular"),
        ([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]], {}, "J must have a diagonal of 0"),
        ([0.0, 0.0], [[0.0]], {}, "J must have shape (2, 2)"),
        ([0.0], {}, {"beta": 0.0}, "beta must be a finite number > 0, got 0.0"),
        ([1e10], {}, {"beta": 1e300}, "beta must keep beta times the energy finite"),
        ([0.0], {}, {"offset": np.inf}, "offset must be a finite number, got inf"),
    ],
)
def test_wrong_ising_models_are_refused(h, pairs, more, line):
    with pytest.raises((TypeError, ValueError)) as refused:
        fastvi.BoltzmannMachine.from_ising(h, pairs, **more)
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize("bqm", [None, 3, {}, SimpleNamespace(vartype="INTEGER"), fastvi])
def test_what_is_no_quadratic_model_is_refused(bqm):
    with pytest.raises(
        TypeError, match=r"^bqm must be a dimod.BinaryQuadraticModel of vartype SPIN or BINARY"
    ):
        fastvi.BoltzmannMachine.from_bqm(bqm)
