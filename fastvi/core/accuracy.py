"""Warnings of numbers that are not as accurate as is promised, one for each call."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
Result = TypeVar("Result")

_NAMED = 5  # data that the text names


class AccuracyWarning(UserWarning):
    """Some data's integrals did not come to rest: their numbers are the best found, not certified ones.

    All other data of the call are certified.

    Attributes
    ----------
    index : ndarray, (K,) int
        Which data.
    moved : ndarray, (K,) float
        By how much each number, in nats, was still uncertain when the limit of nodes was reached; inf where
        even the region to integrate over was not found whole.

    Examples
    --------
    The second pixel is 10^21 standard deviations away from all that the decoder can say. The first value is
    certified, the second is not:

    >>> import warnings
    >>> import fastvi
    >>> layers = [([[1.0]], [0.0]), ([[1.0]], [0.0])]
    >>> model = fastvi.NeuralDecoder(layers, "tanh", fastvi.Normal([0.0], [1.0]), "gaussian", 1.0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", fastvi.AccuracyWarning)
    ...     found = fastvi.log_marginal(model, [[0.3], [1e21]])
    >>> caught[0].message.index, caught[0].message.moved
    (array([1]), array([inf]))
    """

    index: np.ndarray
    moved: np.ndarray

    def __init__(self, text: str, index: np.ndarray | None = None, moved: np.ndarray | None = None) -> None:
        super().__init__(
            text
        )  # the only argument, so that copies and pickles are made of text and attributes
        self.index = np.empty(0, np.int64) if index is None else index
        self.moved = np.empty(0) if moved is None else moved


class _Report:
    """Uncertain numbers of one public call."""

    def __init__(self) -> None:
        self.members: np.ndarray | None = None  # which data of the call are worked on
        self.found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}


_CURRENT: ContextVar[_Report | None] = ContextVar("fastvi_report", default=None)


def reported(function: Callable[P, Result]) -> Callable[P, Result]:
    """A public function whose data come in groups, which warns once, at its end, of all of them."""

    @wraps(function)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> Result:
        report = _Report()
        token = _CURRENT.set(report)
        try:
            result = function(*args, **kwargs)
        finally:
            _CURRENT.reset(token)
        for what, found in report.found.items():
            index, moved = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
            order = np.argsort(index)
            _warn(what, index[order], moved[order])
        return result

    return reporting


def working_on(members: np.ndarray) -> None:
    """Say which data of a ``reported`` call those are that follow."""
    report = _CURRENT.get()
    if report is not None:
        report.members = np.asarray(members)


def uncertain(what: str, moved: np.ndarray, certain: np.ndarray) -> None:
    """Report those data (N,) whose number, ``what``, is not ``certain`` (N,) and moved by ``moved`` (N,)."""
    index = np.flatnonzero(~certain)
    if not index.size:
        return
    report = _CURRENT.get()
    if report is None:
        _warn(what, index, moved[index])
        return
    own = index if report.members is None else report.members[index]
    report.found.setdefault(what, []).append((own, moved[index]))


def _warn(what: str, index: np.ndarray, moved: np.ndarray) -> None:
    named = ", ".join(f"{n} (by {by:.2g})" for n, by in zip(index[:_NAMED], moved[:_NAMED], strict=True)) + (
        ", ..." if index.size > _NAMED else ""
    )
    text = (
        f"{what} of {index.size} data is not certified, since it still moved when the limit of nodes was "
        f"reached: {named}"
    )
    warnings.warn(AccuracyWarning(text, index, moved), stacklevel=_outside())


def _outside() -> int:
    """The stack level, as ``_warn`` counts, of the first frame that is not of this package."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 (there is no public way)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "fastvi":
        level, frame = level + 1, frame.f_back
    return level
