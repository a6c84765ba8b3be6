"""The type of arrays, of any dtype and shape: comments and docstrings say which."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
