"""Odd values against every public name (``python -m tests.fuzz``), random models against brute force
(``python -m tests.fuzz.soak``).
"""

from __future__ import annotations

import sys
from pathlib import Path

# the oracles lie beside this folder; pytest finds them by itself
_TESTS = Path(__file__).resolve().parent.parent
for _place in (str(_TESTS), str(_TESTS / "oracles")):
    if _place not in sys.path:
        sys.path.insert(0, _place)
