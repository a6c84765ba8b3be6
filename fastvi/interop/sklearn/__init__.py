"""Estimators for scikit-learn that learn and score by the exact log p(x).

:class:`BinaryFactorAnalysis` is a sigmoid belief network, :class:`BernoulliRBM` a restricted Boltzmann
machine with scikit-learn's parameters and attributes.
"""

from __future__ import annotations

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('fastvi.interop.sklearn needs scikit-learn: pip install "fastvi[sklearn]"') from error

from fastvi.interop.sklearn.bernoulli_rbm import BernoulliRBM
from fastvi.interop.sklearn.binary_factor_analysis import BinaryFactorAnalysis

__all__ = ["BernoulliRBM", "BinaryFactorAnalysis"]
