"""Record of how a fitted model or encoder was made; see ``Frozen.made``."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import fastvi
from fastvi.fitting.training import Schedule, Trained


def provenance(
    function: str, objective: str, schedule: Schedule, trained: Trained, data: np.ndarray
) -> dict[str, Any]:
    """Version, seed, epochs and the SHA-256 of the data (N, D), row after row, as uint8 or float64."""
    return {
        "fastvi": fastvi.__version__,
        "function": function,
        "objective": objective,
        "seed": schedule.seed,
        "num_epochs": schedule.num_epochs,
        "epochs_done": trained.history.size - 1,
        "best_epoch": trained.best_epoch,
        "num_data": len(data),
        "data_sha256": hashlib.sha256(np.ascontiguousarray(data).data).hexdigest(),
    }
