"""Real data: the packaged digits, and a reader of MNIST-style files.

Neither needs numba or scipy.

Examples
--------
>>> import fastvi
>>> data = fastvi.datasets.digits()
>>> train, held_out = data.images[:1500], data.images[1500:]
>>> train.shape, held_out.shape
((1500, 64), (297, 64))
"""

from __future__ import annotations

from fastvi.datasets.digits import Digits, digits
from fastvi.datasets.idx import load_idx

__all__ = ["Digits", "digits", "load_idx"]
