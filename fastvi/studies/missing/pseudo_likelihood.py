"""Boltzmann machines fitted by pseudo-likelihood: a logistic regression of every unit on the others.

The likelihood needs log Z, which 64 units put out of reach, and log p(x_i | the others) does not: it is a
logistic regression of unit i on the others with weights J_i, here all of them at once, since J_ij = J_ji.
The sum over i is concave, with gradients that take two matrix products, and consistent: given enough data
from a Boltzmann machine it finds that machine.

References
----------
J. Besag, "Statistical analysis of non-lattice data", The Statistician 24 (1975), section 3.
A. Hyvarinen, "Consistency of pseudolikelihood estimation of fully visible Boltzmann machines", Neural
Computation 18 (2006).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

from fastvi.core.functions import sigmoid
from fastvi.fitting.starting_network import pixel_shares
from fastvi.models.boltzmann_machine import BoltzmannMachine

Array = np.ndarray[Any, np.dtype[np.float64]]

# ends within 1e-5 nats of the optimum; a centred problem with a ridge takes some dozens of steps
_OPTIONS: Any = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-13, "gtol": 1e-5}


def unit_terms(couplings: Array, bias: Array, x: Array) -> Array:
    """Log p(x_i | the other units), (N, units), for x of 0 and 1 as float64."""
    eta = _fields(couplings, x) + bias
    return np.asarray(x * eta - np.logaddexp(0.0, eta))


def _fields(couplings: Array, x: Array) -> Array:
    # einsum without optimize= does not call BLAS, whose last bits depend on the number of threads
    return np.asarray(np.einsum("nj,ij->ni", x, couplings))


def negative_objective(
    theta: Array, x: Array, centre: Array, start: Array, penalty: float
) -> tuple[float, Array]:
    """Penalised minus log pseudo-likelihood, and its gradient.

    theta holds J_ij of i < j row by row, then the bias of centred units x - centre, in which the problem is
    well conditioned. The value is minus the mean of the pseudo-log-likelihood over the data plus
    penalty / 2 |theta - start|^2.
    """
    num_data, num_units = x.shape
    couplings, bias = _unpack(theta, num_units)
    centred = x - centre
    eta = _fields(couplings, centred) + bias
    pull = theta - start
    value = float((np.logaddexp(0.0, eta) - x * eta).sum() / num_data + 0.5 * penalty * (pull * pull).sum())
    residual = (sigmoid(eta) - x) / num_data
    half = np.einsum("ni,nj->ij", residual, centred)
    slopes = np.concatenate([(half + half.T)[np.triu_indices(num_units, 1)], residual.sum(axis=0)])
    return value, slopes + penalty * pull


def _unpack(theta: Array, num_units: int) -> tuple[Array, Array]:
    num_pairs = num_units * (num_units - 1) // 2
    couplings = np.zeros((num_units, num_units))
    couplings[np.triu_indices(num_units, 1)] = theta[:num_pairs]
    return couplings + couplings.T, theta[num_pairs:]


def fit_boltzmann_machine(x: np.ndarray, penalty: float) -> BoltzmannMachine:
    """The Boltzmann machine of the largest penalised pseudo-likelihood.

    Parameters
    ----------
    x : ndarray of 0 and 1, (N, units)
    penalty
        At least 0: a ridge that pulls towards independent units. With a positive one the optimum is finite
        and unique, also where units never change.
    """
    data = x.astype(np.float64)
    num_units = data.shape[1]
    share = pixel_shares(data)
    start = np.concatenate([np.zeros(num_units * (num_units - 1) // 2), np.log(share / (1.0 - share))])
    centre = data.mean(axis=0)

    def objective(theta: Any) -> tuple[float, Any]:
        return negative_objective(theta, data, centre, start, penalty)

    found = minimize(objective, start, method="L-BFGS-B", jac=True, options=_OPTIONS)
    couplings, bias = _unpack(found.x, num_units)
    return BoltzmannMachine(couplings, bias - _fields(couplings, centre[None])[0])
