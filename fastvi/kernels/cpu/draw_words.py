"""Sixteen random 32-bit words at once, written in LLVM IR with vector types, and its plain-loop twin.

As for ``draw_bits``, LLVM does not vectorise a loop over ``philox``. Here the words themselves are wanted,
those of four blocks one after another: every word of them is compared with a threshold of its own.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fastvi.kernels.cpu.philox import MULTIPLIER_0, MULTIPLIER_1, WEYL_0, WEYL_1, WORD, philox
from fastvi.kernels.jit import JIT_DISABLED

LANES = 4  # blocks of one call
NUM_WORDS = 4 * LANES

_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I64, LANES)
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_TWO_52, _TWO_52_BITS = 4503599627370496.0, 0x4330000000000000  # a word or-ed into 2^52 is 2^52 + word


def draw_words_loops(out, at, block, c1, c2, c3, k0, k1):
    """out[at + 4 w + lane] = word w of counter (block + lane, c1, c2, c3) and key (k0, k1), as float64."""
    for lane in range(LANES):
        words = philox(block + lane, c1, c2, c3, k0, k1)
        for w in range(4):
            out[at + LANES * w + lane] = float(words[w])


def _constant(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * LANES)


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    out, at, block, *rest = args

    def splat(value: Any) -> Any:
        blank = ir.Constant(_VECTOR, ir.Undefined)
        one = builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(
            one, blank, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )

    word, half = _constant(WORD), _constant(32)
    c0 = builder.add(splat(block), ir.Constant(_VECTOR, list(range(LANES))))
    c1, c2, c3, k0, k1 = (splat(value) for value in rest)
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
    data = arrayobj.make_array(signature.args[0])(context, builder, out).data
    for w, drawn in enumerate((c0, c1, c2, c3)):
        number = builder.bitcast(builder.or_(drawn, _constant(_TWO_52_BITS)), _DOUBLES)
        number = builder.fsub(number, ir.Constant(_DOUBLES, [_TWO_52] * LANES))
        where = builder.gep(data, [builder.add(at, ir.Constant(_I64, LANES * w))])
        builder.store(number, builder.bitcast(where, _DOUBLES.as_pointer())).align = 8
    return context.get_dummy_value()


@intrinsic
def _draw_words_emitted(typing_context, out, at, block, c1, c2, c3, k0, k1):
    return types.void(out, types.intp, *(types.int64,) * 6), _emit


draw_words = draw_words_loops if JIT_DISABLED else _draw_words_emitted
