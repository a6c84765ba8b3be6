"""Functions of log weights that are tensors; the bounds among them have gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import fastvi
from fastvi.core import validation
from fastvi.interop.torch import weight_operators as operators
from fastvi.interop.torch.tensors import on_gpu


def _readable(log_w: Any, dim: int) -> Tensor:
    """Log weights that NumPy can read: half precision, which it lacks in part, as float32."""
    if not isinstance(log_w, Tensor) or not log_w.is_floating_point():
        found = log_w.dtype if isinstance(log_w, Tensor) else type(log_w).__name__
        raise TypeError(f"log_w must be a tensor of floating-point numbers, got {found}")
    if log_w.dim() == 0:
        raise ValueError("log_w must have at least 1 axis, got shape ()")
    if not -log_w.dim() <= dim < log_w.dim():
        raise ValueError(f"dim must be -{log_w.dim()} ... {log_w.dim() - 1}, got {dim}")
    return log_w if log_w.dtype in (torch.float32, torch.float64) else log_w.to(torch.float32)


def log_mean_exp(log_w: Tensor, dim: int = -1) -> Tensor:
    r"""Logarithm of the mean weight, with gradients: :func:`fastvi.log_mean_exp` of tensors.

    .. math:: \log \frac{1}{K} \sum_{k=1}^K w_k

    Parameters
    ----------
    log_w : Tensor
        Log weights in nats: finite or -inf, at least one along ``dim``.
    dim
        The axis of the K samples.

    Returns
    -------
    Tensor
        In nats, of the shape of ``log_w`` without ``dim`` and of its dtype; sums are float64. Its gradients
        are the normalised weights, 0 where all weights are 0. Log weights on a GPU are summed there, without
        gradients.

    Raises
    ------
    ValueError, TypeError
        As :func:`fastvi.log_mean_exp`.

    Examples
    --------
    >>> import torch
    >>> from fastvi.interop.torch import log_mean_exp
    >>> log_w = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    >>> log_mean_exp(log_w).backward()
    >>> log_w.grad
    tensor([0.2689, 0.7311], dtype=torch.float64)
    """
    readable = _readable(log_w, dim)
    if on_gpu([("log_w", log_w)]):
        summed: Any = fastvi.log_mean_exp(readable.detach(), dim)
        return torch.as_tensor(summed, device=log_w.device).to(log_w.dtype)
    found: Tensor = operators.log_mean_exp(readable, dim)
    return found.to(log_w.dtype)


def importance_weighted_bound(log_w: Tensor, num_samples: int) -> Tensor:
    r"""Importance-weighted bound of k of K samples, with gradients: the loss of IWAE, negated.

    .. math::
        \frac{1}{B} \sum_{b=1}^B \log \frac{1}{k} \sum_{i=(b-1)k+1}^{bk} w_i, \quad B = \lfloor K/k \rfloor

    Parameters
    ----------
    log_w : Tensor, (N, K)
        Log weights in nats: finite or -inf.
    num_samples
        k, in 1 ... K. Samples that fill no block have a gradient of 0.

    Returns
    -------
    Tensor, (N,)
        In nats, of the dtype of ``log_w``; see :func:`fastvi.importance_weighted_bound`.

    Raises
    ------
    ValueError, TypeError
        As :func:`fastvi.importance_weighted_bound`.

    Examples
    --------
    >>> import torch
    >>> from fastvi.interop.torch import importance_weighted_bound
    >>> importance_weighted_bound(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), 2)
    tensor([1.6201])
    """
    readable = _readable(log_w, -1)
    number = validation.positive_int(num_samples, "num_samples")
    found: Tensor = operators.importance_weighted_bound(readable, number)
    return found.to(log_w.dtype)


def effective_sample_size(log_w: Tensor, dim: int = -1) -> Tensor:
    r"""Kish's effective sample size, without gradients: :func:`fastvi.effective_sample_size` of tensors.

    .. math:: \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    Parameters
    ----------
    log_w : Tensor
        Log weights in nats: finite or -inf. On a GPU they are summed there.
    dim
        The axis of the K samples.

    Returns
    -------
    Tensor
        A number of samples, of the shape of ``log_w`` without ``dim`` and of its dtype.

    Raises
    ------
    ValueError, TypeError
        As :func:`fastvi.effective_sample_size`.

    Examples
    --------
    >>> import torch
    >>> from fastvi.interop.torch import effective_sample_size
    >>> effective_sample_size(torch.tensor([[2.0, 1.0, 1.0]]).log())
    tensor([2.6667])
    """
    readable = _readable(log_w, dim).detach()
    if on_gpu([("log_w", readable)]):
        summed: Any = fastvi.effective_sample_size(readable, dim)
        return torch.as_tensor(summed, device=log_w.device).to(log_w.dtype)
    found: Tensor = operators.effective_sample_size(readable, dim)
    return found.to(log_w.dtype)


def pareto_k(log_w: Tensor, dim: int = -1) -> Tensor:
    """Pareto k-hat of importance weights, without gradients: :func:`fastvi.pareto_k` of tensors.

    Parameters
    ----------
    log_w : Tensor, (N, K) or (K,)
        Log weights in nats, in CPU memory: finite or -inf.
    dim
        The axis of the K samples.

    Returns
    -------
    Tensor
        Of the shape of ``log_w`` without ``dim`` and of its dtype; computed in float64.

    Raises
    ------
    ValueError, TypeError
        As :func:`fastvi.pareto_k`.

    Examples
    --------
    >>> import torch
    >>> from fastvi.interop.torch import pareto_k
    >>> pareto_k(torch.arange(100.0) / 20).round(decimals=2)
    tensor(-0.1900)
    """
    found: Tensor = operators.pareto_k(_on_host(_readable(log_w, dim)), dim)
    return found.to(log_w.dtype)


def psis(log_w: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Pareto smoothed log weights and k-hat, without gradients: :func:`fastvi.psis` of tensors.

    Parameters
    ----------
    log_w : Tensor, (N, K) or (K,)
        Log weights in nats, in CPU memory: finite or -inf.
    dim
        The axis of the K samples.

    Returns
    -------
    smoothed_log_w : Tensor
        Of the shape and dtype of ``log_w``, in nats; nothing is normalised.
    k : Tensor
        As :func:`pareto_k` gives it.

    Raises
    ------
    ValueError, TypeError
        As :func:`fastvi.psis`.

    Examples
    --------
    >>> import torch
    >>> from fastvi.interop.torch import psis
    >>> smoothed, k = psis(torch.arange(100.0) / 20)
    >>> tuple(smoothed.shape), bool(smoothed.max() <= 99 / 20)
    ((100,), True)
    """
    smoothed, k = operators.psis(_on_host(_readable(log_w, dim)), dim)
    return smoothed.to(log_w.dtype), k.to(log_w.dtype)


def _on_host(log_w: Tensor) -> Tensor:
    if on_gpu([("log_w", log_w.detach())]):
        raise ValueError(f"log_w must lie on the CPU here, got a tensor on {log_w.device}: pass log_w.cpu()")
    return log_w.detach()
