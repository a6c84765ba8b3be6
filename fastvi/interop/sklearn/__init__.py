"""Estimators for scikit-learn that learn and score by the exact log p(x).

:class:`BinaryFactorAnalysis` is a sigmoid belief network, :class:`BernoulliRBM` a restricted Boltzmann
machine with scikit-learn's parameters and attributes.
"""

from __future__ import annotations

from fastvi.core.extras import how_to_install

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(f"fastvi.interop.sklearn needs scikit-learn: {how_to_install('sklearn')}") from error

from fastvi.interop.sklearn.bernoulli_rbm import BernoulliRBM
from fastvi.interop.sklearn.binary_factor_analysis import BinaryFactorAnalysis

__all__ = ["BernoulliRBM", "BinaryFactorAnalysis"]
