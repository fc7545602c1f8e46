"""QEMU's control socket (QMP): commands one after the other, an open file handed over, events let pass.

Why not `qemu.qmp`: it is asyncio throughout, and the node agent is threads; a loop and a thread per machine to say
five commands would be most of this module again. Protocol: docs/interop/qmp-spec.txt of QEMU.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

_LOOK_EVERY_S = 0.005
_RECEIVE_BYTES = 65536


class QmpError(Exception):
    """QEMU refused a command, or does not answer: `gone` then."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        self.gone = gone
        super().__init__(message)


class Qmp:
    """One conversation; QEMU has one at a time. Use as a context manager.

    Raises:
        QmpError: from every method.
    """

    def __init__(self, path: Path, timeout_s: float = 5.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_s)
        self._received = b""
        try:
            self._socket.connect(str(path))
            self._message()  # the greeting
            self.do("qmp_capabilities")
        except (OSError, QmpError) as error:
            self._socket.close()
            raise QmpError(f"QEMU does not answer: {error}", gone=True) from None

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def do(self, command: str, **arguments: Any) -> Any:
        """Carry out a command and return its answer; `_` in the names of arguments stands for `-`."""
        wire = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self._ask({"execute": command, "arguments": wire}, None)

    def hand_over(self, name: str, handle: int) -> None:
        """Give QEMU a copy of an open file, which it calls `name` until it is used."""
        self._ask({"execute": "getfd", "arguments": {"fdname": name}}, handle)

    def wait_for(self, reached: Callable[[Qmp], bool], deadline_s: float) -> bool:
        """Ask again and again until `reached`; return False when it is not within `deadline_s`."""
        pause, until = threading.Event(), time.monotonic() + deadline_s
        while not reached(self):
            if time.monotonic() > until:
                return False
            pause.wait(_LOOK_EVERY_S)
        return True

    def _ask(self, message: dict[str, Any], handle: int | None) -> Any:
        try:
            data = json.dumps(message).encode()
            if handle is None:
                self._socket.sendall(data)
            else:
                socket.send_fds(self._socket, [data], [handle])
            while True:
                answer = self._message()
                if "error" in answer:
                    raise QmpError(f"{message['execute']}: {answer['error'].get('desc', '')}")
                if "return" in answer:
                    return answer["return"]
        except OSError as error:
            raise QmpError(f"{message['execute']}: QEMU does not answer: {error}", gone=True) from None

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            more = self._socket.recv(_RECEIVE_BYTES)
            if not more:
                raise QmpError("it closed the connection", gone=True)
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return dict(json.loads(line))


def uuid_behind(path: Path, timeout_s: float = 2.0) -> str | None:
    """Return the UUID of the machine that answers there, None when none does."""
    try:
        with Qmp(path, timeout_s) as qmp:
            return str(qmp.do("query-uuid")["UUID"])
    except QmpError:
        return None


def can_connect(path: Path) -> bool:
    """Whether somebody listens at `path` already."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
