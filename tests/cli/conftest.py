"""The present folder of tests of commands: a saved model and data."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from command_line import X


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A network of 4 pixels and 3 latents, in m.npz; data in d.npy."""
    monkeypatch.chdir(tmp_path)
    model = cases.network(4, 3)
    model.save("m.npz")
    np.save("d.npy", X)
    return model
