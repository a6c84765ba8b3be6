"""A joint distribution of which only the caller's own log p(x, z) is known."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from fastvi.core import validation
from fastvi.models.base import LatentVariableModel


class LogJoint(LatentVariableModel):
    """Model of binary latents whose log p(x, z) is a function that the caller wrote.

        log p(x) = log sum_z exp fn(x, z).

    Parameters
    ----------
    fn : callable
        Returns log p(x, z) in nats; -inf is a probability of 0. It must be a pure function.
        ``vectorized=False``: a function of one datum and one state, ``fn(x_n, z) -> float``, that Numba can
        compile: a ``numba.njit`` function, or a plain Python function, which is compiled at its first use. It
        gets x_n = ``x[n]`` (float64; a vector where x has two axes) and z, a float64 vector (d,) of 0.0 and
        1.0, and must change neither.
        ``vectorized=True``: a function of all pairs, ``fn(X, Z) -> (N, S)``, for float64 arrays X (N, D) and
        Z (S, d). What it returns may be anything that NumPy makes an array of, tensors in CPU memory
        included.
    num_latents
        d, at least 1.
    vectorized
        Which of the two ``fn`` is.

    Attributes
    ----------
    fn : callable
        As it was passed.
    num_latents : int
    vectorized : bool

    Raises
    ------
    ValueError, TypeError
        For arguments of the wrong kind; at the first use for a function that cannot be compiled; at any use
        for one that returns another shape, NaN or +inf.

    Notes
    -----
    :func:`~fastvi.log_marginal` and :func:`~fastvi.exact_posterior` compile a scalar ``fn`` into
    their loop over states; one of arrays gets 4,096 states and as many data as keep what it returns below 32
    MiB. Its results have the same bits for a datum in any batch only where those of ``fn`` do.

    A function is no data, so ``save`` raises TypeError and :func:`fastvi.load` knows no LogJoint. It can be
    pickled where ``fn`` can. There is no ``sample``: a log joint alone says nothing about how to draw from
    it.

    Examples
    --------
    >>> import math
    >>> import fastvi
    >>> def coin(x_n, z):
    ...     p = 0.2 + 0.5 * z[0]
    ...     return math.log(p if x_n[0] == 1.0 else 1.0 - p) - math.log(2.0)
    >>> model = fastvi.LogJoint(coin, num_latents=1)
    >>> model.log_joint([1.0], [[0], [1]])
    array([-2.30258509, -1.04982212])
    """

    fn: Callable[..., Any]
    num_latents: int
    vectorized: bool
    _fill: Any  # the compiled loop over pairs; None where fn is vectorized

    def __init__(self, fn: Callable[..., Any], num_latents: int, vectorized: bool = False) -> None:
        vectorized = validation.flag(vectorized, "vectorized")
        if not callable(fn):
            raise TypeError(f"fn must be a function, got {validation.shown(fn)}")
        self._set(
            num_latents=validation.positive_int(num_latents, "num_latents"),
            vectorized=vectorized,
            fn=fn,
            _fill=None if vectorized else _compiled_loop(fn),
        )

    def __repr__(self) -> str:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return f"LogJoint(fn={name}, num_latents={self.num_latents}, vectorized={self.vectorized})"

    def __reduce__(self) -> tuple[Any, ...]:
        return LogJoint, (self.fn, self.num_latents, self.vectorized)

    def _content(self) -> Hashable:
        """The function itself, not what it computes; the form and the number of latents."""
        return id(self.fn), self.num_latents, self.vectorized

    def arrays(self) -> NoReturn:
        raise TypeError("a LogJoint cannot be saved: its fn is a function, not an array; pickle it instead")

    @property
    def num_pixels(self) -> int:  # type: ignore[override]
        """Always 1: a datum, whatever its shape, is observed as a whole.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.LogJoint(lambda x, z: x.sum() * z[0], num_latents=1).num_pixels
        1
        """
        return 1

    def clean_data(self, x: ArrayLike, name: str = "x") -> np.ndarray:
        """Data as float64, the first axis the data's."""
        data = validation.float_array(x, name, ndim=tuple(range(65)))
        wanted = "(num_data, num_pixels)" if self.vectorized else "(num_data, ...)"
        if data.ndim < 1 or (self.vectorized and data.ndim != 2):
            raise ValueError(f"{name} must have shape {wanted}, got shape {data.shape}")
        return data

    def table(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Log p(x_n, z_s) of all pairs (N, S) for data from :meth:`clean_data` and states (S, d) of 0 and 1.

        The scalar form runs without the interpreter's lock; the vectorized one is called once.
        """
        x, latents = np.ascontiguousarray(x), np.ascontiguousarray(z, dtype=np.float64)
        shape = (len(x), len(latents))
        if 0 in shape:
            return np.empty(shape)
        if self.vectorized:
            returned = self.fn(x, latents)
            table = validation.float_array(returned, "fn(X, Z)", ndim=2, shape=shape, allow_infinite=True)
        else:
            table = np.empty(shape)
            with self.explained(x):
                self._fill(x, latents, table)
        self.check_table(table)
        return table

    def check_table(self, table: np.ndarray) -> None:
        """Refuse what is no log probability."""
        name = "fn(X, Z)" if self.vectorized else "fn(x_n, z)"
        validation.require(table, ~np.isnan(table), f"{name} must not return NaN for any (datum, state)")
        validation.require(table, table < math.inf, f"{name} must not return +inf for any (datum, state)")

    @contextmanager
    def explained(self, x: np.ndarray) -> Iterator[None]:
        """Say in one line why ``fn`` cannot be compiled for data ``x``."""
        from numba.core.errors import NumbaError

        try:
            yield
        except NumbaError as error:
            raise TypeError(
                f"fn must be a function fn(x_n, z) -> float that Numba can compile, x_n with {x.ndim - 1} "
                f"axes, got {validation.shown(self.fn)} for x of shape {x.shape}: {_reason(error)}"
            ) from error

    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """Log p(x, z) in nats, as ``fn`` says.

        Parameters
        ----------
        x : array_like of real numbers, (..., D)
            Finite. Here a datum is a vector, the last axis.
        z : array_like of 0 and 1, (..., d)
            The leading axes of x and z broadcast as in NumPy: ``log_joint(x[:, None], z[None])`` gives all
            pairs, (N, S), in one call of a vectorized ``fn``. An axis that both have takes a call for each of
            its entries.

        Returns
        -------
        ndarray, float64
            The broadcast shape of the leading axes.

        Examples
        --------
        A coin as a function of all pairs, each of two data with each of two states:

        >>> import fastvi, numpy
        >>> def coin(x, z):
        ...     p = 0.2 + 0.5 * z.T
        ...     return numpy.log(numpy.where(x == 1.0, p, 1.0 - p) / 2.0)
        >>> model = fastvi.LogJoint(coin, num_latents=1, vectorized=True)
        >>> x, z = numpy.array([[1.0], [0.0]]), numpy.array([[0], [1]])
        >>> model.log_joint(x[:, None], z[None]).round(3)
        array([[-2.303, -1.05 ],
               [-0.916, -1.897]])
        """
        data = validation.float_array(x, "x", ndim=tuple(range(65)))
        if data.ndim < 1:
            raise ValueError(f"x must have shape (..., num_pixels), got shape {data.shape}")
        states = validation.binary_array(z, "z", self.num_latents)
        shape = validation.broadcasting("x[..., 0]", data.shape[:-1], "z[..., 0]", states.shape[:-1])
        if 0 in shape:
            return np.empty(shape)
        axes = len(shape)
        data = data.reshape((1,) * (axes + 1 - data.ndim) + data.shape)
        states = states.reshape((1,) * (axes + 1 - states.ndim) + states.shape)
        # axes that both have, those of x alone, those of z alone: each entry of the first is a table
        both = [a for a in range(axes) if data.shape[a] > 1 and states.shape[a] > 1]
        rows = [a for a in range(axes) if data.shape[a] > 1 and a not in both]
        order = both + rows + [a for a in range(axes) if a not in both + rows]
        num_tables, num_rows = math.prod(shape[a] for a in both), math.prod(shape[a] for a in rows)
        data = data.transpose(*order, axes).reshape(num_tables, num_rows, data.shape[-1])
        states = states.transpose(*order, axes).reshape(num_tables, -1, self.num_latents)
        tables = np.stack([self.table(*pair) for pair in zip(data, states, strict=True)])
        out = tables.reshape([shape[a] for a in order]).transpose(np.argsort(order))
        return out.copy(order="C")

    def sample(
        self, num: int, seed: int | None = None, *, rng: np.random.Generator | None = None
    ) -> NoReturn:
        """Raise TypeError: a log joint alone cannot be sampled from.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.LogJoint(lambda x, z: 0.0, num_latents=1).sample(10, seed=0)
        Traceback (most recent call last):
            ...
        TypeError: a LogJoint cannot be sampled from: its fn gives log p(x, z) and no way to draw
        """
        raise TypeError("a LogJoint cannot be sampled from: its fn gives log p(x, z) and no way to draw")


def _compiled_loop(fn: Any) -> Any:
    """A loop over all pairs that calls ``fn``, compiled at its first call."""
    import numba
    from numba.extending import is_jitted

    if not is_jitted(fn):
        if not isinstance(fn, types.FunctionType):
            raise TypeError(
                "fn must be a Python function or a numba.njit function where vectorized is False, got "
                f"{validation.shown(fn)}"
            )
        fn = numba.njit(fn)

    # not kernels.jit: what is compiled here depends on the caller's function, so it is not kept on disk,
    # where a changed function could not be told from the old one
    @numba.njit(nogil=True, error_model="numpy")
    def fill(x: Any, z: Any, table: Any) -> None:
        for n in range(table.shape[0]):
            for s in range(table.shape[1]):
                table[n, s] = fn(x[n], z[s])

    return fill


def _reason(error: Exception) -> str:
    """The first line of Numba's message that says something, without its colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    said = [line for line in lines if line and not line.startswith(("Failed in", "No implementation of"))]
    reason = said[0] if said else type(error).__name__
    return reason if len(reason) <= 200 else reason[:197] + "..."
