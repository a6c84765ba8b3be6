"""What is told of a run as it goes on."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import pytest
from toy_run import PARTS, TASKS, never, reduce, several, states, toy, truth

from fastvi.engine.run import progress
from fastvi.engine.run.checkpoints import Checkpoint
from fastvi.engine.run.progress import Reporter


def test_each_task_is_reported_once_merged():
    seen = []
    reduce(report=seen.append)
    assert seen == [states(task) for task in TASKS]


def test_what_was_done_before_is_reported_at_once(path, half, caplog):
    seen = []
    with caplog.at_level(logging.INFO, logger="fastvi"):
        reduce(path, report=seen.append)
    assert seen == [sum(map(states, TASKS[:6])), *map(states, TASKS[6:])]
    assert [record.getMessage() for record in caplog.records] == [
        f"checkpoint {str(path)!r}: going on after 0 sums and 6 of 20 tasks of the next"
    ]


def test_a_fresh_checkpoint_logs_nothing(path, caplog):
    with caplog.at_level(logging.INFO, logger="fastvi"):
        reduce(path)
    assert caplog.text == ""


def test_a_finished_file_reports_everything(path, caplog):
    several(Checkpoint.open(path, "me"), toy)
    seen = []
    with caplog.at_level(logging.INFO, logger="fastvi"):
        several(Checkpoint.open(path, "me"), never, seen.append)
    assert seen == [sum(map(states, part)) for part in PARTS if len(part)]
    assert "going on after 3 sums\n" in caplog.text


def test_the_rate_counts_what_this_process_did(path, half, capsys, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def work(task):
        clock.now += states(task) / 2.0
        return toy(task)

    total = sum(map(states, TASKS))
    assert reduce(path, work=work, report=Reporter(True, total)) == truth()
    lines = re.split(r"[\r\n]+", capsys.readouterr().err.strip())
    assert lines[0].strip() == "fastvi:  19.2% of 390 states (19.2% from a checkpoint)"
    assert lines[1].startswith("fastvi:  23.3% of 390 states, 2/s, 2 min left (19.2% from a checkpoint)")
    assert lines[-1].startswith("fastvi: 100.0% of 390 states, 2/s, 0.0 s left")
    assert len(lines) == 15


def test_progress_of_a_finished_file_is_told_to_functions_too(path):
    reduce(path)
    seen, total = [], sum(map(states, TASKS))
    reduce(path, work=never, report=Reporter(lambda *numbers: seen.append(numbers), total))
    assert seen == [(total, total)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (119, "119.0 s"), (130, "2 min"), (3599, "1 h 00 min"), (9e4, "25 h 00 min")],
)
def test_durations(seconds, text):
    assert progress._duration(seconds) == text
