"""Products prod_j (1 + prod_g row_g[j]) over a tile of pixels, in LLVM IR with vector types.

The kernel has a plain-loop twin.

Rows are entries of tables of exponentials, picked by the bits of a state. The order of all operations is
spelt out and nothing may be reassociated, so a state's product has the same bits wherever it is computed.

What bounds it is loads: one of each row for each vector of pixels. Measured on one Zen 1 core at 2.0 GHz,
784 pixels: 1.6 * 10^9 pixels a second for 3 groups (d = 20, 76 % of two 128-bit loads a cycle), 0.56 for 7
(d = 50) and 0.26 for 13 (d = 100), where the rows of a tile are in the second-level cache. Tiles of 8 or 32
pixels, groups of 4 to 6 bits and loops unrolled over groups were no faster.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.jit import JIT_DISABLED

LANES = 4  # products that are kept apart, in one vector
WIDTH = 16  # pixels of a tile: pixel p of a tile is in lane p % LANES
PIXELS_PER_LANE = WIDTH // LANES

_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


def multiply_rows_loops(products, at, table, tile_at, rows, row_at, num_groups):
    """Multiply products[at + lane] by the factors of a tile's pixels.

    A factor is 1 + prod_g table[tile_at + rows[row_at + g] * WIDTH + pixel].
    """
    factors = [0.0] * WIDTH
    for p in range(WIDTH):
        term = table[tile_at + rows[row_at] * WIDTH + p]
        for g in range(1, num_groups):
            term *= table[tile_at + rows[row_at + g] * WIDTH + p]
        factors[p] = 1.0 + term
    span = WIDTH // 2
    while span >= LANES:  # halves of a tile: the tree that is emitted
        for p in range(span):
            factors[p] *= factors[p + span]
        span //= 2
    for lane in range(LANES):
        products[at + lane] *= factors[lane]


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the product over a tile of pixels."""
    products, at, table, tile_at, rows, row_at, num_groups = args

    def data(number: int, value: Any) -> Any:
        return context.make_array(signature.args[number])(context, builder, value).data

    def vector_at(pointer: Any, count: int) -> Any:
        return builder.bitcast(builder.gep(pointer, [ir.Constant(_I64, count)]), _VECTOR.as_pointer())

    def row(group: Any) -> list[Any]:
        picked = builder.sext(builder.load(builder.gep(first_row, [group])), _I64)
        begin = builder.gep(tile, [builder.mul(picked, ir.Constant(_I64, WIDTH))])
        loads = [builder.load(vector_at(begin, v * LANES)) for v in range(PIXELS_PER_LANE)]
        for load in loads:
            load.align = 8
        return loads

    tile = builder.gep(data(2, table), [tile_at])
    first_row = builder.gep(data(4, rows), [row_at])
    start = row(ir.Constant(_I64, 0))
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    group = builder.phi(_I64)
    group.add_incoming(ir.Constant(_I64, 1), before)
    terms = [builder.phi(_VECTOR) for _ in start]
    for term, value in zip(terms, start, strict=True):
        term.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", group, num_groups), body, after)
    builder.position_at_end(body)
    for term, value in zip(terms, row(group), strict=True):
        term.add_incoming(builder.fmul(term, value), body)
    group.add_incoming(builder.add(group, ir.Constant(_I64, 1)), body)
    builder.branch(head)
    builder.position_at_end(after)
    one = ir.Constant(_VECTOR, [1.0] * LANES)
    factors = [builder.fadd(one, term) for term in terms]
    while len(factors) > 1:
        half = len(factors) // 2
        factors = [builder.fmul(a, b) for a, b in zip(factors[:half], factors[half:], strict=True)]
    where = builder.bitcast(builder.gep(data(0, products), [at]), _VECTOR.as_pointer())
    held = builder.load(where)
    held.align = 8
    builder.store(builder.fmul(held, factors[0]), where).align = 8
    return context.get_dummy_value()


@intrinsic
def _multiply_rows_emitted(typing_context, products, at, table, tile_at, rows, row_at, num_groups):
    """Multiply products[at + lane] by the factors of a tile's pixels."""
    n = types.intp
    return types.void(products, n, table, n, rows, n, n), _emit


multiply_rows = multiply_rows_loops if JIT_DISABLED else _multiply_rows_emitted
