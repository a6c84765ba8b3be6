"""Boltzmann machines and binary sparse coding: what wrong input gets."""

# ruff: noqa: E501

from __future__ import annotations

import cases
import numpy as np
import pytest

import fastvi
from fastvi.core import validation

NAN, INF = float("nan"), float("inf")
MACHINE, RESTRICTED, CODING = (
    cases.machine(4),
    cases.restricted(5, 3),
    cases.sparse_coding(5, 3, noise_std=0.5),
)


def machine(couplings=((0.0,) * 3,) * 3, bias=(0.0,) * 3):
    return fastvi.BoltzmannMachine(couplings, bias)


def restricted(weights=((0.0,) * 3,) * 4, visible_bias=(0.0,) * 4, hidden_bias=(0.0,) * 3):
    return fastvi.RestrictedBoltzmannMachine(weights, visible_bias, hidden_bias)


def coding(weights=((0.0,) * 3,) * 4, bias=(0.0,) * 4, noise_std=1.0, prior_logits=(0.0,) * 3):
    return fastvi.BinarySparseCoding(weights, bias, noise_std, prior_logits)


def spoiled(shape, value, *indices, dtype=float):
    array = np.zeros(shape, dtype=dtype)
    for index in indices:
        array[index] = value
    return array


def saved(path, model, **changes):
    """The file of ``model`` with some arrays replaced."""
    model.save(path)
    with np.load(path) as archive:
        arrays = {**archive, **changes}
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return path


# fmt: off
BOLTZMANN_MACHINE = [
    ("NaN coupling", lambda: machine(spoiled((3, 3), NAN, (2, 1), (1, 2))), ValueError, r"^couplings must not contain NaN, got nan at index \(1, 2\)$"),
    ("coupling of +inf", lambda: machine(spoiled((3, 3), INF, (2, 1), (1, 2))), ValueError, r"^couplings must be finite or -inf, got inf at index \(1, 2\)$"),
    ("not symmetric", lambda: machine([[0, 1, 0.5], [1, 0, 0], [0.25, 0, 0]]), ValueError, r"^couplings must be symmetric, got 0.5 at index \(0, 2\) and 0.25 at index \(2, 0\)$"),
    ("one-sided exclusion", lambda: machine(spoiled((3, 3), -INF, (2, 1))), ValueError, r"^couplings must be symmetric, got 0.0 at index \(1, 2\) and -inf at index \(2, 1\)$"),
    ("diagonal", lambda: machine(spoiled((3, 3), 2.0, (1, 1))), ValueError, r"^couplings must have a diagonal of 0, got 2.0 at index \(1, 1\)$"),
    ("diagonal of -inf", lambda: machine(spoiled((3, 3), -INF, (2, 2))), ValueError, r"^couplings must have a diagonal of 0, got -inf at index \(2, 2\)$"),
    ("not square", lambda: machine(np.zeros((3, 4))), ValueError, r"^couplings must have shape \(num_units >= 1, num_units\), got shape \(3, 4\)$"),
    ("no units", lambda: machine(np.zeros((0, 0)), []), ValueError, r"^couplings must have shape .* got shape \(0, 0\)$"),
    ("one axis", lambda: machine(np.zeros(3)), ValueError, r"^couplings must have 2 axes, got shape \(3,\)$"),
    ("complex couplings", lambda: machine(np.zeros((3, 3), complex)), TypeError, r"^couplings must be an array of real numbers, got dtype complex128"),
    ("couplings None", lambda: machine(None), TypeError, r"^couplings .* got dtype object \(from a NoneType\)$"),
    ("bias too long", lambda: machine(bias=np.zeros(4)), ValueError, r"^bias must have shape \(3,\), got shape \(4,\)$"),
    ("bias of -inf", lambda: machine(bias=[0, -INF, 0]), ValueError, r"^bias must be finite, got -inf at index 1$"),
    ("couplings overflow", lambda: machine(1e308 * (1 - np.eye(3))), ValueError, r"^couplings and bias must keep the sum of their finite \|values\| finite, got inf$"),
    ("bias overflows", lambda: machine(bias=[1e308] * 3), ValueError, r"^couplings and bias must keep .* got inf$"),
    ("z of 2", lambda: MACHINE.log_joint(None, [0, 2, 0, 0]), ValueError, r"^z must contain only 0 and 1, got 2 at index 1$"),
    ("z None", lambda: MACHINE.log_joint(None, None), TypeError, r"^z must be an array of 0 and 1 of shape \(\.\.\., 4\), got dtype object"),
    ("z of another length", lambda: MACHINE.log_joint(None, [0] * 3), ValueError, r"^z must have shape \(\.\.\., 4\), got shape \(3,\)$"),
    ("x of NaN", lambda: MACHINE.log_joint([0, NAN, 0, 0], [0] * 4), ValueError, r"^x must contain only 0 and 1, got nan at index 1$"),
    ("x of another length", lambda: MACHINE.log_joint([0] * 5, [0] * 4), ValueError, r"^x must have shape \(\.\.\., 4\), got shape \(5,\)$"),
    ("x and z do not fit", lambda: MACHINE.log_joint(np.zeros((2, 4)), np.zeros((5, 4))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(5,\)$"),
]

RESTRICTED_BOLTZMANN_MACHINE = [
    ("NaN weight", lambda: restricted(spoiled((4, 3), NAN, (2, 1))), ValueError, r"^weights must be finite, got nan at index \(2, 1\)$"),
    ("weight of -inf", lambda: restricted(spoiled((4, 3), -INF, (0, 2))), ValueError, r"^weights must be finite, got -inf at index \(0, 2\)$"),
    ("weights one axis", lambda: restricted(np.zeros(3)), ValueError, r"^weights must have 2 axes, got shape \(3,\)$"),
    ("no pixels", lambda: restricted(np.zeros((0, 3)), []), ValueError, r"^weights must have shape \(num_pixels >= 1, num_latents >= 1\), got shape \(0, 3\)$"),
    ("no latents", lambda: restricted(np.zeros((4, 0)), hidden_bias=[]), ValueError, r"^weights must have shape .* got shape \(4, 0\)$"),
    ("visible bias too short", lambda: restricted(visible_bias=[0] * 3), ValueError, r"^visible_bias must have shape \(4,\), got shape \(3,\)$"),
    ("hidden bias too long", lambda: restricted(hidden_bias=[0] * 4), ValueError, r"^hidden_bias must have shape \(3,\), got shape \(4,\)$"),
    ("NaN visible bias", lambda: restricted(visible_bias=[0, 0, NAN, 0]), ValueError, r"^visible_bias must be finite, got nan at index 2$"),
    ("infinite hidden bias", lambda: restricted(hidden_bias=[INF, 0, 0]), ValueError, r"^hidden_bias must be finite, got inf at index 0$"),
    ("overflow", lambda: restricted(np.full((4, 3), 1e308)), ValueError, r"^weights, visible_bias and hidden_bias must keep the sum of their \|values\| finite, got inf$"),
    ("x of 2", lambda: RESTRICTED.log_joint([0, 2, 0, 0, 0], [0] * 3), ValueError, r"^x must contain only 0 and 1, got 2 at index 1$"),
    ("x None", lambda: RESTRICTED.log_joint(None, [0] * 3), TypeError, r"^x must be an array of 0 and 1 of shape \(\.\.\., 5\), got dtype object"),
    ("z of another length", lambda: RESTRICTED.log_joint([0] * 5, [0] * 5), ValueError, r"^z must have shape \(\.\.\., 3\), got shape \(5,\)$"),
    ("x and z do not fit", lambda: RESTRICTED.log_joint(np.zeros((2, 5)), np.zeros((4, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(4,\)$"),
    ("free energy of 0.5", lambda: RESTRICTED.free_energy([0, 0, 0, 0, 0.5]), ValueError, r"^x must contain only 0 and 1, got 0.5 at index 4$"),
    ("free energy of another length", lambda: RESTRICTED.free_energy([0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(3,\)$"),
]

BINARY_SPARSE_CODING = [
    ("NaN weight", lambda: coding(spoiled((4, 3), NAN, (2, 1))), ValueError, r"^weights must be finite, got nan at index \(2, 1\)$"),
    ("no latents", lambda: coding(np.zeros((4, 0)), prior_logits=[]), ValueError, r"^weights must have shape \(num_pixels, num_latents >= 1\), got shape \(4, 0\)$"),
    ("bias too short", lambda: coding(bias=[0] * 3), ValueError, r"^bias must have shape \(4,\), got shape \(3,\)$"),
    ("infinite bias", lambda: coding(bias=[0, INF, 0, 0]), ValueError, r"^bias must be finite, got inf at index 1$"),
    ("prior too long", lambda: coding(prior_logits=[0] * 4), ValueError, r"^prior_logits must have shape \(3,\), got shape \(4,\)$"),
    ("infinite prior", lambda: coding(prior_logits=[0, -INF, 0]), ValueError, r"^prior_logits must be finite, got -inf at index 1$"),
    ("noise of 0", lambda: coding(noise_std=0), ValueError, r"^noise_std must be a finite number > 0, got 0 \(int\)$"),
    ("noise of -1.5", lambda: coding(noise_std=-1.5), ValueError, r"^noise_std must be a finite number > 0, got -1.5 \(float\)$"),
    ("noise of NaN", lambda: coding(noise_std=NAN), ValueError, r"^noise_std must be a finite number > 0, got nan \(float\)$"),
    ("infinite noise", lambda: coding(noise_std=INF), ValueError, r"^noise_std must be a finite number > 0, got inf \(float\)$"),
    ("noise True", lambda: coding(noise_std=True), TypeError, r"^noise_std must be a finite number > 0, got True \(bool\)$"),
    ("noise of each pixel", lambda: coding(noise_std=np.ones(4)), TypeError, r"^noise_std must be a finite number > 0, got an array of shape \(4,\) and dtype float64$"),
    ("noise of text", lambda: coding(noise_std="1"), TypeError, r"^noise_std must be a finite number > 0, got '1' \(str\)$"),
    ("overflow", lambda: coding(np.full((4, 3), 1e10), noise_std=1e-150), ValueError, r"^weights, bias and noise_std must keep sum .* finite, got inf$"),
    ("x of NaN", lambda: CODING.log_joint([0, NAN, 0, 0, 0], [0] * 3), ValueError, r"^x must be finite, got nan at index 1$"),
    ("infinite x", lambda: CODING.log_joint(spoiled((2, 5), INF, (1, 3)), [0] * 3), ValueError, r"^x must be finite, got inf at index \(1, 3\)$"),
    ("complex x", lambda: CODING.log_joint(np.zeros(5, complex), [0] * 3), TypeError, r"^x must be an array of real numbers of shape \(\.\.\., 5\), got dtype complex128"),
    ("x of another length", lambda: CODING.log_joint([0.5] * 4, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(4,\)$"),
    ("x without axes", lambda: CODING.log_joint(0.5, [0] * 3), ValueError, r"^x must have shape \(\.\.\., 5\), got shape \(\)$"),
    ("z of 0.5", lambda: CODING.log_joint([0.5] * 5, [0, 0.5, 0]), ValueError, r"^z must contain only 0 and 1, got 0.5 at index 1$"),
    ("x and z do not fit", lambda: CODING.log_joint(np.zeros((2, 5)), np.zeros((4, 3))), ValueError, r"^x.* and z.* broadcast, got shapes \(2,\) and \(4,\)$"),
    ("negative num", lambda: CODING.sample(-1, 0), ValueError, r"^num must be an int >= 0, got -1"),
    ("seed too large", lambda: CODING.sample(1, 2**64), ValueError, r"^seed .* < 2\*\*64, got 18446744073709551616"),
    ("seed None", lambda: CODING.sample(1, None), TypeError, r"^seed must be an int .* got None"),
]

VALIDATION = [
    ("one datum", lambda: validation.real_matrix(np.zeros(4), "x", 4), ValueError, r"^x must have shape \(num_data, 4\), got shape \(4,\): pass x\[None\] for one datum$"),
    ("other pixels", lambda: validation.real_matrix(np.zeros((2, 5)), "x", 4), ValueError, r"^x must have shape \(num_data, 4\), got shape \(2, 5\)$"),
    ("real NaN", lambda: validation.real_matrix(spoiled((2, 4), NAN, (1, 2)), "x", 4), ValueError, r"^x must be finite, got nan at index \(1, 2\)$"),
    ("observed NaN", lambda: validation.real_matrix(spoiled((2, 4), NAN, (1, 2)), "x", 4, observed=np.ones(4, bool)), ValueError, r"^x must be finite where it is observed, got nan at index \(1, 2\)$"),
    ("text", lambda: validation.real_matrix([["a"]], "x", 1), TypeError, r"^x must be an array of real numbers of shape \(num_data, 1\), got dtype <U1"),
    ("masked array", lambda: validation.real_matrix(np.ma.zeros((2, 4)), "x", 4), TypeError, r"^x .* got a masked array"),
    ("mask of 0 and 1", lambda: validation.observed_real_data(np.zeros((2, 4)), [0, 1, 1, 1], 4), TypeError, r"^observed must have dtype bool"),
    ("mask too short", lambda: validation.observed_real_data(np.zeros((2, 4)), [True] * 3, 4), ValueError, r"^observed must have shape \(4,\) or \(2, 4\), got shape \(3,\)$"),
    ("one datum with a mask", lambda: validation.observed_real_data(np.zeros(4), np.ones(4, bool), 4), ValueError, r"^x must have shape .* pass x\[None\]"),
    ("data None", lambda: validation.observed_real_data(None, np.ones(4, bool), 4), TypeError, r"^x must be an array of real numbers of shape \(num_data, 4\), got dtype object"),
    ("infinite where observed", lambda: validation.observed_real_data(np.full((2, 2), INF), np.array([False, True]), 2), ValueError, r"^x must be finite where it is observed, got inf at index \(0, 1\)$"),
    ("float None", lambda: validation.positive_float(None, "scale"), TypeError, r"^scale must be a finite number > 0, got None"),
    ("complex float", lambda: validation.positive_float(1j, "scale"), TypeError, r"^scale must be a finite number > 0, got 1j \(complex\)$"),
    ("boolean array", lambda: validation.positive_float(np.array(True), "scale"), TypeError, r"^scale must be a finite number > 0, got .*True"),
    ("int beyond the doubles", lambda: validation.positive_float(10**400, "scale"), ValueError, r"^scale must be a finite number > 0, got 10{56}\.\.\. \(int\)$"),
]
# fmt: on
TABLES = {
    "BoltzmannMachine": BOLTZMANN_MACHINE,
    "RestrictedBoltzmannMachine": RESTRICTED_BOLTZMANN_MACHINE,
    "BinarySparseCoding": BINARY_SPARSE_CODING,
    "validation": VALIDATION,
}
CASES = [
    pytest.param(call, exception, message, id=f"{table}: {name}")
    for table, rows in TABLES.items()
    for name, call, exception, message in rows
]


@pytest.mark.parametrize(("call", "exception", "message"), CASES)
def test_wrong_input(call, exception, message):
    with pytest.raises(exception, match=message) as caught:
        call()
    assert type(caught.value) is exception
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (MACHINE, {"couplings": np.ones((4, 4))}, "valid BoltzmannMachine.*couplings must have a diagonal"),
        (RESTRICTED, {"hidden_bias": np.zeros(2)}, "valid RestrictedBoltzmannMachine.*hidden_bias must have"),
        (CODING, {"noise_std": np.array(0.0)}, "valid BinarySparseCoding.*noise_std must be"),
        (CODING, {"noise_std": np.ones(2)}, "whole BinarySparseCoding.*noise_std must be"),
        (CODING, {"extra": np.ones(2)}, "whole BinarySparseCoding.*'extra'"),
    ],
)
def test_wrong_files(model, changes, message, tmp_path):
    path = saved(tmp_path / "model", model, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        fastvi.load(path)
    assert "\n" not in str(caught.value)
