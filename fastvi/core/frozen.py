"""Holders of validated parameters: immutable, picklable, saved as arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable
from typing import Any, Self

import numpy as np

from fastvi.core.storage import save


class Frozen:
    """A holder of validated parameters that cannot be changed after it is built."""

    def _set(self, **values: Any) -> None:
        """Store attributes while building; everybody else meets ``__setattr__``."""
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__} is immutable, so {name!r} cannot be set: build a new one"
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable, so {name!r} cannot be deleted")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the constructor's arguments as arrays: these are saved, pickled and digested.

        Examples
        --------
        >>> import fastvi
        >>> fastvi.Normal([0.0, 1.0], [1.0, 0.5]).arrays()
        {'mean': array([0., 1.]), 'std': array([1. , 0.5])}
        """
        raise NotImplementedError

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Build from :meth:`arrays`, through the constructor, so that what is loaded is validated too.

        Examples
        --------
        A model or a distribution in any format that keeps named arrays:

        >>> import fastvi
        >>> q = fastvi.Bernoulli([0.0, 2.0])
        >>> kept = {name: array.tolist() for name, array in q.arrays().items()}
        >>> fastvi.Bernoulli.from_arrays(kept) == q
        True
        """
        return cls(**arrays)

    def __eq__(self, other: object) -> bool:
        """Whether both are of one class and have equal :meth:`arrays`; how they were made does not count."""
        if self is other:
            return True
        if type(other) is not type(self):
            return NotImplemented
        return self._content() == other._content()

    def __hash__(self) -> int:
        return hash((type(self), self._content()))

    def _content(self) -> Hashable:
        """Digest of the arrays, made at the first comparison: equality compares it.

        -0.0 and 0.0, which are equal, have one digest. What cannot be saved as arrays equals itself alone.
        """
        found: Hashable = self.__dict__.get("_digest")
        if found is None:
            try:
                arrays = self.arrays()
            except (NotImplementedError, TypeError):  # a model of the caller's own
                return id(self)
            digest = hashlib.sha256()
            for name, array in sorted(arrays.items()):
                value = np.ascontiguousarray(array)
                value = value + 0.0 if value.dtype.kind == "f" else value
                digest.update(f"{name} {value.dtype} {np.shape(array)} ".encode() + value.tobytes())
            found = digest.digest()
            self._set(_digest=found)
        return found

    @property
    def made(self) -> dict[str, Any]:
        """Says how it was made, where that is known: a fit's version, seed, epochs and digest of the data.

        :func:`~fastvi.fit_model` and :func:`~fastvi.fit_encoder` state it, ``save`` keeps it in the file (as
        JSON in the array ``fastvi_made``), :func:`~fastvi.load` brings it back. No result depends on it.

        Examples
        --------
        >>> import fastvi
        >>> start = fastvi.SigmoidBeliefNetwork([[0.1], [-0.1]], [0.0, 0.0], [0.0])
        >>> fit = fastvi.fit_model(start, [[1, 0], [0, 1]], num_epochs=2, seed=5)
        >>> fit.model.made["seed"], fit.model.made["objective"]
        (5, 'exact')
        >>> start.made
        {}
        """
        return dict(self.__dict__.get("_made", {}))

    def made_by(self, made: dict[str, Any]) -> Self:
        """Return this object, only now built, with what :attr:`made` is to say (values that JSON knows).

        Examples
        --------
        >>> import fastvi
        >>> q = fastvi.Bernoulli([0.0]).made_by({"source": "a table of 1998"})
        >>> q.made["source"]
        'a table of 1998'
        """
        if made:
            self._set(_made=dict(made))
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # default pickling would bring the arrays back writeable
        return _rebuild, (type(self), self.arrays(), self.made)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to ``path``, exactly as named, in the .npz format without pickle; see :func:`fastvi.load`.

        The file is written whole beside its destination and then renamed: a crash leaves the old file or the
        new one. Permissions of an existing file are kept; a pipe or a character device is written into.

        Examples
        --------
        >>> import os, tempfile
        >>> import fastvi
        >>> model = fastvi.SigmoidBeliefNetwork([[2.0], [-1.0]], [0.0, 0.5], [0.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.npz")
        ...     model.save(path)
        ...     fastvi.load(path) == model
        True
        """
        save(self, path)


def _rebuild(cls: type[Frozen], arrays: dict[str, np.ndarray], made: dict[str, Any] | None = None) -> Frozen:
    return cls.from_arrays(arrays).made_by(made or {})
