"""Some cases of the fuzzer and of the soak, others every day, and what they are checked by.

FASTVI_FUZZ_SEED repeats a day's choice; each failure names the command that runs its case alone.
"""

from __future__ import annotations

import datetime
import inspect
import os
import random
import warnings

import numpy as np
import pytest

import fastvi

from . import calls, judge, kinds, runner, soak
from .questions import Check
from .table import table

SEED = int(os.environ.get("FASTVI_FUZZ_SEED", datetime.date.today().toordinal()))
NUM_CASES, NUM_SOAKED = 400, 40


@pytest.mark.slow_without_jit
def test_odd_values():
    groups: dict[str, list[str]] = {}
    for case in runner.all_cases():
        groups.setdefault(case.split("/")[0], []).append(case)
    rng = random.Random(SEED)
    # a quarter of the calls: each compiles what it needs
    names = sorted(rng.sample(sorted(groups), len(groups) // 4))
    pool = [case for name in names for case in groups[name]]
    cases = rng.sample(pool, min(NUM_CASES, len(pool)))
    wrong = [finding for finding in runner.run(cases, workers=1, limit=120.0) if finding.fault]
    told = "\n".join(f"{f.fault}: {f.what}\n  python -m tests.fuzz --match '{f.case}'" for f in wrong)
    assert not wrong, f"FASTVI_FUZZ_SEED={SEED}, {len(wrong)} of {len(cases)} cases:\n{told}"


@pytest.mark.slow_without_jit
@pytest.mark.parametrize("case", range(NUM_SOAKED))
def test_against_brute_force(case):
    assert not list(soak.failures(SEED, case)), f"python -m tests.fuzz.soak --seed {SEED} --case {case}"


# ---- that everything is there ----------------------------------------------------------------------------

# results, which the package builds and nobody else
RESULTS = {
    "Bounds", "Bracket", "Calibration", "CalibrationEntry", "Elbo", "EncoderFit", "Estimate",
    "ExactPosterior", "Fit", "ModelFit", "Plan", "PosteriorFit", "SupportTable", "TablePosterior",
}  # fmt: skip
# members by which rooms of the package reach each other; they are given what the package made
INNER = {
    "arrays", "from_arrays", "made_by", "clean_data", "table", "check_table", "explained", "log_prior",
    "row_blocks",
}  # fmt: skip
# of another program that the fuzzer's environment lacks: tests/interop
OF_EXTRAS = {"to_bqm", "to_datatree"}
# for authors of models, who give classes of their own, and what shows a table without a model: tests/rules
OF_AUTHORS = {"Distribution", "LatentVariableModel", "Model", "Rules", "register", "supported"}
# they raise whatever comes
REFUSES = {"LogJoint.sample"}


def _public():
    """Public names that take arguments, and these arguments."""
    for name in sorted(set(fastvi.__all__) - OF_AUTHORS):
        each = getattr(fastvi, name)
        if inspect.isclass(each) and not issubclass(each, Warning):
            if name not in RESULTS:
                yield name, each
            for attribute in dir(each):
                function = inspect.getattr_static(each, attribute)
                shown = attribute == "__call__" or not (
                    attribute.startswith("_") or attribute in INNER | OF_EXTRAS
                )
                if shown and inspect.isfunction(function):
                    yield f"{name}.{attribute}", function
        elif inspect.isfunction(each):
            yield name, each
    for name in fastvi.datasets.__all__:
        if inspect.isfunction(getattr(fastvi.datasets, name)):
            yield f"datasets.{name}", getattr(fastvi.datasets, name)


def test_every_argument_of_every_public_name_is_fuzzed():
    """A new argument has its place in ``calls.py``."""
    known: dict[str, set[str]] = {}
    functions = {}
    for name, function in _public():
        functions.setdefault(function, name)  # a method that classes share is called of one of them
    for call in table():
        known.setdefault(call.public, set()).update(call.arguments)
    shared = {functions[function] for name, function in _public() if name in known}
    for name, function in _public():
        arguments = set(inspect.signature(function).parameters) - {"self"}
        if arguments and name not in REFUSES and functions[function] not in shared | set(known):
            pytest.fail(f"{name} has no call in tests/fuzz/calls.py")
        if name in known:
            assert arguments <= known[name], f"{name}: {arguments - known[name]}"


# ---- that faults are found -------------------------------------------------------------------------------


def _verdict(function, odd, *, plain=1.0, argument=None):
    """What the judge says of a function of ``value`` for an odd one."""
    rules = argument or kinds.number(plain, low=0.0)
    rules.odd = {"odd": lambda: odd}
    return judge.try_case(calls.Call("f", function, {"value": rules}), "value", rules.odd["odd"])


def _ours(text, error=ValueError):
    """A function of fastvi's own that refuses with this text."""

    def refuse(value):
        fastvi.core.validation.require(np.zeros(()), np.zeros((), bool), text)

    def refuse_otherwise(value):
        raise error(text)

    return refuse if error is ValueError else refuse_otherwise


@pytest.mark.parametrize(
    ("function", "odd", "fault"),
    [
        (lambda value: float(value), 2.0, ""),
        (lambda value: float(value), True, "an answer where a refusal is due"),
        (lambda value: float(value), np.float32(0.5), ""),
        (lambda value: value, np.float32(0.5), "another answer than of the plain form"),
        (lambda value: type(value) is float, np.float64(2.0), "another answer than of the plain form"),
        (lambda value: np.array([np.nan]), 2.0, "NaN in an answer"),
        (lambda value: value.missing, 2.0, "another exception"),
        (lambda value: float("text"), 2.0, "raised by another library"),
        (lambda value: warnings.warn("overflow", RuntimeWarning, stacklevel=1), 2.0, "another exception"),
        (_ours("value must be > 0"), 2.0, ""),
        (_ours("values must be > 0"), 2.0, "the argument is not named"),
        (_ours("value must be\n> 0"), 2.0, "several lines"),
        (_ours("value is wrong"), 2.0, "what is allowed is not said"),
        (_ours("value must be a ufunc"), 2.0, "foreign words"),
        (_ours("value must be > 0", KeyError), 2.0, "another exception"),
        (_ours("value must be > 0, got 2.0", TypeError), 2.0, "raised by another library"),
    ],
)  # fmt: skip
def test_the_judge(function, odd, fault):
    found = _verdict(function, odd)
    assert found.fault == fault, found


def test_a_changed_argument_is_seen():
    def change(value):
        value += 1
        return value.sum() * 0

    assert _verdict(change, np.ones(3), argument=kinds.reals([1.0])).fault == "the argument was changed"


def test_a_hang_is_found_and_named(monkeypatch):
    """A process that does not answer is ended, and the next case has a new one."""
    monkeypatch.setenv(runner.PLANTED, "1")
    found = list(runner.run(["datasets.digits/plain"], workers=1, limit=1.0))
    assert [f.fault for f in found] == ["hang or crash"]
    monkeypatch.delenv(runner.PLANTED)
    found = list(runner.run(["datasets.digits/plain"], workers=1))
    assert [f.fault for f in found] == [""]


@pytest.mark.slow_without_jit
def test_the_soak_finds_a_wrong_number(monkeypatch):
    """Log p(x) that is off by 1e-6 of a nat."""
    right = fastvi.log_marginal
    monkeypatch.setattr(fastvi, "log_marginal", lambda *args, **options: right(*args, **options) + 1e-6)
    wrong = [
        failure
        for case in range(40)
        for failure in soak.failures(0, case)
        if "log_marginal is off" in failure
    ]
    assert wrong


def test_checks_compare_infinities_and_shapes():
    assert Check("", [-np.inf, 1.0], [-np.inf, 1.0], 0.0).holds()
    assert Check("", [np.nan], [np.nan], 0.0).holds()
    assert not Check("", [np.nan], [1.0], 1.0).holds()
    assert not Check("", [np.inf], [1.0], 1.0).holds()
    assert not Check("", [1.0, 1.0], [1.0], 1.0).holds()


def test_names_of_cases_differ():
    names = runner.all_cases()
    assert len(names) == len(set(names)) > 19_000
