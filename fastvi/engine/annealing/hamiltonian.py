"""Chains of continuous latents: Hamiltonian Monte Carlo, and the pilot run that tunes its step sizes.

Positions are y = (z - mean) / std of the initial distribution q0, so that a unit mass suits the first
temperatures. A transition draws momenta, takes leapfrog steps and accepts with min(1, exp(-change of the
energy)) (Neal 2011, "MCMC using Hamiltonian dynamics", section 3.2). It is reversible, so a reversed chain
takes the same one. Its step size is the tuned one times a number drawn uniformly from 0.8 ... 1.2 for every
transition: with a fixed size, a trajectory may come back to where it began.

Temperatures 1 ... K - 1 are cut at K / 2, K / 4, ..., since a posterior's precision grows with beta: within a
part no step size is off by more than about sqrt(2). A pilot of its own random numbers tunes a size for every
datum and part: its chains anneal through the parts, _MOVES transitions at the end of each, and the logarithm
of the size follows the mean acceptance (Robbins and Monro 1951). Afterwards sizes are fixed, and since the
weighed chains share no random number with the pilot, weights are unbiased given these sizes, hence at all.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.core.functions import LOG_TWO_PI
from fastvi.engine.annealing.chains import Schedule, all_chains
from fastvi.engine.annealing.targets import NetworkTarget
from fastvi.kernels.cpu.annealing.rows import row_squares
from fastvi.kernels.cpu.annealing.words import DATA, PILOT, trajectory_numbers

_PILOT_CHAINS = 8  # of a datum
_MOVES = 20  # of the pilot in each part; the later half is averaged
_AIM = 0.75  # acceptance: between 0.65, best where dimensions are many (Beskos et al. 2013), and 0.8
_GAIN = 1.5  # of the first move in a part, falling with the square root of its number
_FIRST_SIZE = 0.5


class Problem(NamedTuple):
    """log p(x, z) = log N(z; prior_mean, prior_std^2) + log p(x | z), and q0."""

    target: NetworkTarget
    prior_mean: Array  # (d,)
    prior_std: Array
    mean: Array  # (N, d) of q0
    std: Array
    num_leapfrog: int


class _Walkers:
    """Rows ``first`` ... first + num - 1 of positions, ``num_chains`` rows a datum."""

    def __init__(
        self, problem: Problem, first: int, num: int, num_chains: int, tag: int, key: tuple[int, int]
    ) -> None:
        self._problem, self._where, self._tag = problem, (first, num_chains, *key), tag
        self.owners = (first + np.arange(num)) // num_chains
        self.mean, self.std = problem.mean[self.owners], problem.std[self.owners]
        self._normaliser = np.log(self.std).sum(axis=1) + 0.5 * problem.mean.shape[1] * LOG_TWO_PI
        prior = np.log(problem.prior_std).sum() + 0.5 * problem.prior_std.size * LOG_TWO_PI
        self._prior_normaliser = float(prior)

    def place(self, y: Array) -> None:
        """Put the rows at y (rows, d)."""
        self.y = y
        self.log_joint, self._gradient = self._evaluate(y)

    def start(self) -> None:
        """Draw positions from q0."""
        self.place(self._numbers(0)[0])

    def log_ratio(self) -> Array:
        """Log p(x, z) - log q0(z)."""
        return self.log_joint + 0.5 * _squares(self.y) + self._normaliser

    def _numbers(self, step: int) -> tuple[Array, Array]:
        """Standard normal numbers (rows, d), and uniform ones (rows, 2)."""
        from scipy.special import ndtri

        tails, uniforms = np.empty(self.mean.shape), np.empty((len(self.mean), 2))
        first, num_chains, *key = self._where
        trajectory_numbers(self._tag, step, first, num_chains, *key, tails, uniforms)
        return np.copysign(ndtri(np.abs(tails)), tails), uniforms

    def _evaluate(self, y: Array) -> tuple[Array, Array]:
        """Log p(x, z) and its gradient in y."""
        problem = self._problem
        z = self.mean + self.std * y
        value, gradient = problem.target.likelihood_and_gradient(self.owners, z)
        u = (z - problem.prior_mean) / problem.prior_std
        value -= 0.5 * _squares(u) + self._prior_normaliser
        gradient -= u / problem.prior_std
        gradient *= self.std
        return value, gradient

    def move(self, step: int, beta: float, sizes: Array) -> Array:
        """A transition at inverse temperature ``beta`` with step sizes (rows,); chances of acceptance."""
        momenta, uniforms = self._numbers(step)
        size = (sizes * (0.8 + 0.4 * uniforms[:, 1]))[:, None]
        y, gradient, count = self.y, self._gradient, self._problem.num_leapfrog
        # a trajectory that runs away overflows, and is rejected
        with np.errstate(over="ignore", invalid="ignore"):
            before = self._minus_energy(beta, y, self.log_joint) - 0.5 * _squares(momenta)
            p = momenta + 0.5 * size * (beta * gradient - (1.0 - beta) * y)
            for number in range(count):
                y = y + size * p
                log_joint, gradient = self._evaluate(y)
                kick = size if number + 1 < count else 0.5 * size
                p = p + kick * (beta * gradient - (1.0 - beta) * y)
            change = self._minus_energy(beta, y, log_joint) - 0.5 * _squares(p) - before
            chances = np.exp(np.minimum(change, 0.0))
        chances = np.where(np.isnan(chances), 0.0, chances)
        taken = uniforms[:, 0] < chances
        self.y = np.where(taken[:, None], y, self.y)
        self._gradient = np.where(taken[:, None], gradient, self._gradient)
        self.log_joint = np.where(taken, log_joint, self.log_joint)
        return chances

    @staticmethod
    def _minus_energy(beta: float, y: Array, log_joint: Array) -> Array:
        """Log f_beta up to a constant."""
        return beta * log_joint - 0.5 * (1.0 - beta) * _squares(y)


def _squares(values: Array) -> Array:
    out = np.empty(len(values))
    row_squares(values, out)
    return out


def num_parts(num_steps: int) -> int:
    """Parts of the temperatures 1 ... num_steps - 1 that have step sizes of their own."""
    return num_steps.bit_length()


def part_of(step: int, num_steps: int) -> int:
    """P where num_steps / 2^(p + 1) < step <= num_steps / 2^p, rounded down."""
    part = 0
    while step <= num_steps >> (part + 1):
        part += 1
    return part


class _Pilot:
    """Step sizes of data ``first`` ... first + num - 1."""

    def __init__(self, problem: Problem, schedule: Schedule, tuned: Array, first: int, num: int) -> None:
        rows = num * _PILOT_CHAINS
        self._walkers = _Walkers(
            problem, first * _PILOT_CHAINS, rows, _PILOT_CHAINS, DATA | PILOT, schedule.key
        )
        self._num_steps = schedule.num_steps
        self._tuned = tuned[first : first + num]  # logarithms
        self._log_size = np.full(num, math.log(_FIRST_SIZE))
        self.log_w = np.zeros(num)
        self.operations = rows * problem.num_leapfrog * (2.0 * problem.target.operations + 100.0)

    def run(self, first_place: int, last_place: int) -> None:
        for place in range(first_place, last_place):
            if place == 0:
                self._walkers.start()
                continue
            part = num_parts(self._num_steps) - 1 - (place - 1) // _MOVES
            number = (place - 1) % _MOVES
            beta = min(self._num_steps >> part, self._num_steps - 1) / self._num_steps
            sizes = np.repeat(np.exp(self._log_size), _PILOT_CHAINS)
            chances = self._walkers.move(place, beta, sizes).reshape(-1, _PILOT_CHAINS)
            mean = np.zeros(len(chances))
            for chain in range(_PILOT_CHAINS):  # in one order, whatever the number of data
                mean += chances[:, chain] / _PILOT_CHAINS
            self._log_size += _GAIN / math.sqrt(number + 1) * (mean - _AIM)
            if number >= _MOVES // 2:
                self._tuned[:, part] += self._log_size / (_MOVES - _MOVES // 2)


def step_sizes(problem: Problem, schedule: Schedule) -> Array:
    """Step sizes (N, parts), the same for chains in both directions."""
    num_data, parts = len(problem.mean), num_parts(schedule.num_steps)
    tuned = np.zeros((num_data, parts))
    if schedule.num_steps > 1:
        all_chains(
            partial(_Pilot, problem, schedule, tuned), num_data, parts * _MOVES, lambda count: None,
            largest=max(1, problem.target.largest // _PILOT_CHAINS),
        )  # fmt: skip
    return np.exp(tuned)


class _HamiltonianChains:
    """Rows ``first`` ... first + num - 1; log_w is log w, of reversed chains -log w."""

    def __init__(self, problem: Problem, schedule: Schedule, sizes: Array, first: int, num: int) -> None:
        self._schedule, self._first = schedule, first
        self._walkers = _Walkers(problem, first, num, schedule.num_chains, schedule.tag(DATA), schedule.key)
        self._sizes = sizes[self._walkers.owners]
        self.log_w = np.zeros(num)
        self.operations = num * problem.num_leapfrog * (2.0 * problem.target.operations + 100.0)

    def run(self, first_place: int, last_place: int) -> None:
        schedule, walkers, backwards = self._schedule, self._walkers, self._schedule.states is not None
        for place in range(first_place, last_place):
            if place == 0:
                if backwards:
                    z = schedule.starts(self._first, len(self.log_w), walkers.mean.shape[1], np.float64)
                    walkers.place((z - walkers.mean) / walkers.std)
                else:
                    walkers.start()
                continue
            step, move = schedule.step_and_move(place)
            gain = schedule.share(step) * walkers.log_ratio()
            self.log_w += -gain if backwards else gain
            if move:
                sizes = self._sizes[:, part_of(move, schedule.num_steps)]
                walkers.move(move, move / schedule.num_steps, sizes)


def hamiltonian_log_weights(problem: Problem, schedule: Schedule) -> Array:
    """Log weights (N M,) of chains from normal distributions."""
    sizes = step_sizes(problem, schedule)
    return all_chains(
        partial(_HamiltonianChains, problem, schedule, sizes), len(problem.mean) * schedule.num_chains,
        schedule.num_steps, schedule.report, largest=problem.target.largest,
    )  # fmt: skip
