"""Products prod_j (1 + prod_g row_g[j]) over a tile of pixels, some samples at a time.

In LLVM IR with vector types; the kernel has a plain-loop twin.

Rows are entries of tables of exponentials, picked by the bits of a state. A tile is one cache line of each
row: 8 pixels in float64, 16 in float32. The order of all operations is spelt out and nothing may be
reassociated, so a state's product has the same bits wherever it is computed, beside any other and with
vectors of any width.

What bounds it is loads: each row is read once and multiplied once. Measured on two Zen 3 cores, 784 pixels,
100,000 samples in float64: 13 groups of 8 bits take 77 ms, 52 where the next tile is fetched meanwhile; 19
groups of up to 6 bits 57 and 49 ms; 25 groups of 4, whose tile stays in the first-level cache, 53-62 ms. In
float32 half of that. One sample at a time is 2 to 4 ms slower, at three groups 22 ms against 10. A tile of
two lines that do not begin at a line took 144 ms.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from fastvi.kernels.host import MATMUL_64
from fastvi.kernels.jit import JIT_DISABLED

LINE = 64  # bytes of a row of a tile
SAMPLES = 2 if MATMUL_64.lanes < 4 else 4  # at a time: two vectors each of AVX2, and of 16 registers half

_I64 = ir.IntType(64)


def tile_pixels(element_bytes: int) -> int:
    """Return the number of pixels of a tile."""
    return LINE // element_bytes


def tile_lanes(element_bytes: int) -> int:
    """Return the number of products that are kept apart: pixel p of a tile is in lane p % lanes."""
    return LINE // element_bytes // 2


def multiply_rows_loops(products, at, table, tile_at, starts, start_at, num_groups):
    """Multiply products[at + s * lanes + lane] by the factors of a tile's pixels, for SAMPLES samples s.

    A factor is 1 + prod_g table[tile_at + starts[start_at + g * SAMPLES + s] + pixel].
    """
    lanes = LINE // table.itemsize // 2
    for s in range(SAMPLES):
        for lane in range(lanes):
            begin = tile_at + starts[start_at + s] + lane
            low, high = table[begin], table[begin + lanes]
            for g in range(1, num_groups):
                begin = tile_at + starts[start_at + g * SAMPLES + s] + lane
                low, high = low * table[begin], high * table[begin + lanes]
            one = table.dtype.type(1.0)
            products[at + s * lanes + lane] *= (one + low) * (one + high)


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the products over a tile of pixels."""
    products, at, table, tile_at, starts, start_at, num_groups = args
    element_bytes = signature.args[2].dtype.bitwidth // 8
    element = ir.DoubleType() if element_bytes == 8 else ir.FloatType()
    width, lanes = tile_pixels(element_bytes), tile_lanes(element_bytes)
    line, half = ir.VectorType(element, width), ir.VectorType(element, lanes)

    def data(number: int, value: Any) -> Any:
        return arrayobj.make_array(signature.args[number])(context, builder, value).data

    tile = builder.gep(data(2, table), [tile_at])
    first = builder.gep(data(4, starts), [start_at])

    def load(pointer: Any, kind: Any) -> Any:
        found = builder.load(builder.bitcast(pointer, kind.as_pointer()))
        found.align = element_bytes
        return found

    def rows(group: Any) -> list[Any]:
        own = builder.mul(group, ir.Constant(_I64, SAMPLES))
        places = [builder.gep(first, [builder.add(own, ir.Constant(_I64, s))]) for s in range(SAMPLES)]
        begins = [builder.zext(builder.load(place), _I64) for place in places]
        return [load(builder.gep(tile, [begin]), line) for begin in begins]

    def part(value: Any, first: int) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(first, first + lanes)))
        return builder.shuffle_vector(value, ir.Constant(line, ir.Undefined), mask)

    start = rows(ir.Constant(_I64, 0))
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    group = builder.phi(_I64)
    group.add_incoming(ir.Constant(_I64, 1), before)
    terms = [builder.phi(line) for _ in start]
    for term, value in zip(terms, start, strict=True):
        term.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", group, num_groups), body, after)
    builder.position_at_end(body)
    for term, value in zip(terms, rows(group), strict=True):
        term.add_incoming(builder.fmul(term, value), body)
    group.add_incoming(builder.add(group, ir.Constant(_I64, 1)), body)
    builder.branch(head)
    builder.position_at_end(after)
    one, held = ir.Constant(line, [1.0] * width), builder.gep(data(0, products), [at])
    for s, term in enumerate(terms):
        factors = builder.fadd(one, term)
        factor = builder.fmul(part(factors, 0), part(factors, lanes))
        place = builder.gep(held, [ir.Constant(_I64, s * lanes)])
        product = builder.fmul(load(place, half), factor)
        builder.store(product, builder.bitcast(place, half.as_pointer())).align = element_bytes
    return context.get_dummy_value()


@intrinsic
def _multiply_rows_emitted(typing_context, products, at, table, tile_at, starts, start_at, num_groups):
    """Multiply the products of SAMPLES samples by the factors of a tile's pixels."""
    n = types.intp
    return types.void(products, n, table, n, starts, n, n), _emit


multiply_rows = multiply_rows_loops if JIT_DISABLED else _multiply_rows_emitted
