"""The catalogue of odd values: things of any type, and what can be made of an array.

A value is made when a case is run, so that generators are fresh and nothing odd is held by a process.
"""

from __future__ import annotations

import array
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

# ---- objects that answer questions badly -----------------------------------------------------------------


class Silent:
    """No representation."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("no repr")


class Wordy:
    """A representation of many long lines."""

    def __repr__(self) -> str:
        return "line\n" * 1000


class BadArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise KeyError("no array\nof two lines")


class BadLength:
    def __len__(self) -> int:
        raise OSError("no length")

    def __getitem__(self, index: Any) -> Any:
        raise OSError("no item")


class BadIndex:
    def __index__(self) -> int:
        raise RuntimeError("no index")


class BadFloat:
    def __float__(self) -> float:
        raise RuntimeError("no float")


class Anything:
    """Has every public attribute, a function that returns itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


class Equal:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


class Uncomparable:
    """Compares by an error."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = object.__hash__


class Whole(int):
    """An int of a class of its own."""


class Text(str):
    """A str of a class of its own."""


class Number(float):
    """A float of a class of its own."""


class Colour(enum.IntEnum):
    RED = 1


class Holder:
    """Anything that NumPy asks for an array."""

    def __init__(self, held: Any) -> None:
        self.held = np.asarray(held)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.held if dtype is None else self.held.astype(dtype)


class Lender:
    """An array through DLPack alone."""

    def __init__(self, held: Any) -> None:
        self.held = np.array(held)

    def __dlpack__(self, **options: Any) -> Any:
        return self.held.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.held.__dlpack_device__()


class Interface:
    """An array through its interface alone."""

    def __init__(self, held: Any) -> None:
        self.held = np.asarray(held)
        self.__array_interface__ = self.held.__array_interface__


class Own(np.ndarray):
    """A subclass of arrays."""


def _generator() -> Any:
    yield 0
    yield 1


def _loop() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


# ---- values of any type ----------------------------------------------------------------------------------

ANY: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "np.True_": lambda: np.True_,
    "0": lambda: 0,
    "1": lambda: 1,
    "3": lambda: 3,
    "-1": lambda: -1,
    "2**64": lambda: 2**64,
    "-2**63": lambda: -(2**63),
    "10**400": lambda: 10**400,
    "int8 1": lambda: np.int8(1),
    "uint64 1": lambda: np.uint64(1),
    "own int": lambda: Whole(1),
    "enum 1": lambda: Colour.RED,
    "0.0": lambda: 0.0,
    "-0.0": lambda: -0.0,
    "0.5": lambda: 0.5,
    "1.0": lambda: 1.0,
    "-1.5": lambda: -1.5,
    "1e-320": lambda: 1e-320,
    "1e300": lambda: 1e300,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "float16 0.5": lambda: np.float16(0.5),
    "float32 0.5": lambda: np.float32(0.5),
    "longdouble 0.5": lambda: np.longdouble("0.5"),
    "longdouble 1e4000": lambda: np.longdouble("1e4000"),
    "own float": lambda: Number(0.5),
    "Fraction": lambda: fractions.Fraction(1, 2),
    "Decimal": lambda: decimal.Decimal("0.5"),
    "Decimal nan": lambda: decimal.Decimal("nan"),
    "complex": lambda: 1j,
    "complex 0.5": lambda: 0.5 + 0j,
    "np.complex64": lambda: np.complex64(1),
    "empty str": lambda: "",
    "str": lambda: "nonsense",
    "str of digits": lambda: "1",
    "str of two lines": lambda: "two\nlines",
    "long str": lambda: "x" * 100_000,
    "str of a NUL": lambda: "a\0b",
    "lone surrogate": lambda: "\udcff",
    "np.str_": lambda: np.str_("cpu"),
    "bytes": lambda: b"ab",
    "empty bytes": lambda: b"",
    "bytearray": lambda: bytearray(b"ab"),
    "memoryview of bytes": lambda: memoryview(b"ab"),
    "empty list": lambda: [],
    "list of None": lambda: [None],
    "list of list": lambda: [[]],
    "list in itself": _loop,
    "ragged list": lambda: [[0, 1], [1]],
    "tuple": lambda: (1, 2),
    "dict": lambda: {"a": 1},
    "empty dict": lambda: {},
    "set": lambda: {1},
    "generator": _generator,
    "range": lambda: range(2),
    "map": lambda: map(int, "01"),
    "iterator": lambda: iter([0, 1]),
    "slice": lambda: slice(0, 1),
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "a class": lambda: dict,
    "a module": lambda: math,
    "an exception": lambda: ValueError("x"),
    "object": object,
    "namespace": lambda: types.SimpleNamespace(shape=(2, 4), dtype="float64", num_latents=3, num_data=2),
    "no repr": Silent,
    "long repr": Wordy,
    "bad array": BadArray,
    "bad length": BadLength,
    "bad index": BadIndex,
    "bad float": BadFloat,
    "has every attribute": Anything,
    "equal to everything": Equal,
    "not comparable": Uncomparable,
    "date": lambda: datetime.date(2000, 1, 1),
    "datetime64": lambda: np.datetime64("2000-01-01"),
    "timedelta64": lambda: np.timedelta64(1, "s"),
    "void": lambda: np.void(b"ab"),
    "dtype": lambda: np.dtype("float64"),
    "a type of number": lambda: np.float64,
    "Path": lambda: pathlib.Path("made by a case"),
    "0-d int": lambda: np.array(1),
    "0-d float": lambda: np.array(0.5),
    "0-d nan": lambda: np.array(math.nan),
    "0-d str": lambda: np.array("cpu"),
    "0-d object": lambda: np.array(None, dtype=object),
    "array of one int": lambda: np.array([1]),
    "array of one float": lambda: np.array([0.5]),
    "array of one in two axes": lambda: np.array([[1]]),
    "array of none": lambda: np.array([]),
    "array of two str": lambda: np.array(["cpu", "auto"]),
    "array of objects": lambda: np.array([object(), None], dtype=object),
    "array of 40 axes": lambda: np.zeros((1,) * 32),
    "sparse": lambda: scipy.sparse.csr_array(np.eye(3)),
    "structured": lambda: np.zeros(2, dtype=[("a", "f8"), ("b", "i4")]),
    "masked 0-d": lambda: np.ma.masked,
}

# ---- what can be made of an array ------------------------------------------------------------------------


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
