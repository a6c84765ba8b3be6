"""The argument ``rng`` beside ``seed``: a NumPy generator that gives the seed (SPEC 7)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

import numpy as np

from fastvi.core.validation import MAX_SEED, shown

P = ParamSpec("P")
Result = TypeVar("Result")


def takes_rng(function: Callable[P, Result]) -> Callable[P, Result]:
    """Decorate a function of ``seed`` and ``rng``, which then sees a seed alone.

    A generator gives one number of 64 bits, 0 <= seed < 2**64, in place of the seed.
    """
    place = list(signature(function).parameters).index("seed")

    @wraps(function)
    def seeded(*args: P.args, **kwargs: P.kwargs) -> Result:
        rng = kwargs.pop("rng", None)
        if rng is not None:
            if not isinstance(rng, np.random.Generator):
                raise TypeError(f"rng must be a numpy.random.Generator or None, got {shown(rng)}")
            if len(args) > place or kwargs.get("seed") is not None:
                raise TypeError("rng must be None where seed is given: it gives the seed, got both")
            kwargs["seed"] = int(rng.integers(MAX_SEED, dtype=np.uint64, endpoint=True))
        return function(*args, **kwargs)

    return seeded
