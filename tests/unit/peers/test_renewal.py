from __future__ import annotations

import threading
from pathlib import Path

from astara.peers.renewal import Renewed


def test_who_read_the_files_first_is_not_the_last_to_say_what_they_hold(tmp_path: Path) -> None:
    """Were both let through, a certificate already replaced would stay in use until it expires."""
    file = tmp_path / "certificate"
    file.write_text("first")
    read, go_on = threading.Event(), threading.Event()

    def make() -> str:
        found = file.read_text()
        if found == "second":
            read.set()
            assert go_on.wait(30)
        return found

    renewed = Renewed([file], make, ValueError)
    file.write_text("second")
    slow = threading.Thread(target=renewed.now)
    slow.start()
    assert read.wait(30)
    file.write_text("the third")
    fast = threading.Thread(target=renewed.now)
    fast.start()
    fast.join(0.3)  # either is done, or waits for the slow one
    go_on.set()
    slow.join(30)
    fast.join(30)
    assert renewed.now() == "the third"
