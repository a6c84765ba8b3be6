"""Leave-one-out cross-validation by ArviZ: its own functions of arrays against the engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import peers
import pytest
from problems import Size

pytestmark = pytest.mark.skipif(not peers.installed("arviz_stats"), reason="arviz-stats is not installed")

# chains, draws, data
_SHAPES = {"full": (4, 1000, 5000), "smoke": (2, 100, 20)}


def _model(size: Size) -> tuple[str, Any]:
    """The log likelihood of a linear regression under draws of its slope, as ArviZ keeps it."""
    import arviz_base

    chains, draws, num_data = _SHAPES[size.name]
    rng = np.random.default_rng(3)
    slope = 0.2 * rng.standard_normal((chains, draws, 1))
    y, covariate = rng.standard_normal((2, num_data))
    log_likelihood = -0.5 * (y - slope * covariate) ** 2
    groups = {"posterior": {"slope": slope[..., 0]}, "log_likelihood": {"y": log_likelihood}}
    return f"az.loo of {chains} x {draws:,} draws, N = {num_data:,}", arviz_base.from_dict(groups)


def _loo(data: Any, module: Any) -> Callable[[], Any]:
    import arviz_base
    import arviz_stats

    def run() -> Any:
        with arviz_base.rc_context({"stats.module": module}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Estimated shape parameter")  # few draws, or a datum far out
            return arviz_stats.loo(data, pointwise=True, reff=0.9)

    return run


def test_loo(record: Any, size: Size) -> None:
    from fastvi.interop.arviz import engine

    job, data = _model(size)
    record.describe(job, "fastvi", data.log_likelihood["y"].size)
    found, expected = record.run(_loo(data, engine), size.rounds), _loo(data, "base")()
    # k is a mean of logarithms of O(1), weighed by a posterior whose exponents are good to about 1e-11
    record.check(found.pareto_k.values, expected.pareto_k.values, 1e-8, scale=1.0)
    record.check(found.elpd_i.values, expected.elpd_i.values, 1e-8, scale=1.0)
    record.check(found.log_weights.values, expected.log_weights.values, 1e-8, scale=1.0)


def test_loo_peer(record: Any, size: Size) -> None:
    from fastvi.interop.arviz import engine

    job, data = _model(size)
    record.describe(job, "ArviZ", data.log_likelihood["y"].size)
    found = record.run(_loo(data, "base"), 1)
    record.check(found.pareto_k.values, _loo(data, engine)().pareto_k.values, 1e-8, scale=1.0)
