"""Mini-batch training: epochs in an order that the seed decides, early stopping, checkpoints, Ctrl-C."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastvi.core import validation
from fastvi.engine.run.checkpoints import Checkpoint, digest
from fastvi.engine.run.progress import Progress, Reporter
from fastvi.fitting.adam import Adam, cosine
from fastvi.inputs.question import tiles

_LOG = logging.getLogger("fastvi")

INTERRUPTED = "training was interrupted in epoch %d: the best model so far is kept"

# An epoch of expectation maximisation that moves the mean score by no more, relative to it, is taken for the
# end. Not of gradients: their rate falls to 0 with the last epochs.
STANDSTILL = 1e-8


class Schedule(NamedTuple):
    """Number of epochs, size of batches, rate, patience and seed of a training."""

    num_epochs: int
    batch_size: int
    learning_rate: float
    patience: int | None
    seed: int

    @classmethod
    def checked(
        cls, num_epochs: Any, batch_size: Any, learning_rate: Any, patience: Any, seed: Any
    ) -> Schedule:
        return cls(
            validation.positive_int(num_epochs, "num_epochs", 0),
            validation.positive_int(batch_size, "batch_size"),
            validation.positive_float(learning_rate, "learning_rate"),
            None if patience is None else validation.positive_int(patience, "patience"),
            validation.seed(seed),
        )

    def batches(self, epoch: int, num_data: int) -> Iterator[np.ndarray]:
        """Indices of each batch of an epoch; a pure function of (seed, epoch)."""
        generator = np.random.Generator(np.random.Philox(key=self.seed + (epoch << 64)))
        order = generator.permutation(num_data)
        for first in range(0, num_data, self.batch_size):
            yield order[first : first + self.batch_size]

    def num_steps(self, num_data: int) -> int:
        return self.num_epochs * math.ceil(num_data / self.batch_size)


class Trainer(ABC):
    """Parameters that move epoch by epoch, and their score.

    It holds data and options that were checked once. Its steps call the engine and check nothing again.

    Attributes
    ----------
    values : dict of float64 arrays
        Parameters, changed in place.
    state : tuple of arrays
        All that the next epoch depends on, ``values`` among it.
    judges_standstill : bool
        Whether an epoch that hardly moves the score ends in convergence.
    """

    values: dict[str, np.ndarray]
    state: tuple[np.ndarray, ...]
    judges_standstill = False

    @abstractmethod
    def run_epoch(self, epoch: int, num_data: int, schedule: Schedule) -> None:
        """Move ``values`` by one pass over the data."""

    @abstractmethod
    def score(self) -> float:
        """Objective of the present parameters, the higher the better: what early stopping looks at."""


class GradientTrainer(Trainer):
    """A trainer that climbs by Adam, a batch of the data a step."""

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.adam = Adam(values)
        self.values, self.state = values, self.adam.arrays

    @abstractmethod
    def gradient(self, batch: np.ndarray, step: int) -> dict[str, np.ndarray]:
        """Mean gradient of the objective over the data ``batch`` (indices), to be climbed."""

    def run_epoch(self, epoch: int, num_data: int, schedule: Schedule) -> None:
        num_steps = schedule.num_steps(num_data)
        for batch in schedule.batches(epoch, num_data):
            step = self.adam.num_steps
            gradient = self.gradient(batch, step)
            self.adam.ascend(gradient, cosine(schedule.learning_rate, step, num_steps))


class Trained(NamedTuple):
    """Outcome of a training, by the names of a result's arguments."""

    objective: np.ndarray  # scalar, the best of history
    history: np.ndarray  # (epochs + 1,) scores, that of the start first
    converged: np.ndarray  # scalar
    interrupted: bool
    best_epoch: int


def opened(path: Any, identity: tuple[Any, ...], schedule: Schedule) -> Checkpoint | None:
    """The checkpoint ``path`` of a fit, refused before any work where it is of another one; None for None."""
    return None if path is None else Checkpoint.open(path, digest(*identity, *schedule, tiles()))


class _Kept:
    """The state after the last whole epoch, which an exception within the next one does not touch."""

    def __init__(self, checkpoint: Checkpoint | None, tasks: int, state: tuple[np.ndarray, ...]) -> None:
        self._checkpoint, self._tasks, self._state = checkpoint, tasks, state
        self._saved = 0 if checkpoint is None else checkpoint.restore(0, tasks, state)
        self._note(self._saved)

    def _note(self, done: int) -> None:
        self._last = done, tuple(array.copy() for array in self._state)  # at once, or not at all

    def keep(self, done: int) -> None:
        """Note that the state is that after ``done``, and save it where it is time to."""
        self._note(done)
        if self._checkpoint is not None and (done == self._tasks or self._checkpoint.due()):
            self.save()

    def go_back(self) -> int:
        """Fill the state with what was kept, or at first saved; how many epochs (and the start) that is."""
        done, arrays = self._last
        for array, kept in zip(self._state, arrays, strict=True):
            array[...] = kept
        return done

    def save(self) -> None:
        """Save what was kept last, unless it is saved."""
        done, arrays = self._last
        if self._checkpoint is not None and done > self._saved:
            self._checkpoint.save(0, done, self._tasks, arrays)
            self._saved = done

    def save_after(self, error: BaseException) -> None:
        """Save what ``error`` ends; where that fails too, the log and ``error`` say so."""
        try:
            self.save()
        except OSError as failure:
            assert self._checkpoint is not None
            text = f"checkpoint {self._checkpoint.shown!r} could not be saved: {failure}"
            _LOG.warning(text)
            error.add_note(text)


def train(
    trainer: Trainer, num_data: int, schedule: Schedule, checkpoint: Checkpoint | None, progress: Progress
) -> Trained:
    """Train ``trainer``, whose parameters are then the best that were scored.

    After each epoch the parameters are scored. Training ends after ``num_epochs``, after ``patience`` epochs
    without a better score, or at Ctrl-C, which loses the epoch that it falls in; any other exception goes on
    to the caller. Whatever ends it, what was finished is in the checkpoint.
    """
    values = trainer.values
    best = {name: value.copy() for name, value in values.items()}
    history = np.full(schedule.num_epochs + 1, np.nan)
    best_epoch = np.zeros(1, np.int64)
    state = (*trainer.state, *(best[name] for name in sorted(best)), history, best_epoch)
    kept = _Kept(checkpoint, schedule.num_epochs + 1, state)
    done = kept.go_back()
    report = Reporter(progress, schedule.num_epochs, "epochs")
    report.done_before(max(done - 1, 0))
    interrupted = False
    try:
        if done == 0:
            history[0] = trainer.score()
            done = 1
            kept.keep(done)
        while done <= schedule.num_epochs and not _is_over(done - 1, int(best_epoch[0]), schedule):
            trainer.run_epoch(done - 1, num_data, schedule)
            _score(trainer, done, history, best_epoch, best)
            done += 1
            kept.keep(done)
            report(1)
        kept.save()
    except BaseException as error:
        kept.save_after(error)
        done = kept.go_back()
        if not isinstance(error, KeyboardInterrupt) or done == 0:  # before the first score nothing is best
            raise
        _LOG.warning(INTERRUPTED, done)
        interrupted = True
    for name, value in best.items():
        values[name][...] = value
    scores, best_of_all = history[:done].copy(), int(best_epoch[0])
    # judged by the scores alone, so that a run that a checkpoint had finished says the same
    settled = _is_over(done - 1, best_of_all, schedule) or (trainer.judges_standstill and _stands(scores))
    converged = np.asarray(settled and not interrupted)
    return Trained(np.asarray(scores[best_of_all]), scores, converged, interrupted, best_of_all)


def _stands(scores: np.ndarray) -> bool:
    """Whether the last epoch moved the score by next to nothing."""
    if len(scores) < 2 or not np.isfinite(scores[-2:]).all():
        return False
    return bool(abs(scores[-1] - scores[-2]) <= STANDSTILL * max(1.0, abs(scores[-1])))


def _is_over(epoch: int, best_epoch: int, schedule: Schedule) -> bool:
    return schedule.patience is not None and epoch - best_epoch >= schedule.patience


def _score(
    trainer: Trainer, epoch: int, history: np.ndarray, best_epoch: np.ndarray, best: dict[str, np.ndarray]
) -> None:
    history[epoch] = trainer.score()
    if not history[epoch] <= history[best_epoch[0]]:
        for name, value in trainer.values.items():
            best[name][...] = value
        best_epoch[0] = epoch
