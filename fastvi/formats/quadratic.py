"""Quadratic energies of spins and of bits, as dimod and physics keep them, as arrays over bits.

Of spins s = 2 z - 1: s_i = 2 z_i - 1 and s_i s_j = 4 z_i z_j - 2 z_i - 2 z_j + 1.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.extras import how_to_install

MAX_VARIABLES = 4096  # (d, d) couplings take 128 MiB then; states can be enumerated up to 40


class Quadratic(NamedTuple):
    """constant + sum_i bias_i z_i + sum_{i<j} couplings_ij z_i z_j over bits, couplings symmetric."""

    couplings: np.ndarray
    bias: np.ndarray
    constant: float


def check_number(num: int, name: str) -> None:
    """Refuse so many variables that pairs of them would not fit in memory."""
    if not 1 <= num <= MAX_VARIABLES:
        raise ValueError(f"{name} must have 1 ... {MAX_VARIABLES} variables, got {num}")


def ising_log_weight(h: Any, pairs: Any, beta: Any, offset: Any) -> Quadratic:
    """-beta (offset + h's + sum_{i<j} J_ij s_i s_j) over bits z = (s + 1) / 2."""
    field, couplings = _ising_arrays(h, pairs)
    return _scaled(
        _over_bits(field, couplings, validation.finite_float(offset, "offset")),
        validation.positive_float(beta, "beta"),
    )


def bqm_log_weight(bqm: Any, beta: Any) -> Quadratic:
    """-beta E of a binary quadratic model, SPIN or BINARY, over bits in the order of its variables."""
    scale = validation.positive_float(beta, "beta")
    try:
        kind = getattr(bqm.vartype, "name", bqm.vartype)
        variables, linear, quadratic, offset = list(bqm.variables), bqm.linear, bqm.quadratic, bqm.offset
        spins = {"SPIN": True, "BINARY": False}[kind]
        biases, pairs = dict(linear.items()), dict(quadratic.items())
        place = {name: i for i, name in enumerate(variables)}
    except Exception:  # whatever an object of another kind raises
        raise TypeError(
            "bqm must be a dimod.BinaryQuadraticModel of vartype SPIN or BINARY (variables, linear, "
            f"quadratic, offset), got {validation.shown(bqm)}"
        ) from None
    check_number(len(variables), "bqm")
    bias = _vector(biases, place, "bqm.linear")
    couplings = _matrix(pairs, place, "bqm.quadratic")
    constant = validation.finite_float(offset, "bqm.offset")
    return _scaled(
        _over_bits(bias, couplings, constant) if spins else Quadratic(couplings, bias, constant), scale
    )


def _over_bits(field: np.ndarray, couplings: np.ndarray, offset: float) -> Quadratic:
    """An energy of spins, over bits."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as not finite
        constant = offset - field.sum() + np.triu(couplings).sum()
        return Quadratic(4.0 * couplings, 2.0 * (field - couplings.sum(axis=1)), float(constant))


def _scaled(energy: Quadratic, beta: float) -> Quadratic:
    """-beta times an energy; 0.0 is taken away from zeros' signs."""
    couplings, bias, constant = energy
    with np.errstate(over="ignore", invalid="ignore"):
        found = Quadratic(0.0 - beta * couplings, 0.0 - beta * bias, 0.0 - beta * constant)
    if not (np.isfinite(found.couplings).all() and np.isfinite(found.bias).all()
            and math.isfinite(found.constant)):  # fmt: skip
        raise ValueError(f"beta must keep beta times the energy finite, got {beta}")
    return found


def _ising_arrays(h: Any, pairs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Fields (d,), and interactions (d, d) symmetric."""
    if isinstance(h, Mapping):
        names = list(h)
        if isinstance(pairs, Mapping):  # as in dimod, a variable without a field need not be in h
            names = list(dict.fromkeys([*names, *_ends(pairs)]))
        else:
            names = list(range(len(names)))
        check_number(len(names), "h")
        place: dict[Any, int] = {name: i for i, name in enumerate(names)}
        field = _vector(h, place, "h")
    else:
        field = validation.float_array(h, "h", ndim=1)
        check_number(len(field), "h")
        place = {i: i for i in range(len(field))}
    if isinstance(pairs, Mapping):
        return field, _matrix(pairs, place, "J")
    return field, _symmetric(validation.float_array(pairs, "J", ndim=2, shape=(len(field), len(field))))


def _ends(pairs: Mapping[Any, Any]) -> Iterable[Hashable]:
    for pair in pairs:
        yield from _two(pair, "J")


def _two(pair: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(pair, tuple) or len(pair) != 2 or pair[0] == pair[1]:
        raise ValueError(f"{name} must have pairs of two variables as keys, got {validation.shown(pair)}")
    return pair


def _symmetric(given: np.ndarray) -> np.ndarray:
    """Of a matrix that has each pair once (triangular), or twice and equal (symmetric)."""
    validation.require(given, (given == 0) | ~np.eye(len(given), dtype=bool), "J must have a diagonal of 0")
    if np.array_equal(given, given.T):
        return given
    if np.tril(given).any() and np.triu(given).any():
        raise ValueError("J must be symmetric or triangular, got entries that differ on both sides")
    return np.asarray(given + given.T)


def _vector(values: Mapping[Any, Any], place: Mapping[Any, int], name: str) -> np.ndarray:
    found = np.zeros(len(place))
    for key, value in values.items():
        found[_placed(key, place, name)] = validation.finite_float(value, f"{name}[{repr(key)[:40]}]")
    return found


def _matrix(values: Mapping[Any, Any], place: Mapping[Any, int], name: str) -> np.ndarray:
    """Pairs given as (i, j) and as (j, i) add up, as they do in dimod."""
    found = np.zeros((len(place), len(place)))
    for pair, value in values.items():
        i, j = (_placed(key, place, name) for key in _two(pair, name))
        found[i, j] += validation.finite_float(value, f"{name}[{repr(pair)[:40]}]")
    return found + found.T


def _placed(key: Any, place: Mapping[Any, int], name: str) -> int:
    if key not in place:
        raise ValueError(
            f"{name} must speak of the {len(place)} variables of h, got {validation.shown(key)} as a variable"
        )
    return place[key]


def bqm_of(log_weight: Quadratic, vartype: Any) -> Any:
    """The dimod.BinaryQuadraticModel with the energy -log_weight; pairs without coupling are left out."""
    kind = validation.choice(vartype, "vartype", ("BINARY", "SPIN"))
    couplings, bias, constant = log_weight
    validation.require(couplings, np.isfinite(couplings), "couplings must be finite for a dimod model")
    try:
        import dimod
    except ImportError as error:
        raise ImportError(f"to_bqm needs dimod: {how_to_install('dimod')}") from error
    pairs = {(int(i), int(j)): -float(couplings[i, j]) for i, j in np.argwhere(np.triu(couplings)) if i < j}
    linear = {i: -float(value) for i, value in enumerate(bias)}
    # variables are in the order of their addition: all of them before any pair
    bqm = dimod.BinaryQuadraticModel(linear, {}, -constant, "BINARY")
    bqm.add_quadratic_from(pairs)
    return bqm.change_vartype(kind, inplace=False)
