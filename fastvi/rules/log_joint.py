"""Rules of LogJoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fastvi.core import validation
from fastvi.engine.states.user_form import user_form
from fastvi.models.log_joint import LogJoint
from fastvi.rules.base import Rules
from fastvi.rules.questions import (
    BIDIRECTIONAL,
    BY_SAMPLES,
    ENUMERATED,
    FIT_MODEL,
    LOG_MARGINAL_GRADIENT,
    ON_GPU,
)
from fastvi.rules.real_latents import check_possible

if TYPE_CHECKING:
    from fastvi.engine.annealing.chains import Schedule


class LogJointRules(Rules):
    """Rules of :class:`~fastvi.LogJoint`."""

    model: LogJoint
    whole_data = True

    def __init__(self, model: LogJoint) -> None:
        super().__init__(model)
        self.questions = (ENUMERATED | BY_SAMPLES) - {LOG_MARGINAL_GRADIENT, BIDIRECTIONAL, FIT_MODEL}
        if not model.vectorized:
            self.questions |= ON_GPU

    def check_data(self, x: Any, observed: Any, name: str = "x") -> tuple[np.ndarray, None]:
        if observed is not None:
            raise TypeError(
                f"observed must be None where model is a LogJoint, got {validation.shown(observed)}: its fn "
                "takes whole data"
            )
        return self.model.clean_data(x, name)[:, None], None

    def form(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        return user_form(self.model)

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> Any:
        from fastvi.engine.memory.user import UserMemory

        return UserMemory.of(self.num_latents, self.model.vectorized)

    def sampling_target(self, observed: np.ndarray, num_states: int, *, with_prior: bool = True) -> Any:
        from fastvi.engine.importance.user_target import UserTarget

        return UserTarget(self.model)

    def initial(self) -> NoReturn:
        raise ValueError(
            "initial must be a Bernoulli or Uniform distribution where model is a LogJoint, whose prior "
            "is not known, got 'prior'"
        )

    def check_latents(self, x: np.ndarray, chains: np.ndarray) -> None:
        for n, states in enumerate(chains):
            check_possible(self.model.table(x[n : n + 1, 0], states.astype(np.float64))[0], n)

    def annealed_log_weights(
        self, x: np.ndarray, initial: np.ndarray, schedule: Schedule, num_leapfrog: int
    ) -> np.ndarray:
        from fastvi.engine.annealing.general import general_log_weights
        from fastvi.engine.annealing.targets import UserTarget as AnnealedTarget

        data = np.ascontiguousarray(x[:, 0])
        # a function of arrays is the caller's, and stays in the calling thread
        target = AnnealedTarget(self.model.table, data, in_threads=not self.model.vectorized)
        return general_log_weights(target, initial, schedule)

    def digest(self) -> NoReturn:
        raise TypeError(
            "checkpoint must be None where model is a LogJoint: its fn cannot be told from one that was "
            "changed"
        )


make_rules = LogJointRules
