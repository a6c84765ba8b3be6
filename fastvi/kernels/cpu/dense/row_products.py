"""Products prod_j (1 + prod_g row_g[j]) over a tile of pixels, some samples at a time.

In LLVM IR with vector types; the kernel has a plain-loop twin.

Rows are entries of tables of exponentials, picked by the bits of a state. A tile is one cache line of each
row: 8 pixels in float64, 16 in float32. The order of all operations is spelt out and nothing may be
reassociated, so a state's product has the same bits wherever it is computed, beside any other and with
vectors of any width.

What bounds it is loads: each row is read once and multiplied once. Measured on two Zen 3 cores, 100,000
samples of 784 pixels in float64: 19 groups (d = 100) take 53 ms, where a row a cycle would take 30, 3 groups
(d = 20) 12 ms; in float32 half of that. Before, one sample at a time through tiles of two lines that began
anywhere took 128 and 17 ms in the same minute. Tiles of 2 lines, 8 samples at a time and groups of other
sizes were no faster.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

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


def multiply_rows_loops(products, at, table, tile_at, starts, start_at, num_groups, num_blocks):
    """Multiply products[at + k * lanes + lane] by the factors of a tile's pixels, for all samples k.

    Samples are in blocks of SAMPLES. A factor of sample s of the block whose starts begin at b is
    1 + prod_g table[tile_at + starts[b + g * SAMPLES + s] + pixel].
    """
    lanes = LINE // table.itemsize // 2
    one = table.dtype.type(1.0)
    for k in range(num_blocks * SAMPLES):
        first = start_at + (k // SAMPLES) * num_groups * SAMPLES + k % SAMPLES
        for lane in range(lanes):
            begin = tile_at + starts[first] + lane
            low, high = table[begin], table[begin + lanes]
            for g in range(1, num_groups):
                begin = tile_at + starts[first + g * SAMPLES] + lane
                low, high = low * table[begin], high * table[begin + lanes]
            products[at + k * lanes + lane] *= (one + low) * (one + high)


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the products over a tile of pixels."""
    products, at, table, tile_at, starts, start_at, num_groups, num_blocks = args
    element_bytes = signature.args[2].dtype.bitwidth // 8
    element = ir.DoubleType() if element_bytes == 8 else ir.FloatType()
    width, lanes = tile_pixels(element_bytes), tile_lanes(element_bytes)
    line, half = ir.VectorType(element, width), ir.VectorType(element, lanes)

    def number(value: int) -> Any:
        return ir.Constant(_I64, value)

    def data(number: int, value: Any, first: Any) -> Any:
        return builder.gep(context.make_array(signature.args[number])(context, builder, value).data, [first])

    def load(pointer: Any, kind: Any) -> Any:
        found = builder.load(builder.bitcast(pointer, kind.as_pointer()))
        found.align = element_bytes
        return found

    def rows(first: Any) -> list[Any]:
        begins = [builder.zext(builder.load(builder.gep(first, [number(s)])), _I64) for s in range(SAMPLES)]
        return [load(builder.gep(tile, [begin]), line) for begin in begins]

    def part(value: Any, first: int) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(first, first + lanes)))
        return builder.shuffle_vector(value, ir.Constant(line, ir.Undefined), mask)

    def loop(name: str, first: int, last: Any) -> tuple[Any, Any, Any]:
        """Open a loop, entered from here; return its number, its body and the block after."""
        before = builder.block
        head, body, after = (builder.append_basic_block(name + part) for part in ("_head", "_body", "_after"))
        builder.branch(head)
        builder.position_at_end(head)
        count = builder.phi(_I64)
        count.add_incoming(number(first), before)
        return count, body, after

    def close(count: Any) -> None:
        count.add_incoming(builder.add(count, number(1)), builder.block)
        builder.branch(count.parent)

    tile, held = data(2, table, tile_at), data(0, products, at)
    first_starts = data(4, starts, start_at)
    block, block_body, done = loop("block", 0, num_blocks)
    builder.cbranch(builder.icmp_signed("<", block, num_blocks), block_body, done)
    builder.position_at_end(block_body)
    own = builder.gep(first_starts, [builder.mul(block, builder.mul(num_groups, number(SAMPLES)))])
    begin, before = rows(own), builder.block
    group, group_body, after = loop("group", 1, num_groups)
    terms = [builder.phi(line) for _ in begin]
    for term, value in zip(terms, begin, strict=True):
        term.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", group, num_groups), group_body, after)
    builder.position_at_end(group_body)
    picked = rows(builder.gep(own, [builder.mul(group, number(SAMPLES))]))
    for term, value in zip(terms, picked, strict=True):
        term.add_incoming(builder.fmul(term, value), group_body)
    close(group)
    builder.position_at_end(after)
    one = ir.Constant(line, [1.0] * width)
    block_products = builder.gep(held, [builder.mul(block, number(SAMPLES * lanes))])
    for s, term in enumerate(terms):
        factors = builder.fadd(one, term)
        factor = builder.fmul(part(factors, 0), part(factors, lanes))
        place = builder.gep(block_products, [number(s * lanes)])
        product = builder.fmul(load(place, half), factor)
        builder.store(product, builder.bitcast(place, half.as_pointer())).align = element_bytes
    close(block)
    builder.position_at_end(done)
    return context.get_dummy_value()


@intrinsic
def _multiply_rows_emitted(
    typing_context, products, at, table, tile_at, starts, start_at, num_groups, num_blocks
):
    """Multiply the products of blocks of samples by the factors of a tile's pixels."""
    n = types.intp
    return types.void(products, n, table, n, starts, n, n, n), _emit


multiply_rows = multiply_rows_loops if JIT_DISABLED else _multiply_rows_emitted
