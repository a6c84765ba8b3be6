"""How many multiplications a second this machine can issue: loops of vector registers alone, written in
LLVM IR.

Three loops over independent accumulators, which read and write no memory:

- ``multiply``:      acc *= a
- ``multiply_add``:  acc = acc * a + b
- ``pair``:          sum += b, then acc *= sum: an addition and a multiplication

Where the pairs are nearly as fast as multiplications alone, the machine adds on units of its own
(``separate_adders``), and a sum costs nothing beside a product. Where they are not, an addition takes the
turn of a multiplication.

A loop keeps as many accumulators in flight as there are registers for, and is tried with vectors of the
target's width and of half of it; the fastest counts. ``a`` is 1 and ``b`` 0, which the compiler cannot know:
nothing overflows, and no unit is faster for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic
from numba.np import arrayobj

SEPARATE = 0.75  # pairs at more than this share of the multiplications' rate: adders of their own
_I32, _I64 = ir.IntType(32), ir.IntType(64)


class Rates(NamedTuple):
    """Numbers a second, of vectors' single numbers, for one dtype and number of threads."""

    multiply: float
    multiply_add: float
    pair: float

    @property
    def best(self) -> float:
        """Instructions of the multiplier a second, whichever loop issued the most."""
        return max(self)

    @property
    def separate_adders(self) -> bool:
        return self.pair > SEPARATE * self.best


def _vector_registers() -> tuple[int, int]:
    """Bits of a vector and number of them, of what Numba compiles for."""
    features = set((numba.config.CPU_FEATURES or get_host_cpu_features()).split(","))
    if "+avx512f" in features:
        return 512, 32
    if "+avx" in features:
        return 256, 16
    return 128, 32 if binding.get_default_triple().startswith(("aarch64", "arm64")) else 16


def _broadcast(builder: Any, scalar: Any, vector: Any) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    mask = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)


def _emit(loop: str, vector: Any, chains: int) -> Any:
    """Code of ``loop(numbers, length)``, numbers = [a, b]; the sum of the accumulators goes to numbers[2]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = arrayobj.make_array(signature.args[0])(context, builder, args[0]).data
        at = [builder.gep(data, [ir.Constant(_I64, i)]) for i in range(3)]
        a, b = (_broadcast(builder, builder.load(at[i]), vector) for i in range(2))
        before = builder.block
        body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
        builder.branch(body)
        builder.position_at_end(body)
        k = builder.phi(_I64)
        k.add_incoming(ir.Constant(_I64, 0), before)
        accumulators = [builder.phi(vector) for _ in range(chains)]
        sums = [builder.phi(vector) for _ in range(chains)] if loop == "pair" else []
        for held in [*accumulators, *sums]:
            held.add_incoming(a, before)
        contract = ("contract",)
        following = []
        for i, held in enumerate(accumulators):
            if loop == "pair":
                total = builder.fadd(sums[i], b)
                sums[i].add_incoming(total, body)
                new = builder.fmul(held, total)
            elif loop == "multiply":
                new = builder.fmul(held, a)
            else:
                new = builder.fadd(builder.fmul(held, a, flags=contract), b, flags=contract)
            held.add_incoming(new, body)
            following.append(new)
        more = builder.add(k, ir.Constant(_I64, 1))
        k.add_incoming(more, body)
        builder.cbranch(builder.icmp_signed("<", more, args[1]), body, after)
        builder.position_at_end(after)
        total = following[0]
        for new in following[1:]:
            total = builder.fadd(total, new)
        builder.store(builder.extract_element(total, ir.Constant(_I32, 0)), at[2])
        return context.get_dummy_value()

    return codegen


def compiled(loop: str, dtype: str, bits: int, registers: int) -> tuple[Callable[..., None], int]:
    """A loop as a function of (numbers, length) that holds no lock, and the numbers of one turn of it."""
    element = ir.DoubleType() if dtype == "float64" else ir.FloatType()
    vector = ir.VectorType(element, bits // (64 if dtype == "float64" else 32))
    # a and b stay in registers too; a pair takes two
    chains = (registers - 2) // (2 if loop == "pair" else 1)
    code = _emit(loop, vector, chains)

    @intrinsic
    def emitted(typing_context, numbers, length):
        return types.void(numbers, types.int64), code

    array = types.Array(getattr(types, dtype), 1, "C")

    @numba.njit([types.void(array, types.int64)], nogil=True)
    def run(numbers, length):
        emitted(numbers, length)

    return run, chains * vector.count


def _seconds(run: Callable[..., None], dtype: str, length: int, threads: int, repeats: int) -> float:
    """Of the fastest of ``repeats`` calls on so many threads at once."""
    numbers = [np.array([1.0, 0.0, 0.0], dtype) for _ in range(threads)]
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats + 1):  # the first does not count
            start = time.perf_counter()
            list(pool.map(run, numbers, [length] * threads))
            found.append(time.perf_counter() - start)
    assert all(array[2] > 0.0 for array in numbers)
    return min(found[1:])


def rates(dtype: str, threads: Sequence[int], length: int = 3_000_000, repeats: int = 5) -> dict[int, Rates]:
    """The rates of one dtype for each of these numbers of threads."""
    bits, registers = _vector_registers()
    widths = [bits, bits // 2] if bits > 128 else [bits]
    best: dict[int, dict[str, float]] = {count: {} for count in threads}
    for loop in Rates._fields:
        for width in widths:
            run, numbers = compiled(loop, dtype, width, registers)
            for count in threads:
                rate = count * length * numbers / _seconds(run, dtype, length, count, repeats)
                best[count][loop] = max(rate, best[count].get(loop, 0.0))
    return {count: Rates(**found) for count, found in best.items()}


def read_bytes_per_second(num_bytes: int, threads: int, repeats: int = 5) -> float:
    """Bytes a second of reading an array once, each thread a part of it."""
    # sums in an order that the compiler chooses: as many at once as it likes
    run = numba.njit([types.float64(types.Array(types.float64, 1, "C"))], nogil=True, fastmath={"reassoc"})(
        _total
    )
    parts = np.array_split(np.ones(num_bytes // 8), threads)
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats + 1):
            start = time.perf_counter()
            total = sum(pool.map(run, parts))
            found.append(time.perf_counter() - start)
    assert total == num_bytes // 8
    return sum(part.nbytes for part in parts) / min(found[1:])


def _total(numbers):
    total = 0.0
    for i in range(numbers.size):
        total += numbers[i]
    return total
