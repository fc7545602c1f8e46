"""Bringing a lab up: named tasks, each started as soon as what it needs is done."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from astara_lab.control import Control
from astara_lab.places import Lab
from astara_lab.supervised import Spec
from astara_lab.waiting import NotInTime, until

#: A service that died this often before it was ready once will not become ready.
_HOPELESS_DEATHS = 3
_TAIL_LINES = 25


class BringUpError(Exception):
    """Something of the lab did not start; the message holds the end of its log."""


@dataclass(frozen=True)
class Task:
    """`work` returns when the thing is usable, or raises; `after` names tasks."""

    name: str
    work: Callable[[], None]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """Told about each task: `done` with the seconds since the beginning, or `failed`."""

    done: Callable[[str, float], None]
    failed: Callable[[str, BaseException], None]


def run_all(tasks: Sequence[Task], progress: Progress) -> None:
    """Runs every task in a thread of its own, in the order its needs allow. Raises the first failure."""
    begun = time.monotonic()
    finished = {task.name: threading.Event() for task in tasks}
    failures: list[BaseException] = []

    def body(task: Task) -> None:
        for needed in task.after:
            finished[needed].wait()
        try:
            if not failures:
                task.work()
                progress.done(task.name, time.monotonic() - begun)
        except Exception as error:  # noqa: BLE001 - reported, and raised by run_all
            failures.append(error)
            progress.failed(task.name, error)
        finally:
            finished[task.name].set()

    threads = [threading.Thread(target=body, args=(task,), name=task.name, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def service(
    lab: Lab, control: Control, spec: Spec, ready: Callable[[], bool], deadline_s: float = 120.0
) -> Callable[[], None]:
    """Work that starts one service and returns when `ready` says so."""

    def alive_and_ready() -> bool:
        if ready():
            return True
        state = control.state(spec.name)
        if state and (state.restarts >= _HOPELESS_DEATHS or (state.pid is None and not spec.restart)):
            raise BringUpError(f"{spec.name} ended with status {state.ended}\n{tail(lab, spec.name)}")
        return False

    def work() -> None:
        control.start(spec)
        try:
            until(f"{spec.name} answering", alive_and_ready, deadline_s)
        except NotInTime as slow:
            raise BringUpError(f"{slow}\n{tail(lab, spec.name)}") from slow

    return work


def tail(lab: Lab, name: str) -> str:
    """The last lines of a service's log."""
    file = lab.log / f"{name}.log"
    if not file.exists():
        return f"(no log in {file})"
    lines = file.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join([f"--- the end of {file}:", *lines])


def http_answers(url: str) -> Callable[[], bool]:
    """Ready when something speaks HTTP there, whatever its answer."""

    def look() -> bool:
        try:
            httpx.get(url, timeout=2.0, trust_env=False)
        except httpx.HTTPError:
            return False
        return True

    return look


def port_open(address: str, port: int) -> Callable[[], bool]:
    """Ready when a TCP connection is accepted."""

    def look() -> bool:
        try:
            with socket.create_connection((address, port), timeout=1.0):
                return True
        except OSError:
            return False

    return look


def unix_answers(path: Path) -> Callable[[], bool]:
    """Ready when a connection to the unix socket is accepted."""

    def look() -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                probe.connect(str(path))
                return True
        except OSError:
            return False

    return look
