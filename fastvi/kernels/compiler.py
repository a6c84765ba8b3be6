"""How Numba compiles a kernel: once, as a whole.

Numba optimises each function by itself, makes machine code of it, and does both again in every function that
it is inlined into. Here a function that only kernels call stays as it was lowered, until a kernel takes it
in; a kernel is optimised as a module, which includes what runs for each function alone. Measured on a Zen 3
core, log_marginal of a sigmoid belief network, all kernels new: a tenth of the seconds by the former, a
twentieth by the latter, another twentieth by a garbage collector that waits (the compiler makes millions of
objects, few of them garbage before it ends).

Code libraries are private to Numba; `tests/kernels/test_compiled_code.py` looks at what is relied on.
"""

from __future__ import annotations

import gc
from typing import Any

from llvmlite import binding
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class KernelLibrary(JITCodeLibrary):
    """Code of a kernel, optimised once."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Leave the functions to the optimisation of the module."""
        ll_module.data_layout = self._codegen._data_layout  # noqa: SLF001


class InlineLibrary(KernelLibrary):
    """Code of a function that only kernels call: no machine code, and nothing of it in the process."""

    def _optimize_final_module(self) -> None:
        """Leave the module to the kernels."""

    def _finalize_final_module(self) -> None:
        """Take the module for finished. The engine, which would make machine code, does not learn of it."""
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return the address of nothing."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """Return this object, which Numba tells the address of an environment."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Forget it: :class:`KernelCompiler` sets it for each kernel that holds this function."""

    def serialize_using_object_code(self) -> Any:
        """Return what is kept on disk."""
        return self.name, self._get_module_for_linking().as_bitcode()

    @classmethod
    def of_kept(cls, codegen: Any, kept: Any) -> InlineLibrary:
        """Return a library from what was kept on disk."""
        name, bitcode = kept
        self = cls(codegen, name)
        self._final_module = binding.parse_bitcode(bitcode)
        self._finalized = True
        return self


class KernelCompiler(Compiler):
    """Numba's compiler, with the garbage collector waiting and libraries as above."""

    _library = KernelLibrary

    def _compile_core(self) -> Any:
        state = self.state
        state.library = self._library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        waits = gc.isenabled()
        gc.disable()
        try:
            result = super()._compile_core()
        finally:
            if waits:
                gc.enable()
        for environment in result._find_referenced_environments():  # noqa: SLF001
            result.library.codegen.set_env(environment.env_name, environment)
        return result


class InlineCompiler(KernelCompiler):
    """The same for functions that only kernels call."""

    _library = InlineLibrary
