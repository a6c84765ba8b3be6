"""A dimod sampler that draws exactly, and knows log Z and the marginals exactly."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from fastvi.core.extras import how_to_install

try:
    import dimod
except ImportError as error:
    raise ImportError(f"fastvi.interop.dimod needs dimod: {how_to_install('dimod')}") from error

from fastvi.core import validation
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.models.boltzmann_machine import BoltzmannMachine


class BoltzmannSampler(dimod.Sampler):
    """Independent draws from exp(-beta E), by a sum over all 2^d states.

    ``info`` has the names of ``dwave.samplers.TreeDecompositionSampler``, which suits sparse models of any
    size. This one takes dense models, up to 2^40 states.

    Examples
    --------
    >>> from fastvi.interop.dimod import BoltzmannSampler
    >>> found = BoltzmannSampler().sample_ising({"a": 0.5}, {("a", "b"): -1.0}, num_reads=3, seed=0)
    >>> round(found.info["log_partition_function"], 6)
    1.94019
    >>> len(found)
    3
    """

    parameters: Any = None
    properties: Any = None

    def __init__(self) -> None:
        self.parameters = {"num_reads": [], "beta": [], "marginals": [], "seed": []}
        self.properties = {}

    def sample(
        self,
        bqm: Any,
        num_reads: int = 1,
        beta: float = 1.0,
        marginals: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Draw ``num_reads`` states of a binary quadratic model exactly and independently.

        Parameters
        ----------
        bqm : dimod.BinaryQuadraticModel
            SPIN or BINARY.
        num_reads
            Number of draws, at least 1.
        beta
            Inverse temperature, finite, above 0.
        marginals
            Whether ``info`` gets marginals. Those of pairs take a second pass over the states.
        seed
            0 <= seed < 2**64; draws are a pure function of it. None takes one at random.
        **kwargs
            What other samplers know: left out with dimod's warning.

        Returns
        -------
        dimod.SampleSet
            Its ``info`` holds ``log_partition_function``, log sum exp(-beta E) in nats, the offset included,
            and ``seed``. With ``marginals`` also ``variable_marginals``, {v: p(v = 1)}, and
            ``interaction_marginals``, {(u, v): {(value of u, value of v): p}} of pairs that interact, in
            the order of ``bqm.variables``.

        Raises
        ------
        ValueError, TypeError
            For wrong input and for more states than can be summed, as :func:`~fastvi.exact_posterior`.

        Examples
        --------
        >>> from dimod import BinaryQuadraticModel
        >>> from fastvi.interop.dimod import BoltzmannSampler
        >>> problem = BinaryQuadraticModel.from_ising({"a": 0.5}, {("a", "b"): -1.0})
        >>> found = BoltzmannSampler().sample(problem, num_reads=10, beta=2.0, seed=0)
        >>> len(found), round(found.info["log_partition_function"], 6)
        (10, 3.145078)
        >>> {name: round(p, 3) for name, p in found.info["variable_marginals"].items()}
        {'a': 0.119, 'b': 0.133}
        """
        self.remove_unknown_kwargs(**kwargs)
        num = validation.positive_int(num_reads, "num_reads")
        marginals = validation.flag(marginals, "marginals")
        key = secrets.randbits(64) if seed is None else validation.seed(seed)
        beta = validation.positive_float(beta, "beta")
        if isinstance(bqm, dimod.BinaryQuadraticModel) and bqm.num_variables == 0:  # one state, of no bits
            info: dict[str, Any] = {"log_partition_function": -beta * float(bqm.offset), "seed": key}
            if marginals:
                info |= {"variable_marginals": {}, "interaction_marginals": {}}
            return dimod.SampleSet.from_samples_bqm((np.empty((num, 0), np.int8), []), bqm, info=info)
        machine = BoltzmannMachine.from_bqm(bqm, beta)
        posterior = exact_posterior(machine, None, pairwise=marginals, normalized=False)
        info = {"log_partition_function": float(posterior.log_marginal[0]), "seed": key}
        spins = bqm.vartype is dimod.SPIN
        if marginals:
            assert posterior.second_moment is not None
            info |= _marginals(bqm, posterior.mean[0], posterior.second_moment[0], -1 if spins else 0)
        states = posterior.sample(num, key)[:, 0].astype(np.int8)
        return dimod.SampleSet.from_samples_bqm(
            (2 * states - 1 if spins else states, list(bqm.variables)), bqm, info=info
        )


def _marginals(bqm: Any, mean: np.ndarray, second: np.ndarray, off: int) -> dict[str, Any]:
    """Of variables and of pairs that interact, ``off`` the value of a bit 0."""
    place = {name: i for i, name in enumerate(bqm.variables)}
    pairs = {}
    for u, v in (sorted(pair, key=place.__getitem__) for pair in bqm.quadratic):
        i, j = place[u], place[v]
        both = float(second[i, j])
        one, other = float(mean[i]) - both, float(mean[j]) - both
        # what rounding leaves of an impossible state is no probability below 0
        shares = max(1.0 - both - one - other, 0.0), max(other, 0.0), max(one, 0.0), both
        pairs[u, v] = dict(zip(((off, off), (off, 1), (1, off), (1, 1)), shares, strict=True))
    return {
        "variable_marginals": {name: float(mean[i]) for name, i in place.items()},
        "interaction_marginals": pairs,
    }
