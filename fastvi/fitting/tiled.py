"""The form whose tiles give the gradient of an exact ELBO in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvi.core.registry import rules_of
from fastvi.engine.decoder.block_form import BlockForm
from fastvi.engine.decoder.large_logits import largest_reach
from fastvi.models.base import LatentVariableModel


def tiled_form(model: LatentVariableModel) -> Any:
    """That of ``model``, all pixels seen; refused where weights are so large that its sums lose digits."""
    form = rules_of(model).form(np.ones(model.num_pixels, bool), "float64")
    if isinstance(form, BlockForm):
        raise ValueError(
            f"model must keep the sum of its |weights|, |bias| and |prior_logits| below "
            f"{largest_reach(model.num_pixels):g}, up to which the exact ELBO has an exact gradient, got "
            f"{model!r} beyond it; pass num_samples to climb by samples"
        )
    return form
