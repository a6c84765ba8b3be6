"""Folders of pictures as data."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvi.cli.errors import WrongInput
from fastvi.core.archives import TooLargeError, check_size
from fastvi.core.extras import how_to_install

_MODES = ("1", "L", "P", "RGB")  # of 8 bits at most


def read_pictures(folder: str, name: str) -> NDArray[Any]:
    """Return the .png files of a folder, in the order of their names, as grey 0 ... 255 (N, h, w)."""
    if find_spec("PIL") is None:
        raise WrongInput(f"a folder of pictures needs Pillow: {how_to_install('cli')}")
    files = sorted(file for file in os.listdir(folder) if file.lower().endswith(".png"))
    if not files:
        raise WrongInput(f"{name} must be a file or a folder that holds .png pictures, got {folder!r}")
    images = _read(os.path.join(folder, files[0]), None, name)
    check_size(images.size * len(files), None)
    found = np.empty((len(files), *images.shape), np.uint8)
    for row, file in zip(found, files, strict=True):
        row[:] = _read(os.path.join(folder, file), images.shape, name)
    return found


def _read(path: str, shape: tuple[int, ...] | None, name: str) -> NDArray[Any]:
    """Return one picture, which must have a ``shape`` (None: any): looked at before its pixels are read."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            if shape is not None and (image.height, image.width) != shape:
                sizes = f"{image.width} x {image.height}, the first one {shape[1]} x {shape[0]}"
                raise WrongInput(f"{name} must hold pictures of one size, got {path!r} of {sizes}")
            if image.mode not in _MODES or image.has_transparency_data:
                raise WrongInput(
                    f"{name} must hold grey or coloured pictures of 8 bits without transparency, got {path!r}"
                )
            check_size(image.width * image.height, None)
            image.verify()  # checksums, and the end of the file, which nothing else minds
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image.convert("L"))
    except TooLargeError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.filename:  # it is gone, or may not be read
            raise
        reason = " ".join(str(error).split())
        raise WrongInput(f"{name} must hold whole .png pictures, got {path!r}: {reason}") from error
