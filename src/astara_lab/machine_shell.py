"""Commands inside machines of a lab, through the root shell its node agent gives them ([microvm] shell)."""

from __future__ import annotations

import secrets
import socket
import time
from pathlib import Path

_FOLDER = Path("/run/astara/microvm")
_BLOCK = 4096


def of(instance_id: str) -> Path | None:
    """Return the shell of the machine that is this instance's body; None when it is no machine."""
    path = _FOLDER / f"{instance_id}.shell"
    return path if path.exists() else None


def say(shell: Path, command: str, timeout_s: float = 20.0) -> str:
    """Run a line of shell script in the machine; returns what it wrote.

    Raises OSError when the machine is gone, or does not answer in time.
    """
    first, last = secrets.token_hex(8), secrets.token_hex(8)
    line = f"echo {_unlike(first)}; {{ {command} ; }} </dev/null 2>&1; echo; echo {_unlike(last)}\n"
    until = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line_to:
        line_to.settimeout(timeout_s)
        line_to.connect(str(shell))
        line_to.sendall(line.encode())
        said = b""
        while last.encode() not in said:
            line_to.settimeout(max(0.01, until - time.monotonic()))
            more = line_to.recv(_BLOCK)
            if not more:
                raise ConnectionError("the machine has ended")
            said += more
    text = said.decode(errors="replace").replace("\r", "")
    # Before it may stand what the shell said after another conversation had ended: its prompt.
    return text[text.index(first) + len(first) + 1 : text.index(last)].removesuffix("\n")


def _unlike(token: str) -> str:
    """As a word of the shell that is not the token itself: a line that echoes must not answer for it."""
    return f"{token[:8]}''{token[8:]}"
