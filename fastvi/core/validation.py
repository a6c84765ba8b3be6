"""Every check of an argument, and the words of its error.

Each function takes what the caller passed and the argument's name, and returns the clean value that kernels
may rely on. Errors are one line: the name, what is allowed, what came (shape, dtype, first offending value
and its index).
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from fastvi.core.foreign import is_tracer, plain, plain_numbers
from fastvi.core.stores import Store, store_of

Word = TypeVar("Word", bound=str)

MAX_SEED = 2**64 - 1
AUTO = "auto"  # for observed: whatever is neither NaN nor masked
MAX_COUNT = 2**40  # of data, draws, samples, steps: what no machine holds, and NumPy still has words for

# the words for what an array may hold
_BITS, _REALS = "an array of 0 and 1", "an array of real numbers"


def shown(value: Any) -> str:
    """One short line that says what ``value`` is."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    kind = type(value).__name__
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an object whose repr fails, an int of more digits than Python writes
        return f"an object without a repr ({kind})"
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({kind})"


def with_article(word: str) -> str:
    """``word``, the name of a class or type, after "a" or "an"."""
    spoken_n, spoken_y = word == "ndarray", word.lower().startswith(("uni", "use", "eu"))
    vowel = word[:1].lower() in "aeiou"
    return f"an {word}" if spoken_n or (vowel and not spoken_y) else f"a {word}"


def type_name(value: Any) -> str:
    """The name of its type after an article."""
    return with_article(type(value).__name__)


def _shape_text(shape: tuple[int | None, ...]) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


def require(array: np.ndarray, good: np.ndarray, must: str, first: int = 0) -> None:
    """Raise ValueError that begins with ``must`` and names the first value where ``good`` does not hold.

    ``first`` is the place of the array's first row among the caller's.
    """
    if not good.all():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(good)), good.shape))
        place = (index[0] + first, *index[1:]) if index else index
        where = f" at index {place[0] if len(place) == 1 else place}" if place else ""
        raise ValueError(f"{must}, got {array[index]}{where}")


def broadcasting(
    name: str, shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The shape that two arrays broadcast to."""
    try:
        return np.broadcast_shapes(shape, other_shape)
    except ValueError:
        raise ValueError(
            f"{name} and {other} must have shapes that broadcast, got shapes {shape} and {other_shape}"
        ) from None


def per_datum(array: np.ndarray, name: str, parameters: str, num_data: int, num_latents: int) -> None:
    """Refuse ``parameters`` of the distribution ``name`` that are neither (d,) nor (N, d)."""
    allowed = (num_latents,), (num_data, num_latents)
    if array.shape not in allowed:
        raise ValueError(
            f"{name} must have {parameters} of shape {allowed[0]} or {allowed[1]}, got shape {array.shape}"
        )


def for_each_datum(shape: tuple[int, ...], name: str, num_data: int | None, *last_axis: int) -> None:
    """Refuse a ``shape`` that does not end in (N, *last_axis).

    1 in place of N serves all data, as do the last axes alone; ``num_data`` None is any number.
    """
    axes = 1 + len(last_axis)
    if num_data is None or len(shape) < axes or shape[-axes] in (1, num_data):
        return
    ends = (f"(..., {', '.join(map(str, (size, *last_axis)))})" for size in (num_data, 1))
    raise ValueError(f"{name} must have shape {next(ends)}, or {next(ends)} for all data, got shape {shape}")


def _why_no_array(value: Any, error: Exception) -> str:
    """NumPy's reason, but for lists, of which it speaks in terms of its own."""
    if isinstance(value, list | tuple):
        return "its entries have no common shape, or are no numbers"
    return " ".join(str(error).split())


def _as_array(value: Any, name: str, allowed: str) -> np.ndarray:
    """Array that NumPy makes of ``value``, or DLPack on the CPU where NumPy makes none."""
    if type(value) is np.ndarray and value.dtype.kind in "biuf":  # nothing to convert: most of all calls
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be {allowed}, got a masked array: its mask would be lost")
    if is_tracer(value):
        takers = "fastvi.interop.jax.log_marginal and .elbo take those"
        raise TypeError(f"{name} must be {allowed}, got a tracer of JAX: {takers}")
    reason, came = "", value
    try:
        value = plain(value)
        array = np.asarray(value)
    except Exception as error:  # ragged lists, tensors on a GPU, tensors that require a gradient
        array, reason = None, f": {_why_no_array(value, error)}"
    # an array of objects is NumPy's own, whatever DLPack would say of it
    foreign = hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray)
    if (array is None or array.dtype == object) and foreign:
        try:
            array = np.from_dlpack(value)
        except Exception as error:
            array, reason = None, reason or f": {' '.join(str(error).split())}"
    if array is None:
        raise TypeError(f"{name} must be {allowed} in CPU memory, got {type_name(came)}{reason}")
    return plain_numbers(array, value)


def _wrong_dtype(array: np.ndarray, value: Any, name: str, allowed: str) -> TypeError:
    """Error to be raised for ``array``, which NumPy made of ``value``."""
    text = f"{name} must be {allowed}, got dtype {array.dtype} (from {type_name(value)})"
    if array.dtype == object and array.ndim:  # as of pandas' nullable types
        kind = "int" if "integers" in allowed else "float"
        text += f"; convert it first, as by numpy.asarray({name}, dtype={kind})"
    return TypeError(text)


def number_array(value: Any, name: str, allowed: str) -> np.ndarray:
    """Booleans, integers or floating-point numbers as they came."""
    array = _as_array(value, name, allowed)
    if array.dtype.kind not in "biuf":
        raise _wrong_dtype(array, value, name, allowed)
    return array


def check_shape(
    array: np.ndarray, name: str, ndim: int | tuple[int, ...], shape: tuple[int | None, ...] | None
) -> None:
    """Refuse another number of axes than ``ndim``, or other sizes than those of ``shape``."""
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        axes = " or ".join(str(n) for n in allowed)
        wanted = f" of shape {_shape_text(shape)}" if shape is not None else ""
        raise ValueError(f"{name} must have {axes} axes{wanted}, got shape {array.shape}")
    if shape is None:
        return
    # the last axes are compared, so that one shape serves arrays with and without leading axes
    pairs = zip(reversed(array.shape), reversed(shape), strict=False)
    if any(want is not None and have != want for have, want in pairs):
        raise ValueError(f"{name} must have shape {_shape_text(shape)}, got shape {array.shape}")


def _doubles(array: np.ndarray) -> np.ndarray:
    """C-contiguous float64; a long double beyond the doubles becomes inf, which the caller judges."""
    if array.dtype == np.float64 and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)


def float_array(
    value: Any,
    name: str,
    *,
    ndim: int | tuple[int, ...],
    shape: tuple[int | None, ...] | None = None,
    allow_infinite: bool = False,
) -> np.ndarray:
    """Real numbers as a C-contiguous float64 array; it may share memory with ``value``.

    ``ndim`` is one number of axes or several allowed ones; ``shape`` holds the sizes, None where any size
    will do.
    """
    array = number_array(value, name, _REALS)
    check_shape(array, name, ndim, shape)
    if not allow_infinite:
        return _finite_numbers(array, name, None)
    clean = _doubles(array)
    require(clean, ~np.isnan(clean), f"{name} must not contain NaN")
    return clean


def frozen_array(array: np.ndarray) -> np.ndarray:
    """A read-only C-contiguous copy, which is what models and distributions keep."""
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy


_BLOCK_NUMBERS = 1 << 18  # that are checked or copied at a time: their masks are as nothing beside large data


def _blocks(array: np.ndarray) -> Iterator[slice]:
    """Some rows of ``array`` at a time."""
    rows = max(1, _BLOCK_NUMBERS * len(array) // max(1, array.size))
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)


def _require_where(
    array: np.ndarray,
    good: Callable[[np.ndarray], np.ndarray],
    must: str,
    observed: np.ndarray | None,
    first: int,
) -> None:
    """``require`` where ``observed``; the whole mask is made only for the words of an error."""
    whole = array.reshape(1) if array.ndim == 0 else array
    for rows in (slice(None),) if whole.size <= _BLOCK_NUMBERS else _blocks(whole):
        if observed is None:
            fine = good(whole[rows])
        else:
            fine = good(whole[rows]) | ~(observed if observed.ndim == 1 else observed[rows])
        if np.count_nonzero(fine) < fine.size:  # in a fifth of the time that all() takes for a few numbers
            require(array, good(array) if observed is None else good(array) | ~observed, must, first)


def _seen_only(array: np.ndarray, observed: np.ndarray, dtype: type) -> np.ndarray:
    """``array`` with 0 where it was not ``observed``."""
    out: np.ndarray = np.zeros(array.shape, dtype)
    np.copyto(out, array, where=observed, casting="unsafe")
    return out


def _zeros_and_ones(array: np.ndarray, name: str, observed: np.ndarray | None, first: int = 0) -> np.ndarray:
    if array.dtype.kind == "b":
        bits = np.ascontiguousarray(array).view(np.uint8)
        return bits if observed is None else bits * observed
    bytes_ = array.dtype == np.uint8
    # bytes in one pass, without masks; where one is larger, whether it counts is looked at below
    if not bytes_ or np.maximum.reduce(array, axis=None, initial=0) > 1:
        seen = " where it is observed" if observed is not None else ""
        must = f"{name} must contain only 0 and 1{seen}"
        _require_where(array, lambda part: (part == 0) | (part == 1), must, observed, first)
    if observed is not None:
        return _seen_only(array, observed, np.uint8)
    if bytes_ and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, dtype=np.uint8).reshape(array.shape)


def _finite_numbers(array: np.ndarray, name: str, observed: np.ndarray | None, first: int = 0) -> np.ndarray:
    clean = _doubles(array)
    must = f"{name} must be finite" + (" where it is observed" if observed is not None else "")
    _require_where(clean, np.isfinite, must, observed, first)
    return clean if observed is None else _seen_only(clean, observed, np.float64)


def _data_matrix(value: Any, name: str, num_columns: int, kind: str) -> np.ndarray:
    """Numbers of shape (N, ``num_columns``) as they came; ``kind`` says what they have to be."""
    wanted = f"(num_data, {num_columns})"
    array = number_array(value, name, f"{kind} of shape {wanted}")
    _check_data_shape(array.shape, name, num_columns)
    return array


def _check_data_shape(shape: tuple[int, ...], name: str, num_columns: int) -> None:
    """Refuse what is not (N, ``num_columns``), with the line that makes it so where there is one."""
    if len(shape) == 2 and shape[1] == num_columns:
        return
    hint = ""
    if shape == (num_columns,):
        hint = f": pass {name}[None] for one datum"
    elif len(shape) > 2 and math.prod(shape[1:]) == num_columns:  # images
        hint = f": pass {name}.reshape(len({name}), -1)"
    raise ValueError(f"{name} must have shape (num_data, {num_columns}), got shape {shape}{hint}")


class _Kind(NamedTuple):
    """Words, dtype and check of what data are made of."""

    allowed: str
    dtype: type
    clean: Callable[..., np.ndarray]  # (array, name, observed, first)


_BITS_OF_DATA = _Kind(_BITS, np.uint8, _zeros_and_ones)
_REALS_OF_DATA = _Kind(_REALS, np.float64, _finite_numbers)


def binary_matrix(
    value: Any, name: str, num_columns: int, *, observed: np.ndarray | None = None
) -> np.ndarray:
    """Data of zeros and ones as uint8 of shape (N, ``num_columns``), C-contiguous.

    Where ``observed`` (from :func:`observed_mask`) is False anything goes, NaN too, and 0 is stored. A single
    datum is not promoted: (D,) against (N, D) is the caller's decision, and the error says how to state it.
    """
    return _zeros_and_ones(_data_matrix(value, name, num_columns, _BITS), name, observed)


def real_matrix(value: Any, name: str, num_columns: int, *, observed: np.ndarray | None = None) -> np.ndarray:
    """Data of finite real numbers as float64 of shape (N, ``num_columns``), C-contiguous.

    Where ``observed`` (from :func:`observed_mask`) is False anything goes, NaN too, and 0.0 is stored. It may
    share memory with ``value``; a single datum is not promoted, as in :func:`binary_matrix`.
    """
    return _finite_numbers(_data_matrix(value, name, num_columns, _REALS), name, observed)


def _with_last_axis(value: Any, name: str, last_axis: int, kind: str) -> np.ndarray:
    """Numbers of shape (..., ``last_axis``) as they came; ``kind`` says what they have to be."""
    array = number_array(value, name, f"{kind} of shape (..., {last_axis})")
    if array.ndim < 1 or array.shape[-1] != last_axis:
        raise ValueError(f"{name} must have shape (..., {last_axis}), got shape {array.shape}")
    return array


def binary_array(value: Any, name: str, last_axis: int) -> np.ndarray:
    """Zeros and ones as uint8 with any leading axes: shape (..., ``last_axis``)."""
    return _zeros_and_ones(_with_last_axis(value, name, last_axis, _BITS), name, None)


def real_array(value: Any, name: str, last_axis: int) -> np.ndarray:
    """Finite real numbers as float64 with any leading axes: shape (..., ``last_axis``)."""
    return _finite_numbers(_with_last_axis(value, name, last_axis, _REALS), name, None)


def index_array(value: Any, name: str, num_values: int) -> np.ndarray:
    """Integers in [0, ``num_values``) as int64 with any axes."""
    array = _as_array(value, name, "an array of integers")
    if array.dtype.kind not in "iu" and array.size:  # an empty list comes as float64
        raise _wrong_dtype(array, value, name, "an array of integers")
    require(array, (array >= 0) & (array < num_values), f"{name} must lie in 0 ... {num_values - 1}")
    return np.ascontiguousarray(array, dtype=np.int64).reshape(array.shape)


def index_vector(value: Any, name: str, num_values: int) -> np.ndarray:
    """Integers in [0, ``num_values``) as int64 of shape (N,)."""
    array = _as_array(value, name, "a vector of integers")
    if array.ndim != 1:
        hint = f": pass [{name}] for one datum" if array.ndim == 0 else ""
        raise ValueError(f"{name} must have shape (num_data,), got shape {array.shape}{hint}")
    return index_array(array, name, num_values)


def observed_mask(observed: Any, num_data: int, num_pixels: int) -> np.ndarray | None:
    """None, or a boolean mask of shape (D,) or (N, D).

    Only dtype bool is taken, so that data of 0 and 1 passed by mistake are refused.
    """
    if observed is None:
        return None
    array = _as_array(observed, "observed", "a boolean array")
    wanted = f"({num_pixels},) or ({num_data}, {num_pixels})"
    if array.dtype != np.bool_:
        raise TypeError(f"observed must have dtype bool and shape {wanted}, got dtype {array.dtype}")
    if array.shape not in ((num_pixels,), (num_data, num_pixels)):
        raise ValueError(f"observed must have shape {wanted}, got shape {array.shape}")
    return np.ascontiguousarray(array)


def _data_and_mask(
    x: Any, observed: Any, num_pixels: int, name: str, kind: _Kind
) -> tuple[np.ndarray, np.ndarray | None]:
    """Data (N, D), checked together with the mask that says where they were observed."""
    auto = isinstance(observed, str) and observed == AUTO
    store = store_of(x)
    if store is not None:
        return _stored_data(store, None if auto else observed, num_pixels, name, kind, auto=auto)
    masked = auto and isinstance(x, np.ma.MaskedArray)
    hidden = np.ma.getmaskarray(x) if masked else None
    array = _data_matrix(np.ma.getdata(x) if masked else x, name, num_pixels, kind.allowed)
    mask = _seen(array, hidden) if auto else observed_mask(observed, len(array), num_pixels)
    # a mask that hides nothing takes no copy
    return kind.clean(array, name, None if mask is None or mask.all() else mask), mask


def _seen(array: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray | None:
    """Where data (N, D) are neither NaN nor ``hidden``; None where all were observed."""
    seen = ~np.isnan(array) if array.dtype.kind == "f" else np.ones(array.shape, bool)
    if hidden is not None:
        seen &= ~hidden
    return None if seen.all() else seen


def _stored_data(
    store: Store, observed: Any, num_pixels: int, name: str, kind: _Kind, *, auto: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Data of a store, read and checked a part at a time: what is kept of a bit is a byte."""
    _check_data_shape(store.shape, name, num_pixels)
    mask = observed_mask(observed, store.shape[0], num_pixels)
    given = None if mask is None or mask.all() else mask
    out: np.ndarray = np.empty(store.shape, kind.dtype)
    seen = np.ones(store.shape, bool) if auto else None
    for rows, part in store.parts():
        array = _data_matrix(part, name, num_pixels, kind.allowed)
        if seen is not None:
            here = _seen(array)
            seen[rows] = True if here is None else here
        else:
            here = given[rows] if given is not None and given.ndim == 2 else given
        out[rows] = kind.clean(array, name, here, rows.start)
    return out, mask if seen is None else None if seen.all() else seen


def observed_data(
    x: Any, observed: Any, num_pixels: int, name: str = "x"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Data of zeros and ones (N, D) as uint8 together with the mask that says where they were observed."""
    return _data_and_mask(x, observed, num_pixels, name, _BITS_OF_DATA)


def observed_real_data(
    x: Any, observed: Any, num_pixels: int, name: str = "x"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Data of real numbers (N, D) as float64 together with the mask that says where they were observed."""
    return _data_and_mask(x, observed, num_pixels, name, _REALS_OF_DATA)


def _integer(value: Any) -> int | None:
    """The int that ``value`` is, or None; booleans are not numbers here."""
    if type(value) is int:
        return value
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except Exception:  # whatever the caller's class raises: it is no integer
        return None


def axis(value: Any, num_axes: int, allowed: str = "an int") -> int:
    """An axis of an array of ``num_axes``, as it was counted: from the left or, negative, from the right."""
    index = _integer(value)
    if index is None:
        raise TypeError(f"axis must be {allowed}, got {shown(value)}")
    if not -num_axes <= index < num_axes:
        raise ValueError(f"axis must lie in {-num_axes} ... {num_axes - 1}, got {shown(index)}")
    return index


def axes(value: Any, num_axes: int) -> tuple[int, ...]:
    """One axis or a tuple of axes that differ, each as it was counted."""
    allowed = "an int or a tuple of ints"
    found = tuple(axis(each, num_axes, allowed) for each in (value if isinstance(value, tuple) else (value,)))
    if not found or len({index % num_axes for index in found}) < len(found):
        raise ValueError(f"axis must be {allowed} that differ, got {shown(value)}")
    return found


def seed(value: Any, name: str = "seed") -> int:
    """An int with 0 <= seed < 2**64."""
    number = _integer(value)
    if number is None:
        raise TypeError(f"{name} must be an int with 0 <= {name} < 2**64, got {shown(value)}")
    if not 0 <= number <= MAX_SEED:
        raise ValueError(f"{name} must be an int with 0 <= {name} < 2**64, got {shown(number)}")
    return number


def positive_int(value: Any, name: str, minimum: int = 1, *, maximum: int | None = MAX_COUNT) -> int:
    """An int of at least ``minimum`` and at most ``maximum``, where that is not None."""
    number = _integer(value)
    if number is None:
        raise TypeError(f"{name} must be an int >= {minimum}, got {shown(value)}")
    if number < minimum:
        raise ValueError(f"{name} must be an int >= {minimum}, got {shown(number)}")
    if maximum is not None and number > maximum:
        most = f"2**{maximum.bit_length() - 1}" if maximum & (maximum - 1) == 0 else str(maximum)
        raise ValueError(f"{name} must be an int <= {most}, got {shown(number)}")
    return number


def counts(value: Any, name: str) -> tuple[int, ...]:
    """One int of at least 1, or a sequence of such that differ; text and bytes are no sequences of ints."""
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)
    if not several and not (isinstance(value, np.ndarray) and value.ndim):
        return (positive_int(value, name),)
    found = tuple(positive_int(number, f"{name}[{i}]") for i, number in enumerate(value))
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{name} must be an int or ints that differ, got {shown(value)}")
    return found


def _scalar(value: Any) -> Any:
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


def real_number(value: Any, name: str, allowed: str) -> float:
    """Return any real number but NaN as a float; one beyond all doubles is inf.

    Arrays without axes are taken, booleans are not.
    """
    scalar = _scalar(value)
    # NumPy's durations call themselves integers
    if isinstance(scalar, bool | np.bool_ | np.timedelta64) or not isinstance(scalar, numbers.Real):
        raise TypeError(f"{name} must be {allowed}, got {shown(scalar)}")
    try:
        with np.errstate(over="ignore"):
            number = float(scalar)
    except OverflowError:  # an int beyond the doubles
        number = math.inf if value > 0 else -math.inf
    if math.isnan(number):
        raise ValueError(f"{name} must be {allowed}, got {shown(scalar)}")
    return number


def finite_float(value: Any, name: str) -> float:
    """A finite float, as :func:`real_number` takes it."""
    number = real_number(value, name, "a finite number")
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {shown(_scalar(value))}")
    return number


def positive_float(value: Any, name: str) -> float:
    """A finite float > 0, as :func:`real_number` takes it."""
    number = real_number(value, name, "a finite number > 0")
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a finite number > 0, got {shown(_scalar(value))}")
    return number


def choice(value: Any, name: str, allowed: Collection[Word]) -> Word:
    """Return ``value``, one of the strings ``allowed``."""
    if type(value) is str and value in allowed:
        return cast(Word, value)
    words = ", ".join(repr(word) for word in allowed)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {words}, got {shown(value)}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {words}, got {shown(value)}")
    return cast(Word, str(value))


def instance(value: Any, name: str, types: type | tuple[type, ...]) -> Any:
    """``value`` itself where it is an instance of one of ``types``."""
    if not isinstance(value, types):
        names = " or ".join(t.__name__ for t in (types if isinstance(types, tuple) else (types,)))
        raise TypeError(f"{name} must be {with_article(names)}, got {shown(value)}")
    return value


def flag(value: Any, name: str) -> bool:
    """True or False; numbers and None are refused."""
    if value is True or value is False:
        return value
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)
