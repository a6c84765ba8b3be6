"""Ten Philox rounds on vectors of words, as LLVM IR: LLVM does not vectorise a loop over ``philox``."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastvi.kernels.philox import MULTIPLIER_0, MULTIPLIER_1, WEYL_0, WEYL_1, WORD

LANES = 4  # words of a vector, 64 bits each of which the low 32 count
VECTOR = ir.VectorType(ir.IntType(64), LANES)


def constant(value: int) -> Any:
    """Return a vector with one constant in every lane."""
    return ir.Constant(VECTOR, [value] * LANES)


def splat(builder: Any, value: Any) -> Any:
    """Return a vector with a 64-bit number in every lane."""
    blank = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, blank, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def emit_philox(builder: Any, counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, ...]:
    """Return the four words of LANES counters, as vectors."""
    word, half = constant(WORD), constant(32)
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for number in range(10):
        # the masks show that the factors have 32 bits: one pmuludq each
        left = builder.mul(builder.and_(c0, word), constant(MULTIPLIER_0))
        right = builder.mul(builder.and_(c2, word), constant(MULTIPLIER_1))
        c0 = builder.xor(builder.xor(builder.lshr(right, half), c1), k0)
        c2 = builder.xor(builder.xor(builder.lshr(left, half), c3), k1)
        c1, c3 = builder.and_(right, word), builder.and_(left, word)
        if number < 9:
            k0 = builder.and_(builder.add(k0, constant(WEYL_0)), word)
            k1 = builder.and_(builder.add(k1, constant(WEYL_1)), word)
    return c0, c1, c2, c3
