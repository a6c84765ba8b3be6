"""Draws of a form that has no data: a model that is its own posterior."""

from __future__ import annotations

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.posterior.log_sum import log_sums
from fastvi.engine.posterior.posteriors import sample
from fastvi.engine.run.runs import Run
from fastvi.engine.states.form import Form


def sample_form(form: Form, num: int, seed: int) -> Array:
    """Exact draws (num, d) of the latents of a form without data, in the model's order."""
    nothing = np.empty((1, 0), np.uint8)
    return sample(form, nothing, log_sums(form, nothing, Run()), np.zeros(1, np.int64), num, seed)[0]
