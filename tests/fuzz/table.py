"""Every public function, class and method that takes arguments."""

from __future__ import annotations

from .calls import Call
from .calls_of_classes import constructors, methods
from .calls_of_estimators import estimators
from .calls_of_fits import files, fits
from .calls_of_models import bounds, exact


def table() -> list[Call]:
    """Every call."""
    return [*constructors(), *methods(), *exact(), *bounds(), *estimators(), *fits(), *files()]
