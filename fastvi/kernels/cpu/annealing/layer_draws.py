"""Draws of UNITS units of a layer at once: logits, exponentials, random bits and comparisons in LLVM IR.

The kernel has a plain-loop twin. A unit is on where u < p 2^48 for a number u of 48 bits. Its highest 16 bits
nearly always tell; the low 32 are drawn where p 2^16 lies within their unit interval, once in 2^16 draws.
With small = exp(-|logit|) the chance is p = 1 / (1 + small) or small / (1 + small), so that no division is
needed to compare, and nothing overflows.

Unit 32 t + 8 v + i, i < 8, takes its bits from block 4 t + i // 2 of the generator (``words.py``), word i % 2
+ 2 (v // 2): the low half of it where v is even, the high half where it is odd. The low 32 bits are the same
word of block 2 (4 t + i // 2) + v % 2 with bit 31 set.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.cpu.annealing.words import TWO_32
from fastvi.kernels.cpu.random.philox_vectors import LANES, VECTOR, constant, emit_philox, splat
from fastvi.kernels.cpu.simd.exponentials import emit_exp_weight
from fastvi.kernels.jit import JIT_DISABLED, inline
from fastvi.kernels.philox import philox
from fastvi.kernels.scalar import exp_fast

UNITS = 32
_PART = 2 * LANES  # units whose bits come as one vector
_TWO_16 = 65536.0
_SECOND_WORDS = 1 << 31

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_HALVES = ir.VectorType(_I32, _PART)


def compare_loops(fields, at, bias, bias_at, beta, block, c1, c2, c3, k0, k1):
    """Return the bits of the units that are on, and from bit 32 on those of units that are left open.

    Unit j has the log odds bias[bias_at + j] + beta fields[at + j]. The counter of its part is (block + i //
    2, c1, c2, c3), the key (k0, k1).
    """
    number = fields.dtype.type
    on, open_ = 0, 0
    for j in range(UNITS):
        v, i = j // _PART, j % _PART
        words = philox(block + i // 2, c1, c2, c3, k0, k1)
        which = i % 2 + 2 * (v // 2)
        word = (words[0] if which == 0 else words[1]) if which < 2 else (words[2] if which == 2 else words[3])
        u = number((word >> 16) if v % 2 else (word & 0xFFFF))
        logit = bias[bias_at + j] + beta * fields[at + j]
        small = number(math.exp(-abs(logit)))
        whole = number(1.0) + small
        share = number(_TWO_16) * (number(1.0) if logit >= 0.0 else small)
        if u * whole + whole <= share:
            on |= 1 << j
        elif u * whole < share:
            open_ |= 1 << j
    return on | open_ << 32


def _everywhere(kind: ir.VectorType, value: float) -> ir.Constant:
    """Return a vector with a constant in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the comparison."""
    _, at, _, bias_at, beta, block, *rest = args
    size = signature.args[0].dtype.bitwidth // 8
    vector = ir.VectorType(beta.type, _PART)
    integers = ir.VectorType(ir.IntType(8 * size), _PART)
    c0 = builder.add(splat(builder, block), ir.Constant(VECTOR, list(range(LANES))))
    c1, c2, c3, k0, k1 = (splat(builder, value) for value in rest)
    words = emit_philox(builder, (c0, c1, c2, c3), (k0, k1))
    halves = []
    for k in (0, 2):
        pair = builder.bitcast(builder.or_(words[k], builder.shl(words[k + 1], constant(32))), _HALVES)
        halves.append(builder.and_(pair, _everywhere(_HALVES, 0xFFFF)))
        halves.append(builder.lshr(pair, _everywhere(_HALVES, 16)))

    def numbers(which: int, start: Any, first: int) -> Any:
        """Return a part's numbers of an array."""
        data = context.make_array(signature.args[which])(context, builder, args[which]).data
        place = builder.gep(data, [builder.add(start, ir.Constant(_I64, first))])
        load = builder.load(builder.bitcast(place, vector.as_pointer()))
        load.align = size
        return load

    def bits(flags: Any, first: int) -> Any:
        """Return a part's flags as bits of all units'."""
        return builder.shl(
            builder.zext(builder.bitcast(flags, ir.IntType(_PART)), _I64), ir.Constant(_I64, first)
        )

    blank = ir.Constant(vector, ir.Undefined)
    scale = builder.insert_element(blank, beta, ir.Constant(_I32, 0))
    scale = builder.shuffle_vector(scale, blank, ir.Constant(_HALVES, None))
    one, sign = _everywhere(vector, 1.0), _everywhere(integers, 1 << (8 * size - 1))
    on = possible = ir.Constant(_I64, 0)
    for v, half in enumerate(halves):
        u = builder.sitofp(half, vector)
        first = v * _PART
        logit = builder.fadd(numbers(2, bias_at, first), builder.fmul(scale, numbers(0, at, first)))
        negative = builder.bitcast(builder.or_(builder.bitcast(logit, integers), sign), vector)
        small = emit_exp_weight(builder, negative)
        whole = builder.fadd(one, small)
        share = builder.select(builder.fcmp_ordered(">=", logit, _everywhere(vector, 0.0)), one, small)
        share = builder.fmul(_everywhere(vector, _TWO_16), share)
        scaled = builder.fmul(u, whole)
        on = builder.or_(on, bits(builder.fcmp_ordered("<=", builder.fadd(scaled, whole), share), first))
        possible = builder.or_(possible, bits(builder.fcmp_ordered("<", scaled, share), first))
    left_open = builder.and_(possible, builder.not_(on))
    return builder.or_(on, builder.shl(left_open, ir.Constant(_I64, 32)))


@intrinsic
def _compare_emitted(typing_context, fields, at, bias, bias_at, beta, block, c1, c2, c3, k0, k1):
    """Compare the chances of units with random bits."""
    n = types.intp
    return types.int64(fields, n, bias, n, fields.dtype, *(types.int64,) * 6), _emit


compare = compare_loops if JIT_DISABLED else _compare_emitted


@inline
def _settled(logit, tile, j, counter):
    """Tell by the low bits of u whether unit ``j`` of a tile is on."""
    v, block = j // _PART, LANES * tile + j % _PART // 2
    which = j % 2 + 2 * (v // 2)
    w0, w1, w2, w3 = philox(
        counter.tag | block, counter.step, counter.chain, counter.datum, counter.key_low, counter.key_high
    )
    word = (w0 if which == 0 else w1) if which < 2 else (w2 if which == 2 else w3)
    high = (word >> 16) if v % 2 else (word & 0xFFFF)
    w0, w1, w2, w3 = philox(
        counter.tag | _SECOND_WORDS | (2 * block + v % 2), counter.step, counter.chain, counter.datum,
        counter.key_low, counter.key_high,
    )  # fmt: skip
    low = (w0 if which == 0 else w1) if which < 2 else (w2 if which == 2 else w3)
    small = exp_fast(-abs(logit))
    chance = (1.0 if logit >= 0.0 else small) / (1.0 + small)
    return low < (chance * _TWO_16 - high) * TWO_32


@inline
def draw_units(fields, at, bias, beta, tile, counter):
    """Return the bits of the units of a tile that are on.

    Unit j of the tile has the log odds bias[tile UNITS + j] + beta fields[at + j].
    """
    first = tile * UNITS
    drawn = compare(
        fields, at, bias, first, beta, counter.tag | (LANES * tile), counter.step, counter.chain,
        counter.datum, counter.key_low, counter.key_high,
    )  # fmt: skip
    on, left_open = drawn & 0xFFFFFFFF, (drawn >> 32) & 0xFFFFFFFF
    if left_open != 0:
        for j in range(UNITS):
            if (left_open >> j) & 1:
                logit = np.float64(bias[first + j] + beta * fields[at + j])
                on |= int(_settled(logit, tile, j, counter)) << j
    return on
