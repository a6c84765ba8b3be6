"""Loops over a row of log weights, 128 bytes at a step: maximum, sums, and what lies above a limit.

They are emitted as LLVM vectors of 16 doubles or 32 floats, whatever the processor's own width: so a row has
the same order of summation on all of them. The twins below are their oracle, and the path under
NUMBA_DISABLE_JIT=1.

float32 rows have float32 exponentials. The weights of a step are added to eight float32, each of four, which
are added up in float64: a sum of K terms would round K times in float32.

The loop of sums prefetches what comes two blocks later: it takes about as long to compute as to read, and
would else wait for memory in every loop of maxima (10.3 against 12.1 ms for 80 MB on two busy Zen 3 cores).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.cpu.simd.exponentials import (
    emit_exp_weight,
    exp_weight,
    exp_weight_32,
    multiply_add,
    splat,
)
from fastvi.kernels.jit import JIT_DISABLED, inline

STEP_BYTES = 128
BLOCK_BYTES = 8192  # what a loop of maxima reads, and the loop of sums after it from the first-level cache
MASK = 64  # entries that ``mask_above`` looks at
_LINE_BYTES = 64
_I8, _I32, _I64, _DOUBLE = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.DoubleType()


class _Row:
    """Vectors of the row args[0] from element args[1] on."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        self.builder, self.start = builder, builder.gep(data, [args[1]])
        element = (
            data.type.pointee
            if hasattr(data.type, "pointee")
            else context.get_data_type(signature.args[0].dtype)
        )
        self.bytes = signature.args[0].dtype.bitwidth // 8
        self.kind = ir.VectorType(element, STEP_BYTES // self.bytes)

    def load(self, at: Any) -> Any:
        """Load the vector that begins ``at`` elements further on."""
        where = self.builder.bitcast(self.builder.gep(self.start, [at]), self.kind.as_pointer())
        value = self.builder.load(where)
        value.align = self.bytes
        return value

    def prefetch(self, at: Any) -> None:
        """Ask for the vector that begins ``at`` elements further on. It may lie behind the end."""
        name, byte = "llvm.prefetch", _I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        function = self.builder.module.globals.get(name) or ir.Function(self.builder.module, kind, name)
        for line in range(0, STEP_BYTES, _LINE_BYTES):
            offset = self.builder.add(at, ir.Constant(_I64, line // self.bytes))
            where = self.builder.bitcast(self.builder.gep(self.start, [offset]), byte)
            read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
            self.builder.call(function, [where, read, keep, data])

    def loop(self, steps: Any, start: list[Any], step: Any) -> list[Any]:
        """Run ``step(element, accumulators)`` for each vector. Return the accumulators."""
        builder, before = self.builder, self.builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(_I64)
        k.add_incoming(ir.Constant(_I64, 0), before)
        held = [builder.phi(value.type) for value in start]
        for phi, value in zip(held, start, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", k, steps), body, after)
        builder.position_at_end(body)
        at = builder.mul(k, ir.Constant(_I64, self.kind.count))
        for phi, value in zip(held, step(at, held), strict=True):
            phi.add_incoming(value, builder.block)
        k.add_incoming(builder.add(k, ir.Constant(_I64, 1)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return held


def _broadcast(builder: Any, value: Any, kind: Any) -> Any:
    """Return a vector of one value."""
    blank = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(blank, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, blank, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count))


def _halves(builder: Any, value: Any) -> tuple[Any, Any]:
    """Return the lower and the upper half of a vector."""
    half, blank = value.type.count // 2, ir.Constant(value.type, ir.Undefined)
    picks = (list(range(first, first + half)) for first in (0, half))
    low, high = (
        builder.shuffle_vector(value, blank, ir.Constant(ir.VectorType(_I32, half), pick)) for pick in picks
    )
    return low, high


def _fold(builder: Any, value: Any, lanes: int, add: Any) -> Any:
    """Add the upper half to the lower one until ``lanes`` are left."""
    while value.type.count > lanes:
        value = add(*_halves(builder, value))
    return value


def _one_lane(builder: Any, value: Any, add: Any) -> Any:
    """Fold a vector to a number."""
    return builder.extract_element(_fold(builder, value, 1, add), ir.Constant(_I32, 0))


@intrinsic
def _largest_emitted(typing_context, row, at, steps, start):
    """Return the largest of ``start`` and so many steps of the row. NaN is passed over."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _Row(context, builder, signature, args)

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        def step(at: Any, held: list[Any]) -> list[Any]:
            return [larger(data.load(at), held[0])]

        (found,) = data.loop(args[2], [_broadcast(builder, args[3], data.kind)], step)
        return _one_lane(builder, found, larger)

    return row.dtype(row, types.intp, types.intp, row.dtype), codegen


@intrinsic
def _sums_emitted(typing_context, row, at, steps, shift):
    """Return the sums of w and w^2 for w = exp(entry - shift) over so many steps of the row."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _Row(context, builder, signature, args)
        single = data.bytes == 4
        shifts = _broadcast(builder, args[3], data.kind)
        block = ir.Constant(_I64, BLOCK_BYTES // data.bytes)

        def step(at: Any, held: list[Any]) -> list[Any]:
            data.prefetch(builder.add(at, block))
            weights = emit_exp_weight(builder, builder.fsub(data.load(at), shifts))
            if not single:
                return [builder.fadd(held[0], weights), multiply_add(builder, weights, weights, held[1])]
            low, high = _halves(builder, weights)
            squares = multiply_add(builder, high, high, builder.fmul(low, low))
            added = []
            for total, value in zip(held, (builder.fadd(low, high), squares), strict=True):
                eight = _fold(builder, value, 8, builder.fadd)
                added.append(builder.fadd(total, builder.fpext(eight, total.type)))
            return added

        zero = splat(ir.VectorType(_DOUBLE, 8 if single else 16), 0.0)
        sums = [_one_lane(builder, each, builder.fadd) for each in data.loop(args[2], [zero, zero], step)]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float64, 2)(row, types.intp, types.intp, row.dtype), codegen


@intrinsic
def _mask_emitted(typing_context, row, at, limit):
    """Return 64 bits: which of 64 entries from ``at`` on lie above the limit, or are NaN.

    What lies a row further on is prefetched.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = _Row(context, builder, signature, args)
        limits, bits = _broadcast(builder, args[2], data.kind), ir.Constant(_I64, 0)
        size = context.make_array(signature.args[0])(context, builder, args[0]).nitems
        for at in range(0, MASK, data.kind.count):
            data.prefetch(builder.add(size, ir.Constant(_I64, at)))
            above = builder.fcmp_unordered(">", data.load(ir.Constant(_I64, at)), limits)
            part = builder.zext(builder.bitcast(above, ir.IntType(data.kind.count)), _I64)
            bits = builder.or_(bits, builder.shl(part, ir.Constant(_I64, at)))
        return bits

    return types.int64(row, types.intp, row.dtype), codegen


@intrinsic
def _lowest_bit_emitted(typing_context, bits):
    """Return the number of the lowest bit that is set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


def _largest_loops(row, at, steps, start):
    """Plain-loop twin of ``largest_of``."""
    largest = start
    for i in range(at, at + steps * (STEP_BYTES // row.itemsize)):
        largest = row[i] if row[i] > largest else largest
    return largest


def _fold_loops(lanes, size):
    """Add the upper half to the lower one until ``size`` are left."""
    half = lanes.size
    while half > size:
        half //= 2
        for c in range(half):
            lanes[c] += lanes[c + half]


def _sums_loops(row, at, steps, shift):
    """Plain-loop twin of ``sums_of``."""
    single, lanes = row.itemsize == 4, STEP_BYTES // row.itemsize
    total, squares = np.zeros(8 if single else lanes), np.zeros(8 if single else lanes)
    for first in range(at, at + steps * lanes, lanes):
        weights = np.empty(lanes, row.dtype)
        for c in range(lanes):
            exponent = row[first + c] - shift
            weights[c] = exp_weight_32(exponent) if single else exp_weight(exponent)
        for sums, terms in ((total, weights), (squares, weights * weights)):
            _fold_loops(terms, sums.size)
            for c in range(sums.size):
                sums[c] += terms[c]
    _fold_loops(total, 1)
    _fold_loops(squares, 1)
    return total[0], squares[0]


def _mask_loops(row, at, limit):
    """Plain-loop twin of ``mask_above``."""
    bits = 0
    for i in range(MASK):
        if not row[at + i] <= limit:
            bits |= 1 << i
    return bits


def _lowest_bit(bits):
    """Plain twin of ``lowest_bit``."""
    return (bits & -bits).bit_length() - 1


largest_of = _largest_loops if JIT_DISABLED else _largest_emitted
sums_of = _sums_loops if JIT_DISABLED else _sums_emitted
mask_above = _mask_loops if JIT_DISABLED else _mask_emitted
lowest_bit = _lowest_bit if JIT_DISABLED else _lowest_bit_emitted


@inline
def fill_step(row, first, last, step):
    """Set ``step`` to row[first:last], and to -inf behind it."""
    for c in range(step.size):
        step[c] = row[first + c] if first + c < last else -np.inf
