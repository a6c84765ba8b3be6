"""log mean exp over the last axis in SciPy, JAX and PyTorch.

Each function takes log weights (N, K), moves them to its tool (not timed), and returns the call to be timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Prepared = Callable[[], np.ndarray]


def scipy(log_w: np.ndarray) -> Prepared:
    from scipy.special import logsumexp

    return lambda: logsumexp(log_w, axis=-1) - math.log(log_w.shape[-1])


def jax(log_w: np.ndarray) -> Prepared:
    import jax as tool

    tool.config.update("jax_enable_x64", True)
    array = tool.numpy.asarray(log_w)
    compiled = tool.jit(lambda a: tool.nn.logsumexp(a, axis=-1) - math.log(log_w.shape[-1]))
    return lambda: np.asarray(compiled(array))


def torch(log_w: np.ndarray) -> Prepared:
    import torch as tool

    array = tool.from_numpy(log_w)
    return lambda: (tool.logsumexp(array, dim=-1) - math.log(log_w.shape[-1])).numpy()


TOOLS: dict[str, Callable[[np.ndarray], Prepared]] = {"scipy": scipy, "jax": jax, "torch": torch}
