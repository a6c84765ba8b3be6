"""An answer as its bits, whatever it is made of, and whether it holds NaN where none is documented."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# fields that are NaN where there is nothing to say, as their documentation has it
MAY_BE_NAN = {
    "std_error", "pareto_k", "max_weight_share", "reconstruction", "kl_to_prior", "k",
    "bias", "rms_error", "relative_variance", "low_k_coverage", "error_ratio", "std",
}  # fmt: skip
# measured, not computed
TIMES = {"seconds", "predicted_seconds", "efficiency"}
_PROPERTIES = {
    "ExactPosterior": ("entropy", "mode", "mode_log_prob"),
    "LogWeights": ("num_data", "num_samples", "tail_size"),
}


def parts(answer: Any, name: str = "answer", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Leaves of an answer with their names."""
    if depth > 8:
        return
    if dataclasses.is_dataclass(answer):
        for field in dataclasses.fields(answer):
            if field.name not in TIMES and not field.name.startswith("_"):
                yield from parts(getattr(answer, field.name), f"{name}.{field.name}", depth + 1)
    elif hasattr(answer, "_arrays") and type(answer).__module__.startswith("fastvi"):
        try:
            arrays = answer.arrays()
        except TypeError:  # a log joint of the caller's
            arrays = {"repr": repr(answer)}
        yield f"{name}.type", type(answer).__name__
        yield from parts(arrays, name, depth + 1)
    elif isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from parts(value, f"{name}.{key}", depth + 1)
    elif isinstance(answer, list | tuple):
        yield f"{name}.length", len(answer)
        for i, value in enumerate(answer):
            yield from parts(value, f"{name}.{i}", depth + 1)
    elif hasattr(answer, "estimate") and getattr(answer, "num_samples", 0):
        yield from parts(answer.estimate(), name, depth + 1)
    else:
        yield name, answer
    for extra in _PROPERTIES.get(type(answer).__name__, ()):
        yield from parts(getattr(answer, extra), f"{name}.{extra}", depth + 1)


def bits(answer: Any) -> dict[str, Any]:
    """Name -> (type, shape, bytes) of each leaf; NaN is one value, whatever its bits."""
    found: dict[str, Any] = {}
    for name, leaf in parts(answer):
        if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype != object:
            array = np.ascontiguousarray(leaf)
            if array.dtype.kind == "f":
                array = np.where(np.isnan(array), np.nan, array).astype(array.dtype)
            found[name] = (str(array.dtype), np.shape(leaf), array.tobytes())
        elif isinstance(leaf, float):
            found[name] = ("float", (), b"nan" if leaf != leaf else struct.pack("d", leaf))
        else:
            found[name] = (type(leaf).__name__, (), repr(leaf) if isinstance(leaf, int | str) else "")
    return found


def with_nan(answer: Any) -> list[str]:
    """Names of leaves that hold NaN and should not."""
    found = []
    for name, leaf in parts(answer):
        if name.split(".")[-1] in MAY_BE_NAN or any(part in MAY_BE_NAN for part in name.split(".")):
            continue
        kind = getattr(leaf, "dtype", np.dtype(type(leaf) if isinstance(leaf, float) else object)).kind
        if kind == "f" and np.isnan(leaf).any():
            found.append(name)
    return found


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Where two answers differ, "" where they do not."""
    if one == other:
        return ""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return ", ".join(names[:4])
