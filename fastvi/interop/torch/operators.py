"""Operators of PyTorch for exact log p(x) and the ELBO: values, gradients, and shapes for a compiler.

All of it is float64 on the CPU; the public functions convert. ``model`` is a description and ``arrays`` its
tensors, as in ``flat_models``.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastvi.interop.differentiable import log_marginal_backward, log_marginal_forward, log_marginal_value
from fastvi.interop.differentiable_elbo import Sampling, elbo_backward, elbo_forward
from fastvi.interop.torch.flat_models import rebuilt, saved_width
from fastvi.interop.torch.tensors import from_array, refuse_second_derivatives


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.numpy()


def _gradients(parameters: dict[str, Any], pixels: Any) -> list[Tensor]:
    """Gradients in the model's parameters, in their order, then the one in x where there is one."""
    found = [from_array(value) for value in parameters.values()]
    return found if pixels is None else [*found, from_array(pixels)]


def _empty_gradients(arrays: list[Tensor], x: Tensor, x_gradient: bool) -> list[Tensor]:
    return [torch.empty_like(array) for array in ([*arrays, x] if x_gradient else arrays)]


# ---- log p(x) ----------------------------------------------------------------------------------------------


@torch.library.custom_op(
    "fastvi::log_marginal",
    mutates_args=(),
    schema="(str model, Tensor[] arrays, Tensor x, Tensor? observed, bool keep) -> (Tensor, Tensor)",
)
def log_marginal(
    model: str, arrays: list[Tensor], x: Tensor, observed: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor]:
    """Log p(x) (N,), and what its gradient need not find again; (N, 0) unless ``keep``."""
    if not keep:
        value = log_marginal_value(rebuilt(model, arrays), x.numpy(), _array(observed))
        return from_array(value), x.new_empty((len(value), 0), dtype=torch.float64)
    value, saved = log_marginal_forward(rebuilt(model, arrays), x.numpy(), _array(observed))
    # no NaN leaves: tools that compare or watch tensors take it for an error
    return from_array(value), from_array(np.where(np.isnan(saved), np.inf, saved))


@log_marginal.register_fake
def _(
    model: str, arrays: list[Tensor], x: Tensor, observed: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor]:
    num_data = x.shape[0]
    return (
        x.new_empty((num_data,), dtype=torch.float64),
        x.new_empty((num_data, saved_width(model) if keep else 0), dtype=torch.float64),
    )


@torch.library.custom_op(
    "fastvi::log_marginal_backward",
    mutates_args=(),
    schema="(str model, Tensor[] arrays, Tensor[] data, Tensor? observed, bool x_gradient) -> Tensor[]",
)
def _log_marginal_backward(
    model: str, arrays: list[Tensor], data: list[Tensor], observed: Tensor | None, x_gradient: bool
) -> list[Tensor]:
    x, saved, weights = map(_array, data)
    built = rebuilt(model, arrays)
    saved = np.where(np.isposinf(saved), np.nan, saved)
    found = log_marginal_backward(built, x, _array(observed), saved, weights, x_gradient=x_gradient)
    return _gradients(*found)


@_log_marginal_backward.register_fake
def _(
    model: str, arrays: list[Tensor], data: list[Tensor], observed: Tensor | None, x_gradient: bool
) -> list[Tensor]:
    return _empty_gradients(arrays, data[0], x_gradient)


def _keep_log_marginal(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.model, arrays, x, observed, _ = inputs
    ctx.save_for_backward(*arrays, x, *([] if observed is None else [observed]), output[1])
    ctx.num_arrays, ctx.is_observed = len(arrays), observed is not None


def _differentiate_log_marginal(ctx: Any, weights: Tensor, _: Any) -> tuple[Any, ...]:
    tensors, num = list(ctx.saved_tensors), ctx.num_arrays
    observed = tensors[num + 1] if ctx.is_observed else None
    data = [tensors[num], tensors[-1], weights]
    found = _log_marginal_backward(ctx.model, tensors[:num], data, observed, ctx.needs_input_grad[2])
    return None, found[:num], found[num] if len(found) > num else None, None, None


log_marginal.register_autograd(_differentiate_log_marginal, setup_context=_keep_log_marginal)
_log_marginal_backward.register_autograd(refuse_second_derivatives)


# ---- the ELBO ----------------------------------------------------------------------------------------------


def _sampling(text: str, seed: int) -> Sampling:
    num_samples, estimator = json.loads(text)
    return Sampling(num_samples, seed % 2**64, estimator)


@torch.library.custom_op(
    "fastvi::elbo",
    mutates_args=(),
    schema="(str model, Tensor[] arrays, Tensor x, Tensor logits, str sampling, SymInt seed) -> Tensor",
)
def elbo(model: str, arrays: list[Tensor], x: Tensor, logits: Tensor, sampling: str, seed: int) -> Tensor:
    """ELBO (N,); ``sampling`` is JSON of number of samples and estimator, ``seed`` is modulo 2**64."""
    built = rebuilt(model, arrays)
    return from_array(elbo_forward(built, x.numpy(), logits.numpy(), _sampling(sampling, seed)))


@elbo.register_fake
def _(model: str, arrays: list[Tensor], x: Tensor, logits: Tensor, sampling: str, seed: int) -> Tensor:
    return x.new_empty((x.shape[0],), dtype=torch.float64)


@torch.library.custom_op(
    "fastvi::elbo_backward",
    mutates_args=(),
    schema="(str model, Tensor[] arrays, Tensor[] data, str sampling, SymInt seed, bool x_gradient) "
    "-> Tensor[]",
)
def _elbo_backward(
    model: str, arrays: list[Tensor], data: list[Tensor], sampling: str, seed: int, x_gradient: bool
) -> list[Tensor]:
    built, how = rebuilt(model, arrays), _sampling(sampling, seed)
    x, logits, weights = map(_array, data)
    of_model, of_logits, of_x = elbo_backward(built, x, logits, weights, how, x_gradient=x_gradient)
    return [from_array(of_logits), *_gradients(of_model, of_x)]


@_elbo_backward.register_fake
def _(
    model: str, arrays: list[Tensor], data: list[Tensor], sampling: str, seed: int, x_gradient: bool
) -> list[Tensor]:
    return [torch.empty_like(data[1]), *_empty_gradients(arrays, data[0], x_gradient)]


def _keep_elbo(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.model, arrays, x, logits, ctx.sampling, ctx.seed = inputs
    ctx.save_for_backward(*arrays, x, logits)


def _differentiate_elbo(ctx: Any, weights: Tensor) -> tuple[Any, ...]:
    *arrays, x, logits = ctx.saved_tensors
    num = len(arrays)
    data, x_gradient = [x, logits, weights], ctx.needs_input_grad[2]
    found = _elbo_backward(ctx.model, arrays, data, ctx.sampling, ctx.seed, x_gradient)
    of_x = found[num + 1] if len(found) > num + 1 else None
    return None, found[1 : num + 1], of_x, found[0], None, None


elbo.register_autograd(_differentiate_elbo, setup_context=_keep_elbo)
_elbo_backward.register_autograd(refuse_second_derivatives)
