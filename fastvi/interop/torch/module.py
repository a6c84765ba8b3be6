"""A model as a module of PyTorch."""

from __future__ import annotations

from typing import Any

import torch

from fastvi.core.registry import rules_of
from fastvi.interop.torch.flat_models import description, parameter_names, parameter_tensors, rebuilt
from fastvi.interop.torch.log_marginal import of_tensors
from fastvi.interop.torch.tensors import as_double


class Module(torch.nn.Module):
    """A model whose parameters PyTorch trains: ``forward`` is exact log p(x).

    Parameters of the module have the names of the model's arrays, and so have the entries of ``state_dict``.
    All of them are float64 at first; ``module.to(torch.float32)`` converts them as ever.

    What the model allows holds after any step of an optimiser. Couplings J are read as (J + J^T) / 2
    without the diagonal, so both halves get the same gradient. Standard deviations are read as their
    absolute values, which differ from them only where a step passed 0.

    Parameters
    ----------
    model
        A model with latents whose log p(x) has a gradient: see :func:`fastvi.log_marginal_gradient`. It is
        not kept: its arrays are copied.

    Raises
    ------
    TypeError
        Where the model is a table, a :class:`~fastvi.LogJoint`, a decoder of real latents, or of a class that
        cannot be imported.

    Examples
    --------
    >>> import fastvi, torch
    >>> from fastvi.interop.torch import Module
    >>> module = Module(fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0]))
    >>> [name for name, _ in module.named_parameters()]
    ['weights', 'bias', 'prior_logits']
    >>> optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    >>> (-module(torch.tensor([[1, 0]])).mean()).backward()
    >>> optimizer.step()
    >>> module.to_fastvi().prior_logits.round(4)
    array([0.0244])
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        rules_of(model).zero_gradient()  # refuses what has no latents or no gradient
        self._description = description(model)
        self._names = parameter_names(model)
        for name, tensor in zip(self._names, parameter_tensors(model), strict=True):
            self.register_parameter(name, torch.nn.Parameter(tensor))

    def forward(self, x: Any, observed: Any = None) -> torch.Tensor:
        """Exact log p(x) (N,) in nats, as :func:`log_marginal` gives it.

        Parameters
        ----------
        x : Tensor or array_like, (N, D)
        observed : Tensor or array_like of bool, (D,) or (N, D), optional

        Returns
        -------
        Tensor, (N,)

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> module = fastvi.interop.torch.Module(model)
        >>> module([[1, 0], [1, 1]]).detach().numpy().round(3)
        array([-0.998, -1.134])
        >>> module([[1, 0]], observed=[True, False]).detach().numpy().round(3)  # log p(x_1)
        array([-0.37])
        """
        values = self._values()
        tensors = [as_double(value) for value in values.values()]
        return of_tensors(self._description, tensors, x, observed, values)

    def to_fastvi(self) -> Any:
        """Return the model with the current values, of the class that the module was made of.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> module = fastvi.interop.torch.Module(model)
        >>> fastvi.exact_posterior(module.to_fastvi(), [[1, 0]]).mean.round(3)
        array([[0.744]])
        """
        values = self._values().values()
        return rebuilt(self._description, [value.detach().double().cpu() for value in values])

    def extra_repr(self) -> str:
        """Names and shapes of the parameters."""
        return ", ".join(f"{name}={tuple(getattr(self, name).shape)}" for name in self._names)

    def _values(self) -> dict[str, torch.Tensor]:
        return {name: _allowed(name, getattr(self, name)) for name in self._names}


def _allowed(name: str, value: torch.Tensor) -> torch.Tensor:
    """The nearest value that a model takes, as a function with gradients."""
    if name.endswith("couplings"):
        diagonal = torch.eye(len(value), dtype=torch.bool, device=value.device)
        return ((value + value.T) / 2).masked_fill(diagonal, 0.0)
    return value.abs() if name.endswith("std") else value
