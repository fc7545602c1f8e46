"""What is closed in the background must not hold on to the namespace it came from."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from astara.appliance.system import netns
from astara.appliance.system.closing import Closer
from astara.host import namespaces
from support.node_agent import isolated
from support.segment import eventually

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]


def test_no_thread_of_the_closer_stays_where_its_first_caller_was() -> None:
    """A namespace lives as long as a thread in it: the first instance of an agent would never have ended."""
    namespaces.prepare_directory()
    instance = str(uuid.uuid4())
    namespaces.ensure(instance)
    path = namespaces.path_of(instance)
    closed = threading.Event()
    try:
        worker = threading.Thread(target=_close_inside, args=(path, closed))  # an agent's first thread enters nothing
        worker.start()
        worker.join()
        assert closed.wait(10)
        inside = netns.inode(path)
        assert eventually(
            lambda: inside not in {task.stat().st_ino for task in Path("/proc/self/task").glob("*/ns/net")}
        )
    finally:
        namespaces.remove(instance)


def _close_inside(path: Path, closed: threading.Event) -> None:
    with netns.entered(path):
        Closer().later(closed.set)
