"""Rules of models whose latents have pairwise couplings: their sums have several ways."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from fastvi.core.registry import restored_rules
from fastvi.rules.base import Rules
from fastvi.rules.questions import EXACT_POSTERIOR, LOG_MARGINAL_GRADIENT
from fastvi.rules.ways import (
    ALL_WAYS,
    ENUMERATION,
    WITH_MOMENTS,
    Way,
    all_ways,
    cheapest,
    enumeration,
    sizes_told,
    told,
)

SMALL = 16  # free units up to which enumeration, of microseconds a datum, is not compared with anything
_MOST_MASKS = 64  # whose ways are kept


class PairwiseRules(Rules):
    """What is common to them. Rules that :meth:`by` gives sum by other ways than these.

    Attributes
    ----------
    methods : tuple of str
        The ways among which the cheapest one is taken for what data leave free.
    partition_methods : tuple of str
        The same for log Z.
    """

    methods: tuple[str, ...] = (ENUMERATION,)
    partition_methods: tuple[str, ...] = ALL_WAYS

    @cached_property
    @abstractmethod
    def graph(self) -> np.ndarray:
        """Which latents are coupled, (d, d) bool."""

    def methods_for(self, question: str, top_k: int = 0) -> tuple[str, ...]:
        if question == EXACT_POSTERIOR:
            return (ENUMERATION,) if top_k > 1 else WITH_MOMENTS
        return WITH_MOMENTS if question == LOG_MARGINAL_GRADIENT else ALL_WAYS

    def by(self, method: str, question: str, top_k: int = 0) -> Self:
        if self.num_latents <= SMALL and method in ("auto", ENUMERATION):
            return self  # sums by enumeration whatever is observed
        able = self.methods_for(question, top_k)
        if method == "auto":
            # log Z has the bits that log_partition gives, but where its gradient is asked for, too
            return self.among(able, able if question == LOG_MARGINAL_GRADIENT else ALL_WAYS)
        if method not in able:
            of = f" with top_k={top_k}" if top_k > 1 else ""
            words = " or ".join(repr(word) for word in ("auto", *able))
            raise ValueError(f"method must be {words} for {question}{of}, got {method!r}")
        return self.among((method,), (method,))

    def among(self, methods: tuple[str, ...], partition_methods: tuple[str, ...]) -> Self:
        """Return rules of the same model that choose among other ways."""
        if (methods, partition_methods) == (self.methods, self.partition_methods):
            return self
        own: dict[Any, Self] = self._shared.setdefault("rules", {})
        found = own.get((methods, partition_methods))
        if found is None:
            found = object.__new__(type(self))
            vars(found).update({name: value for name, value in vars(self).items() if not self._is_made(name)})
            found.methods, found.partition_methods = methods, partition_methods
            vars(found)["_shared"], vars(found)["graph"] = self._shared, self.graph
            own[methods, partition_methods] = found
        return found

    @cached_property
    def _shared(self) -> dict[str, Any]:
        """What rules of one model have in common: each other, and the ways."""
        return {}

    def _is_made(self, name: str) -> bool:
        return name.startswith("_") or isinstance(getattr(type(self), name, None), cached_property)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.subject, self.methods, self.partition_methods)

    def digest(self) -> tuple[Any, ...]:
        own = super().digest()
        return own if self.methods == (ENUMERATION,) else (*own, self.methods, self.partition_methods)

    # ---- ways ------------------------------------------------------------------------------------------

    def ways(self, observed: np.ndarray) -> tuple[Way, ...]:
        """Return every way to sum over what is not observed."""
        kept: dict[bytes, tuple[Way, ...]] = self._shared.setdefault("ways", {})
        key = observed.tobytes()
        found = kept.get(key)
        if found is None:
            while len(kept) >= _MOST_MASKS:
                kept.pop(next(iter(kept)), None)
            found = kept[key] = all_ways(self.graph, observed)
        return found

    def way(self, observed: np.ndarray) -> Way:
        """Return the way that is taken."""
        return self._way(observed, self.methods)

    def ways_told(
        self, masks: Sequence[np.ndarray], with_log_z: bool, duration: Callable[[float], str]
    ) -> str:
        asked = [(self.way(observed), observed, "") for observed in masks]
        if with_log_z:
            of = "log Z by " if asked else ""
            asked.append((self.partition_way, self._nothing, of))
        if not asked:
            return ""
        taken, observed, of = max(asked, key=lambda one: one[0].num_states)
        return of + told(self.ways(observed), taken, duration)

    def sizes_told(self, observed: np.ndarray | None) -> str:
        methods = self.partition_methods if observed is None else self.methods
        if len(methods) == 1:
            return ""
        return sizes_told(self.ways(self._nothing if observed is None else observed), methods)

    def _way(self, observed: np.ndarray, methods: tuple[str, ...]) -> Way:
        num_free = observed.size - int(np.count_nonzero(observed))
        if not num_free or methods == (ENUMERATION,):
            return enumeration(num_free)
        if ENUMERATION in methods and (num_free <= SMALL or self._is_complete):
            return enumeration(num_free)
        return cheapest(self.ways(observed), methods, once=num_free == observed.size)

    @property
    def partition_way(self) -> Way:
        """Return the way that log Z takes."""
        return self._way(self._nothing, self.partition_methods)

    @cached_property
    def _is_complete(self) -> bool:
        """Whether every latent is coupled with every other one."""
        return int(np.count_nonzero(self.graph)) >= self.num_latents * (self.num_latents - 1)

    @cached_property
    def _nothing(self) -> np.ndarray:
        """The mask of data that see nothing."""
        return np.zeros(self.num_latents, bool)

    def state_bits(self, observed: np.ndarray) -> int:
        return self.way(observed).bits


def _restored(subject: Any, methods: tuple[str, ...], partition_methods: tuple[str, ...]) -> PairwiseRules:
    rules = restored_rules(subject)
    assert isinstance(rules, PairwiseRules)
    return rules.among(methods, partition_methods)
