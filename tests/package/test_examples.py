"""Examples of public names: they stand in docstrings, where doctest runs them.

What is public is what the reference shows, ``fastvi/docs/api``. A function, a class and a method need a
section "Examples" of their own; an override without a docstring shows that of its base. For a property, an
attribute and a field of a result it is enough that an example of the class uses its name, and for a value
that its module has examples. An argument that the constructor keeps is used by all of them. Rules count as a
class alone: the engine calls their methods, and the example shows how they are written.
"""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import re
from functools import cached_property
from pathlib import Path

import optional
import pytest

import fastvi

ROOT = Path(__file__).parents[2]
PAGES = {
    path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "fastvi" / "docs" / "api").glob("*.md")
}
REFERENCE = "\n".join(PAGES.values())
NEEDS_MORE = "  # doctest: +SKIP"  # an example with another program, which not every environment has
ELSEWHERE = [
    path
    for path in sorted((ROOT / "fastvi").rglob("*.py"))
    if "interop" not in path.parts and NEEDS_MORE in path.read_text(encoding="utf-8")
]
NAMES = [name for name in fastvi.__all__ if callable(getattr(fastvi, name))]


def examples(thing):
    """Source of the section "Examples" of a docstring."""
    _, _, section = (inspect.getdoc(thing) or "").partition("Examples\n--------\n")
    return "".join(example.source for example in doctest.DocTestParser().get_examples(section))


def option(name, of):
    """Names that the reference gives to an option of a class, or None."""
    pattern = rf"^\.\. autoclass:: {re.escape(name)}\n(?:   :.*\n)*?   :{of}: (.+)$"
    found = re.search(pattern, REFERENCE, flags=re.MULTILINE)
    return None if found is None else found[1].split(", ")


def members(kind, name):
    """Methods and properties that the reference shows: with a docstring, from a class of this package."""
    if kind is fastvi.Rules:
        return
    shown, hidden = option(name, "members"), option(name, "exclude-members") or []
    for member in shown or sorted(set(dir(kind)) - set(hidden)):
        (owner, *_) = (each for each in kind.__mro__ if member in vars(each))
        value = vars(owner)[member]
        is_method = callable(value) or isinstance(value, classmethod | property | cached_property)
        is_own = owner.__module__.startswith("fastvi.") and not member.startswith("_")
        if is_method and is_own and inspect.getdoc(getattr(kind, member)):
            yield member


def attributes(kind):
    """Names in the section "Attributes" that are no arguments of a constructor; fields of a result are."""
    if kind is fastvi.Rules:
        return
    _, _, section = (inspect.getdoc(kind) or "").partition("\nAttributes\n----------\n")
    section, *_ = re.split(r"\n\n\w+\n---+\n", section)
    kept = set() if dataclasses.is_dataclass(kind) else set(inspect.signature(kind).parameters)
    for line in re.findall(r"^(\w[\w, ]*)", section, flags=re.MULTILINE):
        yield from (name.strip() for name in line.split(",") if name.strip() not in kept)


def lacking(thing, name):
    """Names without an example: the thing's own, and those of its members where it is a class."""
    found = [] if examples(thing) else [name]
    if inspect.isclass(thing):
        classes = (each for each in thing.__mro__ if each.__module__.startswith("fastvi."))
        by_classes = "".join(map(examples, classes))
        for member in [*members(thing, name), *attributes(thing)]:
            value = getattr(thing, member, None)
            used = not callable(value) and re.search(rf"\b{member}\b", by_classes)
            if not (used or examples(value)):
                found.append(f"{name}.{member}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_examples(name):
    assert lacking(getattr(fastvi, name), f"fastvi.{name}") == []


def test_names_of_the_datasets_have_examples():
    names = fastvi.datasets.__all__
    found = [lacking(getattr(fastvi.datasets, name), f"fastvi.datasets.{name}") for name in names]
    assert [*found, examples(fastvi.datasets) == ""] == [[]] * len(names) + [False]


@pytest.mark.parametrize("page", sorted({*PAGES} - {"index", "interop"}))
def test_a_page_of_the_reference_begins_with_a_table_of_its_names(page):
    _, _, rest = PAGES[page].partition(".. autosummary::\n")
    table, _, entries = rest.partition("```\n")
    described = re.findall(r"^\.\. auto\w+:: fastvi\.(\w+)$", entries, flags=re.MULTILINE)
    if page == "datasets":
        described = [f"datasets.{name}" for name in fastvi.datasets.__all__]
    assert re.findall(r"^   ~fastvi\.(\S+)$", table, flags=re.MULTILINE) == described


@pytest.mark.peers
def test_names_of_bridges_have_examples():
    listed = re.findall(r"^\.\. auto\w+:: fastvi\.interop\.(\w+)(?:\.(\w+))?$", REFERENCE, flags=re.MULTILINE)
    assert len(listed) > 15
    found = []
    for module, name in listed:
        home = importlib.import_module(f"fastvi.interop.{module}")
        thing = getattr(home, name) if name else home
        found += lacking(thing if callable(thing) else home, f"fastvi.interop.{module}.{name}")
    assert found == []


@pytest.mark.peers
@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: path.stem)
def test_examples_with_other_programs(path):
    """What doctest leaves out where pandas, xarray or dimod may be missing is run here."""
    for name in ("dimod", "pandas", "xarray"):
        optional.package(name)
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(module):
        for example in test.examples:
            example.options.pop(doctest.SKIP, None)
        runner.run(test)
    assert runner.tries > 0
    assert runner.failures == 0


def test_something_that_lacks_examples_is_named():
    class Own:
        """A thing.

        Attributes
        ----------
        size : int
        weight, height : float

        Examples
        --------
        >>> Own().size
        3
        """

        def method(self):
            """Do nothing."""

    Own.__module__ = "fastvi.own"
    assert lacking(Own, "Own") == ["Own.method", "Own.weight", "Own.height"]
    assert lacking(Own.method, "method") == ["method"]
