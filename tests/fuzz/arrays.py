"""The catalogue of what can be made of an array: the same numbers in another form, others, other shapes."""

from __future__ import annotations

import array
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from .values import Holder, Interface, Lender, Own


def _strided(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype) if a.ndim else a
    if not a.ndim:
        return a
    wide[..., 1::2] = a
    return wide[..., 1::2]


def _backwards(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a[::-1])[::-1] if a.ndim else a


def _unaligned(a: np.ndarray) -> np.ndarray:
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _tuples(a: Any) -> Any:
    return tuple(_tuples(each) for each in a) if isinstance(a, list) else a


def _put(value: Any, where: int = 0, dtype: Any = None) -> Callable[[np.ndarray], np.ndarray]:
    def spoil(a: np.ndarray) -> np.ndarray:
        copy = np.array(a, dtype=dtype or (a.dtype if a.dtype == object else np.float64))
        if copy.size:
            copy.reshape(-1)[where] = value
        return copy

    return spoil


def _masked(a: np.ndarray, hidden: bool) -> Any:
    mask = np.zeros(a.shape, bool)
    if hidden and mask.size:
        mask.reshape(-1)[0] = True
    return np.ma.array(a, mask=mask)


def _flat(a: np.ndarray) -> np.ndarray:
    """In two axes."""
    return a.reshape(-1, a.shape[-1]) if a.ndim else a.reshape(1, 1)


def _structured(a: np.ndarray) -> np.ndarray:
    out = np.zeros(a.shape, dtype=[("value", a.dtype)])
    out["value"] = a
    return out


# the same numbers in another form
SAME: dict[str, Callable[[np.ndarray], Any]] = {
    "as a list": lambda a: a.tolist(),
    "as tuples": lambda a: _tuples(a.tolist()),
    "as a list of arrays": lambda a: list(a) if a.ndim else a,
    "in Fortran order": np.asfortranarray,
    "every other of a wider one": _strided,
    "backwards in memory": _backwards,
    "unaligned": _unaligned,
    "read-only": _read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "little-endian": lambda a: a.astype(a.dtype.newbyteorder("<")),
    "own subclass": lambda a: a.view(Own),
    "matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else a,
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "big-endian float32": lambda a: a.astype(">f4"),
    "float64": lambda a: a.astype(np.float64),
    "longdouble": lambda a: a.astype(np.longdouble),
    "of Python numbers": lambda a: a.astype(object),
    "through __array__": Holder,
    "through DLPack": Lender,
    "through its interface": Interface,
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "array.array": lambda a: array.array("d", a.astype(float)) if a.ndim == 1 else a,
    "broadcast": lambda a: np.broadcast_to(a, a.shape),
    "masked, nothing hidden": lambda a: _masked(a, False),
    "0-d holder": lambda a: np.array(a.tolist(), dtype=object)[()] if a.ndim == 0 else _held(a),
}


def _held(a: np.ndarray) -> np.ndarray:
    out = np.empty((), dtype=object)
    out[()] = a.tolist()
    return out


# other numbers, other shapes, other types
OTHER: dict[str, Callable[[np.ndarray], Any]] = {
    "as ints": lambda a: a.astype(np.int64),
    "as int8": lambda a: a.astype(np.int8),
    "as uint8": lambda a: a.astype(np.uint8),
    "as uint64": lambda a: a.astype(np.int64).astype(np.uint64),
    "as bool": lambda a: a.astype(bool),
    "as complex": lambda a: a.astype(complex),
    "as str": lambda a: a.astype(str),
    "as bytes": lambda a: a.astype("S"),
    "as dates": lambda a: a.astype(np.int64).astype("M8[D]"),
    "as durations": lambda a: a.astype(np.int64).astype("m8[s]"),
    "structured": _structured,
    "sparse": lambda a: scipy.sparse.csr_array(_flat(a)),
    "sparse matrix": lambda a: scipy.sparse.coo_matrix(_flat(a)),
    "masked": lambda a: _masked(a, True),
    "one None": _put(None, dtype=object),
    "one str": _put("a", dtype=object),
    "one complex": _put(1j, dtype=object),
    "one list": lambda a: [[1], *a.tolist()] if a.ndim else [a],
    "ragged": lambda a: [*a.tolist(), [[]]] if a.ndim else [[], [1]],
    "first nan": _put(math.nan),
    "last nan": _put(math.nan, -1),
    "float16 nan": lambda a: _put(math.nan)(a).astype(np.float16),
    "first inf": _put(math.inf),
    "last -inf": _put(-math.inf, -1),
    "all nan": lambda a: np.full(a.shape, math.nan),
    "all inf": lambda a: np.full(a.shape, math.inf),
    "all -inf": lambda a: np.full(a.shape, -math.inf),
    "one 1e100": _put(1e100),  # its square is in the range, the square of that is not
    "last -1e155": _put(-1e155, -1),  # its square is beyond
    "one 1e308": _put(1e308),
    "all 1e308": lambda a: np.full(a.shape, 1e308),
    "all -1e308": lambda a: np.full(a.shape, -1e308),
    "longdouble 1e4000": lambda a: np.full(a.shape, np.longdouble("1e4000")),
    "one 5e-324": _put(5e-324),
    "all 5e-324": lambda a: np.full(a.shape, 5e-324),
    "all 1e-300": lambda a: np.full(a.shape, 1e-300),
    "one -1": _put(-1.0),
    "one 0.5": _put(0.5),
    "one 2": _put(2.0),
    "one 2**63": lambda a: _put(2**63, dtype=object)(a).tolist(),
    "one 10**400": lambda a: _put(10**400, dtype=object)(a).tolist(),
    "int64 min": lambda a: np.full(a.shape, -(2**63), np.int64),
    "uint64 max": lambda a: np.full(a.shape, 2**64 - 1, np.uint64),
    "-0.0": lambda a: np.full(a.shape, -0.0),
    "negated": lambda a: -a.astype(float),
    "a half more": lambda a: a.astype(float) + 0.5,
    "first entry": lambda a: a.reshape(-1)[0] if a.size else a,
    "0-d": lambda a: np.array(a.reshape(-1)[0] if a.size else 0.0),
    "flat": lambda a: a.reshape(-1),
    "transposed": lambda a: a.T,
    "an axis before": lambda a: a[None],
    "an axis after": lambda a: a[..., None],
    "two axes before": lambda a: a[None, None],
    "one less": lambda a: a[:-1] if a.ndim else a,
    "one more": lambda a: np.concatenate([a, a[:1]]) if a.ndim else a,
    "none at all": lambda a: a[:0] if a.ndim else np.zeros(0),
    "last axis shorter": lambda a: a[..., :-1] if a.ndim else a,
    "last axis longer": lambda a: np.concatenate([a, a[..., :1]], axis=-1) if a.ndim else a,
    "last axis empty": lambda a: a[..., :0] if a.ndim else a,
    "a huge view": lambda a: np.broadcast_to(a.reshape(-1)[:1], (2**40,)) if a.size else a,
}
