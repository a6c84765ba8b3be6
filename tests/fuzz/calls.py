"""A call with its arguments, and the arguments that many calls have."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastvi

from . import things as t
from .kinds import Argument, anything, count, device, path, progress, reals, thing, word

ENUMERABLE = tuple({type(model) for name, model in t.MODELS.items() if name != "a table"})
ANY_MODEL = (*ENUMERABLE, fastvi.JointTable)
Q = (fastvi.Bernoulli, fastvi.Normal, fastvi.MultivariateNormal, fastvi.Categorical, fastvi.Encoder)


@dataclass
class Call:
    """``name`` is the public name, then perhaps what it is called for, in brackets."""

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Argument]

    @property
    def public(self) -> str:
        return self.name.split("[")[0]

    def plain(self) -> dict[str, Any]:
        return {name: argument.plain for name, argument in self.arguments.items()}


def _made(things: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    return {name: lambda each=each: each for name, each in things.items()}


def model(plain: Any, *types: type) -> Argument:
    return thing(plain, *types, others=_made({**t.MODELS, **t.OTHER_MODELS, **t.DISTRIBUTIONS}))


def q(plain: Any, *types: type, optional: bool = False, words: tuple[str, ...] = ()) -> Argument:
    others = _made({**t.DISTRIBUTIONS, "a network": t.network})
    return thing(plain, *types, others=others, optional=optional, words=words)


def executor() -> Argument:
    pool = {"threads": lambda: ThreadPoolExecutor(2), "the class": lambda: Executor}
    return thing(None, Executor, others=pool, optional=True)


def limits() -> dict[str, Argument]:
    return {
        "memory_limit": count(None, optional=True),
        "max_states": count(2**40),
    }


def exact_options(*, dtype: bool = False) -> dict[str, Argument]:
    words = {"dtype": word("float64", "float64", "float32")} if dtype else {}
    return {
        "method": word("auto", "auto", "enumeration"), "device": device(), **words,
        "executor": executor(), "checkpoint": path(None, optional=True), "progress": progress(), **limits(),
    }  # fmt: skip


def layers(plain: Any) -> Argument:
    """Pairs of arrays, spoiled in their structure; the arrays have odd values of their own."""
    odd = dict(thing(None).odd)
    first, *rest = plain
    for name, spoilt in {
        "a pair alone": lambda: first,
        "triples": lambda: [(*first, first[1]), *rest],
        "one array each": lambda: [w for w, _ in plain],
        "pairs as lists": lambda: [list(pair) for pair in plain],
        "a tuple of pairs": lambda: tuple(plain),
        "a generator of pairs": lambda: (pair for pair in plain),
        "in wrong order": lambda: list(reversed(plain)),
        "the bias first": lambda: [(b, w) for w, b in plain],
        "a dict": lambda: {"weight": first[0], "bias": first[1]},
        "one pair of None": lambda: [(None, None), *rest],
        "one nan": lambda: [(np.full(first[0].shape, np.nan), first[1]), *rest],
        "huge": lambda: [(np.full(first[0].shape, 1e308), first[1]), *rest],
        "complex": lambda: [(first[0].astype(complex), first[1]), *rest],
        "as text": lambda: [(first[0].astype(str), first[1]), *rest],
        "masked": lambda: [(np.ma.array(first[0], mask=True), first[1]), *rest],
        "no inputs": lambda: [(first[0][:, :0], first[1]), *rest],
        "no outputs": lambda: [*plain[:-1], (plain[-1][0][:0], plain[-1][1][:0])],
        "as nested lists": lambda: [(w.tolist(), b.tolist()) for w, b in plain],
        "big-endian": lambda: [(w.astype(">f8"), b.astype(">f4")) for w, b in plain],
    }.items():
        odd[name] = spoilt

    def meaning(value: Any) -> Any:
        found = reals(plain[0][0], skip=())
        if not isinstance(value, list | tuple):
            found.plain_form(object())
        return [tuple(found.plain_form(each) for each in pair) for pair in value]

    return anything(plain, odd, meaning=meaning)


def asked_of(question: Callable[..., Any], first: Any) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return question(first, **arguments)

    return call
