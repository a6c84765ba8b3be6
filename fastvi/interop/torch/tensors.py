"""Between tensors and arrays: memory is shared where float64 or bits lie on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastvi.core import validation


def as_tensor(value: Any, name: str) -> torch.Tensor:
    """A tensor as it is, and anything else that NumPy reads as a tensor of its memory."""
    if isinstance(value, torch.Tensor):
        return value
    return from_array(validation.number_array(value, name, "a tensor or an array of real numbers"))


def from_array(array: Any) -> torch.Tensor:
    """A tensor that shares memory with ``array``, copied where it is read-only or not contiguous."""
    return torch.from_numpy(np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"]))


def as_double(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float64 where it holds floating-point numbers; bits and integers stay."""
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


def common_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """What PyTorch promotes the dtypes of floating-point tensors to; float64 where there are none."""
    found: torch.dtype | None = None
    for tensor in tensors:
        if tensor.is_floating_point():
            found = tensor.dtype if found is None else torch.promote_types(found, tensor.dtype)
    return torch.float64 if found is None else found


def on_gpu(named: Sequence[tuple[str, torch.Tensor]]) -> bool:
    """Whether the tensors lie on a GPU; refused where they lie apart, or need a gradient there."""
    first_name, first = named[0]
    for name, tensor in named:
        if tensor.device != first.device:
            raise ValueError(
                f"{name} must lie on {first.device} as {first_name} does, got a tensor on {tensor.device}"
            )
        if tensor.device.type not in ("cpu", "cuda"):
            raise ValueError(f"{name} must lie on a CPU or a CUDA device, got a tensor on {tensor.device}")
        if tensor.device.type == "cuda" and tensor.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"{name} must lie on the CPU to get a gradient, got a tensor on {tensor.device}: pass "
                f"{name}.cpu(), through which the gradient comes back, or {name}.detach()"
            )
    return first.device.type == "cuda"


def refuse_second_derivatives(*_: Any) -> Any:
    """Backward of operators that are themselves gradients."""
    raise TypeError(
        "create_graph must be False here, got a second derivative: fastvi gives values and first derivatives"
    )
