"""Sampled entries of a joint table."""

from __future__ import annotations

from fastvi.core.arrays import Array
from fastvi.engine.importance.proposals import Categories, CategoryDraws
from fastvi.engine.importance.targets import WEIGHT, Target


class JointTableTarget(Target):
    """Logs (rows, num_z) of sampled entries, less log q(z) where weights are asked for.

    A datum is the number of its row.
    """

    def __init__(self, logs: Array) -> None:
        self.logs = logs

    def bind(self, x: Array, numbers: Array, proposal: Categories, seed: int, part: str) -> _TableFiller:
        return _TableFiller(self.logs, x[:, 0], numbers, proposal, seed, part == WEIGHT)


class _TableFiller:
    def __init__(
        self, logs: Array, rows: Array, numbers: Array, proposal: Categories, seed: int, with_q: bool
    ) -> None:
        self._draws = CategoryDraws(proposal.probabilities, seed)
        self._logs, self._rows, self._numbers = logs, rows, numbers
        self._log_q = proposal.log_probs if with_q else None

    def fill(self, begin: int, first: int, log_w: Array) -> None:
        for n, row in enumerate(log_w, begin):
            z = self._draws.draw(n, int(self._numbers[n]), first, len(row))
            row[:] = self._logs[self._rows[n], z]
            if self._log_q is not None:
                row -= self._log_q[n if len(self._log_q) > 1 else 0, z]
