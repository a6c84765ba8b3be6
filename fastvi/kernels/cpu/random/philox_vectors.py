"""Ten Philox rounds on vectors of words, as LLVM IR: LLVM does not vectorise a loop over ``philox``."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastvi.kernels.philox import MULTIPLIER_0, MULTIPLIER_1, WEYL_0, WEYL_1, WORD

LANES = 4  # words of a vector, 64 bits each of which the low 32 count
VECTOR = ir.VectorType(ir.IntType(64), LANES)


def constant(value: int, lanes: int = LANES) -> Any:
    """Return a vector with one constant in every lane."""
    return ir.Constant(ir.VectorType(ir.IntType(64), lanes), [value] * lanes)


def splat(builder: Any, value: Any, lanes: int = LANES) -> Any:
    """Return a vector with a 64-bit number in every lane."""
    blank = ir.Constant(ir.VectorType(ir.IntType(64), lanes), ir.Undefined)
    one = builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, blank, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def emit_philox(builder: Any, counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, ...]:
    """Return the four words of some counters, as vectors."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    lanes = c0.type.count
    word, half = constant(WORD, lanes), constant(32, lanes)
    for number in range(10):
        # the masks show that the factors have 32 bits: one pmuludq each
        left = builder.mul(builder.and_(c0, word), constant(MULTIPLIER_0, lanes))
        right = builder.mul(builder.and_(c2, word), constant(MULTIPLIER_1, lanes))
        c0 = builder.xor(builder.xor(builder.lshr(right, half), c1), k0)
        c2 = builder.xor(builder.xor(builder.lshr(left, half), c3), k1)
        c1, c3 = builder.and_(right, word), builder.and_(left, word)
        if number < 9:
            k0 = builder.and_(builder.add(k0, constant(WEYL_0, lanes)), word)
            k1 = builder.and_(builder.add(k1, constant(WEYL_1, lanes)), word)
    return c0, c1, c2, c3
