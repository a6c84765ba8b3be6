"""What is known of an estimator once the truth is known: errors, and how well they were foretold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from fastvi.core.results import PerDatum, html_table, package
from fastvi.weights.estimate import reliable_k

LOW_K = (
    0.5  # below, the weights have a variance, and the delta method holds (Vehtari et al. 2024, section 3.2)
)
_ROUNDING = 1e-10  # of max(1, |log p(x)|): an error that an interval of no width is allowed

COLUMNS = {  # of the table -> head in the text
    "proposal": "proposal",
    "num_samples": "samples",
    "bias": "bias",
    "std": "std",
    "rms_error": "rms error",
    "relative_variance": "rel. var.",
    "std_error": "claimed",
    "error_ratio": "claimed/std",
    "coverage": "coverage",
    "low_k_share": "k < 0.5",
    "low_k_coverage": "their cov.",
    "high_k_share": "k high",
    "ess": "ess",
    "seconds": "seconds",
    "efficiency": "efficiency",
}


@dataclass(frozen=True, eq=False)
class CalibrationEntry(PerDatum):
    """One estimator with one number of samples; arrays (N,) over the repeats.

    ``entry[2:5]`` and ``entry[mask]`` are those of some data, ``entry[3]`` that of one.

    Attributes
    ----------
    proposal : str
        The name it was given.
    num_samples : int
        K; of an estimator of the caller's own the mean of what its estimates say, rounded.
    num_repeats : int
        Number of repeats, R.
    bias
        Mean of the error e = log p_hat(x) - log p(x), nats; -inf where an estimate was -inf.
    std
        Standard deviation of the estimates (R - 1 in the denominator), nats; nan for one repeat and where an
        estimate was infinite.
    rms_error
        Root of the mean of e^2, nats; inf where an estimate was infinite.
    relative_variance
        Mean of (exp(e) - 1)^2, the variance of p_hat(x) / p(x), whose mean is 1. An estimate of -inf adds 1.
    std_error
        Mean of the standard errors claimed; one of nan (all weights were 0) counts as inf.
    coverage
        Share of repeats whose interval held log p(x), within 1e-10 max(1, abs(log p(x))) for rounding. An
        estimate of -inf is a miss, an infinite standard error of a finite estimate is not.
    low_k_share, low_k_coverage
        Share of repeats with pareto_k < 0.5 (-inf, for equal weights, among them), and the coverage of these;
        nan where there are none.
    high_k_share
        Share of repeats with pareto_k > min(1 - 1 / log10(K), 0.7) or without a fit (inf, nan).
    pareto_k
        Median over repeats, the lower of two middle ones; nan counts as inf.
    ess
        Mean effective sample size.
    seconds : float
        Of one repeat, for all data; median over calls.

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.LinearGaussian([[1.0], [0.5]], [0.0, 0.0], 1.0)
    >>> proposals = {"prior": "prior"}
    >>> found = fastvi.calibrate(model, [[0.5, 1.0]], proposals=proposals, num_samples=1000, num_repeats=200)
    >>> entry = found["prior"]
    >>> entry.proposal, entry.num_samples, entry.num_repeats
    ('prior', 1000, 200)

    Errors in nats, and the standard error that was claimed beside the standard deviation that was found:

    >>> entry.bias.round(3), entry.rms_error.round(3), entry.relative_variance.round(4)
    (array([-0.003]), array([0.019]), array([0.0003]))
    >>> entry.std.round(3), entry.std_error.round(3), entry.error_ratio.round(2)
    (array([0.019]), array([0.019]), array([1.03]))

    Intervals of 95 percent, and those of repeats whose pareto_k promises good weights:

    >>> entry.coverage.round(2), entry.low_k_share.round(2), entry.low_k_coverage.round(2)
    (array([0.96]), array([1.]), array([0.96]))
    >>> entry.high_k_share.round(2), bool(entry.pareto_k[0] < 0.5), entry.ess.round(1)
    (array([0.]), True, array([731.6]))
    >>> entry.seconds > 0, bool(entry.efficiency[0] > 0)
    (True, True)
    """

    proposal: str
    num_samples: int
    num_repeats: int
    bias: np.ndarray
    std: np.ndarray
    rms_error: np.ndarray
    relative_variance: np.ndarray
    std_error: np.ndarray
    coverage: np.ndarray
    low_k_share: np.ndarray
    low_k_coverage: np.ndarray
    high_k_share: np.ndarray
    pareto_k: np.ndarray
    ess: np.ndarray
    seconds: float

    @property
    def error_ratio(self) -> np.ndarray:
        """std_error / std, (N,): below 1 the estimator claims more than it holds; nan where std is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.std_error / self.std

    @property
    def efficiency(self) -> np.ndarray:
        """1 / (rms_error^2 seconds), (N,): twice as large, the same error in half of the time."""
        with np.errstate(divide="ignore"):
            return 1.0 / (self.rms_error**2 * self.seconds)

    def _columns(self) -> dict[str, Any]:
        return {**super()._columns(), "error_ratio": self.error_ratio, "efficiency": self.efficiency}

    def row(self) -> dict[str, Any]:
        """One row of :meth:`Calibration.table`: means over the data, by the names of the columns.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> found = fastvi.calibrate(
        ...     model, [[1, 0], [1, 1]], proposals={"prior": "prior"}, num_samples=100, num_repeats=200
        ... )
        >>> row = found["prior"].row()
        >>> row["proposal"], round(row["rms_error"], 3), round(row["coverage"], 2)
        ('prior', 0.034, 0.97)
        """
        std, claimed = _mean(self.std), _mean(self.std_error)
        square = _mean(self.rms_error**2)
        low = _mean(self.low_k_share)
        held = np.where(self.low_k_share > 0, self.low_k_coverage, 0.0) * self.low_k_share
        return {
            "proposal": self.proposal,
            "num_samples": self.num_samples,
            "bias": _mean(self.bias),
            "std": std,
            "rms_error": square**0.5,
            "relative_variance": _mean(self.relative_variance),
            "std_error": claimed,
            "error_ratio": _quotient(claimed, std),
            "coverage": _mean(self.coverage),
            "low_k_share": low,
            "low_k_coverage": _quotient(_mean(held), low),
            "high_k_share": _mean(self.high_k_share),
            "ess": _mean(self.ess),
            "seconds": self.seconds,
            "efficiency": _quotient(1.0, square * self.seconds),
        }

    def __repr__(self) -> str:
        means = ", ".join(f"{name}={_cell(value)}" for name, value in self.row().items())
        return f"CalibrationEntry({means})"


@dataclass(frozen=True, eq=False)
class Calibration(PerDatum):
    """Estimators beside the truth; ``print`` shows a table of means over the data.

    Attributes
    ----------
    entries : tuple of CalibrationEntry
        In the order of the proposals, each with its numbers of samples in their order. ``calibration[name,
        num_samples]`` picks one, ``calibration[name]`` where it has only one. ``calibration[2:5]``,
        ``calibration[mask]`` and ``calibration[3]`` are calibrations of some data.
    truth : ndarray, (N,)
        log p(x_n).
    num_repeats : int
    level : float
        Of the intervals.
    seed : int

    Examples
    --------
    >>> import fastvi
    >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
    >>> q = fastvi.Bernoulli([1.0])
    >>> found = fastvi.calibrate(
    ...     model, [[1, 0], [1, 1]], proposals={"prior": "prior", "q": q}, num_samples=100, num_repeats=200
    ... )
    >>> found.truth.round(3), found.num_repeats, found.level, found.seed
    (array([-0.998, -1.134]), 200, 0.95, 0)
    >>> [(entry.proposal, entry.num_samples) for entry in found.entries]
    [('prior', 100), ('q', 100)]
    >>> bool(found["q"].rms_error[0] < found["prior"].rms_error[0])
    True
    """

    entries: tuple[CalibrationEntry, ...]
    truth: np.ndarray
    num_repeats: int
    level: float
    seed: int

    @overload
    def __getitem__(self, key: str | tuple[str, int]) -> CalibrationEntry: ...
    @overload
    def __getitem__(self, key: Any) -> Calibration: ...
    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str | tuple):
            return super().__getitem__(key)
        name, num_samples = (key, None) if isinstance(key, str) else key
        found = [e for e in self.entries if e.proposal == name and num_samples in (None, e.num_samples)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"({e.proposal!r}, {e.num_samples})" for e in self.entries)
        raise KeyError(f"key must name one of {known}, got {key!r}")

    def __len__(self) -> int:
        return self.truth.size

    def _some(self, which: Any) -> Calibration:
        entries = tuple(entry[which] for entry in self.entries)
        return replace(self, entries=entries, truth=self.truth[which])

    def to_dataframe(self) -> Any:
        """Return a pandas ``DataFrame`` with one row for each entry and datum, those of an entry together.

        Returns
        -------
        pandas.DataFrame
            Columns ``truth`` and the fields of :class:`CalibrationEntry`; the index is named ``datum``.

        Raises
        ------
        ImportError
            Without pandas.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> found = fastvi.calibrate(
        ...     model, [[1, 0], [1, 1]], proposals={"prior": "prior"}, num_samples=[10, 1000], num_repeats=200
        ... )
        >>> frame = found.to_dataframe().reset_index()  # doctest: +SKIP
        >>> few = frame[["datum", "num_samples", "truth", "rms_error"]]  # doctest: +SKIP
        >>> print(few.round(2).to_string(index=False))  # doctest: +SKIP
         datum  num_samples  truth  rms_error
             0           10  -1.00       0.14
             1           10  -1.13       0.01
             0         1000  -1.00       0.01
             1         1000  -1.13       0.00
        """
        tables = [entry.to_dataframe() for entry in self.entries]
        whole = package("pandas").concat(tables)
        whole.insert(2, "truth", np.tile(self.truth, len(tables)))
        return whole

    def to_xarray(self) -> Any:
        """Return an xarray ``Dataset`` with axes ``entry`` and ``datum``, and ``truth`` (datum).

        Returns
        -------
        xarray.Dataset
            ``proposal`` and ``num_samples`` are coordinates of ``entry``.

        Raises
        ------
        ImportError
            Without xarray.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> found = fastvi.calibrate(
        ...     model, [[1, 0], [1, 1]], proposals={"prior": "prior"}, num_samples=[10, 1000], num_repeats=200
        ... )
        >>> dict(found.to_xarray().sizes)  # doctest: +SKIP
        {'entry': 2, 'datum': 2}
        """
        parts = [entry.to_xarray().set_coords(["proposal", "num_samples"]) for entry in self.entries]
        whole = package("xarray").concat(parts, dim="entry", combine_attrs="override")
        return whole.assign(truth=("datum", self.truth)).assign_attrs(self._attributes())

    def _repr_html_(self) -> str:
        return html_table(self, {COLUMNS[name]: values for name, values in self.table().items()})

    def table(self) -> dict[str, list[Any]]:
        """Means over the data, as columns with one value for each entry.

        rms_error is the root of the mean square, error_ratio the ratio of the columns std_error and std,
        low_k_coverage is over all repeats of all data with pareto_k < 0.5, efficiency is 1 / (mean square
        error * seconds). nan where there is nothing to average. All columns but seconds and efficiency are a
        function of the arguments alone.

        Examples
        --------
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> found = fastvi.calibrate(
        ...     model, [[1, 0]], proposals={"prior": "prior"}, num_samples=[10, 1000], num_repeats=200
        ... )
        >>> table = found.table()
        >>> table["num_samples"], [round(error, 2) for error in table["rms_error"]]
        ([10, 1000], [0.16, 0.02])
        """
        rows = [entry.row() for entry in self.entries]
        return {name: [row[name] for row in rows] for name in COLUMNS}

    def __repr__(self) -> str:
        text = (
            f"Calibration(num_data={self.truth.size}, num_repeats={self.num_repeats}, level={self.level:g}, "
            f"seed={self.seed})"
        )
        columns = []
        for name, values in self.table().items():
            cells = [COLUMNS[name], *(_cell(value) for value in values)]
            width = max(map(len, cells))
            columns.append([c.ljust(width) if name == "proposal" else c.rjust(width) for c in cells])
        return "\n".join([text, *("  ".join(line) for line in zip(*columns, strict=True))])


def entry(
    proposal: str,
    num_samples: int,
    truth: np.ndarray,
    estimates: Sequence[tuple[np.ndarray, ...]],
    seconds: Sequence[float],
) -> CalibrationEntry:
    """From (R, N) log_marginal, std_error, low and high ends, pareto_k and ess, in parts of repeats."""
    value, claimed, low, high, pareto_k, ess = (np.concatenate(part) for part in zip(*estimates, strict=True))
    with np.errstate(invalid="ignore"):
        error = np.where(value == truth, 0.0, value - truth)
    slack = _ROUNDING * np.maximum(1.0, np.abs(truth))
    # where p(x) is 0, truth and slack are infinite, and only an estimate of -inf is right
    slack = np.where(np.isfinite(slack), slack, 0.0)
    covered = (low - slack <= truth) & (truth <= high + slack) & ((value > -np.inf) | (value == truth))
    covered |= (value == truth) & np.isinf(truth)
    is_low, is_high = pareto_k < LOW_K, ~(pareto_k <= reliable_k(num_samples))
    num_low = is_low.sum(axis=0)
    ordered = np.sort(np.where(np.isnan(pareto_k), np.inf, pareto_k), axis=0)
    num_repeats = len(value)
    spread = np.isfinite(value).all(axis=0) & (num_repeats > 1)
    known = np.where(spread, value, truth)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        std = np.full(truth.shape, np.nan)
        if num_repeats > 1:
            std[spread] = known[:, spread].std(axis=0, ddof=1)
        return CalibrationEntry(
            proposal=proposal,
            num_samples=num_samples,
            num_repeats=num_repeats,
            bias=error.mean(axis=0),
            std=std,
            rms_error=np.sqrt((error**2).mean(axis=0)),
            relative_variance=(np.expm1(error) ** 2).mean(axis=0),
            std_error=np.where(np.isnan(claimed), np.inf, claimed).mean(axis=0),
            coverage=covered.mean(axis=0),
            low_k_share=is_low.mean(axis=0),
            low_k_coverage=(covered & is_low).sum(axis=0) / np.where(num_low > 0, num_low, np.nan),
            high_k_share=is_high.mean(axis=0),
            pareto_k=ordered[(num_repeats - 1) // 2],
            ess=ess.mean(axis=0),
            seconds=float(np.median(seconds)),
        )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _quotient(over: float, under: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(over) / np.float64(under))


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
