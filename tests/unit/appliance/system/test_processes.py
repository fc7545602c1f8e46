"""Daemons that outlive the agent, and finding exactly them again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara.appliance.system import files, processes
from support.segment import eventually

SLEEP = ("/usr/bin/sleep", "1000")


@pytest.fixture
def pid_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "run" / "daemon.pid"
    yield path
    processes.stop(path, 2)


def test_a_daemon_outlives_the_process_that_started_it_and_is_adopted(pid_file: Path) -> None:
    program = (
        "import pathlib; from astara.appliance.system import processes; "
        f"processes.start(None, pathlib.Path({str(pid_file)!r}), {SLEEP!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True, start_new_session=True)
    found = processes.find(None, pid_file, SLEEP)
    assert found is not None
    assert os.getsid(found.pid) == found.pid
    processes.stop(pid_file)
    assert not processes.alive(found)
    assert not pid_file.exists()


def test_another_command_line_is_not_the_wanted_daemon(pid_file: Path) -> None:
    processes.start(None, pid_file, SLEEP)
    assert processes.find(None, pid_file, ("/usr/bin/sleep", "1")) is None
    assert processes.find(None, pid_file, SLEEP) is not None


def test_a_daemon_whose_starter_died_before_noting_it_is_found_and_ended(
    pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold the ports of every one that comes after it, and the namespace of a removed instance."""
    argv = ("/usr/bin/sleep", f"1000.{os.getpid()}")
    started: list[processes.Process] = []
    really_replace = files.replace

    def dies(path: Path, content: str) -> None:
        if path == pid_file:
            started.append(processes.Process(*(int(word) for word in content.split())))
            raise KeyboardInterrupt
        really_replace(path, content)

    monkeypatch.setattr(files, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        processes.start(None, pid_file, argv)
    assert processes.alive(started[0])

    processes.stop(pid_file)

    assert not processes.alive(started[0])
    assert list(pid_file.parent.iterdir()) == []


def test_a_reused_pid_is_never_signalled(pid_file: Path) -> None:
    running = processes.start(None, pid_file, SLEEP)
    files.replace(pid_file, f"{running.pid} {running.started + 1}\n")
    assert processes.find(None, pid_file) is None
    processes.stop(pid_file)
    assert processes.alive(running)
    processes.send(running, signal.SIGKILL)
    assert processes.wait(running, 5)


def test_a_daemon_that_ignores_the_polite_signal_ends_at_the_deadline(pid_file: Path) -> None:
    stubborn = processes.start(
        None,
        pid_file,
        ("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"),
        log_file=pid_file.with_suffix(".log"),
    )
    processes.stop(pid_file, 0.3)
    assert not processes.alive(stubborn)


def test_a_checker_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        processes.run(None, SLEEP, timeout_s=0.2)
    assert processes.run(None, ("/bin/sh", "-c", "cat; exit 3"), stdin=b"words") == (3, "words")


#: Its first thread ends before the others do, as when a process with many threads is killed (SYS_exit ends one thread).
FIRST_THREAD_ENDS = """
import ctypes, os, pathlib, sys, threading
def last():
    while not pathlib.Path(sys.argv[1]).exists():
        threading.Event().wait(0.01)
    os._exit(0)
threading.Thread(target=last).start()
ctypes.CDLL(None).syscall(60, 0)
"""


def ends_in_two_parts(pid_file: Path, may_end: Path) -> processes.Process:
    started = processes.start(None, pid_file, (sys.executable, "-c", FIRST_THREAD_ENDS, str(may_end)))
    assert eventually(lambda: state_of(started.pid) == "Z")
    return started


def state_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of a system call")
def test_who_was_seen_to_end_before_all_of_its_threads_had_is_buried_with_the_next_start(
    pid_file: Path, tmp_path: Path
) -> None:
    """A node agent starts and ends daemons for months: what nobody buries fills the table of processes."""
    started = ends_in_two_parts(pid_file, tmp_path / "may end")
    assert not processes.alive(started)
    pid_file.unlink()  # so nobody speaks of it any more
    (tmp_path / "may end").touch()

    def next_one() -> str | None:
        processes.start(None, tmp_path / "other.pid", ("/bin/true",))
        return state_of(started.pid)

    assert eventually(lambda: next_one() is None)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of a system call")
def test_to_stop_one_is_to_wait_for_its_last_thread_and_to_bury_it(pid_file: Path, tmp_path: Path) -> None:
    started = ends_in_two_parts(pid_file, tmp_path / "may end")
    processes.stop(pid_file)
    assert state_of(started.pid) is None
