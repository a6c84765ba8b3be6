"""Digests of what a run depends on."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from fastvi.engine.run.checkpoints import digest

DIFFERENT = [
    (),
    (None,),
    (None, None),
    ((None, None),),
    ([None, None],),
    (True,),
    (1,),
    (-1,),
    (1.0,),
    ("1",),
    (b"1",),
    (0.0,),
    (-0.0,),
    (math.inf,),
    ("",),
    ("", ""),
    ("ab", "c"),
    ("a", "bc"),
    (("a",), "bc"),
    (("a", "bc"),),
    ({},),
    ({"a": 1},),
    ({"a": None},),
    ({"a": 1, "b": 2},),
    ({"a": 2, "b": 1},),
    ([("a", 1), ("b", 2)],),
    (2**64,),
    (np.zeros(4),),
    (np.zeros(4), 0),
    (0, np.zeros(4)),
    (np.zeros(4, np.float32),),
    (np.zeros(8, np.float32),),
    (np.zeros(4, np.int64),),
    (np.zeros(4, ">f8"),),
    (np.zeros((4, 1)),),
    (np.zeros((1, 4)),),
    (np.zeros((2, 2)),),
    (np.zeros(2), np.zeros(2)),
    (np.array(0.0),),
    (np.array([0.0]),),
    (np.arange(4.0),),
    (np.arange(4.0)[::-1],),
    (np.arange(4.0).reshape(2, 2),),
    (np.arange(4.0).reshape(2, 2).T,),
    (np.empty((0, 3)),),
    (np.empty((3, 0)),),
    (np.array([True, False]),),
    (np.array([1, 0], np.uint8),),
    (np.array(["a", "b"]),),
]


def test_digests_differ():
    seen = {}
    for parts in DIFFERENT:
        name = digest(*parts)
        assert re.fullmatch("[0-9a-f]{64}", name)
        assert name not in seen, f"{parts} has the digest of {seen[name]}"
        seen[name] = parts


def test_digests_of_equal_values_are_equal():
    array = np.arange(6.0).reshape(2, 3)
    wide = np.zeros((4, 6))
    wide[::2, ::2] = array
    assert digest(array) == digest(np.asfortranarray(array)) == digest(wide[::2, ::2])
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(3) == digest(np.int32(3))
    assert digest(0.5) == digest(np.float64(0.5)) == digest(np.float32(0.5))
    assert digest(True) == digest(np.bool_(True))
    assert digest(math.nan) == digest(math.nan)


def test_a_digest_does_not_change_from_version_to_version():
    parts = (np.arange(3.0), {"b": (1, None), "a": [0.5, "ä"]}, b"\0", True)
    assert digest(*parts) == "61b0da72d2a25908358cd9279ef32ecb272c93f0839a6f65994a6f081b377972"


@pytest.mark.parametrize("wrong", [object(), {1: 2}, {1, 2}, np.array([None]), 1j, np.datetime64("2020")])
def test_what_has_no_digest(wrong):
    for parts in ((wrong,), ({"a": [wrong]},)):
        with pytest.raises(TypeError, match=r"^parts of a digest must be .*, got"):
            digest(*parts)
