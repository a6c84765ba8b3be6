"""Four random bits for each of a few samples at once, in LLVM IR with vector types.

The kernel has a plain-loop twin.

LLVM does not vectorise a loop over ``philox``, in 32-bit types or in 64-bit ones: it takes the 64-bit
multiplication for a slow one and does not see that its factors have 32 bits. Measured on one Zen 1 core:
43 * 10^6 blocks of four words a second with the loop, 126 * 10^6 emitted.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.cpu.random.philox_vectors import constant, emit_philox, splat
from fastvi.kernels.jit import JIT_DISABLED, inline
from fastvi.kernels.philox import WORD, philox

LANES = 8  # samples: two vectors of AVX2, one's rounds wait for each other
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I64, LANES)


def _draw_bits(words, at, sample, block, datum, k0, k1, h0, h1, h2, h3, shift):
    """Draw four bits of LANES samples and put them, moved up by ``shift``, into words[at : at + LANES].

    A bit is set where word w of the generator is below threshold h_w. Lane c is sample ``sample + c``. The
    result is not 0 where a word equals its threshold.
    """
    ties = 0
    for c in range(LANES):
        bits, tie = one_draw(sample + c, block, datum, k0, k1, h0, h1, h2, h3)
        words[at + c] |= bits << shift
        ties |= tie
    return ties


@inline
def one_draw(sample, block, datum, k0, k1, h0, h1, h2, h3):
    """Return four bits of one sample, and whether a word equals its threshold."""
    w0, w1, w2, w3 = philox(block, sample & WORD, sample >> 32, datum, k0, k1)
    bits = int(w0 < h0) | (int(w1 < h1) << 1) | (int(w2 < h2) << 2) | (int(w3 < h3) << 3)
    return bits, int(w0 == h0) | int(w1 == h1) | int(w2 == h2) | int(w3 == h3)


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit four bits of LANES samples."""
    words, at, sample, block, datum, *keys_and_thresholds, shift = args

    k0, k1, *thresholds = (splat(builder, value, LANES) for value in keys_and_thresholds)
    samples = builder.add(splat(builder, sample, LANES), ir.Constant(_VECTOR, list(range(LANES))))
    low = builder.and_(samples, constant(WORD, LANES))
    high = builder.lshr(samples, constant(32, LANES))
    counter = splat(builder, block, LANES), low, high, splat(builder, datum, LANES)
    drawn_words = emit_philox(builder, counter, (k0, k1))
    bits, ties = constant(0, LANES), ir.Constant(ir.VectorType(ir.IntType(1), LANES), [0] * LANES)
    for number, (drawn, threshold) in enumerate(zip(drawn_words, thresholds, strict=True)):
        bit = builder.zext(builder.icmp_signed("<", drawn, threshold), _VECTOR)
        bits = builder.or_(bits, builder.shl(bit, constant(number, LANES)))
        ties = builder.or_(ties, builder.icmp_signed("==", drawn, threshold))
    array = context.make_array(signature.args[0])(context, builder, words)
    where = builder.bitcast(builder.gep(array.data, [at]), _VECTOR.as_pointer())
    old = builder.load(where)
    old.align = 8
    builder.store(builder.or_(old, builder.shl(bits, splat(builder, shift, LANES))), where).align = 8
    return builder.zext(builder.bitcast(ties, ir.IntType(LANES)), _I64)


@intrinsic
def _draw_bits_emitted(typing_context, words, at, sample, block, datum, k0, k1, h0, h1, h2, h3, shift):
    """Draw four bits of LANES samples."""
    return types.int64(words, types.intp, *(types.int64,) * 10), _emit


draw_bits = _draw_bits if JIT_DISABLED else _draw_bits_emitted
draw_bits_loops = _draw_bits
