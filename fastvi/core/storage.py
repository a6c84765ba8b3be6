"""Saving and loading of models and distributions: .npz without pickle."""

from __future__ import annotations

import importlib
import json
import os
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fastvi.core import validation
from fastvi.core.archives import Archive, DamagedError, TooLargeError
from fastvi.core.files import check_writable, open_regular, path_text, write_whole

if TYPE_CHECKING:
    from fastvi.core.frozen import Frozen

FORMAT_VERSION = 2  # 1 had no fastvi_made

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

_CLASS, _VERSION, _MADE = "fastvi_class", "fastvi_format_version", "fastvi_made"
_LONGEST_HEAD = 1 << 16  # bytes of each of these


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
    text = path_text(path, "path")
    check_writable(text, "path")  # said before the work, and of the caller's name
    write_whole(text, lambda file: write_model(model, file))


def write_model(model: Frozen, file: IO[bytes]) -> None:
    """Write ``model``, of a class that is known, to an open file."""
    import fastvi

    made = {"fastvi": fastvi.__version__, **model.made}
    arrays = {
        _CLASS: np.array(type(model).__name__),
        _VERSION: np.array(FORMAT_VERSION),
        _MADE: np.array(json.dumps(made)),
        **model.arrays(),
    }
    np.savez(file, **arrays)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model or a distribution that its ``save`` wrote.

    Parameters
    ----------
    path
        The file's name, exactly as it was given to ``save``.

    Returns
    -------
    Model or distribution
        An object of the class that was saved; its parameters are validated again. Its ``made`` says what
        the file says of how it was made, at least ``fastvi``, the version (nothing in files of 0.1.0).

    Raises
    ------
    ValueError
        Where the file is not an .npz file, is cut short or damaged, was not written by ``save``, holds an
        unknown class, is of a newer format, lacks arrays, declares more than fits in memory, or is a pipe or
        a device. Nothing in the file is ever unpickled.
    OSError
        Where the file cannot be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastvi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "q.npz")
    ...     fastvi.Bernoulli([0.0, 2.0]).save(path)
    ...     q = fastvi.load(path)
    >>> q.logits
    array([0., 2.])
    >>> q.made["fastvi"] == fastvi.__version__
    True
    """
    text = path_text(path, "path")
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
    made = _made(arrays.pop(_MADE), text) if _MADE in arrays else {}
    try:
        return kind.from_arrays(arrays).made_by(made)
    except KeyError as error:
        raise ValueError(f"path must name a whole {name}, got {text!r} without the array {error}") from error
    except TypeError as error:  # the constructor names the argument that is missing or too many
        raise ValueError(f"path must name a whole {name}, got {text!r}: {error}") from error
    except ValueError as error:
        raise ValueError(f"path must name a valid {name}, got {text!r}: {error}") from error


def _made(array: np.ndarray, text: str) -> dict[str, Any]:
    try:
        made = json.loads(str(array))
    except ValueError:
        made = None
    if not isinstance(made, dict):
        raise ValueError(f"path must name a file written by save, got {text!r} whose {_MADE} is not JSON")
    return made


def _read(text: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file that ``save`` wrote, those that say so first."""
    with open_regular(text, "path") as file:
        if file.read(2) != b"PK":
            raise ValueError(
                f"path must name an .npz file written by save, got {text!r}, which is not an .npz file"
            )
        file.seek(0)
        try:
            archive = Archive(file)
            if not {_CLASS, _VERSION} <= set(archive.names):
                return {}  # nothing of it is unpacked
            archive.check_sizes()
            heads = [name for name in (_CLASS, _VERSION, _MADE) if name in archive.names]
            found = {name: archive.read(name, _LONGEST_HEAD) for name in heads}
            return found | {name: archive.read(name) for name in archive.names if name not in heads}
        except DamagedError as error:
            raise ValueError(
                f"path must name a whole .npz file, got {text!r}, cut short or damaged: {error}"
            ) from error
        except TooLargeError as error:
            raise ValueError(f"path must name a file that fits in memory, got {text!r}: {error}") from error
