"""Four random bits for each of a few samples at once, written in LLVM IR with vector types, and its
plain-loop twin.

LLVM does not vectorise a loop over ``philox``, in 32-bit types or in 64-bit ones: it takes the 64-bit
multiplication for a slow one and does not see that its factors have 32 bits. Measured on one Zen 1 core:
43 * 10^6 blocks of four words a second with the loop, 126 * 10^6 emitted.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fastvi.kernels.cpu.philox import MULTIPLIER_0, MULTIPLIER_1, WEYL_0, WEYL_1, WORD, philox
from fastvi.kernels.jit import JIT_DISABLED, inline

LANES = 4  # samples of one call

_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I64, LANES)


def _draw_bits(words, at, sample, block, datum, k0, k1, h0, h1, h2, h3, shift):
    """Or the bits (word w of the generator < threshold h_w), moved up by ``shift``, into words[at : at +
    LANES].

    Lane c is sample ``sample + c``. Returns other than 0 where a word equals its threshold.
    """
    ties = 0
    for c in range(LANES):
        bits, tie = one_draw(sample + c, block, datum, k0, k1, h0, h1, h2, h3)
        words[at + c] |= bits << shift
        ties |= tie
    return ties


@inline
def one_draw(sample, block, datum, k0, k1, h0, h1, h2, h3):
    """Four bits of one sample, and whether a word equals its threshold."""
    w0, w1, w2, w3 = philox(block, sample & WORD, sample >> 32, datum, k0, k1)
    bits = int(w0 < h0) | (int(w1 < h1) << 1) | (int(w2 < h2) << 2) | (int(w3 < h3) << 3)
    return bits, int(w0 == h0) | int(w1 == h1) | int(w2 == h2) | int(w3 == h3)


def _constant(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    words, at, sample, block, datum, *keys_and_thresholds, shift = args

    def splat(value: Any) -> Any:
        blank = ir.Constant(_VECTOR, ir.Undefined)
        one = builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(
            one, blank, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )

    word, half = _constant(WORD), _constant(32)
    k0, k1, *thresholds = (splat(value) for value in keys_and_thresholds)
    samples = builder.add(splat(sample), ir.Constant(_VECTOR, list(range(LANES))))
    c0, c1, c2, c3 = splat(block), builder.and_(samples, word), builder.lshr(samples, half), splat(datum)
    for number in range(10):
        # the masks show that the factors have 32 bits: one pmuludq each
        left = builder.mul(builder.and_(c0, word), _constant(MULTIPLIER_0))
        right = builder.mul(builder.and_(c2, word), _constant(MULTIPLIER_1))
        c0 = builder.xor(builder.xor(builder.lshr(right, half), c1), k0)
        c2 = builder.xor(builder.xor(builder.lshr(left, half), c3), k1)
        c1, c3 = builder.and_(right, word), builder.and_(left, word)
        if number < 9:
            k0 = builder.and_(builder.add(k0, _constant(WEYL_0)), word)
            k1 = builder.and_(builder.add(k1, _constant(WEYL_1)), word)
    bits, ties = _constant(0), ir.Constant(ir.VectorType(ir.IntType(1), LANES), [0] * LANES)
    for number, (drawn, threshold) in enumerate(zip((c0, c1, c2, c3), thresholds, strict=True)):
        bit = builder.zext(builder.icmp_signed("<", drawn, threshold), _VECTOR)
        bits = builder.or_(bits, builder.shl(bit, _constant(number)))
        ties = builder.or_(ties, builder.icmp_signed("==", drawn, threshold))
    array = arrayobj.make_array(signature.args[0])(context, builder, words)
    where = builder.bitcast(builder.gep(array.data, [at]), _VECTOR.as_pointer())
    old = builder.load(where)
    old.align = 8
    builder.store(builder.or_(old, builder.shl(bits, splat(shift))), where).align = 8
    return builder.zext(builder.bitcast(ties, ir.IntType(LANES)), _I64)


@intrinsic
def _draw_bits_emitted(typing_context, words, at, sample, block, datum, k0, k1, h0, h1, h2, h3, shift):
    return types.int64(words, types.intp, *(types.int64,) * 10), _emit


draw_bits = _draw_bits if JIT_DISABLED else _draw_bits_emitted
draw_bits_loops = _draw_bits
