"""Real data: the packaged digits, and a reader of MNIST-style files.

Neither needs numba or scipy.
"""

from __future__ import annotations

from fastvi.datasets.digits import Digits, digits
from fastvi.datasets.idx import load_idx

__all__ = ["Digits", "digits", "load_idx"]
