"""What the exact questions have in common: device, dtype, size limits, groups of data that see the same
pixels.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvi import validation
from fastvi.engine.form import CHUNK_DATA, Form
from fastvi.engine.tiling import Tiling, choose_tiling
from fastvi.kernels.cpu.host import COLUMNS

Array = NDArray[Any]

MAX_STATES = 1 << 40

_LOG = logging.getLogger("fastvi")


def check_device(device: Any, *, cuda: bool = False, why: str = "") -> str:
    """ "cpu" or "cuda"; a RuntimeError where "cuda" is asked for and cannot be had. "auto" logs why it
    picks what.

    ``cuda`` says whether the question can be answered on a GPU, ``why`` in a few words why not.
    """
    if validation.choice(device, "device", ("cpu", "cuda", "auto")) == "cpu":
        return "cpu"
    reason = why or "this question is answered on the CPU only"
    if cuda:
        from fastvi.engine.cuda.device import Missing, num_devices

        try:
            count = num_devices()
        except Missing as error:
            reason = str(error)
        else:
            if device == "auto":
                _LOG.info("device='auto' picks 'cuda': %d found", count)
            return "cuda"
    if device == "cuda":
        raise RuntimeError(f"device='cuda' is not available: {reason}; use device='cpu'")
    _LOG.info("device='auto' picks 'cpu': %s", reason)
    return "cpu"


def check_dtype(dtype: Any) -> str:
    return validation.choice(dtype, "dtype", ("float64", "float32"))


def predicted_bytes(form_tiling: Tiling, num_data: int, num_pixels: int) -> int:
    """Peak memory of an enumeration beyond its arguments: waves, tables of a chunk of data, panels."""
    rows, columns = max(8, 1 << form_tiling.row_bits), max(16, 1 << form_tiling.column_bits)
    tile = rows * columns * 8
    chunk = min(num_data, CHUNK_DATA) + 16
    wave = min(Form.wave_tiles, form_tiling.num_tiles)
    panels = (
        8 * num_pixels * (4 * rows + 4 * columns)
    )  # log sums, exponentials and their packed copies, at most
    return wave * tile + chunk * 8 * (rows + columns + wave + 64) + panels + 64 * tile


def check_size(
    num_latents: int, num_data: int, num_pixels: int, memory_limit: Any, max_states: Any, *, what: str = ""
) -> None:
    """Refuse what is too large, with its plan in the text."""
    limit = validation.positive_int(max_states, "max_states", maximum=None)
    tiling = choose_tiling(num_latents, COLUMNS)
    need = predicted_bytes(tiling, num_data, num_pixels)
    data = what or f"{num_data} data"
    text = f"{data} under 2^{num_latents} states of {num_pixels} pixels would take {need:,} bytes"
    if (1 << num_latents) > limit:
        raise ValueError(
            f"max_states is {limit} (2^40 unless raised), but the model has 2^{num_latents}; {text}"
        )
    if memory_limit is None:
        return
    if need > validation.positive_int(memory_limit, "memory_limit", maximum=None):
        raise ValueError(f"memory_limit is {memory_limit:,} bytes, but {text}")


class Group(NamedTuple):
    """Data that see the same pixels."""

    pixels: Array  # (D,) bool
    members: Array  # indices of the data


def distinct_masks(observed: Array | None, num_data: int, num_pixels: int) -> list[Group]:
    """The data by distinct mask; one group of all where there is no mask."""
    everyone = np.arange(num_data)
    if observed is None or observed.ndim == 1:
        return [Group(np.ones(num_pixels, bool) if observed is None else observed, everyone)]
    masks, member = np.unique(observed, axis=0, return_inverse=True)
    return [Group(mask, everyone[member.reshape(-1) == number]) for number, mask in enumerate(masks)]
