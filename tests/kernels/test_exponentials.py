"""Exponentials of log weights against 40 digits, as plain loops and as emitted vectors."""

from __future__ import annotations

import math

import mpmath
import numba
import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fastvi.kernels.cpu.simd.exponentials import emit_exp_weight, exp_weight, exp_weight_32, expm1_weight
from fastvi.kernels.jit import JIT_DISABLED, kernel

LANES = 8
# half a unit of a result in [1/2, 2) is at most 2^-53 of it; so is what the sums before it round. log(2) is
# one number, with an error of 2^-55; without fused multiply-adds n log(2) is rounded, to 2^-53
EPS = {np.float64: 2.0**-53, np.float32: 2.0**-24}
LOWEST = {np.float64: -708.3, np.float32: -87.3}


@kernel
def run(x, out):
    for i in range(x.size):
        out[i] = exp_weight(x[i])


@kernel
def run_minus_one(x, out):
    for i in range(x.size):
        out[i] = expm1_weight(x[i])


@kernel
def run_32(x, out):
    for i in range(x.size):
        out[i] = exp_weight_32(x[i])


@intrinsic
def _vector(typing_context, x, at, out):
    """Set eight entries of out."""

    def codegen(context, builder, signature, args):
        kind = ir.VectorType(context.get_data_type(x.dtype), LANES)
        source, target = (
            builder.bitcast(
                builder.gep(
                    arrayobj.make_array(signature.args[i])(context, builder, args[i]).data, [args[1]]
                ),
                kind.as_pointer(),
            )
            for i in (0, 2)
        )
        loaded = builder.load(source)
        loaded.align = 4
        builder.store(emit_exp_weight(builder, loaded), target).align = 4
        return context.get_dummy_value()

    return types.void(x, types.intp, out), codegen


@kernel
def run_emitted(x, out):
    for i in range(0, x.size, LANES):
        _vector(x, i, out)


RUNS = [(np.float64, run), (np.float32, run_32)]
if not JIT_DISABLED:
    RUNS += [(np.float64, run_emitted), (np.float32, run_emitted)]
each_run = pytest.mark.parametrize(("dtype", "function"), RUNS)


def values(function, x, dtype):
    padded = np.zeros(-(-len(x) // LANES) * LANES, dtype)
    padded[: len(x)] = x
    out = np.empty(padded.size, dtype)
    function(padded, out)
    return out[: len(x)]


@each_run
@pytest.mark.parametrize("scale", [1.0, 0.05, 1e-3, 1e-9])
def test_error(dtype, function, scale):
    rng = np.random.default_rng(0)
    x = (scale * LOWEST[dtype] * rng.uniform(size=300)).astype(dtype)
    with mpmath.workdps(40):
        exact = [mpmath.exp(mpmath.mpf(float(t))) for t in x]
    for t, found, want in zip(x.tolist(), values(function, x, dtype).tolist(), exact, strict=True):
        assert abs(float((found - want) / want)) <= (2 + 1.25 * abs(t)) * EPS[dtype]


@pytest.mark.parametrize("scale", [700.0, 1.0, 1e-3, 1e-9, 1e-300])
def test_error_of_minus_one(scale):
    x = -scale * np.random.default_rng(1).uniform(size=300)
    with mpmath.workdps(40):
        exact = [mpmath.expm1(mpmath.mpf(float(t))) for t in x]
    for found, want in zip(values(run_minus_one, x, np.float64).tolist(), exact, strict=True):
        # the error of e^x, at most 2.3 EPS where x <= -0.34 and e^x - 1 <= -0.29, and two roundings more
        assert abs(float((found - want) / want)) <= 10 * EPS[np.float64]


@each_run
def test_ends_of_the_range(dtype, function):
    low = LOWEST[dtype]
    found = values(function, [0.0, -0.0, low, 1.01 * low, -1e30, -math.inf], dtype)
    assert (found[:2] == 1.0).all()
    assert (found[3:] == found[3]).all()
    tiny = np.finfo(dtype).tiny
    assert tiny <= found[3] <= found[2] <= 1.2 * tiny


@each_run
@pytest.mark.parametrize("payload", [0, 1, 5, 0xFFF])
@pytest.mark.parametrize("sign", [0, 1])
def test_nan_of_any_payload_stays_nan(dtype, function, payload, sign):
    if dtype is np.float64:
        bits = np.array([sign << 63 | 0x7FF8 << 48 | payload], np.uint64)
    else:
        bits = np.array([sign << 31 | 0x7FC0 << 16 | payload], np.uint32)
    assert np.isnan(values(function, bits.view(dtype), dtype)).all()


@pytest.mark.needs_jit
@pytest.mark.parametrize(("dtype", "function"), RUNS[:2])
def test_loops_are_vectorised(dtype, function):
    fresh = numba.njit(function.py_func)  # code from the cache cannot be inspected
    fresh(np.ones(4, dtype), np.ones(4, dtype))
    (code,) = fresh.inspect_llvm().values()
    assert f"x {'double' if dtype is np.float64 else 'float'}>" in code
