"""Holders of validated parameters: immutable, picklable, saved as arrays."""

from __future__ import annotations

import os
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
        """Return the constructor's arguments as arrays: these are saved, pickled and digested."""
        raise NotImplementedError

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Build from :meth:`arrays`, through the constructor, so that what is loaded is validated too."""
        return cls(**arrays)

    @property
    def made(self) -> dict[str, Any]:
        """Says how it was made, where that is known: a fit's version, seed, epochs and digest of the data.

        :func:`~fastvi.fit_model` and :func:`~fastvi.fit_encoder` state it, ``save`` keeps it in the file (as
        JSON in the array ``fastvi_made``), :func:`~fastvi.load` brings it back. No result depends on it.
        """
        return dict(self.__dict__.get("_made", {}))

    def made_by(self, made: dict[str, Any]) -> Self:
        """Return this object, only now built, with what :attr:`made` is to say (values that JSON knows)."""
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
        """
        save(self, path)


def _rebuild(cls: type[Frozen], arrays: dict[str, np.ndarray], made: dict[str, Any] | None = None) -> Frozen:
    return cls.from_arrays(arrays).made_by(made or {})
