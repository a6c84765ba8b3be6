"""Files of the UAI competitions, against products of their tables over all states."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastvi

KINDS = "a UAI file of kind MARKOV with 2 states a variable and factors over one or two variables"
GOOD = "MARKOV\n3\n2 2 2\n2\n1 0\n2 2 1\n2 1.0 3.0\n4 1.0 2.0 4.0 0.5\n"


def written(folder, text):
    path = folder / "network.uai"
    path.write_bytes(text.encode())
    return path


def log_product(factors, z):
    """The last variable of a scope changes fastest."""
    total = 0.0
    for scope, table in factors:
        index = 0
        for i in scope:
            index = 2 * index + z[i]
        if table[index] == 0.0:
            return -math.inf
        total += math.log(table[index])
    return total


@st.composite
def networks(draw):
    num = draw(st.integers(1, 4))
    entry = st.floats(1e-6, 1e6)
    factors = []
    for _ in range(draw(st.integers(0, 6))):
        scope = draw(st.permutations(range(num)))[: draw(st.integers(1, min(num, 2)))]
        table = [draw(entry) for _ in range(2 ** len(scope))]
        if len(scope) == 2 and draw(st.booleans()):
            table[3] = 0.0
        factors.append((scope, table))
    return num, factors


@given(networks())
def test_log_weights_and_log_z_are_those_of_the_tables(tmp_path_factory, network):
    num, factors = network
    words = ["MARKOV", num, *[2] * num, len(factors)]
    for scope, _ in factors:
        words += [len(scope), *scope]
    for _, table in factors:
        words += [len(table), *map(repr, table)]
    path = written(tmp_path_factory.mktemp("uai"), " ".join(map(str, words)))
    machine = fastvi.BoltzmannMachine.from_uai(path)
    states = list(itertools.product((0, 1), repeat=num))
    expected = [log_product(factors, z) for z in states]
    # at most 6 factors of 4 logarithms of at most 14: 24 roundings of numbers below 400
    assert machine.log_joint(None, states) == pytest.approx(expected, rel=0.0, abs=2e-12)
    top = max(expected)
    log_z = top + math.log(math.fsum(math.exp(value - top) for value in expected))
    assert fastvi.log_partition(machine) == pytest.approx(log_z, rel=0.0, abs=2e-12)


def test_a_small_file(tmp_path):
    machine = fastvi.BoltzmannMachine.from_uai(written(tmp_path, GOOD))
    # of scope (2, 1) the first entry that is 2.0 has z_2 = 0 and z_1 = 1
    assert math.exp(machine.log_joint(None, [0, 1, 0])) == pytest.approx(2.0, rel=1e-15)
    assert math.exp(machine.log_joint(None, [1, 0, 1])) == pytest.approx(12.0, rel=1e-15)
    assert math.exp(fastvi.log_partition(machine)) == pytest.approx(4.0 * 7.5, rel=1e-14)


def test_duplicate_scopes_multiply_and_no_factors_are_uniform(tmp_path):
    twice = "MARKOV 2 2 2 2 2 0 1 2 1 0 4 1 2 3 4 4 1 2 3 0"
    machine = fastvi.BoltzmannMachine.from_uai(written(tmp_path, twice))
    assert np.exp(machine.log_joint(None, [[0, 0], [0, 1], [1, 0], [1, 1]])) == pytest.approx([1, 6, 6, 0])
    free = fastvi.BoltzmannMachine.from_uai(written(tmp_path, "MARKOV 3 2 2 2 0"))
    assert fastvi.log_partition(free) == pytest.approx(3 * math.log(2.0), rel=1e-15)


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("", "that ends before its kind"),
        (GOOD.replace("MARKOV", "BAYES"), "of kind 'BAYES'"),
        (GOOD.replace("MARKOV", "markov"), "of kind 'markov'"),
        ("PK\x03\x04\x00", "of kind 'PK"),
        ("MARKOV 0 0", "with 0 variables"),
        ("MARKOV 4097", "with 4097 variables"),
        ("MARKOV 999999999999 2", "with 999999999999 variables"),
        ("MARKOV -1", "with '-1' in the place of the number of variables"),
        ("MARKOV 1_0", "with '1_0' in the place of the number of variables"),
        ("MARKOV " + "1" * 5000, "in the place of the number of variables"),
        ("MARKOV 2 2 3 0", "with a variable 1 of cardinality 3"),
        ("MARKOV 1 2 99999999999 1 0", "with 99999999999 factors"),
        ("MARKOV 1 2 1 0 1 5", "with a factor 0 over 0 variables"),
        ("MARKOV 3 2 2 2 1 3 0 1 2", "with a factor 0 over 3 variables"),
        ("MARKOV 2 2 2 1 2 0 2", "with variable 2 in scope 0, where 2 are declared"),
        ("MARKOV 2 2 2 1 2 1 1", "with variable 1 twice in scope 0"),
        ("MARKOV 1 2 1 1 0 4 1 1 1 1", "with 4 entries in table 0, where its scope makes 2"),
        ("MARKOV 1 2 1 1 0 2 1", "that ends before an entry of table 0"),
        (GOOD + " 7", "with '7' after its last table"),
        ("MARKOV 1 2 1 1 0 2 1 -1", "with '-1' in table 0, where entries are finite numbers >= 0"),
        ("MARKOV 1 2 1 1 0 2 1 nan", "with 'nan' in table 0"),
        ("MARKOV 1 2 1 1 0 2 1 inf", "with 'inf' in table 0"),
        ("MARKOV 1 2 1 1 0 2 1 1_0", "with '1_0' in table 0"),
        ("MARKOV 1 2 1 1 0 2 1 1e999", "beyond the range of doubles"),
        ("MARKOV 1 2 1 1 0 2 1 1e-999", "beyond the range of doubles"),
        ("MARKOV 1 2 1 1 0 2 1 0e5", "with 0 in table 0 for state 1: a Boltzmann machine can exclude only"),
        ("MARKOV 2 2 2 1 2 0 1 4 1 0 1 1", "with 0 in table 0 for state (0, 1)"),
        ("MARKOV 2 2 2 1 2 0 1 4 1 1 .0 0", "with 0 in table 0 for state (1, 0)"),
        ("MARKOV 2 2 2 1 2 0 1 4 0 1 1 1", "with 0 in table 0 for state (0, 0)"),
    ],
)
def test_what_is_no_such_file_is_refused_by_one_line(tmp_path, text, came):
    path = written(tmp_path, text)
    with pytest.raises(ValueError) as refused:
        fastvi.BoltzmannMachine.from_uai(path)
    said = str(refused.value)
    assert said.startswith(f"path must name {KINDS}, got {str(path)!r} ")
    assert came in said
    assert "\n" not in said


def test_words_may_cross_the_blocks_that_are_read(tmp_path):
    for pad in range(65520, 65540):
        machine = fastvi.BoltzmannMachine.from_uai(written(tmp_path, " " * pad + GOOD))
        assert machine.num_units == 3


def test_paths(tmp_path):
    with pytest.raises(TypeError, match=r"^path must be a str or an os.PathLike"):
        fastvi.BoltzmannMachine.from_uai(3)
    with pytest.raises(IsADirectoryError):
        fastvi.BoltzmannMachine.from_uai(tmp_path)
    with pytest.raises(FileNotFoundError):
        fastvi.BoltzmannMachine.from_uai(tmp_path / "none.uai")
