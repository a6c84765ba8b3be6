"""Feed-forward networks of PyTorch as weights, biases and the name of their activation.

Read by the names of classes and attributes, without PyTorch. Numbers become float64, which holds every
float32 and bfloat16. Layers that are affine where they are evaluated, batch normalisation, become part of the
linear layer before or after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.core.arrays import Array
from fastvi.core.options import ACTIVATIONS

Layers = list[tuple[Array, Array]]

# class -> activation, and the settings that it must have: PyTorch's own
_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ReLU": ("relu", {}),
    "Tanh": ("tanh", {}),
    "Sigmoid": ("sigmoid", {}),
    "Softplus": ("softplus", {"beta": 1.0, "threshold": 20.0}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.01}),
    "ELU": ("elu", {"alpha": 1.0}),
    "GELU": ("gelu", {"approximate": "none"}),
    "SiLU": ("silu", {}),
}
_ALLOWED = (
    "a Linear, a BatchNorm1d, a Dropout, an Identity, a Sequential of these, or one of the activations "
    + ", ".join(_ACTIVATIONS)
)


def read_network(module: Any, activation: Any, outputs: str) -> tuple[Layers, str]:
    """Pairs (weight (out, in), bias (out,)) and the activation between them.

    ``module`` is a Linear, a Sequential, or their state dict, of which ``activation`` is asked. ``outputs``
    says what the last layer gives.
    """
    if isinstance(module, Mapping):
        if activation is None:
            raise TypeError("activation must be given for a state dict, which does not hold it, got None")
        return _of_state_dict(module), validation.choice(activation, "activation", ACTIVATIONS)
    if activation is not None:
        came = validation.shown(activation)
        raise TypeError(f"activation must be None for a module, which holds its own, got {came}")
    if not (_is_sequential(module) or _class_of(module) == "Linear"):
        raise TypeError(
            "module must be an nn.Sequential, an nn.Linear or a state dict of Linear layers, got "
            f"{validation.shown(module)}"
        )
    network = _Network(outputs)
    for place, layer in _flat(module, "module"):
        network.add(place, layer)
    return network.finished()


# ---- what a module holds ---------------------------------------------------------------------------------


def _class_of(layer: Any) -> str:
    """Its name among PyTorch's own layers, a longer one for anything else."""
    kind = type(layer)
    own = kind.__module__.startswith("torch.nn.modules.")
    return kind.__name__ if own else f"{kind.__module__}.{kind.__name__}"


def _is_sequential(layer: Any) -> bool:
    """Whether it applies what it holds one after the other: a Sequential that keeps its ``forward``."""
    kind: Any = type(layer)
    for base in kind.__mro__:
        if (base.__module__, base.__name__) == ("torch.nn.modules.container", "Sequential"):
            return bool(kind.forward is base.forward)
    return False


def _flat(layer: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Layers in their order, and where they are."""
    if getattr(layer, "_forward_hooks", None) or getattr(layer, "_forward_pre_hooks", None):
        raise ValueError(f"{place} must have no forward hooks, which may change what it gives, got some")
    if _is_sequential(layer):
        for i, child in enumerate(layer):
            yield from _flat(child, f"{place}[{i}]")
    else:
        yield place, layer


def _array(value: Any, name: str, ndim: int) -> Array:
    """A copy of a tensor's numbers."""
    if hasattr(value, "detach"):
        if not value.is_floating_point() or value.is_meta:
            came = f"{value.dtype} on device {value.device}"
            raise TypeError(f"{name} must hold real floating-point numbers, got {came}")
        value = value.detach().cpu().double().numpy()
    return np.array(validation.float_array(value, name, ndim=ndim))


def _linear(layer: Any, place: str) -> tuple[Array, Array]:
    weight = _array(layer.weight, f"{place}.weight", 2)
    bias = np.zeros(len(weight)) if layer.bias is None else _array(layer.bias, f"{place}.bias", 1)
    return weight, bias


class _Affine(NamedTuple):
    """h -> scale h + offset."""

    scale: Array
    offset: Array


def _batch_norm(layer: Any, place: str) -> _Affine:
    if layer.running_mean is None:
        raise ValueError(
            f"{place} must have running statistics, got a BatchNorm1d with track_running_stats=False, whose "
            "outputs depend on the batch"
        )
    if layer.training:
        raise ValueError(
            f"{place} must be in evaluation mode, got a BatchNorm1d in training mode: call .eval() of the "
            "module first"
        )
    mean = _array(layer.running_mean, f"{place}.running_mean", 1)
    scale = 1.0 / np.sqrt(_array(layer.running_var, f"{place}.running_var", 1) + float(layer.eps))
    offset = np.zeros(len(mean))
    if layer.weight is not None:
        scale = scale * _array(layer.weight, f"{place}.weight", 1)
        offset = _array(layer.bias, f"{place}.bias", 1) if layer.bias is not None else offset
    return _Affine(scale, offset - mean * scale)


def _activation(layer: Any, place: str) -> str:
    name, settings = _ACTIVATIONS[_class_of(layer)]
    for setting, allowed in settings.items():
        came = getattr(layer, setting)
        if came != allowed:
            raise ValueError(
                f"{place} must have {setting}={allowed!r}, got {validation.with_article(_class_of(layer))} "
                f"with {came!r}"
            )
    return name


# ---- one layer after the other ---------------------------------------------------------------------------


class _Network:
    """Layers that were added so far."""

    def __init__(self, outputs: str) -> None:
        self._outputs = outputs
        self._layers: Layers = []
        self._kinds: dict[str, str] = {}  # activation -> the place where it was found first
        # where an activation stands that no Linear has followed yet, and the last one's class
        self._active = self._last = ""
        self._pending: _Affine | None = None  # what the next Linear takes in

    def add(self, place: str, layer: Any) -> None:
        kind = _class_of(layer)
        if kind == "Linear":
            self._add_linear(place, *_linear(layer, place))
        elif kind == "BatchNorm1d":
            self._add_affine(place, _batch_norm(layer, place))
        elif kind in _ACTIVATIONS:
            self._add_activation(place, kind, _activation(layer, place))
        elif kind == "Flatten":
            if self._layers:
                raise ValueError(f"{place} must be {_ALLOWED}, got a Flatten, which may only be first")
        elif kind not in ("Identity", "Dropout"):
            raise TypeError(f"{place} must be {_ALLOWED}, got {validation.with_article(kind)}")

    def _add_linear(self, place: str, weight: Array, bias: Array) -> None:
        if self._layers and not self._active:
            self._note("identity", place)
        if self._pending is not None:
            _require_width(place, weight.shape[1], len(self._pending.scale))
            bias = bias + np.einsum("ji,i->j", weight, self._pending.offset)
            weight = weight * self._pending.scale
        self._layers.append((weight, bias))
        self._active, self._pending = "", None

    def _add_affine(self, place: str, affine: _Affine) -> None:
        if self._layers and not self._active:
            weight, bias = self._layers[-1]
            _require_width(place, len(affine.scale), len(weight))
            self._layers[-1] = weight * affine.scale[:, None], bias * affine.scale + affine.offset
        elif self._pending is None:
            self._pending = affine
        else:
            scale, offset = self._pending
            _require_width(place, len(affine.scale), len(scale))
            self._pending = _Affine(scale * affine.scale, offset * affine.scale + affine.offset)

    def _add_activation(self, place: str, kind: str, name: str) -> None:
        if not self._layers or self._active:
            where = "after another activation" if self._active else "before all of them"
            raise ValueError(
                f"{place} must follow a Linear layer, got {validation.with_article(kind)} {where}"
            )
        self._active, self._last = place, kind
        self._note(name, place)

    def _note(self, name: str, place: str) -> None:
        self._kinds.setdefault(name, place)
        if len(self._kinds) > 1:
            (first, where), *_ = self._kinds.items()
            raise ValueError(
                "module must have one kind of activation between all Linear layers, got "
                f"{first!r} at {where} and {name!r} at {place}"
            )

    def finished(self) -> tuple[Layers, str]:
        if not self._layers:
            raise ValueError("module must hold at least one Linear layer, got none")
        if self._active:
            raise ValueError(
                f"{self._active} must be left out, since the last Linear layer gives {self._outputs}, got "
                f"{validation.with_article(self._last)} after it"
            )
        return self._layers, next(iter(self._kinds), "identity")


def _require_width(place: str, width: int, came: int) -> None:
    if width != came:
        raise ValueError(f"{place} must take as many numbers as come in, got {width} for {came}")


def _of_state_dict(state: Mapping[Any, Any]) -> Layers:
    """Weights and biases in their order."""
    layers: Layers = []
    beside = None  # the name of a bias that would belong to the last weight
    for name, value in state.items():
        place, kind, ndim = f"module[{name!r}]", str(name).rpartition(".")[2], getattr(value, "ndim", None)
        if kind == "weight" and ndim == 2:
            weight = _array(value, place, 2)
            layers.append((weight, np.zeros(len(weight))))
            beside = str(name).removesuffix("weight") + "bias"
        elif name == beside and ndim == 1:
            layers[-1], beside = (layers[-1][0], _array(value, place, 1)), None
        else:
            raise ValueError(
                f"{place} must be the weight (out, in) of a Linear layer or the bias that follows it, got "
                f"{validation.shown(value)}; pass the module itself where it has other layers"
            )
    if not layers:
        raise ValueError("module must hold at least one Linear layer, got an empty state dict")
    return layers
