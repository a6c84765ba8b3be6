"""What checks of arguments accept, and what they make of it."""

from __future__ import annotations

import fractions

import numpy as np
import pytest

from fastvi.core import validation

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.uint64, np.float16, np.float32, np.float64, np.longdouble]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_real_matrices_of_any_real_dtype(dtype, order):
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype, order=order)
    got = validation.real_matrix(x, "x", 3)
    np.testing.assert_array_equal(got, np.array([[0.0, 1, 1], [1, 0, 1]]), strict=True)
    assert got.flags.c_contiguous


@pytest.mark.parametrize("observed", [[True, False], [[True, False], [False, True]]])
@pytest.mark.parametrize("absent", [NAN, INF, -7.5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_not_observed_becomes_zero(observed, absent, order):
    mask = np.broadcast_to(np.array(observed), (2, 2))
    x = np.where(mask, [[1.5, 2.5], [-3.5, 4.5]], absent).copy(order=order)
    before = x.copy()
    got, kept = validation.observed_real_data(x, np.array(observed), 2)
    np.testing.assert_array_equal(got, np.where(mask, x, 0.0), strict=True)
    np.testing.assert_array_equal(kept, observed)
    np.testing.assert_array_equal(x, before)
    assert got.flags.c_contiguous


def test_data_without_a_mask_and_no_data():
    got, mask = validation.observed_real_data([[0.5]], None, 1)
    assert mask is None
    np.testing.assert_array_equal(got, np.array([[0.5]]), strict=True)
    assert validation.real_matrix(np.zeros((0, 3)), "x", 3).shape == (0, 3)
    assert validation.real_matrix(np.zeros((2, 0)), "x", 0).shape == (2, 0)
    assert validation.observed_real_data(np.zeros((0, 3)), np.ones((0, 3), bool), 3)[0].shape == (0, 3)


@pytest.mark.parametrize(
    "value", [1, 0.5, np.float32(0.5), np.int8(3), np.array(2.5), fractions.Fraction(1, 4), 5e-324]
)
def test_positive_floats(value):
    got = validation.positive_float(value, "scale")
    assert type(got) is float
    assert got == value
