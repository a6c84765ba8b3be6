"""Bidirectional Monte Carlo: log p(x) of simulated data from both sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from fastvi.core import validation
from fastvi.core.options import Device
from fastvi.core.results import PerDatum
from fastvi.core.seeds import takes_rng
from fastvi.distributions.bernoulli import Bernoulli
from fastvi.distributions.normal import Normal
from fastvi.engine.run.progress import Progress
from fastvi.estimators.annealed_importance_sampling import annealed_importance_sampling
from fastvi.models.binary_sparse_coding import BinarySparseCoding
from fastvi.models.linear_gaussian import LinearGaussian
from fastvi.models.neural_decoder import NeuralDecoder
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork
from fastvi.weights.estimate import Estimate

_SIMULATED = (SigmoidBeliefNetwork, BinarySparseCoding, NeuralDecoder, LinearGaussian)


@dataclass(frozen=True, eq=False)
class Bracket(PerDatum):
    """Stochastic lower and upper bounds on log p(x_n) of simulated data, in nats.

    ``bracket[2:5]`` and ``bracket[mask]`` are the brackets of some data, ``bracket[3]`` that of one.

    Attributes
    ----------
    x : ndarray, (N, D)
    z : ndarray, (N, d)
        The latents that x was simulated with.
    lower : Estimate
        By forward chains: E[lower.log_marginal] <= log p(x), and by Markov's inequality it exceeds log p(x)
        by b nats with a probability of at most exp(-b).
    upper : Estimate
        By reversed chains: E[upper.log_marginal] >= log p(x), and it falls below log p(x) by b nats with a
        probability of at most exp(-b). Its chains of a datum share their start, so its std_error understates
        the error.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bracket = fastvi.bidirectional_monte_carlo(model, 50, num_temperatures=50, num_chains=20)
    >>> truth = fastvi.log_marginal(model, bracket.x).mean()
    >>> lower, upper = bracket.lower.log_marginal.mean(), bracket.upper.log_marginal.mean()
    >>> bool(lower - 0.05 < truth < upper + 0.05), bracket.z.shape
    (True, (50, 1))
    >>> bool(abs(bracket.gap.mean() - (upper - lower)) < 1e-12)
    True
    """

    x: np.ndarray
    z: np.ndarray
    lower: Estimate
    upper: Estimate

    _axes: ClassVar = {"x": ("pixel",), "z": ("latent",)}

    def _columns(self) -> dict[str, Any]:
        sides = {"lower": self.lower, "upper": self.upper}
        found = {name: side.log_marginal for name, side in sides.items()}
        found |= {f"{name}_std_error": side.std_error for name, side in sides.items()}
        return {**found, "gap": self.gap, "x": self.x, "z": self.z}

    def _some(self, which: Any) -> Self:
        return replace(
            self, x=self.x[which], z=self.z[which], lower=self.lower[which], upper=self.upper[which]
        )

    @property
    def gap(self) -> np.ndarray:
        """Width of each bracket, upper.log_marginal - lower.log_marginal, (N,) in nats.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> bracket = fastvi.bidirectional_monte_carlo(model, 50, num_temperatures=50, num_chains=20)
        >>> bool(abs(bracket.gap.mean()) < 0.1)
        True
        """
        return self.upper.log_marginal - self.lower.log_marginal

    def __repr__(self) -> str:
        num = len(self.x)
        text = f"Bracket(num_data={num}, num_chains={self.lower.num_samples}"
        if num:
            lower, upper = self.lower.log_marginal.mean(), self.upper.log_marginal.mean()
            text += f", mean lower={lower:.6g}, mean upper={upper:.6g}, mean gap={self.gap.mean():.3g} nats"
        return text + ")"


@takes_rng
def bidirectional_monte_carlo(
    model: SigmoidBeliefNetwork | BinarySparseCoding | NeuralDecoder | LinearGaussian,
    num_data: int,
    *,
    num_temperatures: int,
    num_chains: int,
    seed: int = 0,
    rng: np.random.Generator | None = None,
    initial: Literal["prior"] | Bernoulli | Normal = "prior",
    num_leapfrog: int = 10,
    progress: Progress = False,
    device: Device = "cpu",
) -> Bracket:
    r"""Brackets of log p(x_n) of data that are simulated from the model, one from each side.

    .. math::
        (z_n, x_n) \sim p(z, x), \quad E[\log \hat p_{lower}(x_n) | x_n] \le \log p(x_n) \le E[\log \hat
        p_{upper}(x_n) | x_n]

    z_n is an exact draw from p(z | x_n). Chains of :func:`~fastvi.annealed_importance_sampling` on x_n give
    the lower side, chains from z_n back to ``initial`` the upper one. The mean gap bounds how far either is
    off on average, where log p(x) itself is out of reach. It says so for data of the model; of other data
    only where these are like them.

    Parameters
    ----------
    model
        A normalised model that can be sampled: a :class:`~fastvi.SigmoidBeliefNetwork` (a deep one takes
        ``initial``), a :class:`~fastvi.BinarySparseCoding`, a :class:`~fastvi.NeuralDecoder` or a
        :class:`~fastvi.LinearGaussian`.
    num_data
        N, at least 0.
    num_temperatures, num_chains, initial, num_leapfrog, progress, device
        As for :func:`~fastvi.annealed_importance_sampling`; ``progress`` sees two runs.
    seed
        0 <= seed < 2**64, of ``model.sample(num_data, seed)`` and of the chains. The chains of both
        directions share no random number; those of continuous latents share the pilot run's step sizes.
    rng
        A generator that gives the seed, in place of ``seed``.

    Returns
    -------
    Bracket
        ``x``, ``z``, ``lower`` and ``upper``, two :class:`~fastvi.Estimate`; ``gap`` (N,) in nats.

    Raises
    ------
    ValueError, TypeError
        For wrong input.
    RuntimeError
        For ``device="cuda"``.

    Notes
    -----
    The M reversed chains of a datum start at the one z_n there is: their spread, and with it
    ``upper.std_error``, understates the error. The spread of ``gap`` over data does not.

    References
    ----------
    R. B. Grosse, Z. Ghahramani, R. P. Adams (2015), Sandwiching the marginal likelihood using bidirectional
    Monte Carlo, arXiv:1511.02543, sections 3 and 4.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> bracket = fastvi.bidirectional_monte_carlo(model, 50, num_temperatures=50, num_chains=20)
    >>> bool(bracket.gap.mean() < 0.1)
    True
    """
    validation.instance(model, "model", _SIMULATED)
    num_data = validation.positive_int(num_data, "num_data", 0)
    seed = validation.seed(seed)

    def run(x: np.ndarray, latents: np.ndarray | None) -> Estimate:
        return annealed_importance_sampling(
            model, x, num_temperatures=num_temperatures, num_chains=num_chains, seed=seed, initial=initial,
            latents=latents, num_leapfrog=num_leapfrog, progress=progress, device=device,
        )  # fmt: skip

    run(np.empty((0, model.num_pixels)), None)  # wrong arguments are refused before anything is drawn
    z, x = model.sample(num_data, seed)
    lower = run(x, None)
    return Bracket(x, z, lower, run(x, z))
