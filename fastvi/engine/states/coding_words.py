"""Binary sparse coding's c, t and J in two words, for single states: latents in the order of the model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvi.core.arrays import Array
from fastvi.engine.states.data_terms import Terms, WordData
from fastvi.engine.states.pair_form import PairParts, add_words


class CodingWords(NamedTuple):
    """log p(x, z) = c + <t, z> + sum over i < j of J_ij z_i z_j of some data."""

    couplings: Array  # (d, d)
    couplings_low: Array
    terms: Terms  # with the words that rounding took
    large: Array  # (N,) which data need them

    @classmethod
    def of(cls, parts: PairParts, x: Any) -> CodingWords:
        """Words of the data ``x``."""
        data, places = parts.data, np.argsort(parts.order)
        assert isinstance(data, WordData)
        found = data.terms(x)
        linear, linear_low, constant, constant_low = found.words()
        ordered = (
            np.ascontiguousarray(part[:, places])
            for part in add_words(linear, linear_low, parts.centre, np.zeros_like(parts.centre))
        )
        high, low = (
            np.ascontiguousarray(part[np.ix_(places, places)])
            for part in (parts.couplings, parts.couplings_low)
        )
        linear, linear_low = ordered
        return cls(high, low, Terms(linear, constant, linear_low, constant_low), data.large(found))
