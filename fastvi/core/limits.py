"""Limits that hold unless a caller raises them."""

from __future__ import annotations

from typing import Any

MAX_STATES = 1 << 40  # a sum of weeks
MAX_BOUNDS = 100_000  # of a datum's search: seconds
TOLERANCE = 1e-3  # nats between both ends of an interval


def check_draws(model: Any, num_latents: int, instead: str) -> None:
    """Refuse to draw exactly where that takes a sum over more states than exact questions go through."""
    if (1 << num_latents) > MAX_STATES:
        most = MAX_STATES.bit_length() - 1
        raise ValueError(
            f"model must have at most 2^{most} states to be drawn from exactly, got 2^{num_latents} of "
            f"{model!r}: {instead}"
        )
