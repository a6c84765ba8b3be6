"""Exact log p(x) of tensors, with gradients."""

from __future__ import annotations

from typing import Any

import torch

import fastvi
from fastvi.interop.torch import operators
from fastvi.interop.torch.flat_models import flattened, rebuilt
from fastvi.interop.torch.tensors import as_double, as_tensor, common_dtype, from_array, on_gpu


def log_marginal(model: Any, x: Any, observed: Any = None, **parameters: torch.Tensor) -> torch.Tensor:
    r"""Exact log p(x_n), differentiable in the model's parameters and in x.

    .. math:: \log p(x_n) = \log \sum_z p(x_n, z)

    Values are those of :func:`fastvi.log_marginal`, gradients those of :func:`fastvi.log_marginal_gradient`.
    A step of both costs what the gradient costs alone, where the model can keep what they share. It is an
    operator of ``torch.library``: ``torch.compile`` takes it whole.

    Parameters
    ----------
    model
        Any model of this package but a :class:`~fastvi.LogJoint`. It fixes the shapes, and the values of
        parameters that are not given.
    x : Tensor or array_like, (N, D)
        As in :func:`fastvi.log_marginal`. Where log p(x, z) is linear in binary pixels they may be
        relaxed to numbers in [0, 1]. A tensor that requires a gradient gets one: W E[z | x] + b of binary
        pixels, (E[W z + b | x] - x) / noise_std^2 of real ones.
    observed : Tensor or array_like of bool, (D,) or (N, D), optional
        Pixels that were seen; the others are summed out.
    **parameters : Tensor
        By the names of the model's arrays: ``weights``, ``bias``, ``prior_logits``, and so on. They take the
        place of the model's own, and get gradients.

    Returns
    -------
    Tensor, (N,)
        In nats. Its dtype is what PyTorch promotes the floating-point tensors among x and the parameters to,
        float64 where there are none; all sums are float64. It lies where x lies.

    Raises
    ------
    ValueError, TypeError
        For wrong input; in the backward pass where a datum has probability 0, whose gradient does not exist,
        and for second derivatives.

    Notes
    -----
    Tensors of float64, of bits and of integers in CPU memory are read where they lie. Those on a GPU get
    values by ``device="cuda"``, without gradients. A compiled function holds a model as a constant and is
    compiled again for another one: what changes is better given as a parameter.

    The couplings of a Boltzmann machine are moved one entry at a time: J_ij and J_ji each get half of the
    pair's gradient. So an optimiser that starts from a symmetric matrix keeps it symmetric.

    Examples
    --------
    >>> import fastvi, torch
    >>> from fastvi.interop.torch import log_marginal
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> logits = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    >>> value = log_marginal(model, torch.tensor([[1, 0]]), prior_logits=logits)
    >>> value.sum().backward()
    >>> round(value.item(), 6), round(logits.grad.item(), 6)
    (-0.998273, 0.243877)
    """
    text, tensors = flattened(model, parameters)
    return of_tensors(text, tensors, x, observed, parameters)


def of_tensors(
    text: str, tensors: list[torch.Tensor], x: Any, observed: Any, given: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Exact log p(x) under the model of a description and its tensors, in the dtype of those ``given``."""
    pixels = as_tensor(x, "x")
    mask = None if observed is None else as_tensor(observed, "observed")
    dtype = common_dtype(pixels, *given.values())
    if on_gpu([("x", pixels), *given.items()]):
        return _value_on_gpu(text, tensors, pixels, mask).to(dtype)
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (pixels, *tensors))
    value: torch.Tensor = operators.log_marginal(text, tensors, as_double(pixels), mask, keep)[0]
    return value.to(dtype)


def _value_on_gpu(
    text: str, arrays: list[torch.Tensor], x: torch.Tensor, observed: torch.Tensor | None
) -> torch.Tensor:
    model = rebuilt(text, [array.detach().cpu() for array in arrays])
    mask = None if observed is None else observed.cpu().numpy()
    found = fastvi.log_marginal(model, as_double(x).detach(), observed=mask, device="cuda")
    return from_array(found).to(x.device)
