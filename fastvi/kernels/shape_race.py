"""Which register tiles are the fastest on this processor: a handful is compiled and timed.

All of it takes about 0.1 s, once: the winners are kept beside the compiled code, for this processor and this
version of the sources. No result depends on which of the tiles wins, and so none on what a noisy machine
chose. A table of processors goes stale: 8 rows of two AVX-512 vectors stood in it, and one vector is 1.4
times faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core.caching import CompileResultCacheImpl

from fastvi.kernels.emitter import I64, Emitter, multiply_add, product_step
from fastvi.kernels.shapes import CANDIDATES, TILES, RegisterTile, RegisterTiles

_LENGTH = 128  # of the reduction axis: panels stay in the first-level cache
_NUMBERS = 400_000  # of one timed call, some 20 us
_ROUNDS = 16
_BETTER = 1.04  # a candidate has to be faster than the tile in use by so much


def _module(tiles: list[tuple[str, RegisterTile, Any]]) -> str:
    """Return LLVM IR of functions race0, ...: (accumulators, left, right, length, times)."""
    module = ir.Module("race")
    module.triple = binding.get_default_triple()
    for number, (kind, tile, element) in enumerate(tiles):
        pointer = element.as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer, I64, I64])
        function = ir.Function(module, signature, f"race{number}")
        builder = ir.IRBuilder(function.append_basic_block())
        acc, left, right, length, times = function.args
        head, body, after = (function.append_basic_block() for _ in range(3))
        before = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        k = builder.phi(I64)
        k.add_incoming(ir.Constant(I64, 0), before)
        builder.cbranch(builder.icmp_signed("<", k, times), body, after)
        builder.position_at_end(body)
        emit = Emitter(None, builder, None, None, tile, element)
        start = {cell: emit.load(acc, emit.cell(*cell)) for cell in emit.cells}
        step = multiply_add(builder) if kind == "matmul_64" else product_step(builder)
        for cell, value in emit.loop(left, right, length, start, step).items():
            emit.store(value, acc, emit.cell(*cell))
        k.add_incoming(builder.add(k, ir.Constant(I64, 1)), builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        builder.ret_void()
    return str(module)


def rates(kind: str, tiles: list[RegisterTile], cpu: str, features: str) -> list[float]:
    """Numbers a second of each tile in one micro-kernel, the best of several rounds in turn."""
    element, dtype = (ir.FloatType(), "float32") if kind == "product_32" else (ir.DoubleType(), "float64")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    code = binding.parse_assembly(_module([(kind, tile, element) for tile in tiles]))
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)
    best = [0.0] * len(tiles)
    with binding.create_mcjit_compiler(code, machine) as engine:
        engine.finalize_object()
        kinds = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
        calls = []
        for number, tile in enumerate(tiles):
            call = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(f"race{number}"))
            columns = tile.vectors * tile.lanes
            # factors of 1, or terms of 0: nothing overflows
            arrays = [
                np.full(size, value, dtype)
                for size, value in (
                    (tile.rows * columns, 1.0),
                    (tile.rows * _LENGTH, 0.0 if kind == "matmul_64" else 0.5),
                    (columns * _LENGTH, 0.5),
                )
            ]
            calls.append((call, arrays, max(1, _NUMBERS // (tile.rows * columns * _LENGTH))))
        for _ in range(_ROUNDS):
            for number, (call, arrays, times) in enumerate(calls):
                start = time.perf_counter()
                call(*(array.ctypes.data for array in arrays), _LENGTH, times)
                seconds = time.perf_counter() - start
                best[number] = max(best[number], times * arrays[0].size * _LENGTH / seconds)
    return best


def fastest(name: str, cpu: str, features: str) -> RegisterTiles:
    """Return the fastest tiles of the processor whose tiles have this name until now."""
    chosen = []
    for kind, usual, others in zip(RegisterTiles._fields, TILES[name], CANDIDATES[name], strict=True):
        tiles = [usual, *others]
        # of 64 rows, what pads the last panel is work for nothing
        shares = [64 / (-(-64 // tile.rows) * tile.rows) for tile in tiles]
        found = [rate * share for rate, share in zip(rates(kind, tiles, cpu, features), shares, strict=True)]
        best = max(range(len(tiles)), key=found.__getitem__)
        chosen.append(tiles[best] if found[best] > _BETTER * found[0] else usual)
    return RegisterTiles(*chosen)


def _file(cpu: str, features: str) -> Path:
    """Return the file that keeps the choice: beside the compiled code, for this processor and these sources.

    RuntimeError where there is no folder that can be written.
    """
    digest = hashlib.sha256(f"{cpu} {features} {numba.__version__}".encode())
    for part in ("shape_race.py", "shapes.py", "cpu/simd/emitter.py"):
        digest.update((Path(__file__).parent / part).read_bytes())
    folder = Path(CompileResultCacheImpl(_file).locator.get_cache_path())
    return folder / f"register_tiles.{digest.hexdigest()[:16]}.json"


def _read(path: Path, name: str) -> RegisterTiles | None:
    """Return the tiles that a file holds, None where it does not hold some that were raced."""
    try:
        found = RegisterTiles(*(RegisterTile(*tile) for tile in json.loads(path.read_text("utf-8"))))
    except (OSError, ValueError, TypeError):
        return None
    raced = zip(found, TILES[name], CANDIDATES[name], strict=True)
    return found if all(tile in (usual, *others) for tile, usual, others in raced) else None


def kept_or_fastest(name: str, cpu: str, features: str) -> RegisterTiles:
    """Return the tiles that were found once, or find and keep them.

    Where nothing can be kept they are those of the name: a race in each process would cost more than it
    gains.
    """
    try:
        path = _file(cpu, features)
        found = _read(path, name)
        if found is None:
            own = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
            own.parent.mkdir(parents=True, exist_ok=True)
            try:
                own.write_text(json.dumps(fastest(name, cpu, features)), "utf-8")
                with contextlib.suppress(OSError):
                    os.link(own, path)  # of several processes the first wins
                if _read(path, name) is None:  # damaged, or no links here
                    own.replace(path)
            finally:
                own.unlink(missing_ok=True)
            found = _read(path, name)
    except (OSError, RuntimeError):
        return TILES[name]
    return found or TILES[name]
