"""Vector code for one register tile: loads, stores, broadcasts, and the loop over the reduction axis."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastvi.kernels.shapes import RegisterTile

I32, I64 = ir.IntType(32), ir.IntType(64)


def _bytes(element: Any) -> int:
    """Bytes of one lane."""
    if isinstance(element, ir.IntType):
        return element.width // 8
    return 4 if isinstance(element, ir.FloatType) else 8


class Emitter:
    """Vector loads, stores and broadcasts for one register tile."""

    def __init__(
        self, context: Any, builder: Any, signature: Any, args: Any, tile: RegisterTile, element: Any
    ):
        self.context, self.builder, self.signature, self.args = context, builder, signature, args
        self.tile, self.element = tile, element
        self.vector = ir.VectorType(element, tile.lanes)
        self.cells = [(r, v) for r in range(tile.rows) for v in range(tile.vectors)]
        self.bytes = _bytes(element)

    def data(self, array: int) -> Any:
        """Address of the first element of the array args[array]."""
        make = self.context.make_array(self.signature.args[array])
        return make(self.context, self.builder, self.args[array]).data

    def array(self, array: int, at: int) -> Any:
        """Address of element args[at] of the array args[array]."""
        return self.builder.gep(self.data(array), [self.args[at]])

    def pointer(self, array: int) -> Any:
        """Address of element args[array + 1] of the array args[array]."""
        return self.array(array, array + 1)

    def offset(self, pointer: Any, count: int) -> Any:
        """Return the address ``count`` elements further on."""
        return self.builder.gep(pointer, [ir.Constant(I64, count)])

    def load(self, pointer: Any, count: int) -> Any:
        """Load a vector of whatever the address holds."""
        vector = ir.VectorType(pointer.type.pointee, self.tile.lanes)
        value = self.builder.load(self.builder.bitcast(self.offset(pointer, count), vector.as_pointer()))
        value.align = _bytes(vector.element)  # panels are only as aligned as their elements
        return value

    def store(self, value: Any, pointer: Any, count: int) -> None:
        """Store a vector."""
        where = self.builder.bitcast(self.offset(pointer, count), value.type.as_pointer())
        self.builder.store(value, where).align = _bytes(value.type.element)

    def splat(self, scalar: Any) -> Any:
        """Put a number into all lanes of a vector."""
        blank = ir.Constant(ir.VectorType(scalar.type, self.tile.lanes), ir.Undefined)
        one = self.builder.insert_element(blank, scalar, ir.Constant(I32, 0))
        mask = ir.Constant(ir.VectorType(I32, self.tile.lanes), [0] * self.tile.lanes)
        return self.builder.shuffle_vector(one, blank, mask)

    def broadcast(self, pointer: Any, count: int) -> Any:
        """Load a number into all lanes of a vector."""
        return self.splat(self.builder.load(self.offset(pointer, count)))

    def constant(self, element: Any, value: Any) -> Any:
        """Return a vector of equal constants."""
        return ir.Constant(ir.VectorType(element, self.tile.lanes), [value] * self.tile.lanes)

    def cell(self, r: int, v: int) -> int:
        """Return the place of a vector in a tile."""
        return r * self.tile.vectors * self.tile.lanes + v * self.tile.lanes

    def loop(self, left: Any, right: Any, length: Any, start: dict, step: Any, index: Any = None) -> dict:
        """Run ``step(accumulator, row scalar, column vector)`` over the reduction axis, in registers.

        With ``index`` it runs over the rows of ``right`` that it names.
        """
        builder, tile = self.builder, self.tile
        before = builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(I64)
        k.add_incoming(ir.Constant(I64, 0), before)
        held = {}
        for cell in self.cells:
            held[cell] = builder.phi(self.vector)
            held[cell].add_incoming(start[cell], before)
        builder.cbranch(builder.icmp_signed("<", k, length), body, after)
        builder.position_at_end(body)
        at_left = builder.gep(left, [builder.mul(k, ir.Constant(I64, tile.rows))])
        picked = k if index is None else builder.sext(builder.load(builder.gep(index, [k])), I64)
        at_right = builder.gep(right, [builder.mul(picked, ir.Constant(I64, tile.vectors * tile.lanes))])
        columns = [self.load(at_right, v * tile.lanes) for v in range(tile.vectors)]
        for r in range(tile.rows):
            row = self.broadcast(at_left, r)
            for v in range(tile.vectors):
                held[r, v].add_incoming(step(held[r, v], row, columns[v]), builder.block)
        k.add_incoming(builder.add(k, ir.Constant(I64, 1)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return held


def multiply_add(builder: Any) -> Any:
    """Return a step that adds row * column."""

    def step(held: Any, row: Any, column: Any) -> Any:
        return builder.fadd(held, builder.fmul(row, column, flags=("contract",)), flags=("contract",))

    return step


def product_step(builder: Any) -> Any:
    """Return a step that multiplies by row + column."""

    def step(held: Any, row: Any, column: Any) -> Any:
        return builder.fmul(held, builder.fadd(column, row))

    return step
