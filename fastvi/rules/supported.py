"""Table of what each model answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from fastvi.core.registry import rules_of
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.models.base import Model
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.boltzmann_machine import BoltzmannMachine
from fastvi.models.joint_table import JointTable
from fastvi.models.linear_gaussian import LinearGaussian
from fastvi.models.log_joint import LogJoint
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.rules.questions import QUESTIONS


def _log_joint(x_n: Any, z: Any) -> float:
    return float(z[0] * x_n[0] - 1.0)


def _network() -> SigmoidBeliefNetwork:
    return SigmoidBeliefNetwork([[1.0, -1.0], [0.5, 0.0]], [0.0, 0.0], [0.0, 0.5])


def _decoder(prior: Bernoulli | Normal) -> NeuralDecoder:
    return NeuralDecoder([([[1.0], [-1.0]], [0.0, 0.0])], "tanh", prior)


# one small model of each kind that the table tells apart
EXAMPLES: dict[str, Callable[[], Model]] = {
    "JointTable": lambda: JointTable([[0.3, 0.2], [0.1, 0.4]]),
    "SigmoidBeliefNetwork": _network,
    "SigmoidBeliefNetwork (deep)": lambda: SigmoidBeliefNetwork(
        [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], prior=_network()
    ),
    "BinarySparseCoding": lambda: BinarySparseCoding([[1.0, -1.0], [0.5, 0.0]], [0.0, 0.0], 0.5, [0.0, 0.5]),
    "NeuralDecoder (Bernoulli prior)": lambda: _decoder(Bernoulli([0.5])),
    "NeuralDecoder (Normal prior)": lambda: _decoder(Normal([0.0], [1.0])),
    "LinearGaussian": lambda: LinearGaussian([[1.0], [0.5]], [0.0, 0.0], 0.5),
    "BoltzmannMachine": lambda: BoltzmannMachine([[0.0, 1.0], [1.0, 0.0]], [0.0, 0.5]),
    "RestrictedBoltzmannMachine": lambda: RestrictedBoltzmannMachine(
        [[1.0, -1.0], [0.5, 0.0]], [0.0, 0.0], [0.0, 0.5]
    ),
    "LogJoint": lambda: LogJoint(_log_joint, 2),
}


@dataclass(frozen=True)
class SupportTable:
    """Table of the questions that each model answers; ``print`` shows it.

    Attributes
    ----------
    questions : tuple of str
        Rows: public functions, with the argument that matters where there is one.
    models : tuple of str
        Columns.
    answers : ndarray of bool, (questions, models)

    Examples
    --------
    >>> import fastvi
    >>> table = fastvi.supported()
    >>> row, column = table.questions.index("exact_posterior"), table.models.index("LinearGaussian")
    >>> bool(table.answers[row, column])
    False
    """

    questions: tuple[str, ...]
    models: tuple[str, ...]
    answers: np.ndarray

    def __str__(self) -> str:
        width = max(map(len, self.questions))
        lines = [f"{'':{width}}  " + " ".join(f"{n + 1:>2}" for n in range(len(self.models)))]
        for question, row in zip(self.questions, self.answers, strict=True):
            lines.append(f"{question:{width}}  " + " ".join(" x" if answer else " ." for answer in row))
        lines += ["", *(f"{n + 1:>2}  {model}" for n, model in enumerate(self.models))]
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """Return the table in Markdown.

        Examples
        --------
        >>> import fastvi
        >>> lines = fastvi.supported().to_markdown().splitlines()
        >>> len(lines) == 2 + len(fastvi.supported().questions)
        True
        >>> lines[0].split(" | ")[1:4]
        ['JointTable', 'SigmoidBeliefNetwork', 'SigmoidBeliefNetwork (deep)']
        """
        lines = ["| | " + " | ".join(self.models) + " |", "|---|" + "---|" * len(self.models)]
        for question, row in zip(self.questions, self.answers, strict=True):
            lines.append(f"| `{question}` | " + " | ".join("x" if answer else "" for answer in row) + " |")
        return "\n".join(lines)


@overload
def supported() -> SupportTable: ...
@overload
def supported(model: Any) -> tuple[str, ...]: ...
def supported(model: Any = None) -> SupportTable | tuple[str, ...]:
    """Tell which questions models answer.

    Parameters
    ----------
    model
        A model: its questions are returned. Without one, a table of all models of this package.

    Returns
    -------
    SupportTable or tuple of str
        ``print`` shows the table. The names are those of public functions.

    Raises
    ------
    TypeError
        Where ``model`` is no model.

    Notes
    -----
    A GPU sums what "log_marginal(device='cuda')" says where there is one. Sizes have limits of their own:
    :func:`fastvi.plan` says what a question takes.

    Examples
    --------
    >>> import fastvi
    >>> "exact_posterior" in fastvi.supported(fastvi.LinearGaussian([[1.0]], [0.0], 1.0))
    False
    """
    if model is not None:
        answered = rules_of(model, tables=True).questions
        return tuple(question for question in QUESTIONS if question in answered)
    columns = [rules_of(make(), tables=True).questions for make in EXAMPLES.values()]
    answers = np.array([[question in column for column in columns] for question in QUESTIONS])
    return SupportTable(QUESTIONS, tuple(EXAMPLES), answers)
