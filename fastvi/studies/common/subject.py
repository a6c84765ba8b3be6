"""Model and data that a study looks at: the digits and a network fitted to them, or the caller's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastvi
from fastvi.studies.common.digits import fitted, split
from fastvi.studies.common.kept import NOTHING_KEPT, Kept
from fastvi.studies.common.result import Progress
from fastvi.studies.common.settings import Settings


@dataclass(frozen=True)
class Subject:
    """Model and held-out data that a study looks at.

    Attributes
    ----------
    model : model
    x : ndarray, (N, D)
    title : str
        A few words for titles of pictures: "digits", or the name of the data's file.
    index : ndarray, (N,)
        Place of each datum in its data set.
    labels : ndarray, (N,), or None
        The digit that each image shows.
    image_shape : tuple of int, or None
        Rows and columns of a datum as a picture; None where it is none.
    source : mapping, or None
        How model and data were read, as plain values: it goes into the results' JSON. None: the digits.
    """

    model: Any
    x: np.ndarray
    title: str
    index: np.ndarray
    labels: np.ndarray | None = None
    image_shape: tuple[int, int] | None = None
    source: Mapping[str, Any] | None = None

    @property
    def own(self) -> bool:
        """Tell whether it is the caller's own."""
        return self.source is not None


def own_subject(
    model: Any,
    x: np.ndarray,
    title: str,
    source: Mapping[str, Any],
    image_shape: tuple[int, int] | None = None,
) -> Subject:
    """Subject of a caller's model and data ``x`` (N, D), images of a shape that is known or of a square."""
    side = math.isqrt(x.shape[1]) if x.ndim == 2 else 0
    if image_shape is None and side > 1 and side * side == x.shape[1]:
        image_shape = (side, side)
    return Subject(model, x, title, np.arange(len(x)), image_shape=image_shape, source=source)


def digits_subject(
    settings: Settings, progress: Progress, num_latents: int | None = None, kept: Kept = NOTHING_KEPT
) -> Subject:
    """Held-out digits under the network of ``num_latents`` (None: of the settings) fitted to the others."""
    model = fitted(settings, num_latents or settings.num_latents, progress, kept).model
    parts, count = split(settings), settings.num_images
    return Subject(
        model, parts.test[:count], "digits", parts.test_index[:count], parts.test_labels[:count],
        fastvi.datasets.digits().image_shape,
    )  # fmt: skip
