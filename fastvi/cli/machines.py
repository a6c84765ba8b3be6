"""Boltzmann machines from files of other programs."""

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
