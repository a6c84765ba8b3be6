"""Models with a log Z: from files of other programs, and what is for them alone."""

from __future__ import annotations

import os
from typing import Any

from fastvi.cli.errors import WrongInput, as_wrong_input
from fastvi.cli.options import load_model


def load_machine(path: str) -> Any:
    """Read a model with a log Z: an .npz file, or a .uai file of factors of one or two bits."""
    import fastvi

    if os.fspath(path).lower().endswith(".uai"):
        with as_wrong_input():
            return fastvi.BoltzmannMachine.from_uai(path)
    model = load_model(path)
    if not isinstance(model, fastvi.BoltzmannMachine | fastvi.RestrictedBoltzmannMachine):
        raise WrongInput(f"MODEL must have a log Z (a Boltzmann machine, restricted or not), got {model!r}")
    return model


def check_normalized(model: Any, *, unnormalized: bool) -> bool:
    """Return the argument ``normalized``; refuse ``--unnormalized`` for a model that has no log Z."""
    from fastvi.core.registry import rules_of
    from fastvi.rules.questions import LOG_PARTITION

    rules = rules_of(model, tables=True) if unnormalized else None
    while rules is not None and LOG_PARTITION not in rules.questions:
        rules = rules.deep_prior
        if rules is None:
            raise WrongInput(f"--unnormalized is for models with a log Z, got {model!r}")
    return not unnormalized


def check_has_data(data: Any, model: Any, kinds: tuple[type, ...], what: str) -> None:
    """Refuse a model that has no answer without DATA; ``what`` says in words which ones have."""
    if data is None and not isinstance(model, kinds):
        raise WrongInput(f"DATA must be given but for {what}, got {model!r}")
