"""The shell of a lab's machine: an answer is what the command wrote, whatever was on the line before."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara_lab import machine_shell


@contextlib.contextmanager
def shell_with(prompt: bytes, path: Path) -> Iterator[None]:
    """A shell at a socket, which still has to say what nobody listened to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            line = listening.accept()[0]
            with line:
                line.sendall(prompt)
                subprocess.run(["sh"], stdin=line, stdout=line, stderr=line, check=False)

        serving = threading.Thread(target=answer)
        serving.start()
        yield
        serving.join(30)


@pytest.mark.parametrize("prompt", [b"", b"\r\n# "], ids=["silent", "a prompt"])
@pytest.mark.parametrize(("command", "written"), [("true", ""), ("echo 17; echo 18", "17\n18\n"), ("cat", "")])
def test_an_answer_is_what_the_command_wrote(tmp_path: Path, prompt: bytes, command: str, written: str) -> None:
    with shell_with(prompt, tmp_path / "shell"):
        assert machine_shell.say(tmp_path / "shell", command) == written
