"""Bridges into other people's programs: a module for each of them, an extra of its own.

``fastvi.interop.torch`` needs the extra ``torch``, and so on. A module is imported at its first use, so that
``import fastvi`` imports none of these packages.

Examples
--------
>>> import fastvi, torch
>>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
>>> bias = torch.tensor([0.0, 0.5], requires_grad=True)
>>> fastvi.interop.torch.log_marginal(model, [[1, 0]], bias=bias).sum().backward()
>>> bias.grad.numpy().round(3)
array([ 0.217, -0.44 ], dtype=float32)
"""

from __future__ import annotations

import importlib
from typing import Any

# module -> the extra that installs what it needs
_EXTRAS: dict[str, str] = {
    "jax": "jax",
    "torch": "torch",
    "arviz": "arviz",
    "sklearn": "sklearn",
    "dimod": "dimod",
}


def __getattr__(name: str) -> Any:
    if name not in _EXTRAS:
        raise AttributeError(f"module 'fastvi.interop' has no attribute {name!r}")
    return importlib.import_module(f"fastvi.interop.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXTRAS})
