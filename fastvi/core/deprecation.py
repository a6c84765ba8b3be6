"""Former names of arguments, which still work for a while."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


def renamed(**names: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Decorate a function whose arguments had other names: ``renamed(former="name")``.

    The former name works as a keyword, with a DeprecationWarning at the caller that names the new one.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        places = {name: place for place, name in enumerate(signature(function).parameters)}

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            for former, name in names.items():
                if former not in kwargs:
                    continue
                if name in kwargs or len(args) > places[name]:
                    raise TypeError(f"{name} must be given once, got {former}, its former name, as well")
                warnings.warn(f"{former} is called {name} now", DeprecationWarning, stacklevel=2)
                kwargs[name] = kwargs.pop(former)
            return function(*args, **kwargs)

        return call

    return decorate
