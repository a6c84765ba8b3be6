"""The catalogue of odd values of any type.

A value is made when a case is run, so that generators are fresh and nothing odd is held by a process.
"""

from __future__ import annotations

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
    "empty list": list,
    "list of None": lambda: [None],
    "list of list": lambda: [[]],
    "list in itself": _loop,
    "ragged list": lambda: [[0, 1], [1]],
    "tuple": lambda: (1, 2),
    "dict": lambda: {"a": 1},
    "empty dict": dict,
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
