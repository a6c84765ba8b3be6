"""fastvi: the true number, fast. Exact likelihoods, estimators and bounds for latent-variable models.

Names are imported at their first use, so that ``import fastvi`` costs no compilation and no numba import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# raised whenever a change alters bits of results: checkpoints of another version are not gone on from
__version__ = "0.2.0.dev0"

# public name -> module that defines it
_HOME = {
    "BinarySparseCoding": "fastvi.models.binary_sparse_coding",
    "BoltzmannMachine": "fastvi.models.boltzmann_machine",
    "JointTable": "fastvi.models.joint_table",
    "LinearGaussian": "fastvi.models.linear_gaussian",
    "LogJoint": "fastvi.models.log_joint",
    "NeuralDecoder": "fastvi.models.neural_decoder",
    "RestrictedBoltzmannMachine": "fastvi.models.restricted_boltzmann_machine",
    "SigmoidBeliefNetwork": "fastvi.models.sigmoid_belief_network",
    "load": "fastvi.core.storage",
    "Model": "fastvi.models.base",
    "LatentVariableModel": "fastvi.models.base",
    "Distribution": "fastvi.distributions.base",
    "Rules": "fastvi.rules.base",
    "register": "fastvi.core.registry",
    "supported": "fastvi.rules.supported",
    "SupportTable": "fastvi.rules.supported",
    "Bernoulli": "fastvi.distributions.bernoulli",
    "Categorical": "fastvi.distributions.categorical",
    "Encoder": "fastvi.distributions.encoder",
    "Mixture": "fastvi.distributions.mixture",
    "MultivariateNormal": "fastvi.distributions.multivariate_normal",
    "Normal": "fastvi.distributions.normal",
    "Uniform": "fastvi.distributions.uniform",
    "AccuracyWarning": "fastvi.core.accuracy",
    "log_marginal": "fastvi.exact.log_marginal",
    "log_partition": "fastvi.exact.log_partition",
    "log_marginal_gradient": "fastvi.exact.log_marginal_gradient",
    "plan": "fastvi.exact.plan",
    "Plan": "fastvi.exact.plan",
    "exact_posterior": "fastvi.exact.exact_posterior",
    "TablePosterior": "fastvi.exact.table_posterior",
    "ExactPosterior": "fastvi.exact.exact_posterior",
    "annealed_importance_sampling": "fastvi.estimators.annealed_importance_sampling",
    "bidirectional_monte_carlo": "fastvi.estimators.bidirectional_monte_carlo",
    "Bracket": "fastvi.estimators.bidirectional_monte_carlo",
    "calibrate": "fastvi.estimators.calibrate",
    "Calibration": "fastvi.estimators.calibration",
    "CalibrationEntry": "fastvi.estimators.calibration",
    "estimate_log_marginal": "fastvi.estimators.estimate_log_marginal",
    "Estimate": "fastvi.weights.estimate",
    "log_mean_exp": "fastvi.weights.log_weights",
    "effective_sample_size": "fastvi.weights.log_weights",
    "importance_weighted_bound": "fastvi.weights.importance_weighted_bound",
    "jackknife_bound": "fastvi.weights.jackknife_bound",
    "diagnose": "fastvi.weights.diagnose",
    "renyi_bound": "fastvi.weights.renyi_bound",
    "LogWeights": "fastvi.weights.streaming",
    "pareto_k": "fastvi.weights.pareto",
    "psis": "fastvi.weights.pareto",
    "elbo": "fastvi.bounds.elbo",
    "Elbo": "fastvi.bounds.elbo",
    "kl_divergence": "fastvi.bounds.kl_divergence",
    "kl_to_posterior": "fastvi.bounds.kl_to_posterior",
    "kl_from_posterior": "fastvi.bounds.kl_from_posterior",
    "chi_square_bound": "fastvi.bounds.chi_square_bound",
    "upper_bound": "fastvi.bounds.upper_bound",
    "Bounds": "fastvi.exact.bounds",
    "log_marginal_bounds": "fastvi.bounds.log_marginal_bounds",
    "fit_encoder": "fastvi.fitting.fit_encoder",
    "fit_model": "fastvi.fitting.fit_model",
    "fit_posterior": "fastvi.fitting.fit_posterior",
    "EncoderFit": "fastvi.fitting.fit_results",
    "Fit": "fastvi.fitting.fit_results",
    "ModelFit": "fastvi.fitting.fit_results",
    "PosteriorFit": "fastvi.fitting.fit_results",
    "datasets": "fastvi.datasets",
    "interop": "fastvi.interop",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'fastvi' has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if home == f"fastvi.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from fastvi import datasets as datasets
    from fastvi import interop as interop
    from fastvi.bounds.chi_square_bound import chi_square_bound as chi_square_bound
    from fastvi.bounds.elbo import Elbo as Elbo
    from fastvi.bounds.elbo import elbo as elbo
    from fastvi.bounds.kl_divergence import kl_divergence as kl_divergence
    from fastvi.bounds.kl_from_posterior import kl_from_posterior as kl_from_posterior
    from fastvi.bounds.kl_to_posterior import kl_to_posterior as kl_to_posterior
    from fastvi.bounds.log_marginal_bounds import log_marginal_bounds as log_marginal_bounds
    from fastvi.bounds.upper_bound import upper_bound as upper_bound
    from fastvi.core.accuracy import AccuracyWarning as AccuracyWarning
    from fastvi.core.registry import register as register
    from fastvi.core.storage import load as load
    from fastvi.distributions.base import Distribution as Distribution
    from fastvi.distributions.bernoulli import Bernoulli as Bernoulli
    from fastvi.distributions.categorical import Categorical as Categorical
    from fastvi.distributions.encoder import Encoder as Encoder
    from fastvi.distributions.mixture import Mixture as Mixture
    from fastvi.distributions.multivariate_normal import MultivariateNormal as MultivariateNormal
    from fastvi.distributions.normal import Normal as Normal
    from fastvi.distributions.uniform import Uniform as Uniform
    from fastvi.estimators.annealed_importance_sampling import (
        annealed_importance_sampling as annealed_importance_sampling,
    )
    from fastvi.estimators.bidirectional_monte_carlo import Bracket as Bracket
    from fastvi.estimators.bidirectional_monte_carlo import (
        bidirectional_monte_carlo as bidirectional_monte_carlo,
    )
    from fastvi.estimators.calibrate import calibrate as calibrate
    from fastvi.estimators.calibration import Calibration as Calibration
    from fastvi.estimators.calibration import CalibrationEntry as CalibrationEntry
    from fastvi.estimators.estimate_log_marginal import estimate_log_marginal as estimate_log_marginal
    from fastvi.exact.bounds import Bounds as Bounds
    from fastvi.exact.exact_posterior import ExactPosterior as ExactPosterior
    from fastvi.exact.exact_posterior import exact_posterior as exact_posterior
    from fastvi.exact.log_marginal import log_marginal as log_marginal
    from fastvi.exact.log_marginal_gradient import log_marginal_gradient as log_marginal_gradient
    from fastvi.exact.log_partition import log_partition as log_partition
    from fastvi.exact.plan import Plan as Plan
    from fastvi.exact.plan import plan as plan
    from fastvi.exact.table_posterior import TablePosterior as TablePosterior
    from fastvi.fitting.fit_encoder import fit_encoder as fit_encoder
    from fastvi.fitting.fit_model import fit_model as fit_model
    from fastvi.fitting.fit_posterior import fit_posterior as fit_posterior
    from fastvi.fitting.fit_results import EncoderFit as EncoderFit
    from fastvi.fitting.fit_results import Fit as Fit
    from fastvi.fitting.fit_results import ModelFit as ModelFit
    from fastvi.fitting.fit_results import PosteriorFit as PosteriorFit
    from fastvi.models.base import LatentVariableModel as LatentVariableModel
    from fastvi.models.base import Model as Model
    from fastvi.models.binary_sparse_coding import BinarySparseCoding as BinarySparseCoding
    from fastvi.models.boltzmann_machine import BoltzmannMachine as BoltzmannMachine
    from fastvi.models.joint_table import JointTable as JointTable
    from fastvi.models.linear_gaussian import LinearGaussian as LinearGaussian
    from fastvi.models.log_joint import LogJoint as LogJoint
    from fastvi.models.neural_decoder import NeuralDecoder as NeuralDecoder
    from fastvi.models.restricted_boltzmann_machine import (
        RestrictedBoltzmannMachine as RestrictedBoltzmannMachine,
    )
    from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork as SigmoidBeliefNetwork
    from fastvi.rules.base import Rules as Rules
    from fastvi.rules.supported import SupportTable as SupportTable
    from fastvi.rules.supported import supported as supported
    from fastvi.weights.diagnose import diagnose as diagnose
    from fastvi.weights.estimate import Estimate as Estimate
    from fastvi.weights.importance_weighted_bound import (
        importance_weighted_bound as importance_weighted_bound,
    )
    from fastvi.weights.jackknife_bound import jackknife_bound as jackknife_bound
    from fastvi.weights.log_weights import effective_sample_size as effective_sample_size
    from fastvi.weights.log_weights import log_mean_exp as log_mean_exp
    from fastvi.weights.pareto import pareto_k as pareto_k
    from fastvi.weights.pareto import psis as psis
    from fastvi.weights.renyi_bound import renyi_bound as renyi_bound
    from fastvi.weights.streaming import LogWeights as LogWeights
