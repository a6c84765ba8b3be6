"""Record of how a fitted model or encoder was made; see ``Frozen.made``."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import fastvi
from fastvi.fitting.training import Schedule, Trained
from fastvi.fitting.training_data import TrainingData


def provenance(
    function: str, objective: str, schedule: Schedule, trained: Trained, data: TrainingData
) -> dict[str, Any]:
    """Version, seed, epochs and the SHA-256 of the data (N, D), row after row, as uint8 or float64.

    Of weights (as float64, of mean 1) and masks (as bytes), too, where there are some.
    """
    parts = {"data": data.x, "data_weights": data.weights, "observed": data.observed}
    digests = {f"{name}_sha256": _sha256(part) for name, part in parts.items() if part is not None}
    return {
        "fastvi": fastvi.__version__,
        "function": function,
        "objective": objective,
        "seed": schedule.seed,
        "num_epochs": schedule.num_epochs,
        "epochs_done": trained.history.size - 1,
        "best_epoch": trained.best_epoch,
        "num_data": len(data.x),
        **digests,
    }


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
