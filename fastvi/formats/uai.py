"""Files of the UAI inference competitions: pairwise Markov networks of binary variables.

    MARKOV                       kind
    3                            number of variables
    2 2 2                        their cardinalities
    2                            number of factors
    1 0                          scope of each: how many variables, and which
    2 0 1
    2   1.0 3.0                  table of each: how many entries, and these; the last variable of the scope
    4   1.0 2.0 2.0 0.5          changes fastest

The logarithm of a table over (i, j) is a constant, a bias of i and of j, and a coupling:

    log t(a, b) = l00 + (l10 - l00) a + (l01 - l00) b + (l11 - l10 - l01 + l00) a b.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator
from typing import IO, Any, NoReturn

import numpy as np

from fastvi.core.files import open_regular, path_text
from fastvi.core.validation import require
from fastvi.formats.quadratic import MAX_VARIABLES, Quadratic

_KIND = "a UAI file of kind MARKOV with 2 states a variable and factors over one or two variables"
_BLOCK = 1 << 16  # bytes that are read at a time
_MOST_FACTORS = 1 << 24  # their scopes take 128 MiB
_LONGEST = 2048  # characters of a token: no double takes as many digits
_COUNT = re.compile(r"[0-9]{1,15}")
_ENTRY = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")


_LARGEST_LOG = 700.0  # its exponential, and that of minus it, are doubles of full precision


def uai_content(log_weight: Quadratic) -> bytes:
    """Return the file of log weights: a factor for the constant, for each bias and for each coupling.

    Entries are exponentials, rounded to double precision: what is read back differs by less than 1e-13 nats
    a factor.
    """
    couplings, bias, constant = log_weight
    pairs = [(int(i), int(j)) for i, j in np.argwhere(np.triu(couplings))]
    for name, values in (("couplings", couplings), ("bias", bias), ("constant", np.array([constant]))):
        require(
            values, (np.abs(values) <= _LARGEST_LOG) | np.isneginf(values),
            f"{name} must be -{_LARGEST_LOG:g} ... {_LARGEST_LOG:g} (couplings also -inf) for a .uai file, "
            "whose entries are their exponentials",
        )  # fmt: skip
    scopes = ["1 0"] * bool(constant)
    tables = [_entries([constant, constant])] * bool(constant)
    for i in np.flatnonzero(bias).tolist():
        scopes.append(f"1 {i}")
        tables.append(_entries([0.0, bias[i]]))
    for first, second in pairs:
        scopes.append(f"2 {first} {second}")
        tables.append(_entries([0.0, 0.0, 0.0, couplings[first, second]]))
    head = ["MARKOV", str(len(bias)), " ".join("2" for _ in bias), str(len(scopes))]
    return ("\n".join([*head, *scopes, *tables]) + "\n").encode()


def _entries(logs: list[float]) -> str:
    return f"{len(logs)}  " + " ".join(repr(math.exp(value)) for value in logs)


def read_uai(path: Any) -> Quadratic:
    """Log weights of the states that the file at ``path`` describes; couplings may be -inf.

    Scopes are kept while tables are read: memory is that of the couplings and some bytes a factor.
    """
    text = path_text(path, "path")
    with open_regular(text, "path") as file:
        return _Reader(file, text).network()


class _Reader:
    """A strict reader: each token is what its place wants, or the file is refused."""

    def __init__(self, file: IO[bytes], text: str) -> None:
        self._tokens, self._text = _tokens(file), text

    def network(self) -> Quadratic:
        kind = self._next("its kind")
        if kind != "MARKOV":
            self._refuse(f"of kind {_word(kind)}")
        num = self._count("the number of variables")
        if not 1 <= num <= MAX_VARIABLES:
            self._refuse(f"with {num} variables, where 1 ... {MAX_VARIABLES} can be read")
        for i in range(num):
            states = self._count(f"the cardinality of variable {i}")
            if states != 2:
                self._refuse(f"with a variable {i} of cardinality {states}")
        scopes = self._scopes(num)
        pairs, bias, constant = np.zeros((num, num)), np.zeros(num), 0.0
        for k in range(len(scopes) // 2):
            i, j = scopes[2 * k], scopes[2 * k + 1]
            constant += self._table(k, i, j, pairs, bias)
        last = next(self._tokens, None)
        if last is not None:
            self._refuse(f"with {_word(last)} after its last table")
        return Quadratic(pairs + pairs.T, bias, constant)

    def _scopes(self, num: int) -> array[int]:
        """Two numbers a factor, the second -1 where it has one variable."""
        scopes = array("i")
        factors = self._count("the number of factors")
        if factors > _MOST_FACTORS:
            self._refuse(f"with {factors} factors, where at most {_MOST_FACTORS} can be read")
        for k in range(factors):
            size = self._count(f"the size of scope {k}")
            if size not in (1, 2):
                self._refuse(f"with a factor {k} over {size} variables")
            scope = [self._count(f"scope {k}") for _ in range(size)]
            if max(scope) >= num:
                self._refuse(f"with variable {max(scope)} in scope {k}, where {num} are declared")
            if size == 2 and scope[0] == scope[1]:
                self._refuse(f"with variable {scope[0]} twice in scope {k}")
            scopes.extend([scope[0], scope[1] if size == 2 else -1])
        return scopes

    def _table(self, k: int, i: int, j: int, pairs: np.ndarray, bias: np.ndarray) -> float:
        """Add factor k over i and j (-1: over i alone); its constant."""
        size = self._count(f"the size of table {k}")
        wanted = 2 if j < 0 else 4
        if size != wanted:
            self._refuse(f"with {size} entries in table {k}, where its scope makes {wanted}")
        logs = [self._log_entry(k) for _ in range(size)]
        # biases are finite: what a machine can exclude is that two units are on together
        impossible = [entry for entry in range(size) if logs[entry] == -math.inf and entry != 3]
        if impossible:
            state = f"{impossible[0]}" if j < 0 else f"({impossible[0] >> 1}, {impossible[0] & 1})"
            self._refuse(
                f"with 0 in table {k} for state {state}: a Boltzmann machine can exclude only that both "
                "variables of a pair are 1"
            )
        if j < 0:
            bias[i] += logs[1] - logs[0]
        else:
            bias[i] += logs[2] - logs[0]
            bias[j] += logs[1] - logs[0]
            pairs[i, j] += logs[3] - logs[2] - logs[1] + logs[0]
        return logs[0]

    def _log_entry(self, k: int) -> float:
        token = self._next(f"an entry of table {k}")
        match = _ENTRY.fullmatch(token)
        if match is None:
            self._refuse(f"with {_word(token)} in table {k}, where entries are finite numbers >= 0")
        value = float(token)
        if math.isinf(value) or (value == 0.0 and match[1].strip("0.")):
            self._refuse(f"with {_word(token)} in table {k}, which is beyond the range of doubles")
        return math.log(value) if value else -math.inf

    def _count(self, what: str) -> int:
        token = self._next(what)
        if not _COUNT.fullmatch(token):
            self._refuse(f"with {_word(token)} in the place of {what}")
        return int(token)

    def _next(self, what: str) -> str:
        token = next(self._tokens, None)
        if token is None:
            self._refuse(f"that ends before {what}")
        return token

    def _refuse(self, came: str) -> NoReturn:
        raise ValueError(f"path must name {_KIND}, got {self._text!r} {came}")


def _tokens(file: IO[bytes]) -> Iterator[str]:
    """Words between white space; one that goes on without end is cut, and so refused."""
    rest = b""
    while block := file.read(_BLOCK):
        words = (rest + block).split()
        rest = b""
        if words and not block[-1:].isspace():
            rest = words.pop()
        for word in words:
            yield _cut(word)
        if len(rest) > _LONGEST:
            yield _cut(rest)
            return
    if rest:
        yield _cut(rest)


def _cut(word: bytes) -> str:
    return word.decode("latin-1") if len(word) <= _LONGEST else word[:16].decode("latin-1") + "..."


def _word(token: str) -> str:
    return repr(token if len(token) <= 40 else token[:40] + "...")
