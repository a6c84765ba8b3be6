"""The argument ``method``: by which way a model's states are summed."""

from __future__ import annotations

from typing import Any

from fastvi.core import validation
from fastvi.core.options import METHODS
from fastvi.inputs.data import is_on_host
from fastvi.rules.base import Rules


def rules_by(
    rules: Rules, method: Any, question: str, device: Any = "cpu", *, top_k: int = 0, x: Any = None
) -> Rules:
    """Return the rules that answer ``question`` by ``method``, which a GPU does by enumeration alone."""
    method = validation.choice(method, "method", METHODS)
    on_gpu = (isinstance(device, str) and device == "cuda") or not is_on_host(x)
    if on_gpu and method not in ("auto", "enumeration"):
        raise ValueError(
            f"method must be 'auto' or 'enumeration' with device='cuda' and for data on a GPU, got {method!r}"
        )
    return rules.by("enumeration" if on_gpu else method, question, top_k)
