"""Registry that finds the rules of a model by its class.

Rules are named by text and imported when a model is first asked about. So models do not import their rules,
and building a model costs no import of the engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastvi.core import validation

if TYPE_CHECKING:
    from fastvi.rules.base import Rules

# module and class of a model -> module whose ``make_rules`` makes its rules
_HOME = {
    ("fastvi.models.binary_sparse_coding", "BinarySparseCoding"): "fastvi.rules.binary_sparse_coding",
    ("fastvi.models.boltzmann_machine", "BoltzmannMachine"): "fastvi.rules.boltzmann_machine",
    ("fastvi.models.joint_table", "JointTable"): "fastvi.rules.joint_table",
    ("fastvi.models.linear_gaussian", "LinearGaussian"): "fastvi.rules.linear_gaussian",
    ("fastvi.models.log_joint", "LogJoint"): "fastvi.rules.log_joint",
    ("fastvi.models.neural_decoder", "NeuralDecoder"): "fastvi.rules.neural_decoder",
    (
        "fastvi.models.restricted_boltzmann_machine",
        "RestrictedBoltzmannMachine",
    ): "fastvi.rules.restricted_boltzmann_machine",
    ("fastvi.models.sigmoid_belief_network", "SigmoidBeliefNetwork"): "fastvi.rules.sigmoid_belief_network",
}
_registered: dict[type, Callable[[Any], Rules]] = {}


def register(model: type, rules: Callable[[Any], Rules]) -> None:
    """Make every question that ``rules`` answers answerable for a model class of your own.

    Parameters
    ----------
    model
        A class. Its instances must be immutable, for their rules are made once; :class:`fastvi.Model` is a
        convenient base. Instances of subclasses have the same rules unless they register others.
    rules
        A subclass of :class:`fastvi.Rules`, or a function that returns one's instance. ``rules(instance)``
        is called at an instance's first question.

    Raises
    ------
    TypeError
        Where ``model`` is not a class, or ``rules`` cannot be called.

    Notes
    -----
    A process that an ``executor`` starts has to register too: do it where the class is defined.

    Examples
    --------
    A model that is a network with tied weights:

    >>> import fastvi
    >>> from fastvi.rules.sigmoid_belief_network import SigmoidBeliefNetworkRules
    >>> class Tied:
    ...     def __init__(self, weight):
    ...         self.network = fastvi.SigmoidBeliefNetwork([[weight, -weight]], [0.0], [0.0, 0.0])
    >>> class TiedRules(SigmoidBeliefNetworkRules):
    ...     def __init__(self, model):
    ...         super().__init__(model.network)
    >>> fastvi.register(Tied, TiedRules)
    >>> fastvi.log_marginal(Tied(2.0), [[1]]).round(6)
    array([-0.693147])
    """
    if not isinstance(model, type):
        raise TypeError(f"model must be a class, got {validation.shown(model)}")
    if not callable(rules):
        raise TypeError(f"rules must be a subclass of fastvi.Rules, got {validation.shown(rules)}")
    _registered[model] = rules


def find_rules(model: Any) -> Rules | None:
    """Return the rules of a model, made at its first question; None where there are none."""
    kept = getattr(model, "__dict__", {})
    found: Rules | None = kept.get("_rules")
    if found is None:
        make = _maker(type(model))
        if make is None:
            return None
        found = make(model)
        found.subject = model
        kept["_rules"] = found
    return found


def _maker(model: type) -> Callable[[Any], Rules] | None:
    for kind in model.__mro__:
        if kind in _registered:
            return _registered[kind]
        home = _HOME.get((kind.__module__, kind.__name__))
        if home is not None:
            make: Callable[[Any], Rules] = importlib.import_module(home).make_rules
            return make
    return None


def restored_rules(model: Any) -> Rules:
    """Return the rules of a model that a pickle brought."""
    found = find_rules(model)
    if found is None:
        raise TypeError(
            f"model must be registered by fastvi.register in every process, got {validation.shown(model)}"
        )
    return found


def has_latents(model: Any) -> bool:
    """Tell whether this is a model whose latents are bits or real numbers, not a table."""
    found = find_rules(model)
    return found is not None and not found.is_table


def rules_of(model: Any, *, tables: bool = False) -> Rules:
    """Return the rules of the argument ``model``.

    Raises TypeError where it is no model, and for a joint table unless ``tables``.
    """
    found = find_rules(model)
    if found is None:
        also = " or a JointTable" if tables else ""
        raise TypeError(f"model must be one with latents to sum out{also}, got {validation.shown(model)}")
    if found.is_table and not tables:
        raise TypeError(
            f"model must be one whose latents are bits or real numbers, got {validation.shown(model)}"
        )
    return found
