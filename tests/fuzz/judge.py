"""The verdict on an odd value: an answer equal in bits to that of its plain form, or one line in our words.

Anything else is a failure: another exception, a text of NumPy's, Numba's or Python's, two lines, a line that
does not say which argument, what is allowed and what came, a NaN, a changed argument, a printed line.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

import fastvi

from . import answers
from .calls import Call
from .kinds import Argument, Illegal

_HOME = os.path.dirname(os.path.abspath(fastvi.__file__))
_LONGEST = 700
# what other libraries and Python say, also inside of a line of ours
_FOREIGN = re.compile(
    r"has no attribute|unsupported operand|ufunc|numba\.|nopython|dlpack|cannot reshape|"
    r"could not be broadcast|could not convert|inhomogeneous|"
    r"not supported between|setting an array element|takes \d+ positional|"
    r"expected str|out of bounds for|not iterable|not subscriptable|maximum .*dimension|"
    r"unhashable|format string|truth value",
    re.IGNORECASE,
)
_CAME = re.compile(r"\bgot\b|\bbut\b|^\w+='")
_ALLOWED = re.compile(r"\bmust\b|\bis not available\b|\bis [\d,]+|\bcannot\b|\bhave\b")


@dataclass(frozen=True)
class Verdict:
    """``fault`` is "" where all is well; ``what`` is the answer or the line."""

    fault: str
    what: str


def try_plain(call: Call) -> Verdict:
    """The call with nothing odd in it."""
    try:
        answer = _answer(call, call.plain())
    except Exception as error:
        return Verdict("the plain call is refused", f"{type(error).__name__}: {error}"[:_LONGEST])
    holes = answers.with_nan(answer)
    return Verdict(f"NaN in {holes}" if holes else "", "answered")


def try_case(call: Call, name: str, make: Callable[[], Any]) -> Verdict:
    """The call with one argument odd."""
    argument = call.arguments[name]
    try:
        value = make()
    except Exception as error:
        return Verdict("the catalogue is wrong", f"{type(error).__name__}: {error}")
    before = _snapshot(value)
    try:
        answer = _answer(call, {**call.plain(), name: value})
    except Exception as error:
        return _refusal(error, call, argument, name, value)
    if _snapshot(value) != before:
        return Verdict("the argument was changed", name)
    # made anew: what can be read once has been read
    try:
        plain = argument.plain_form(make())
    except Illegal:
        return Verdict("an answer where a refusal is due", _short(answer))
    holes = answers.with_nan(answer)
    if holes and not _is_impossible(call, plain):
        return Verdict("NaN in an answer", ", ".join(holes))
    try:
        wanted = _answer(call, {**call.plain(), name: plain})
    except Exception as error:
        return Verdict(
            "an answer where the plain form is refused", f"{type(error).__name__}: {error}"[:_LONGEST]
        )
    apart = answers.difference(answers.bits(answer), answers.bits(wanted))
    return Verdict("another answer than of the plain form" if apart else "", apart or "answered")


def _answer(call: Call, arguments: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # what fastvi has to say about an answer is no fault
        warnings.simplefilter("ignore", _own_warnings())
        answer = call.function(**arguments)
        answers.bits(answer)  # what is computed when it is first used belongs to the answer
    return answer


@functools.cache
def _own_warnings() -> Any:
    """Categories of fastvi's own; a category that nothing has where there are none."""

    class Nothing(Warning):
        pass

    found = [each for each in vars(fastvi).get("_HOME", {}) if each.endswith("Warning")]
    return getattr(fastvi, found[0]) if found else Nothing


def _refusal(error: Exception, call: Call, argument: Argument, name: str, value: Any) -> Verdict:
    text = str(error)
    said = f"{type(error).__name__}: {text}"[:_LONGEST]
    if isinstance(error, OSError) and OSError in argument.errors:
        return Verdict("" if "\n" not in text else "several lines", said)
    if isinstance(error, MemoryError) and _is_huge(value):
        return Verdict("", said)  # there is no room for the argument itself
    if type(error) not in (ValueError, TypeError, *argument.errors):
        return Verdict("another exception", said)
    if not _raised_here(error.__traceback__):
        return Verdict("raised by another library", said)
    if "\n" in text or "\r" in text:
        return Verdict("several lines", said)
    if len(text) > _LONGEST:
        return Verdict("a line without end", said)
    if not any(_names(text, each) for each in _blamed(call, name)):
        return Verdict("the argument is not named", said)
    if not _CAME.search(text):
        return Verdict("what came is not said", said)
    if not _ALLOWED.search(text):
        return Verdict("what is allowed is not said", said)
    if _FOREIGN.search(text):
        return Verdict("foreign words", said)
    return Verdict("", said)


def _is_huge(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.size >= 1 << 36


def _blamed(call: Call, name: str) -> Iterable[str]:
    """An argument that no longer fits to another may be named by the other's name."""
    return [name, *call.arguments]


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text) is not None


def _raised_here(traceback: TracebackType | None) -> bool:
    """Whether a ``raise`` of fastvi's own source ended the call."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    file, line = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
    return file.startswith(_HOME) and any(first <= line <= last for first, last in _raises(file))


@functools.cache
def _raises(file: str) -> list[tuple[int, int]]:
    """First and last lines of the raise statements of a file."""
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return [(node.lineno, node.end_lineno or node.lineno) for node in found]


def _snapshot(value: Any) -> Any:
    """What an argument held, as far as it can be told."""
    if isinstance(value, np.ma.MaskedArray):
        return None
    if isinstance(value, np.ndarray) and value.dtype != object and value.size < 1 << 20:
        return value.tobytes(), value.shape, str(value.dtype), value.flags.writeable
    if type(value) in (list, dict, set, bytearray):
        try:
            return repr(value)
        except Exception:
            return None
    return None


# what p(z | x) is asked about: NaN where p(x) is 0, as their documentation has it
_OF_POSTERIORS = ("exact_posterior", "kl_to_posterior", "kl_from_posterior")
_SQUARE_OVERFLOWS = 1e150


def _is_impossible(call: Call, plain: Any) -> bool:
    """Whether data are so far away that their density is 0 in doubles."""
    if call.public in ("pareto_k", "psis"):  # k-hat is NaN where all weights are 0
        return bool(np.isneginf(plain).all())
    if call.public not in _OF_POSTERIORS or not isinstance(plain, np.ndarray) or plain.dtype.kind != "f":
        return False
    return bool((np.abs(plain) > _SQUARE_OVERFLOWS).any())


def _short(answer: Any) -> str:
    try:
        return " ".join(repr(answer).split())[:200]
    except Exception:
        return type(answer).__name__
