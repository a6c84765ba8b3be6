"""Sixteen random 32-bit words at once, in LLVM IR with vector types.

The kernel has a plain-loop twin.

As for ``draw_bits``, LLVM does not vectorise a loop over ``philox``. Here the words themselves are wanted,
those of four blocks one after another: every word of them is compared with a threshold of its own.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.cpu.random.philox_vectors import LANES, VECTOR, constant, emit_philox, splat
from fastvi.kernels.jit import JIT_DISABLED
from fastvi.kernels.philox import philox

NUM_WORDS = 4 * LANES

_I64 = ir.IntType(64)
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_TWO_52, _TWO_52_BITS = 4503599627370496.0, 0x4330000000000000  # a word or-ed into 2^52 is 2^52 + word


def draw_words_loops(out, at, block, c1, c2, c3, k0, k1):
    """Set out[at + 4 w + lane] to word w of counter (block + lane, c1, c2, c3) and key (k0, k1).

    Words are float64.
    """
    for lane in range(LANES):
        words = philox(block + lane, c1, c2, c3, k0, k1)
        for w in range(4):
            out[at + LANES * w + lane] = float(words[w])


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit sixteen words."""
    out, at, block, *rest = args

    c0 = builder.add(splat(builder, block), ir.Constant(VECTOR, list(range(LANES))))
    c1, c2, c3, k0, k1 = (splat(builder, value) for value in rest)
    drawn_words = emit_philox(builder, (c0, c1, c2, c3), (k0, k1))
    data = context.make_array(signature.args[0])(context, builder, out).data
    for w, drawn in enumerate(drawn_words):
        number = builder.bitcast(builder.or_(drawn, constant(_TWO_52_BITS)), _DOUBLES)
        number = builder.fsub(number, ir.Constant(_DOUBLES, [_TWO_52] * LANES))
        where = builder.gep(data, [builder.add(at, ir.Constant(_I64, LANES * w))])
        builder.store(number, builder.bitcast(where, _DOUBLES.as_pointer())).align = 8
    return context.get_dummy_value()


@intrinsic
def _draw_words_emitted(typing_context, out, at, block, c1, c2, c3, k0, k1):
    """Draw sixteen words."""
    return types.void(out, types.intp, *(types.int64,) * 6), _emit


draw_words = draw_words_loops if JIT_DISABLED else _draw_words_emitted
