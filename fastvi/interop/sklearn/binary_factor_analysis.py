"""Factor analysis of binary data by binary factors: a sigmoid belief network as an estimator."""

from __future__ import annotations

from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastvi.core import validation
from fastvi.core.functions import sigmoid
from fastvi.distributions.encoder import Encoder
from fastvi.engine.linalg.products import matmul
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.exact.log_marginal import log_marginal
from fastvi.fitting.fit_model import Objective, fit_model
from fastvi.fitting.starting_network import starting_network
from fastvi.interop.sklearn.inputs import drawn, read_pixels, read_training_pixels, seeds
from fastvi.models.sigmoid_belief_network import SigmoidBeliefNetwork

_OBJECTIVES = ("exact", "elbo", "importance_weighted", "wake_sleep", "reweighted_wake_sleep")
_SAMPLED = _OBJECTIVES[2:]  # by an encoder's samples


class BinaryFactorAnalysis(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Binary factors of binary data, learned by the exact likelihood.

    .. math:: p(x, z) = \prod_i p(z_i) \prod_j p(x_j | z), \quad
        p(x_j = 1 | z) = \sigma\left(b_j + \sum_i z_i C_{ij}\right), \quad p(z_i = 1) = \sigma(c_i)

    A :class:`~fastvi.SigmoidBeliefNetwork`, learned by :func:`~fastvi.fit_model`. Sums over all
    2^n_components states give its log p(x), its posterior means and its gradients exactly.

    Parameters
    ----------
    n_components : int
        Number of factors d, at least 1. Each one more doubles the time.
    objective : "exact", "elbo", "importance_weighted", "wake_sleep" or "reweighted_wake_sleep"
        What is climbed; see :func:`~fastvi.fit_model`. "elbo" refits each datum's own q. The last three train
        an :class:`~fastvi.Encoder` as well, and draw from it.
    learning_rate : float
        About how far a parameter moves in the first steps, > 0.
    batch_size : int
        Data a step, at least 1.
    max_iter : int
        Passes over the data, at least 1.
    n_iter_no_change : int or None
        Ends training after so many passes without a better log p(x) of the data; None never does.
    binarize : float or None
        A pixel is 1 where it is above this threshold. 0 and 1 stay what they are for any threshold from 0 to
        below 1. None refuses whatever is not 0, 1 or NaN.
    n_hidden : int
        Hidden units of the encoder, where there is one.
    n_draws : int
        States that are drawn for each datum and step, where an encoder is trained; at least 2.
    verbose : bool
        Whether to write a line of progress to standard error.
    random_state : int, RandomState or None
        Of the start, the order of the data and all draws.

    Attributes
    ----------
    components_ : ndarray, (n_components, n_features)
        C, weights of each factor.
    intercept_ : ndarray, (n_features,)
        b, log odds of the pixels where no factor is on.
    prior_logits_ : ndarray, (n_components,)
        c, log odds of the factors.
    model_ : SigmoidBeliefNetwork
        The model itself, for every other function of fastvi.
    encoder_ : Encoder or None
        The encoder that was trained with it.
    score_history_ : ndarray, (passes + 1,)
        Mean log p(x) of the data, weighted, before the first and after each pass; the best one is kept.
    n_iter_ : int
        Passes that were made.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, where X has names

    Notes
    -----
    NaN in X is a pixel that was not seen: it is summed out, exactly, for "exact" in ``fit`` and for any
    objective in ``transform`` and ``score_samples``. Each distinct pattern of missing pixels costs a sum over
    all states of its own. scipy.sparse matrices are made dense.

    A ``sample_weight`` of 0 gives the bits of data without that datum. A weight of 2 is the datum twice: up
    to rounding where a batch holds all data, for "exact" and "elbo".

    References
    ----------
    R. M. Neal (1992), Connectionist learning of belief networks, Artificial Intelligence 56.

    Examples
    --------
    >>> import fastvi, pandas
    >>> from fastvi.interop.sklearn import BinaryFactorAnalysis
    >>> truth = fastvi.SigmoidBeliefNetwork([[6.0], [6.0], [-6.0]], [-3.0, -3.0, 3.0], [0.0])
    >>> X = pandas.DataFrame(truth.sample(200, seed=1).x, columns=["a", "b", "c"])
    >>> factors = BinaryFactorAnalysis(1, max_iter=200, learning_rate=0.2, random_state=0).fit(X)
    >>> bool(factors.score(X) >= fastvi.log_marginal(truth, X).mean())
    True
    >>> pair = pandas.DataFrame([[1, 1, 0], [0, 0, 1]], columns=X.columns)
    >>> off, on = sorted(factors.transform(pair).ravel().tolist())
    >>> off < 0.05, on > 0.95
    (True, True)

    What was learned, and how:

    >>> factors.components_.shape, factors.intercept_.shape, factors.prior_logits_.shape
    ((1, 3), (3,), (1,))
    >>> factors.n_iter_, bool(factors.score_history_.max() > factors.score_history_[0])
    (200, True)
    >>> factors.n_features_in_, list(factors.feature_names_in_)
    (3, ['a', 'b', 'c'])
    >>> fastvi.exact_posterior(factors.model_, X[:5]).mean.shape, factors.encoder_ is None
    ((5, 1), True)
    """

    def __init__(
        self,
        n_components: int = 8,
        *,
        objective: str = "exact",
        learning_rate: float = 0.05,
        batch_size: int = 100,
        max_iter: int = 50,
        n_iter_no_change: int | None = None,
        binarize: float | None = 0.5,
        n_hidden: int = 64,
        n_draws: int = 10,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.objective = objective
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_iter_no_change = n_iter_no_change
        self.binarize = binarize
        self.n_hidden = n_hidden
        self.n_draws = n_draws
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the model.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            0 and 1, or what ``binarize`` makes of it; NaN where nothing was seen.
        y : None
            Not used.
        sample_weight : array-like, (n_samples,), optional
            Finite, at least 0, not all 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For wrong input, in one line that names it.

        Examples
        --------
        A pixel that was not seen is NaN, and is summed out:

        >>> from fastvi.interop.sklearn import BinaryFactorAnalysis
        >>> X = [[1, 1, 0], [0, 0, 1], [1, float("nan"), 0]]
        >>> factors = BinaryFactorAnalysis(1, max_iter=200, learning_rate=0.2, random_state=0).fit(X)
        >>> bool(factors.score(X) > factors.score_history_[0])
        True
        """
        num_latents = validation.positive_int(self.n_components, "n_components")
        validation.choice(self.objective, "objective", _OBJECTIVES)
        max_iter = validation.positive_int(self.max_iter, "max_iter")
        patience = self.n_iter_no_change
        if patience is not None:
            patience = validation.positive_int(patience, "n_iter_no_change")
        x, observed, weights = read_training_pixels(self, X, sample_weight)
        of_start, of_encoder, of_fit = seeds(self.random_state, 3)
        encoder, num_samples = None, None
        if self.objective in _SAMPLED:
            hidden = validation.positive_int(self.n_hidden, "n_hidden")
            encoder = Encoder.random(x.shape[1], hidden, num_latents, of_encoder)
            num_samples = validation.positive_int(self.n_draws, "n_draws", 2)
        fit = fit_model(
            starting_network(x, num_latents, of_start, weights, observed),
            x,
            objective=cast(Objective, self.objective),
            encoder=encoder,
            num_samples=num_samples,
            data_weights=weights,
            observed=observed,
            num_epochs=max_iter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            patience=patience,
            seed=of_fit,
            progress=bool(self.verbose),
        )
        self.model_: SigmoidBeliefNetwork = fit.model
        self.encoder_ = fit.encoder
        self.score_history_ = fit.history
        self.n_iter_ = fit.history.size - 1
        self.components_ = np.ascontiguousarray(fit.model.weights.T)
        self.intercept_ = fit.model.bias
        self.prior_logits_ = fit.model.prior_logits
        return self

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.num_latents)

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means p(z_i = 1 | x) of the factors, exact.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            As for ``fit``.

        Returns
        -------
        ndarray, (n_samples, n_components)

        Examples
        --------
        >>> from fastvi.interop.sklearn import BinaryFactorAnalysis
        >>> X = [[1, 1, 0], [0, 0, 1]]
        >>> factors = BinaryFactorAnalysis(1, max_iter=200, learning_rate=0.2, random_state=0).fit(X)
        >>> one, other = factors.transform(X).ravel()
        >>> bool(abs(one - other) > 0.9)
        True
        """
        check_is_fitted(self)
        x, observed = read_pixels(self, X, reset=False)
        return exact_posterior(self.model_, x, observed=observed).mean

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Probabilities of the pixels given the factors.

        Parameters
        ----------
        X : array-like, (n_samples, n_components)
            States of the factors, 0 and 1, or numbers between: those are put in place of states.

        Returns
        -------
        ndarray, (n_samples, n_features)
            p(x_j = 1 | z).

        Examples
        --------
        >>> from fastvi.interop.sklearn import BinaryFactorAnalysis
        >>> X = [[1, 1, 0], [0, 0, 1]]
        >>> factors = BinaryFactorAnalysis(1, max_iter=200, learning_rate=0.2, random_state=0).fit(X)
        >>> factors.inverse_transform(factors.transform(X)).round()
        array([[1., 1., 0.],
               [0., 0., 1.]])
        """
        check_is_fitted(self)
        z = validation.real_matrix(X, "X", self.model_.num_latents)
        return sigmoid(matmul(z, np.ascontiguousarray(self.model_.weights.T), self.model_.bias))

    def score_samples(self, X: Any) -> np.ndarray:
        """Exact log p(x) in nats, of what was seen.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            As for ``fit``.

        Returns
        -------
        ndarray, (n_samples,)

        Examples
        --------
        >>> import itertools, numpy
        >>> from fastvi.interop.sklearn import BinaryFactorAnalysis
        >>> factors = BinaryFactorAnalysis(1, max_iter=5, random_state=0).fit([[1, 1, 0], [0, 0, 1]])
        >>> every = list(itertools.product([0, 1], repeat=3))
        >>> float(numpy.exp(factors.score_samples(every)).sum().round(9))
        1.0
        """
        check_is_fitted(self)
        x, observed = read_pixels(self, X, reset=False)
        return np.asarray(log_marginal(self.model_, x, observed=observed))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean exact log p(x) in nats, the higher the better.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            As for ``fit``.
        y : None
            Not used.

        Examples
        --------
        >>> from fastvi.interop.sklearn import BinaryFactorAnalysis
        >>> X = [[1, 1, 0], [0, 0, 1]]
        >>> factors = BinaryFactorAnalysis(1, max_iter=200, learning_rate=0.2, random_state=0).fit(X)
        >>> bool(factors.score(X) > -0.8)  # two data that are equally likely have -log 2 = -0.69
        True
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Independent draws of pixels from the model.

        Parameters
        ----------
        n_samples : int
            At least 1.
        random_state : int, RandomState or None
            None takes the estimator's.

        Returns
        -------
        ndarray of 0 and 1, (n_samples, n_features)

        Examples
        --------
        >>> from fastvi.interop.sklearn import BinaryFactorAnalysis
        >>> X = [[1, 1, 0], [0, 0, 1]]
        >>> factors = BinaryFactorAnalysis(1, max_iter=200, learning_rate=0.2, random_state=0).fit(X)
        >>> draws = factors.sample(1000, random_state=0)
        >>> draws.shape, bool((draws[:, 0] == draws[:, 1]).mean() > 0.9)
        ((1000, 3), True)
        """
        check_is_fitted(self)
        return drawn(self, n_samples, random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.objective == "exact"
        return tags
