"""What models and distributions have in common: they are immutable, picklable, and can be saved."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike


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

    def _arrays(self) -> dict[str, np.ndarray]:
        """The constructor's arguments as arrays: what is saved, pickled and digested."""
        raise NotImplementedError

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """The inverse of ``_arrays``; it goes through the constructor, so what is loaded is validated too."""
        return cls(**arrays)

    @property
    def made(self) -> dict[str, Any]:
        """Says how it was made, where that is known: a fit's version, seed, epochs and digest of the data.

        :func:`~fastvi.fit_model` and :func:`~fastvi.fit_encoder` state it, ``save`` keeps it in the file (as
        JSON in the array ``fastvi_made``), :func:`~fastvi.load` brings it back. No result depends on it.
        """
        return dict(self.__dict__.get("_made", {}))

    def _made_by(self, made: dict[str, Any]) -> Self:
        """Itself, which was only now built, with what :attr:`made` says (what JSON knows)."""
        if made:
            self._set(_made=dict(made))
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # default pickling would bring the arrays back writeable
        return _rebuild, (type(self), self._arrays(), self.made)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to ``path``, exactly as named, in the .npz format without pickle; see :func:`fastvi.load`.

        The file is written whole beside its destination and then renamed: a crash leaves the old file or the
        new one. Permissions of an existing file are kept; a pipe or a character device is written into.
        """
        from fastvi.core.storage import save

        save(self, path)


def _rebuild(cls: type[Frozen], arrays: dict[str, np.ndarray], made: dict[str, Any] | None = None) -> Frozen:
    return cls._from_arrays(arrays)._made_by(made or {})


class Pairs(NamedTuple):
    """Independent draws (z, x) from a model, the first axis the draws."""

    z: np.ndarray
    x: np.ndarray


class Model(Frozen, ABC):
    """A joint distribution p(x, z) of what is observed, x, and what is latent, z."""

    @abstractmethod
    def sample(self, num: int, seed: int) -> Pairs:
        """``num`` independent draws, a named tuple (z, x): a pure function of its arguments."""

    @abstractmethod
    def log_joint(self, x: ArrayLike, z: ArrayLike) -> np.ndarray:
        """log p(x, z) in nats; leading axes of x and z broadcast as in NumPy."""
