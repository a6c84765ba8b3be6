"""Log probability of a line of Bernoulli pixels and its derivative in the logits, in LLVM IR.

With s = e^-|eta| it is x eta - softplus(eta) = (x eta - max(eta, 0)) - log(1 + s) for each pixel, of which
the products of 1 + s wait for one logarithm, and the derivative is x - sigmoid(eta), sigmoid(eta) being 1 or
s, over 1 + s. The exponential is right to a unit in the last place, and 0 where it would be denormal.

Vectors are spelt out, and so is the tree by which a line is summed. The twin does the same in plain loops.
A line's instructions are as many as a Zen 3 core looks ahead, so that few lines are under way at a time: with
Taylor's polynomials, sixteen doubles at a time and signs by comparison a line took 1.4 times as long.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvi.kernels.cpu.dense.line_tables import LINE
from fastvi.kernels.jit import JIT_DISABLED

_I32, _I64 = ir.IntType(32), ir.IntType(64)


class _Format(NamedTuple):
    """Numbers by which e^x is computed for x <= 0."""

    integer: Any
    fraction: int  # bits
    sign: int
    lowest: float  # e^lowest is normal
    rounder: float  # adding it leaves an integer in the lowest bits
    ln2_high: float  # n * ln2_high is exact
    ln2_low: float
    series: tuple[float, ...]  # q of e^r = 1 + r + r^2 q(r), by its values at Chebyshev's nodes


# of the relative errors for |r| <= log(2) / 2, the largest are 1.6e-17 and 1.0e-8
_DOUBLE = _Format(
    _I64, 52, 1 << 63, -708.0, 6755399441055744.0, 6.93147180369123816490e-01, 1.90821492927058770002e-10,
    (
        0.5000000000000001, 0.16666666666666669, 0.04166666666662413, 0.008333333333330062,
        0.0013888888917213717, 0.00019841269863053618, 2.4801521295954376e-05, 2.7557268459997064e-06,
        2.7620088445409746e-07, 2.510038549551032e-08,
    ),
)  # fmt: skip
_SINGLE = _Format(
    _I32, 23, 1 << 31, -87.0, 12582912.0, 0.693359375, -2.12194440e-4,
    (0.5, 0.16666576989698775, 0.041666554617204574, 0.008363179052722578, 0.0013926183587713494),
)  # fmt: skip
_BYTES = 64  # of a line that are worked on at a time


def add_line_loops(eta, at, x, x_at, linear, product, r):
    """Add a line's x eta - max(eta, 0) to linear[r] and multiply product[r] by its 1 + e^-|eta|.

    The line begins at eta[at], which become x - sigmoid(eta), and at x[x_at].
    """
    linears, products = [0.0] * LINE, [0.0] * LINE
    for p in range(LINE):
        value, pixel = float(eta[at + p]), float(x[x_at + p])
        small = math.exp(-abs(value)) if abs(value) <= 708.0 else 0.0
        linears[p], products[p] = pixel * value - max(value, 0.0), 1.0 + small
        eta[at + p] = pixel - (1.0 if value >= 0.0 else small) / (1.0 + small)
    span = LINE // 2
    while span:
        for p in range(span):
            linears[p] += linears[p + span]
            products[p] *= products[p + span]
        span //= 2
    linear[r] += linears[0]
    product[r] *= products[0]


class _Vectors:
    """Arithmetic on vectors of one type; multiplications and additions may be contracted."""

    def __init__(self, builder: Any, element: Any) -> None:
        single = isinstance(element, ir.FloatType)
        self.builder, self.bytes, self.format = builder, 4 if single else 8, _SINGLE if single else _DOUBLE
        self.width = _BYTES // self.bytes
        self.vector = ir.VectorType(element, self.width)
        self.integers = ir.VectorType(self.format.integer, self.width)

    def number(self, value: float) -> Any:
        return ir.Constant(self.vector, [value] * self.width)

    def integer(self, value: int) -> Any:
        return ir.Constant(self.integers, [value] * self.width)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=("contract",))

    def sub(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b, flags=("contract",))

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b, flags=("contract",))

    def larger(self, a: Any, b: Any) -> Any:
        """The larger number; b where a is nan."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def bits(self, value: Any) -> Any:
        return self.builder.bitcast(value, self.integers)

    def series(self, r: Any) -> Any:
        """E^r by Estrin's scheme."""
        terms = [self.number(value) for value in self.format.series]
        power = r
        while len(terms) > 1:
            terms = [
                self.add(terms[k], self.mul(power, terms[k + 1])) if k + 1 < len(terms) else terms[k]
                for k in range(0, len(terms), 2)
            ]
            power = self.mul(power, power)
        return self.add(self.number(1.0), self.add(r, self.mul(self.mul(r, r), terms[0])))

    def exp_of_negative(self, value: Any) -> Any:
        """E^-|value|, and where the sign of ``value`` is negative."""
        builder, fmt = self.builder, self.format
        bits = self.bits(value)
        x = builder.bitcast(builder.or_(bits, self.integer(fmt.sign)), self.vector)
        tiny = builder.fcmp_ordered("<", x, self.number(fmt.lowest))
        x = self.larger(x, self.number(fmt.lowest))
        shifted = self.add(self.mul(x, self.number(1.0 / math.log(2.0))), self.number(fmt.rounder))
        n = builder.fsub(shifted, self.number(fmt.rounder))
        r = self.sub(x, self.mul(n, self.number(fmt.ln2_high)))
        r = self.sub(r, self.mul(n, self.number(fmt.ln2_low)))
        # times 2^n: n is added to the exponent, which stays that of a normal number
        power = builder.shl(self.bits(shifted), self.integer(fmt.fraction))
        found = builder.bitcast(builder.add(self.bits(self.series(r)), power), self.vector)
        found = builder.select(tiny, self.number(0.0), found)
        return found, builder.icmp_signed("<", bits, self.integer(0))

    def folded(self, parts: list[Any], operation: Any) -> Any:
        """One number of the line that ``parts`` make, by halves."""
        builder, value = self.builder, parts[0]
        for part in parts[1:]:
            value = operation(value, part)
        span = self.width // 2
        while span:
            halves = [
                builder.shuffle_vector(
                    value, value, ir.Constant(ir.VectorType(_I32, span), list(range(first, first + span)))
                )
                for first in (0, span)
            ]
            value = operation(*halves)
            span //= 2
        return builder.extract_element(value, ir.Constant(_I32, 0))


def _emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit one line."""
    eta, at, x, x_at, linear, product, r = args
    element, double = context.get_value_type(signature.args[0].dtype), ir.DoubleType()
    v = _Vectors(builder, element)

    def place(number: int, array: Any, where: Any) -> Any:
        return builder.gep(context.make_array(signature.args[number])(context, builder, array).data, [where])

    begin, pixels = place(0, eta, at), place(2, x, x_at)
    linears, products = [], []
    for column in range(0, LINE, v.width):
        held, seen = (
            builder.bitcast(builder.gep(data, [ir.Constant(_I64, column)]), v.vector.as_pointer())
            for data in (begin, pixels)
        )
        value, pixel = builder.load(held), builder.load(seen)
        value.align = pixel.align = v.bytes
        small, negative = v.exp_of_negative(value)
        above = v.add(v.number(1.0), small)
        sigma = builder.fdiv(builder.select(negative, small, v.number(1.0)), above)
        builder.store(v.sub(pixel, sigma), held).align = v.bytes
        linears.append(v.sub(v.mul(pixel, value), v.larger(value, v.number(0.0))))
        products.append(above)
    for number, array, parts, operation in (
        (4, linear, linears, builder.fadd),
        (5, product, products, builder.fmul),
    ):
        found = v.folded(parts, operation)
        if element != double:
            found = builder.fpext(found, double)
        where = place(number, array, r)
        builder.store(operation(builder.load(where), found), where)
    return context.get_dummy_value()


@intrinsic
def _add_line_emitted(typing_context, eta, at, x, x_at, linear, product, r):
    """Add a line's log probability."""
    n = types.intp
    return types.void(eta, n, x, n, linear, product, n), _emit


add_line = add_line_loops if JIT_DISABLED else _add_line_emitted
