"""Operators of PyTorch for functions of log weights, float32 or float64 on the CPU; results are float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import fastvi
from fastvi.interop.differentiable import importance_weighted_bound_backward, log_mean_exp_backward
from fastvi.interop.torch.tensors import from_array, refuse_second_derivatives


def _without(log_w: Tensor, dim: int) -> list[Any]:
    """Shape of a result for each row."""
    shape = list(log_w.shape)
    del shape[dim]
    return shape


def _like(array: Any, log_w: Tensor) -> Tensor:
    return from_array(array).to(log_w.dtype)


# ---- log mean weight -------------------------------------------------------------------------------------


@torch.library.custom_op("fastvi::log_mean_exp", mutates_args=(), schema="(Tensor log_w, int dim) -> Tensor")
def log_mean_exp(log_w: Tensor, dim: int) -> Tensor:
    """Log mean weight of each row."""
    return from_array(fastvi.log_mean_exp(log_w.numpy(), dim))


@log_mean_exp.register_fake
def _(log_w: Tensor, dim: int) -> Tensor:
    return log_w.new_empty(_without(log_w, dim), dtype=torch.float64)


@torch.library.custom_op(
    "fastvi::log_mean_exp_backward",
    mutates_args=(),
    schema="(Tensor log_w, Tensor weights, int dim) -> Tensor",
)
def _log_mean_exp_backward(log_w: Tensor, weights: Tensor, dim: int) -> Tensor:
    return _like(log_mean_exp_backward(log_w.numpy(), weights.numpy(), dim), log_w)


@_log_mean_exp_backward.register_fake
def _(log_w: Tensor, weights: Tensor, dim: int) -> Tensor:
    return log_w.new_empty(log_w.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    log_w, ctx.number = inputs
    ctx.save_for_backward(log_w)


def _differentiate_log_mean_exp(ctx: Any, weights: Tensor) -> tuple[Any, ...]:
    return _log_mean_exp_backward(ctx.saved_tensors[0], weights, ctx.number), None


log_mean_exp.register_autograd(_differentiate_log_mean_exp, setup_context=_keep)
_log_mean_exp_backward.register_autograd(refuse_second_derivatives)


# ---- importance-weighted bound -----------------------------------------------------------------------------


@torch.library.custom_op(
    "fastvi::importance_weighted_bound",
    mutates_args=(),
    schema="(Tensor log_w, int num_samples) -> Tensor",
)
def importance_weighted_bound(log_w: Tensor, num_samples: int) -> Tensor:
    """The bound of each row (N,)."""
    return from_array(fastvi.importance_weighted_bound(log_w.numpy(), num_samples))


@importance_weighted_bound.register_fake
def _(log_w: Tensor, num_samples: int) -> Tensor:
    return log_w.new_empty(_without(log_w, -1), dtype=torch.float64)


@torch.library.custom_op(
    "fastvi::importance_weighted_bound_backward",
    mutates_args=(),
    schema="(Tensor log_w, Tensor weights, int num_samples) -> Tensor",
)
def _bound_backward(log_w: Tensor, weights: Tensor, num_samples: int) -> Tensor:
    return _like(importance_weighted_bound_backward(log_w.numpy(), num_samples, weights.numpy()), log_w)


@_bound_backward.register_fake
def _(log_w: Tensor, weights: Tensor, num_samples: int) -> Tensor:
    return log_w.new_empty(log_w.shape)


def _differentiate_bound(ctx: Any, weights: Tensor) -> tuple[Any, ...]:
    return _bound_backward(ctx.saved_tensors[0], weights, ctx.number), None


importance_weighted_bound.register_autograd(_differentiate_bound, setup_context=_keep)
_bound_backward.register_autograd(refuse_second_derivatives)


# ---- diagnostics -------------------------------------------------------------------------------------------


@torch.library.custom_op(
    "fastvi::effective_sample_size", mutates_args=(), schema="(Tensor log_w, int dim) -> Tensor"
)
def effective_sample_size(log_w: Tensor, dim: int) -> Tensor:
    """Kish's size of each row."""
    return from_array(fastvi.effective_sample_size(log_w.numpy(), dim))


@torch.library.custom_op("fastvi::pareto_k", mutates_args=(), schema="(Tensor log_w, int dim) -> Tensor")
def pareto_k(log_w: Tensor, dim: int) -> Tensor:
    """K-hat of each row."""
    return from_array(fastvi.pareto_k(log_w.numpy(), axis=dim))


@torch.library.custom_op(
    "fastvi::psis", mutates_args=(), schema="(Tensor log_w, int dim) -> (Tensor, Tensor)"
)
def psis(log_w: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Smoothed log weights, and k-hat of each row."""
    smoothed, k = fastvi.psis(log_w.numpy(), axis=dim)
    return from_array(smoothed), from_array(k)


effective_sample_size.register_fake(
    lambda log_w, dim: log_w.new_empty(_without(log_w, dim), dtype=torch.float64)
)
pareto_k.register_fake(lambda log_w, dim: log_w.new_empty(_without(log_w, dim), dtype=torch.float64))
psis.register_fake(
    lambda log_w, dim: (
        log_w.new_empty(log_w.shape, dtype=torch.float64),
        log_w.new_empty(_without(log_w, dim), dtype=torch.float64),
    )
)
