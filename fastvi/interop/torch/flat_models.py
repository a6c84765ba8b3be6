"""Models as what an operator takes: a text and tensors.

A compiled or saved graph holds no Python object. So a model goes into it as the tensors of its parameters and
a JSON text of its class and its words. It is built again, and validated, where a number is wanted. There is
no registry: a graph needs nothing that could die before it, and nothing outlives it.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastvi.core import validation
from fastvi.core.frozen import Frozen
from fastvi.interop.differentiable import parameters, saved_shape
from fastvi.interop.torch.tensors import as_double, from_array


def description(model: Any) -> str:
    """JSON text of all of a model but the values of its parameters."""
    names = list(parameters(model))
    kind = type(model)
    if not issubclass(kind, Frozen) or _find(kind.__module__, kind.__qualname__) is not kind:
        raise TypeError(
            "model must be of a class derived from fastvi.Model that can be imported by its name, got "
            f"{validation.shown(model)}"
        )
    words = {
        name: [array.dtype.str, array.tolist()] for name, array in model.arrays().items() if name not in names
    }
    return json.dumps([kind.__module__, kind.__qualname__, names, words, saved_shape(model, 0)[1]])


def saved_width(text: str) -> int:
    """Numbers a datum that the values keep for the gradient, of the model of a description."""
    width: int = json.loads(text)[-1]
    return width


def parameter_names(model: Any) -> tuple[str, ...]:
    """Names of the tensors of a model, in the order in which operators take them."""
    return tuple(parameters(model))


def parameter_tensors(model: Any) -> list[torch.Tensor]:
    """The values of a model's parameters, float64, in the order of their names."""
    return [from_array(array) for array in parameters(model).values()]


# to the compiler a model is a constant, which it guards by identity: models are immutable
constant: Any = torch.compiler.assume_constant_result
_description = constant(description)
_parameter_names = constant(parameter_names)
_parameter_tensors = constant(parameter_tensors)


def flattened(model: Any, given: dict[str, torch.Tensor]) -> tuple[str, list[torch.Tensor]]:
    """Description of the model and its float64 tensors, ``given`` in the place of the model's own."""
    text, names = _description(model), _parameter_names(model)
    own = dict(zip(names, _parameter_tensors(model), strict=True))
    for name, value in given.items():
        if name not in own:
            raise TypeError(f"parameters must be named {', '.join(names)}, got {name!r}")
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            found = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a tensor of floating-point numbers, got {found}")
        if value.shape != own[name].shape:
            raise ValueError(f"{name} must have shape {tuple(own[name].shape)}, got {tuple(value.shape)}")
        own[name] = as_double(value)
    return text, [own[name] for name in names]


# ---- within the operators --------------------------------------------------------------------------------

# description, model and arrays of those that came last, with what they have computed
_recent: deque[tuple[str, Any, dict[str, np.ndarray]]] = deque(maxlen=4)
_lock = threading.Lock()


def rebuilt(text: str, tensors: Sequence[torch.Tensor]) -> Any:
    """The model of a description and its tensors.

    One of the last few is given again where all bits are equal: gradients come right after values, and a
    model keeps its log Z.
    """
    arrays = [tensor.numpy() for tensor in tensors]
    module, name, names, words, _ = json.loads(text)
    with _lock:
        recent = list(_recent)
    for known, model, kept in reversed(recent):
        if known == text and all(map(_same, (kept[key] for key in names), arrays)):
            return model
    kind = _find(module, name)
    if kind is None or not issubclass(kind, Frozen):
        raise TypeError(f"model must be of a class that can be imported by its name, got {module}.{name}")
    whole = {key: np.array(value, dtype=dtype) for key, (dtype, value) in words.items()}
    whole.update(zip(names, arrays, strict=True))
    model = kind.from_arrays(whole)
    with _lock:
        _recent.append((text, model, model.arrays()))
    return model


def _same(kept: Any, array: np.ndarray) -> bool:
    """Whether the bits are equal: 0.0 and -0.0 are not."""
    return np.array_equal(
        np.ascontiguousarray(kept, np.float64).view(np.int64), np.ascontiguousarray(array).view(np.int64)
    )


def _find(module: str, name: str) -> Any:
    """The class of this name, or None."""
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found if isinstance(found, type) else None
