"""The packaged handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Digits:
    """Binary images of handwritten digits.

    Attributes
    ----------
    images : ndarray, (1797, 64), uint8, read-only
        0 (paper) and 1 (ink), rows of the image one after the other.
    labels : ndarray, (1797,), uint8, read-only
        The digit, 0 ... 9.
    image_shape : tuple of int
        (8, 8): ``images.reshape(-1, *image_shape)`` gives pictures.

    Examples
    --------
    >>> import fastvi
    >>> data = fastvi.datasets.digits()
    >>> data.images[data.labels == 3].shape
    (183, 64)
    >>> data.images.reshape(-1, *data.image_shape)[0, 0]
    array([0, 0, 0, 1, 1, 0, 0, 0], dtype=uint8)
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    image_shape: tuple[int, int]

    def __repr__(self) -> str:
        return f"Digits({len(self.images)} images of shape {self.image_shape})"


def digits() -> Digits:
    """Binary images of handwritten digits: 1,797 of 8 x 8 pixels, from 13 writers.

    The test part of the UCI set "Optical Recognition of Handwritten Digits", in its order. A pixel of the set
    counts the inked cells in a 4 x 4 block of the scan, 0 ... 16; here it is 1 where at least half of the
    block is ink (>= 8). No images are empty at that threshold, and 32 % of all pixels are 1.

    Returns
    -------
    Digits

    References
    ----------
    E. Alpaydin and C. Kaynak (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning
    Repository. https://doi.org/10.24432/C50P49. Licence: CC BY 4.0. Changed here: made binary.

    Examples
    --------
    >>> import fastvi
    >>> data = fastvi.datasets.digits()
    >>> data
    Digits(1797 images of shape (8, 8))
    >>> for row in data.images[0].reshape(data.image_shape):
    ...     print("".join("-#"[pixel] for pixel in row))
    ---##---
    --####--
    --#--##-
    --#--##-
    --#--##-
    --#--#--
    --#-##--
    ---##---
    """
    with (resources.files(__package__) / "data" / "digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        packed, labels = archive["packed_images"], archive["labels"]
    images = np.unpackbits(packed, axis=1)
    images.setflags(write=False)
    labels.setflags(write=False)
    return Digits(images=images, labels=labels, image_shape=(8, 8))
