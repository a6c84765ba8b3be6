"""The evidence lower bound of tensors, with gradients."""

from __future__ import annotations

import json
from typing import Any

import torch

from fastvi.core import validation
from fastvi.interop.differentiable_elbo import Sampling
from fastvi.interop.torch import operators
from fastvi.interop.torch.flat_models import constant, flattened
from fastvi.interop.torch.tensors import as_double, as_tensor, common_dtype, on_gpu


def elbo(
    model: Any,
    x: Any,
    logits: torch.Tensor,
    *,
    num_samples: int | None = None,
    seed: int = 0,
    estimator: str | None = None,
    **parameters: torch.Tensor,
) -> torch.Tensor:
    r"""ELBO of a factorised q(z | x_n), differentiable in its logits, the model's parameters and x.

    .. math:: E_{q(z | x_n)}[\log p(x_n, z) - \log q(z | x_n)] \le \log p(x_n)

    Parameters
    ----------
    model, x, **parameters
        As in :func:`log_marginal`, but binary pixels are 0 or 1. A model with latents beside its pixels: not
        a :class:`~fastvi.BoltzmannMachine`. Sampled, one with a prior.
    logits : Tensor, (N, d)
        Log odds of z_i = 1 under q, finite: what an encoder returns. Of real latents the means, then the
        logarithms of standard deviations, (N, 2 d).
    num_samples
        None is exact, of binary latents and of a :class:`~fastvi.LinearGaussian`. A number averages over as
        many draws from q.
    seed
        Of the draws, 0 <= seed < 2**64. The bound is a pure function of it.
    estimator
        Of the gradient in ``logits`` where the bound is sampled, as in :func:`~fastvi.fit_encoder`. None
        is its default.

    Returns
    -------
    Tensor, (N,)
        In nats, of the dtype that PyTorch promotes the floating-point tensors to. Sampled, its gradients are
        those of the estimator: their expectation is the gradient of the exact bound.

    Raises
    ------
    ValueError, TypeError
        For wrong input, and for second derivatives.

    Examples
    --------
    >>> import fastvi, torch
    >>> from fastvi.interop.torch import elbo
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> logits = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    >>> value = elbo(model, torch.tensor([[1, 0]]), logits)
    >>> value.sum().backward()
    >>> round(value.item(), 6), round(logits.grad.item(), 6)
    (-1.134115, 0.266555)
    """
    pixels = as_tensor(x, "x")
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        found = logits.dtype if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a tensor of floating-point numbers, got {found}")
    dtype = common_dtype(pixels, logits, *parameters.values())
    text, arrays = flattened(model, parameters)
    if on_gpu([("x", pixels), ("logits", logits), *parameters.items()]):
        raise ValueError(f"x must lie on the CPU for an ELBO with gradients, got a tensor on {pixels.device}")
    sampling = _constant_sampling(model, num_samples, estimator)
    if not torch.compiler.is_compiling():  # which would be done again for each seed
        seed = validation.seed(seed)
    signed = seed if seed < 2**63 else seed - 2**64  # an operator takes no larger one
    value: torch.Tensor = operators.elbo(text, arrays, as_double(pixels), as_double(logits), sampling, signed)
    return value.to(dtype)


def _sampling(model: Any, num_samples: int | None, estimator: str | None) -> str:
    checked = Sampling(num_samples, 0, estimator).checked(model)
    return json.dumps([checked.num_samples, checked.estimator])


_constant_sampling = constant(_sampling)
