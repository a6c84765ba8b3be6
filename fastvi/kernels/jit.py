"""Compiler options, stated in this one place.

``nogil``: kernels run under a thread pool, so they let go of the interpreter lock.
``error_model="numpy"``: division by zero gives inf or nan, as IEEE 754 says, and costs no branch.
``fastmath``: never "nnan" or "ninf" (log space needs -inf and nan must stay visible). ``kernel`` allows
only the contraction of ``a * b + c`` to a fused multiply-add. ``reducing_kernel`` also lets a sum or a
product be reassociated, which is what vectorising a reduction takes; never use it where the order of
operations carries the accuracy (compensated sums, argument reduction).
``forceinline``: a kernel's machine code holds all that it calls. What is not inlined is a weak symbol: the
process that compiles a kernel links it to the code that the callee was compiled to by itself, a later
process that loads the kernel to the kernel's own copy. Both are right, and they may round differently
(measured: gradients of a network in the first process and in all later ones). Compilation takes as long, and
the cache is as large (39.7 against 39.5 s of processor time for five questions, 4.7 MiB).
``no_cfunc_wrapper``: nobody calls a kernel from C. Measured: a tenth of the compilation.
References are counted in all functions. Numba can leave that out (``_nrt=False``), for a tenth of the
compilation; but a function that returns a view of an array then gives away a reference that it does not have,
and what calls it frees the array twice.

Compiled code is kept on disk (`compiled_code.py`); a directory that cannot be written only costs the
compilation again.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from fastvi.kernels.compiled_code import KernelCache
from fastvi.kernels.compiler import InlineCompiler, KernelCompiler

JIT_DISABLED = bool(getattr(numba.config, "DISABLE_JIT"))  # noqa: B009 (a setting made at run time)


def _compile(function: Any, fastmath: set[str], compiler: type[KernelCompiler], **options: Any) -> Any:
    """Compile a function with the options of all kernels, and keep its code on disk."""
    settings = {
        "nogil": True,
        "error_model": "numpy",
        "forceinline": True,
        "no_cfunc_wrapper": True,
        "fastmath": fastmath,
        **options,
    }
    compiled = numba.njit(pipeline_class=compiler, **settings)(function)
    if not JIT_DISABLED:
        compiled._cache = KernelCache(function)  # as cache=True does with Numba's own class
    return compiled


def _silent(function: Any) -> Any:
    """Make an interpreted function as quiet as compiled code: overflow gives inf without a warning."""
    return np.errstate(over="ignore", invalid="ignore")(function) if JIT_DISABLED else function


def kernel(function: Any) -> Any:
    """Compile a loop over arrays."""
    return _silent(_compile(function, {"contract"}, KernelCompiler))


def reducing_kernel(function: Any) -> Any:
    """Compile a loop whose sums and products may be reassociated."""
    return _silent(_compile(function, {"contract", "reassoc", "nsz"}, KernelCompiler))


def inline(function: Any) -> Any:
    """Compile a function that only kernels call: no wrapper for calls from Python, no machine code."""
    return _compile(function, {"contract"}, InlineCompiler, no_cpython_wrapper=True)


def reducing_inline(function: Any) -> Any:
    """Compile a function that only reducing kernels call, whose own sums may be reassociated, too."""
    return _compile(function, {"contract", "reassoc", "nsz"}, InlineCompiler, no_cpython_wrapper=True)
