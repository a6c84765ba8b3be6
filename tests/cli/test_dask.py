"""Commands whose work the workers of a Dask cluster do."""

from __future__ import annotations

import cases
import numpy as np
import pytest
from command_line import X, invoke, one_line

pytestmark = pytest.mark.peers


@pytest.fixture
def ask(tmp_path):
    cases.network(4, 3).save(tmp_path / "m.npz")
    np.save(tmp_path / "d.npy", X)
    return ["evaluate", tmp_path / "m.npz", tmp_path / "d.npy", "--csv", "-", "-q"]


def test_the_workers_of_a_cluster_give_the_same_values(ask):
    from distributed import LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(protocol="tcp", **options) as cluster:
        address = cluster.scheduler_address.removeprefix("tcp://")
        spread = invoke(*ask, "--executor", f"dask://{address}")
    assert spread.exit_code == 0, spread.output
    assert spread.stdout == invoke(*ask).stdout


def test_a_scheduler_that_does_not_answer_is_one_line_and_status_1(monkeypatch, ask):
    def client(address, **_):
        raise OSError(f"Timed out trying to connect to {address}\nafter 30 s")

    monkeypatch.setattr("distributed.Client", client)
    line = one_line(invoke(*ask, "--executor", "dask://localhost:1"), status=1)
    assert line.startswith("fastvi: --executor: no scheduler answers at tcp://localhost:1: Timed out")
