"""Checkpoints that are refused: of other runs, cut short, changed, newer; places that cannot be."""

from __future__ import annotations

import os

import numpy as np
import pytest
from toy_run import TASKS, Toy, never, reduce, states, truth

from fastvi.engine.run import checkpoints
from fastvi.engine.run.checkpoints import Checkpoint
from fastvi.engine.run.runs import Run


def refused(path, match, error=ValueError, identity="me"):
    before = path.read_bytes()
    with pytest.raises(error, match=match) as caught:
        Checkpoint.open(path, identity)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_another_identity_is_refused(path, half):
    refused(
        path, r"^checkpoint must name a file of the same model, data and options, or none", identity="you"
    )
    assert reduce(path) == truth()


def test_a_file_larger_than_the_memory_is_not_read(path, half, monkeypatch):
    monkeypatch.setattr("fastvi.core.archives.free_memory", lambda: len(half) - 1)
    refused(path, r"^checkpoint must fit in memory, got .* bytes and .* are free")


def test_an_identity_of_bytes(path):
    reduce(path, identity=b"me")
    assert reduce(path, identity=b"me", work=never) == truth()
    refused(path, "same model", identity=b"you")


def test_a_file_cut_short_anywhere_is_refused(path, half):
    for length in range(len(half)):
        path.write_bytes(half[:length])
        refused(path, r"^checkpoint must name a whole file written by fastvi, or none, got .* cut short")


def test_a_file_with_any_byte_changed_is_refused(path, half):
    for index in range(len(half)):
        path.write_bytes(half[:index] + bytes([half[index] ^ (1 << index % 8)]) + half[index + 1 :])
        refused(path, r"^checkpoint must name a whole file written by fastvi, or none, got .* damaged")


def test_other_files_are_refused(path):
    path.write_text("x,y\n1,2\n" * 100)
    refused(path, "no checkpoint")
    np.savez(path, total=np.zeros(3))
    refused(path, "no checkpoint")
    path.write_bytes(b"")
    refused(path, "no checkpoint")


def test_a_newer_format_is_refused(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 2)
    reduce(path)
    monkeypatch.undo()
    refused(path, r"^checkpoint must name a file of format 1 \.\.\. 1 .* its format 2 is newer")


def test_a_sealed_file_of_other_contents_is_refused(path, monkeypatch):
    for names in (("_VERSION", "_LAYOUT"), ("_BYTES", "_IDENTITY"), ("_LAYOUT", "_IDENTITY")):
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(checkpoints, name, name)
            path.unlink(missing_ok=True)
            reduce(path)
        refused(path, r"^checkpoint must name a file of format 1 .* not a file in the archive")


def test_a_reduction_of_other_tasks_or_shapes_is_refused(path, half):
    with pytest.raises(
        ValueError, match=r"^checkpoint must .* same version and machine, .* 20 tasks and not 3"
    ):
        reduce(path, tasks=range(3))
    zero = Toy.zero()._replace(total=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"arrays of other shapes$"):
        Run(checkpoint=Checkpoint.open(path, "me")).reduce(zero, TASKS, never, states)
    assert path.read_bytes() == half


def test_the_file_is_a_plain_npz(path, half):
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == {"fastvi_checkpoint_version", "identity", "layout", "bytes"}
        assert archive["bytes"].size == 6 * 8 + 8


@pytest.mark.parametrize("wrong", [5, b"run.npz", True, ["run.npz"], object()])
def test_a_path_is_a_str_or_a_path(wrong):
    with pytest.raises(TypeError, match=r"^checkpoint must be None, a str or an os.PathLike, got"):
        Checkpoint.open(wrong, "me")


def test_paths_that_no_file_can_have(tmp_path):
    for wrong in ("", "a\0b"):
        with pytest.raises(ValueError, match=r"^checkpoint must name a file, got"):
            Checkpoint.open(wrong, "me")
    with pytest.raises(IsADirectoryError, match=r"^checkpoint must name a file, got the directory"):
        Checkpoint.open(tmp_path, "me")
    with pytest.raises(FileNotFoundError, match=r"^checkpoint must name a file in a folder that exists"):
        Checkpoint.open(tmp_path / "no" / "run.npz", "me")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"^checkpoint must name a regular file"):
        Checkpoint.open(tmp_path / "pipe", "me")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(
        PermissionError, match=r"^checkpoint must name a file in a folder that can be written"
    ):
        Checkpoint.open(tmp_path / "run.npz", "me")
