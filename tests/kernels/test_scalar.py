"""Scalar numerics against 40 digits, over the whole range, and whether loops over them vectorise."""

from __future__ import annotations

import math

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import units

from fastvi.kernels import bits, scalar
from fastvi.kernels.jit import kernel


@kernel
def run_exp(x, out):
    for i in range(x.size):
        out[i] = scalar.exp_fast(x[i])


@kernel
def run_exp_of_negative(x, out):
    for i in range(x.size):
        out[i] = scalar.exp_of_negative(x[i])


@kernel
def run_log(x, out):
    for i in range(x.size):
        out[i] = scalar.log_fast(x[i])


@kernel
def run_softplus(x, out):
    for i in range(x.size):
        out[i] = scalar.softplus(x[i])


@kernel
def run_log_add_exp(a, b, out):
    for i in range(a.size):
        out[i] = scalar.log_add_exp(a[i], b[i])


@kernel
def run_power_of_two(powers, out):
    for i in range(powers.size):
        out[i] = bits.power_of_two(powers[i])


def values(function, *inputs):
    arrays = [np.array(x, dtype=float) for x in inputs]
    out = np.empty(arrays[0].size)
    function(*arrays, out)
    return out


def grid(low, high, num=400):
    return np.random.default_rng(0).uniform(low, high, num)


@pytest.mark.parametrize("x", [grid(-708, 709.7), grid(-1, 1), grid(-1e-9, 1e-9)], ids=["all", "one", "tiny"])
def test_exp_within_two_units(x):
    with mpmath.workdps(40):
        exact = [mpmath.exp(mpmath.mpf(float(t))) for t in x]
    assert max(units(values(run_exp, x), exact)) <= 2


@pytest.mark.parametrize(
    "x", [-grid(0, 720), -grid(0, 1e-9), [0.0, -0.0, -708.0, -708.1, -math.inf, math.nan]]
)
def test_exp_of_negative_has_the_bits_of_exp(x):
    assert np.array_equal(values(run_exp_of_negative, x), values(run_exp, x), equal_nan=True)


@pytest.mark.parametrize(
    "x", [np.exp(grid(-744, 709)), grid(0.5, 2), 1 + grid(-1e-7, 1e-7)], ids=["all", "one", "near one"]
)
def test_log_within_two_units(x):
    with mpmath.workdps(40):
        exact = [mpmath.log(mpmath.mpf(float(t))) for t in x]
    assert max(units(values(run_log, x), exact)) <= 2


def test_ends_of_the_range():
    inf, nan = math.inf, math.nan
    x = [-inf, -1e300, -708.0001, 709.79, 1e300, inf, nan]
    assert np.array_equal(values(run_exp, x), [0, 0, 0, inf, inf, inf, nan], equal_nan=True)
    x = [0.0, -0.0, inf, nan, -1.0, -inf, 1.0]
    assert np.array_equal(values(run_log, x), [-inf, -inf, inf, nan, nan, nan, 0], equal_nan=True)
    assert values(run_log, [5e-324])[0] == math.log(5e-324)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_softplus(x):
    with mpmath.workdps(40):
        exact = [mpmath.log1p(mpmath.exp(mpmath.mpf(t))) for t in x]
    found = values(run_softplus, x)
    for f, e in zip(found, exact, strict=True):
        assert abs(f - float(e)) <= 4 * math.ulp(float(e)) + 5e-324


@given(st.floats(-1e3, 1e3) | st.just(-math.inf), st.floats(-1e3, 1e3) | st.just(-math.inf))
def test_log_add_exp(a, b):
    found = values(run_log_add_exp, [a], [b])[0]
    expected = np.logaddexp(a, b)
    assert found == expected or abs(found - expected) <= 4 * math.ulp(max(abs(a), abs(b), 1.0))


def test_powers_of_two():
    powers = np.arange(-1022, 1024)
    out = np.empty(powers.size)
    run_power_of_two(powers, out)
    assert np.array_equal(out, np.ldexp(1.0, powers))


@pytest.mark.needs_jit
@pytest.mark.parametrize("function", [run_exp, run_exp_of_negative, run_log])
def test_loops_are_vectorised(function):
    fresh = numba.njit(function.py_func)  # code from the cache cannot be inspected
    fresh(np.ones(4), np.ones(4))
    (code,) = fresh.inspect_llvm().values()
    assert "x double>" in code
