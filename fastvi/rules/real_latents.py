"""Rules that models of real latents share: a network of z, with a normal prior of independent latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fastvi.distributions.normal import Normal
from fastvi.rules.base import Rules

if TYPE_CHECKING:
    from fastvi.engine.annealing.chains import Schedule
    from fastvi.engine.expectation.sampled_joint import SampledJoint
    from fastvi.engine.importance.decoder_target import RealDecoderTarget

Layers = Any  # sequence of (weight, bias)


class RealLatentsRules(Rules):
    """Rules of a model x ~ likelihood(network(z)), z ~ N(mean, std^2).

    A subclass says what the network is, and how log p(x) is found.
    """

    real_latents = True
    closed_expectations = True
    layers: Layers
    activation: str
    noise_std: float | None
    parameter_names: list[tuple[str, str]]  # of each layer's weight and bias
    _refusal: str  # of an enumeration

    def form(self, observed: np.ndarray, dtype: str = "float64") -> NoReturn:
        raise TypeError(self._refusal)

    def memory(self, observed: np.ndarray, dtype: str = "float64") -> NoReturn:
        raise TypeError(self._refusal)

    def is_closed(self, observed: np.ndarray) -> bool:
        return True

    def prior(self) -> Normal:
        return self.model.prior  # type: ignore[no-any-return]

    prior_proposal = prior

    def sampling_target(
        self, observed: np.ndarray, num_states: int, *, with_prior: bool = True
    ) -> RealDecoderTarget:
        from fastvi.engine.importance.decoder_target import RealDecoderTarget

        prior = (self.prior().mean, self.prior().std) if with_prior else None
        decoder = self.layers, self.activation, self.noise_std, observed
        return RealDecoderTarget(*decoder, self.num_latents, prior)

    def sampled_joint(self, x: np.ndarray, z: np.ndarray) -> SampledJoint:
        from fastvi.engine.expectation.sampled_joint import NormalPrior, SampledJoint

        prior = NormalPrior(self.prior().mean, self.prior().std)
        names = self.parameter_names
        return SampledJoint(self.layers, self.activation, self.noise_std, prior, names, x, z)

    def check_latents(self, x: np.ndarray, chains: np.ndarray) -> None:
        for n, states in enumerate(chains):
            check_possible(self.model.log_joint(x[n], states), n)

    def annealed_log_weights(
        self, x: np.ndarray, initial: np.ndarray, schedule: Schedule, num_leapfrog: int
    ) -> np.ndarray:
        # the prior is a part of the problem itself, which needs its gradient
        from fastvi.engine.annealing.hamiltonian import Problem, hamiltonian_log_weights
        from fastvi.engine.annealing.targets import NetworkTarget

        target = NetworkTarget(self.layers, self.activation, self.noise_std, x, lambda z: np.zeros(len(z)))
        mean, std = initial
        problem = Problem(target, self.prior().mean, self.prior().std, mean, std, num_leapfrog)
        return hamiltonian_log_weights(problem, schedule)


def check_possible(logs: np.ndarray, n: int) -> None:
    """Refuse latents of datum ``n`` whose log p(x, z) (M,) is -inf for a chain."""
    if np.isneginf(logs).any():
        raise ValueError(f"latents must have p(x, z) > 0, got 0 for datum {n}, chain {int(np.argmin(logs))}")
