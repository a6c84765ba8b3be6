"""Kinds of arguments, stated apart from fastvi: their odd values, and the plain form of a legal one."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse

from . import arrays, values


class Illegal(Exception):
    """The value must be refused."""


@dataclass
class Argument:
    """One argument of a call: its plain value, odd ones, and what an odd one means where it is legal."""

    plain: Any
    meaning: Callable[[Any], Any]  # the plain form of a legal value; raises Illegal
    odd: dict[str, Callable[[], Any]] = field(default_factory=dict)
    optional: bool = False
    nan_is_legal: bool = False
    errors: tuple[type[Exception], ...] = ()  # beside ValueError and TypeError, as the documentation says

    def plain_form(self, value: Any) -> Any:
        if value is None:
            if self.optional:
                return None
            raise Illegal
        return self.meaning(value)


def _without(names: Iterable[str]) -> dict[str, Callable[[], Any]]:
    return {name: make for name, make in values.ANY.items() if name not in set(names)}


# ---- arrays ----------------------------------------------------------------------------------------------


def _numbers(value: Any) -> np.ndarray:
    """What NumPy makes of it, where that is real numbers; numbers in an object array are numbers, too."""
    if isinstance(value, np.ma.MaskedArray):
        raise Illegal
    if scipy.sparse.issparse(value):
        value = value.toarray()
    try:
        array = np.asarray(value.held if isinstance(value, values.Lender) else value)
        if array.dtype == object and array.size:
            flat = [_number(each) for each in array.reshape(-1)]
            array = np.array(flat, dtype=np.float64).reshape(array.shape)
    except Illegal:
        raise
    except Exception:
        raise Illegal from None
    if array.dtype.kind not in "biuf":
        raise Illegal
    return array


def _number(value: Any) -> float:
    if not isinstance(value, numbers.Real):
        raise Illegal
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _doubles(value: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(_numbers(value), dtype=np.float64, order="C")


def _array_odd(plain: np.ndarray, skip: Iterable[str]) -> dict[str, Callable[[], Any]]:
    odd = _without(skip)
    for name, change in {**arrays.SAME, **arrays.OTHER}.items():
        if name not in set(skip):
            odd[name] = lambda change=change: change(np.array(plain))
    return odd


def reals(
    plain: Any, *, infinite: bool = False, nan: bool = False, optional: bool = False, skip: Iterable[str] = ()
) -> Argument:
    """Real numbers, finite ones unless ``infinite``."""

    def meaning(value: Any) -> Any:
        array = _doubles(value)
        if (np.isnan(array).any() and not nan) or (np.isinf(array).any() and not infinite):
            raise Illegal
        return array

    odd = _array_odd(np.asarray(plain, dtype=np.float64), skip)
    return Argument(plain, meaning, odd, optional, nan_is_legal=nan)


def shares(plain: Any, *, optional: bool = False) -> Argument:
    """Finite numbers of at least 0, not all of them 0."""

    def meaning(value: Any) -> Any:
        array = _doubles(value)
        if not np.isfinite(array).all() or (array < 0).any() or not array.any():
            raise Illegal
        return array

    return Argument(plain, meaning, _array_odd(np.asarray(plain, dtype=np.float64), ()), optional)


def bits(plain: Any, *, optional: bool = False, hidden: bool = False, skip: Iterable[str] = ()) -> Argument:
    """Zeros and ones; where a mask hides some, anything in their place."""

    def meaning(value: Any) -> Any:
        array = _doubles(value)
        if not hidden and not np.isin(array, (0.0, 1.0)).all():
            raise Illegal
        return array

    odd = _array_odd(np.asarray(plain, dtype=np.float64), skip)
    return Argument(plain, meaning, odd, optional, nan_is_legal=hidden)


def indices(plain: Any, num_values: int, *, optional: bool = False) -> Argument:
    """Integers in [0, num_values); what holds nothing may have any type of number."""

    def meaning(value: Any) -> Any:
        array = _numbers(value)
        if (array.dtype.kind not in "iu" and array.size) or ((array < 0) | (array >= num_values)).any():
            raise Illegal
        return np.array(array, dtype=np.int64)

    return Argument(plain, meaning, _array_odd(np.asarray(plain), ()), optional)


def mask(plain: Any) -> Argument:
    """True where a pixel was seen, of dtype bool alone."""

    def meaning(value: Any) -> Any:
        array = _numbers(value)
        if array.dtype != bool:
            raise Illegal
        return np.array(array)

    return Argument(plain, meaning, _array_odd(np.asarray(plain, dtype=bool), ()), optional=True)


# ---- numbers ---------------------------------------------------------------------------------------------


def _integer(value: Any) -> int:
    if isinstance(value, bool | np.bool_):
        raise Illegal
    try:
        return operator.index(value)
    except Exception:
        raise Illegal from None


# of bytes and states there may be as many; of what is counted one by one there is no room and no time
_HUGE = {
    "2**40 + 1": 2**40 + 1,
    "2**47": 2**47,
    "2**53 + 1": 2**53 + 1,
    "2**60": 2**60,
    "2**63 - 1": 2**63 - 1,
    "2**63": 2**63,
}


def count(
    plain: Any, minimum: int = 1, *, most: float = math.inf, optional: bool = False, skip: Iterable[str] = ()
) -> Argument:
    """An int of at least ``minimum``."""

    def meaning(value: Any) -> int:
        number = _integer(value)
        if not minimum <= number <= most:
            raise Illegal
        return number

    odd = _without(skip)
    for text, much in _HUGE.items():
        odd[text] = lambda much=much: much
    odd["int64 2**62"] = lambda: np.int64(2**62)
    odd["uint64 max"] = lambda: np.uint64(2**64 - 1)
    return Argument(plain, meaning, odd, optional)


def seed(plain: int = 7) -> Argument:
    def meaning(value: Any) -> int:
        number = _integer(value)
        if not 0 <= number < 2**64:
            raise Illegal
        return number

    odd = _without(())
    odd["2**63"] = lambda: 2**63
    odd["uint64 max"] = lambda: np.uint64(2**64 - 1)
    return Argument(plain, meaning, odd)


def rng() -> Argument:
    """None beside a seed: it gives one in its place."""

    def meaning(value: Any) -> None:
        if value is not None:
            raise Illegal

    odd = _without(())
    odd["a generator"] = lambda: np.random.default_rng(0)
    return Argument(None, meaning, odd, optional=True)


def axis(plain: int = -1) -> Argument:
    return Argument(plain, _integer_or_bool, _without(()))


def _integer_or_bool(value: Any) -> int:
    """An axis: booleans are ints to NumPy and Python, not here."""
    return _integer(value)


def number(
    plain: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    closed: bool = False,
    optional: bool = False,
) -> Argument:
    """A real number between ``low`` and ``high``, these two only where ``closed``."""

    def meaning(value: Any) -> float:
        scalar = value
        if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf":
            scalar = value[()]
        if isinstance(scalar, bool | np.bool_) or not isinstance(scalar, numbers.Real):
            raise Illegal
        found = _number(scalar)
        if math.isnan(found) or not low <= found <= high or (not closed and found in (low, high)):
            raise Illegal
        return found

    return Argument(plain, meaning, _without(()), optional)


def flag(plain: bool = False) -> Argument:
    def meaning(value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise Illegal
        return bool(value)

    return Argument(plain, meaning, _without(()))


# ---- words, files, objects -------------------------------------------------------------------------------


def word(plain: Any, *allowed: str, optional: bool = False, errors: Any = (), skip: Any = ()) -> Argument:
    """One of some strings."""

    def meaning(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise Illegal
        return str(value)

    odd = _without(skip)
    for each in allowed:
        odd[f"the word {each!r}"] = lambda each=each: each
    odd["own str"] = lambda: values.Text(allowed[0])
    odd["upper case"] = lambda: allowed[0].upper()
    odd["with a space"] = lambda: allowed[0] + " "
    odd["as bytes"] = lambda: allowed[0].encode()
    odd["as a list of words"] = lambda: list(allowed)
    odd["0-d word"] = lambda: np.array(allowed[0])
    return Argument(plain, meaning, odd, optional, errors=errors)


def device() -> Argument:
    return word("cpu", "cpu", "cuda", "auto", errors=(RuntimeError,))


class _Named:
    """A path whose name is what it was given."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __fspath__(self) -> Any:
        return self.name


def path(plain: Any, *, optional: bool = False) -> Argument:
    """A file's name. The operating system's words are allowed where a file cannot be opened."""

    def meaning(value: Any) -> Any:
        if not isinstance(value, str | os.PathLike):
            raise Illegal
        return value

    odd = _without(())
    odd["folder"] = lambda: "."
    odd["in no folder"] = lambda: "no such folder/file"
    odd["below a file"] = lambda: f"{__file__}/below"
    odd["PathLike of a str"] = lambda: _Named("made by a case")
    odd["PathLike of bytes"] = lambda: _Named(b"made by a case")
    odd["PathLike of an int"] = lambda: _Named(3)
    odd["PathLike of a NUL"] = lambda: _Named("a\0b")
    return Argument(plain, meaning, odd, optional, errors=(OSError,))


def thing(
    plain: Any, *types: type, others: dict[str, Callable[[], Any]] | None = None, optional: bool = False,
    words: tuple[str, ...] = (), skip: Iterable[str] = (),
) -> Argument:  # fmt: skip
    """An object of a type of fastvi's, or a word; anything of these types is its own plain form."""

    def meaning(value: Any) -> Any:
        if isinstance(value, types) or (isinstance(value, str) and str(value) in words):
            return value
        raise Illegal

    return Argument(plain, meaning, {**_without(skip), **(others or {})}, optional)


CALLABLE = ("a class", "has every attribute", "a type of number")


def progress() -> Argument:
    """True, False or a function; an error of the caller's own function is the caller's."""
    argument = flag()
    argument.odd = {name: make for name, make in argument.odd.items() if name not in CALLABLE}
    argument.odd["a function"] = lambda: lambda done, total: None
    own = argument.meaning
    argument.meaning = lambda value: False if callable(value) else own(value)
    return argument


def function(plain: Any, *, skip: Iterable[str] = ()) -> Argument:
    def meaning(value: Any) -> Any:
        if not callable(value):
            raise Illegal
        return value

    return Argument(plain, meaning, _without((*CALLABLE, *skip)))


def anything(plain: Any, odd: dict[str, Callable[[], Any]], *, meaning: Any = None) -> Argument:
    """An argument with rules of its own: what is legal of ``odd`` is its own plain form."""

    def refuse(value: Any) -> Any:
        raise Illegal

    return Argument(plain, meaning or refuse, odd)
