"""Saving and loading of models and distributions: .npz without pickle."""

from __future__ import annotations

import importlib
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from fastvi import validation
from fastvi.files import write_whole
from fastvi.models.base import Frozen

FORMAT_VERSION = 1

# what a file may hold -> module that defines it; nothing else is ever built from a file
_HOME = {
    "SigmoidBeliefNetwork": "fastvi.models.sigmoid_belief_network",
    "BinarySparseCoding": "fastvi.models.binary_sparse_coding",
    "BoltzmannMachine": "fastvi.models.boltzmann_machine",
    "JointTable": "fastvi.models.joint_table",
    "LinearGaussian": "fastvi.models.linear_gaussian",
    "NeuralDecoder": "fastvi.models.neural_decoder",
    "RestrictedBoltzmannMachine": "fastvi.models.restricted_boltzmann_machine",
    "Bernoulli": "fastvi.distributions.bernoulli",
    "Categorical": "fastvi.distributions.categorical",
    "Encoder": "fastvi.distributions.encoder",
    "Mixture": "fastvi.distributions.mixture",
    "MultivariateNormal": "fastvi.distributions.multivariate_normal",
    "Normal": "fastvi.distributions.normal",
    "Uniform": "fastvi.distributions.uniform",
}

_CLASS, _VERSION = "fastvi_class", "fastvi_format_version"


def _path(path: Any) -> str:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or an os.PathLike, got {validation.shown(path)}")
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise ValueError(f"path must name a file, got {validation.shown(text)}")
    return text


def save(model: Frozen, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` exactly as named (no ``.npz`` is appended).

    Raises TypeError where ``model`` is of a class that :func:`load` does not know (a subclass of the caller's
    own).
    """
    kind = type(model)
    if _HOME.get(kind.__name__) != kind.__module__:
        raise TypeError(
            f"model must be one of {', '.join(_HOME)}, got {validation.with_article(kind.__name__)} "
            f"of {kind.__module__}"
        )
    text = _path(path)
    if os.path.isdir(text):  # said before the work, and of the caller's name
        raise IsADirectoryError(f"path must name a file, got the directory {text!r}")
    arrays = {_CLASS: np.array(kind.__name__), _VERSION: np.array(FORMAT_VERSION), **model._arrays()}
    write_whole(text, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model or a distribution that its ``save`` wrote.

    Parameters
    ----------
    path
        The file's name, exactly as it was given to ``save``.

    Returns
    -------
    Model or distribution
        An object of the class that was saved; its parameters are validated again.

    Raises
    ------
    ValueError
        Where the file is not an .npz file, is cut short or damaged, was not written by ``save``, holds an
        unknown class, is of a newer format, or lacks arrays. Nothing in the file is ever unpickled.
    OSError
        Where the file cannot be opened.
    """
    text = _path(path)
    arrays = _read(text)
    if _CLASS not in arrays or _VERSION not in arrays:
        raise ValueError(
            f"path must name a file written by save, got {text!r} without {_CLASS} and {_VERSION}"
        )
    version = arrays.pop(_VERSION)
    if version.shape != () or version.dtype.kind not in "iu" or not 1 <= version <= FORMAT_VERSION:
        found = " ".join(str(version).split())
        raise ValueError(
            f"path must name a file of format 1 ... {FORMAT_VERSION}, got {text!r} of format {found}"
        )
    name = str(arrays.pop(_CLASS))
    if name not in _HOME:
        raise ValueError(
            f"path must name a file that holds one of {', '.join(_HOME)}, got {text!r} with {name!r}"
        )
    kind = getattr(importlib.import_module(_HOME[name]), name)
    try:
        return kind._from_arrays(arrays)
    except KeyError as error:
        raise ValueError(f"path must name a whole {name}, got {text!r} without the array {error}") from error
    except TypeError as error:  # the constructor names the argument that is missing or too many
        raise ValueError(f"path must name a whole {name}, got {text!r}: {error}") from error
    except ValueError as error:
        raise ValueError(f"path must name a valid {name}, got {text!r}: {error}") from error


def _read(text: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file."""
    with open(text, "rb") as file:
        if file.read(2) != b"PK":
            raise ValueError(
                f"path must name an .npz file written by save, got {text!r}, which is not an .npz file"
            )
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            KeyError,
            NotImplementedError,
        ) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"path must name a whole .npz file, got {text!r}, cut short or damaged: {reason}"
            ) from error
