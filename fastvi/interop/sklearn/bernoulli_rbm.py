"""scikit-learn's restricted Boltzmann machine with the exact likelihood."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn import neural_network
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastvi.core import validation
from fastvi.core.functions import sigmoid
from fastvi.core.limits import MAX_STATES
from fastvi.engine.linalg.products import matmul
from fastvi.exact.exact_posterior import exact_posterior
from fastvi.exact.log_marginal import log_marginal
from fastvi.fitting.fit_model import fit_model
from fastvi.fitting.starting_network import pixel_shares
from fastvi.interop.sklearn.inputs import drawn, read_pixels, read_training_pixels, seeds
from fastvi.models.restricted_boltzmann_machine import RestrictedBoltzmannMachine

_OBJECTIVES = ("exact", "persistent")
_INITIAL_STD = 0.01  # scikit-learn's
_FITTED = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_", "n_features_in_")
_NAMES = "feature_names_in_"  # where X has some


def _is_persistent(estimator: Any) -> bool:
    return bool(estimator.objective == "persistent")


class BernoulliRBM(neural_network.BernoulliRBM):
    r"""Restricted Boltzmann machine, learned and scored by the exact likelihood.

    .. math:: p(v, h) = \exp(h^T C v + b^T v + c^T h) / Z

    Parameters and attributes are those of :class:`sklearn.neural_network.BernoulliRBM`, which it is derived
    from. log Z is a sum over the states of the smaller layer, 2^min(n_features, n_components), at most 2^40.

    Parameters
    ----------
    n_components : int
        Number of hidden units, at least 1.
    learning_rate : float
        For "exact" that of Adam, about how far a parameter moves in the first steps; it falls to 0.
    batch_size : int
        Data a step, at least 1.
    n_iter : int
        Passes over the data, at least 0.
    verbose : int
        Whether to say how training goes, on standard error for "exact".
    random_state : int, RandomState or None
        Of the start, the order of the data and all draws.
    objective : "exact" or "persistent"
        "exact" climbs the exact log p(x) by :func:`~fastvi.fit_model` and keeps the best pass. "persistent"
        is scikit-learn's own algorithm, for layers that are both large.
    binarize : float or None
        A pixel is 1 where it is above this threshold, wherever log p(x) is asked for. 0 and 1 stay what they
        are for any threshold from 0 to below 1. None refuses whatever is not 0, 1 or NaN. "persistent" does
        not binarise in ``fit``, ``partial_fit`` and ``transform``, as scikit-learn does not.

    Attributes
    ----------
    components_ : ndarray, (n_components, n_features)
        Weights, C.
    intercept_hidden_ : ndarray, (n_components,)
        Log odds of hidden units on their own, c.
    intercept_visible_ : ndarray, (n_features,)
        Log odds of pixels on their own, b.
    h_samples_ : ndarray, (batch_size, n_components)
        Hidden states drawn from the model: independent and exact for "exact", else those of the chains.
    model_ : RestrictedBoltzmannMachine
        The present parameters, for every other function of fastvi.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, where X has names

    Notes
    -----
    For "exact" NaN in X is a pixel that was not seen, and is summed out exactly: each distinct pattern of
    missing pixels costs a sum over all states of the hidden units. scipy.sparse matrices are made dense.

    A ``sample_weight`` of 0 gives the bits of data without that datum. A weight of 2 is the datum twice, up
    to rounding, where a batch holds all data; in smaller batches the data come in another order.

    References
    ----------
    G. E. Hinton, "A practical guide to training restricted Boltzmann machines", UTML TR 2010-003. T. Tieleman
    (2008), Training restricted Boltzmann machines using approximations to the likelihood gradient, ICML.

    Examples
    --------
    >>> import pandas
    >>> from fastvi.interop.sklearn import BernoulliRBM
    >>> X = pandas.DataFrame([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]], columns=["a", "b", "c"])
    >>> rbm = BernoulliRBM(n_components=2, n_iter=200, random_state=0).fit(X)
    >>> bool(rbm.score(X) > -2)  # four data that are all alike would have -log 4 = -1.39
    True
    >>> rbm.components_.shape, rbm.intercept_hidden_.shape, rbm.intercept_visible_.shape
    ((2, 3), (2,), (3,))
    >>> rbm.h_samples_.shape, rbm.n_features_in_, list(rbm.feature_names_in_)
    ((10, 2), 3, ['a', 'b', 'c'])
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: int = 0,
        random_state: Any = None,
        objective: str = "exact",
        binarize: float | None = 0.5,
    ) -> None:
        super().__init__(
            n_components, learning_rate=learning_rate, batch_size=batch_size, n_iter=n_iter, verbose=verbose,
            random_state=random_state,
        )  # fmt: skip
        self.objective = objective
        self.binarize = binarize

    @property
    def model_(self) -> RestrictedBoltzmannMachine:
        """The machine with the present parameters.

        Examples
        --------
        >>> import fastvi
        >>> from fastvi.interop.sklearn import BernoulliRBM
        >>> rbm = BernoulliRBM(n_components=2, n_iter=5, random_state=0).fit([[0, 0, 0], [0, 1, 1]])
        >>> bool(abs(fastvi.log_marginal(rbm.model_, [[0, 1, 1]])[0] - rbm.score([[0, 1, 1]])) < 1e-12)
        True
        """
        check_is_fitted(self)
        return RestrictedBoltzmannMachine.from_sklearn(self)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the machine.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            0 and 1, or what ``binarize`` makes of it; NaN where nothing was seen. For "persistent" what
            scikit-learn takes.
        y : None
            Not used.
        sample_weight : array-like, (n_samples,), optional
            Finite, at least 0, not all 0. For "exact" alone.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For wrong input, in one line that names it, and for "exact" where both layers have more than 40
            units.

        Examples
        --------
        Data whose weight is 0 do not count:

        >>> from fastvi.interop.sklearn import BernoulliRBM
        >>> rbm = BernoulliRBM(n_components=2, n_iter=100, random_state=0)
        >>> rbm = rbm.fit([[0, 0, 0], [0, 1, 1], [1, 1, 1]], sample_weight=[1.0, 3.0, 0.0])
        >>> bool(rbm.score([[0, 1, 1]]) > rbm.score([[1, 1, 1]]))
        True
        """
        validation.choice(self.objective, "objective", _OBJECTIVES)
        if self.objective == "persistent":
            return self._fit_persistent(X, sample_weight)
        num_latents = validation.positive_int(self.n_components, "n_components")
        batch_size = validation.positive_int(self.batch_size, "batch_size")
        n_iter = validation.positive_int(self.n_iter, "n_iter", 0)
        x, observed, weights = read_training_pixels(self, X, sample_weight)
        if 1 << min(x.shape[1], num_latents) > MAX_STATES:
            raise ValueError(
                "objective must be 'persistent' where both layers have more than 40 units, got 'exact' for "
                f"{x.shape[1]} features and n_components={num_latents}"
            )
        of_start, of_fit, of_draws = seeds(self.random_state, 3)
        generator = np.random.Generator(np.random.Philox(key=of_start))
        share = pixel_shares(x, weights, observed)
        start = RestrictedBoltzmannMachine(
            _INITIAL_STD * generator.standard_normal((x.shape[1], num_latents)),
            np.log(share / (1.0 - share)),
            np.zeros(num_latents),
        )
        model = fit_model(
            start, x, data_weights=weights, observed=observed, num_epochs=n_iter, batch_size=batch_size,
            learning_rate=self.learning_rate, seed=of_fit, progress=bool(self.verbose),
        ).model  # fmt: skip
        self.components_ = np.array(model.weights.T, order="C")
        self.intercept_hidden_ = model.hidden_bias.copy()
        self.intercept_visible_ = model.visible_bias.copy()
        self.h_samples_ = model.sample(batch_size, of_draws).z.astype(np.float64)
        self._n_features_out = num_latents
        return self

    def _fit_persistent(self, X: Any, sample_weight: Any) -> Self:
        if sample_weight is not None:
            raise TypeError(
                "sample_weight must be None for objective='persistent', got "
                f"{validation.shown(sample_weight)}: 'exact' takes weights"
            )
        # one of scikit-learn's own, which reports its pseudo-likelihood and not our score
        names = set(self.get_params()) - {"objective", "binarize"}
        plain = neural_network.BernoulliRBM(**{name: getattr(self, name) for name in names}).fit(X)
        for name in _FITTED:
            setattr(self, name, getattr(plain, name))
        if hasattr(plain, _NAMES):
            self.feature_names_in_ = plain.feature_names_in_
        elif hasattr(self, _NAMES):
            del self.feature_names_in_
        self._n_features_out = len(self.components_)
        return self

    @available_if(_is_persistent)  # type: ignore[untyped-decorator, unused-ignore]
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """One step of scikit-learn's algorithm, for "persistent" alone.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            What scikit-learn takes.
        y : None
            Not used.

        Examples
        --------
        >>> from fastvi.interop.sklearn import BernoulliRBM
        >>> rbm = BernoulliRBM(n_components=2, objective="persistent", random_state=0)
        >>> for batch in ([[0, 0, 0], [0, 1, 1]], [[1, 0, 1], [1, 1, 0]]):
        ...     rbm = rbm.partial_fit(batch)
        >>> rbm.components_.shape
        (2, 3)
        """
        super().partial_fit(X, y)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Posterior means p(h_i = 1 | v) of the hidden units.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            As for ``fit``.

        Returns
        -------
        ndarray, (n_samples, n_components)

        Examples
        --------
        >>> from fastvi.interop.sklearn import BernoulliRBM
        >>> rbm = BernoulliRBM(n_components=2, n_iter=5, random_state=0).fit([[0, 0, 0], [0, 1, 1]])
        >>> rbm.transform([[0, 0, 0], [0, float("nan"), 1]]).shape  # the second pixel was not seen
        (2, 2)
        """
        check_is_fitted(self)
        if self.objective == "persistent":
            return np.asarray(super().transform(X))
        (x, observed), model = read_pixels(self, X, reset=False), self.model_
        whole = np.ones(len(x), bool) if observed is None else observed.all(axis=1)
        out = np.empty((len(x), model.num_latents))
        # hidden units are independent given all visible ones
        out[whole] = sigmoid(matmul(x[whole].astype(np.float64), model.weights, model.hidden_bias))
        if observed is not None:
            part = ~whole
            out[part] = exact_posterior(model, x[part], observed=observed[part], normalized=False).mean
        return out

    def score_samples(self, X: Any) -> np.ndarray:
        """Exact log p(v) in nats, of what was seen; not the pseudo-likelihood.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            0 and 1, or what ``binarize`` makes of it; NaN where nothing was seen.

        Returns
        -------
        ndarray, (n_samples,)

        Raises
        ------
        ValueError
            For wrong input, and where both layers have more than 40 units.

        Examples
        --------
        >>> import itertools, numpy
        >>> from fastvi.interop.sklearn import BernoulliRBM
        >>> rbm = BernoulliRBM(n_components=2, n_iter=5, random_state=0).fit([[0, 0, 0], [0, 1, 1]])
        >>> every = list(itertools.product([0, 1], repeat=3))
        >>> float(numpy.exp(rbm.score_samples(every)).sum().round(9))
        1.0
        """
        check_is_fitted(self)
        (x, observed), model = read_pixels(self, X, reset=False), self.model_
        smaller = min(model.weights.shape)
        if 1 << smaller > MAX_STATES:
            raise ValueError(
                f"n_components must be at most 40 for the exact log Z of {model.num_pixels} features, got "
                f"{model.num_latents}; fastvi.annealed_importance_sampling(rbm.model_, ...) estimates it"
            )
        return np.asarray(log_marginal(model, x, observed=observed))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean exact log p(v) in nats, the higher the better.

        Parameters
        ----------
        X : array-like or sparse matrix, (n_samples, n_features)
            As for ``score_samples``.
        y : None
            Not used.

        Examples
        --------
        >>> from fastvi.interop.sklearn import BernoulliRBM
        >>> X = [[0, 0, 0], [0, 1, 1]]
        >>> untrained = BernoulliRBM(n_components=2, n_iter=0, random_state=0).fit(X)
        >>> trained = BernoulliRBM(n_components=2, n_iter=100, random_state=0).fit(X)
        >>> trained.score(X) > untrained.score(X)
        True
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Independent draws of pixels from the model, exact.

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
        >>> from fastvi.interop.sklearn import BernoulliRBM
        >>> X = [[0, 0, 0], [0, 1, 1]]
        >>> rbm = BernoulliRBM(n_components=2, n_iter=200, random_state=0).fit(X)
        >>> draws = rbm.sample(1000, random_state=0)
        >>> draws.shape, bool((draws[:, 1] == draws[:, 2]).mean() > 0.9)
        ((1000, 3), True)
        """
        check_is_fitted(self)
        return drawn(self, n_samples, random_state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.objective == "exact":
            tags.input_tags.allow_nan = True
            tags.transformer_tags.preserves_dtype = ["float64"]
        return tags
