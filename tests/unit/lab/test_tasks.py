"""Bringing up: what needs something waits for it, a failure stops what comes after."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from astara_lab import tasks
from astara_lab.places import Lab
from astara_lab.tasks import BringUpError, Progress, Task, run_all

QUIET = Progress(done=lambda *_: None, failed=lambda *_: None)


def test_a_task_starts_after_what_it_needs_and_independent_ones_run_at_once() -> None:
    order: list[str] = []
    both_run = threading.Barrier(2, timeout=5)

    def meet(name: str) -> None:
        both_run.wait()
        order.append(name)

    run_all(
        [
            Task("api", lambda: order.append("api"), ("database", "broker")),
            Task("database", lambda: meet("database")),
            Task("broker", lambda: meet("broker")),
        ],
        QUIET,
    )

    assert order[2] == "api"


def test_what_depends_on_a_failure_is_not_started_and_the_failure_is_told() -> None:
    started: list[str] = []

    def fail() -> None:
        raise BringUpError("the disk is full")

    with pytest.raises(BringUpError, match="the disk is full"):
        run_all([Task("database", fail), Task("api", lambda: started.append("api"), ("database",))], QUIET)

    assert not started


def test_the_tail_of_a_log_names_the_file_and_ends_with_its_last_line(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "embedded")
    lab.make_directories()
    (lab.log / "node.log").write_text("\n".join(f"line {n}" for n in range(1000)))

    shown = tasks.tail(lab, "node")

    assert str(lab.log / "node.log") in shown
    assert shown.endswith("line 999")
    assert "line 100\n" not in shown
