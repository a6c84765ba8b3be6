"""The harness itself: known answers, and every kind of fault found in a kernel that has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from harness.offline import compile_ptx
from numba import cuda, types
from optional import needs_gcc

pytestmark = needs_gcc()
REALS = types.float64[::1]


def run(function, signature, grid, block, *arguments, check=True, schedule=0):
    from harness.ptx_kernel import PtxKernel

    PtxKernel(compile_ptx(function, signature), check=check).launch(grid, block, arguments, schedule=schedule)


def reverse(x):
    held = cuda.shared.array(64, types.float64)
    t = cuda.threadIdx.x
    held[t] = x[cuda.blockIdx.x * 64 + t]
    cuda.syncthreads()
    x[cuda.blockIdx.x * 64 + t] = held[63 - t]


@pytest.mark.parametrize("schedule", [0, 1, 7, 99])
@pytest.mark.parametrize("check", [False, True])
def test_a_correct_kernel(check, schedule):
    x = np.arange(128.0)
    run(reverse, (REALS,), 2, 64, x, check=check, schedule=schedule)
    np.testing.assert_array_equal(x, np.r_[63:-1:-1, 127:63:-1])


def arithmetic(x, whole, out):
    i = cuda.threadIdx.x
    if i < x.size:
        w = whole[i]
        out[0, i] = math.exp(x[i]) / (1.0 + x[i] * x[i])
        out[1, i] = float((w >> 3) ^ (w << 5) & 0xFFFF) - float(w % 7) * float(w // 5)
        out[2, i] = float(np.int64(math.floor(x[i] * 10.0))) + max(x[i], 0.25) - min(float(w), 2.0)
        out[3, i] = float(np.float32(x[i]) * np.float32(3.0) + np.float32(0.1))


def test_arithmetic_is_that_of_the_definition():
    x = np.array([0.0, 0.3, -1.7, 2.5, -0.25])
    whole = np.array([0, 1, 17, 12345, 1 << 40])
    out = np.zeros((4, 5))
    run(arithmetic, (REALS, types.int64[::1], types.float64[:, ::1]), 1, 32, x, whole, out)
    np.testing.assert_allclose(out[0], np.exp(x) / (1.0 + x * x), rtol=4e-16)
    bits = [float((w >> 3) ^ (w << 5) & 0xFFFF) - float(w % 7) * float(w // 5) for w in whole.tolist()]
    np.testing.assert_array_equal(out[1], bits)
    np.testing.assert_array_equal(out[2], np.floor(x * 10.0) + np.maximum(x, 0.25) - np.minimum(whole, 2.0))
    np.testing.assert_allclose(out[3], x.astype(np.float32) * np.float32(3.0) + np.float32(0.1), rtol=1e-7)


def count(x, total):
    cuda.atomic.add(total, 0, x[cuda.grid(1)])
    cuda.atomic.max(total, 1, x[cuda.grid(1)])


def test_atomic_operations_are_no_race():
    x, total = np.arange(64), np.zeros(2, np.int64)
    run(count, (types.int64[::1], types.int64[::1]), 2, 32, x, total)
    assert total.tolist() == [2016, 63]


def no_barrier(x):
    held = cuda.shared.array(64, types.float64)
    t = cuda.threadIdx.x
    held[t] = float(t)
    x[t] = held[63 - t]


def beyond_shared(x):
    held = cuda.shared.array(64, types.float64)
    t = cuda.threadIdx.x
    held[t + 1] = float(t)
    cuda.syncthreads()
    x[t] = held[t]


def beyond_global(x):
    x[cuda.grid(1)] = 1.0


def half_wait(x):
    t = cuda.threadIdx.x
    if t < 32:
        cuda.syncthreads()
    x[t] = 1.0


def neighbours(x):
    t = cuda.threadIdx.x
    x[t] = x[(t + 1) % 64] + 1.0


def other_blocks(x):
    t = cuda.grid(1)
    x[t] = 1.0
    x[(t + 64) % x.size] = 2.0


@pytest.mark.parametrize("schedule", [0, 5])
@pytest.mark.parametrize(
    ("function", "grid", "size", "message"),
    [
        (no_barrier, 1, 64, r"^race in shared memory \(PTX line \d+, block 0,0, thread \d+\)$"),
        (beyond_shared, 1, 64, r"^out of bounds: shared memory"),
        (beyond_global, 1, 60, r"^out of bounds: global memory"),
        (half_wait, 1, 64, r"^divergent barrier: 32 threads have ended"),
        (neighbours, 1, 64, r"^race in global memory"),
        (other_blocks, 2, 128, r"^race: another block of the launch wrote this"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_faults_are_found(function, grid, size, message, schedule):
    from harness.ptx_kernel import PtxError

    with pytest.raises(PtxError, match=message):
        run(function, (REALS,), grid, 64, np.zeros(size), schedule=schedule)


def test_a_write_to_what_is_read_only_is_found():
    from harness.ptx_kernel import PtxError

    x = np.zeros(64)
    x.flags.writeable = False
    with pytest.raises(PtxError, match="write to a read-only argument"):
        run(beyond_global, (REALS,), 1, 64, x)


def two_at_a_time(x, out):
    held = cuda.shared.array(66, types.float64, alignment=16)
    t = np.uint64(cuda.threadIdx.x)
    held[t] = x[t]
    cuda.syncthreads()
    # the compiler joins the two loads to one of 16 bytes, which it may as 2 t is even
    out[t] = (
        held[np.uint64(2) * (t // np.uint64(2))] + held[np.uint64(2) * (t // np.uint64(2)) + np.uint64(1)]
    )


def test_loads_of_two_numbers():
    x, out = np.arange(64.0), np.zeros(64)
    ptx = compile_ptx(two_at_a_time, (REALS, REALS))
    assert "ld.shared.v2.f64" in ptx
    run(two_at_a_time, (REALS, REALS), 1, 64, x, out)
    np.testing.assert_array_equal(out, np.repeat(x[::2] + x[1::2], 2))


def test_an_unaligned_load_is_found():
    from harness.ptx_kernel import PtxError, PtxKernel

    ptx = compile_ptx(two_at_a_time, (REALS, REALS))
    lines = [line.replace("]", "+8]") if "ld.shared.v2.f64" in line else line for line in ptx.split("\n")]
    with pytest.raises(PtxError, match="unaligned access"):
        PtxKernel("\n".join(lines), check=True).launch(1, 64, (np.zeros(64), np.zeros(64)))


def test_what_is_not_known_is_refused():
    from harness.ptx_translation import Translation

    def votes(x):
        x[cuda.threadIdx.x] = float(cuda.ballot_sync(0xFFFFFFFF, x[0] > 0.0))

    with pytest.raises(NotImplementedError, match="vote"):
        Translation(compile_ptx(votes, (REALS,)))


def test_the_number_of_parameters_is_checked():
    with pytest.raises(TypeError, match="takes 7 parameters, got 14"):
        run(reverse, (REALS,), 1, 64, np.zeros(64), np.zeros(64))
