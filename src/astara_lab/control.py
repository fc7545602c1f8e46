"""The caller's end of a lab's control socket; works inside and outside the pod."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from astara_lab.places import CONTROL_SOCKET
from astara_lab.pod import Pod, PodError
from astara_lab.supervised import Reply, Request, Spec, State


@dataclass(frozen=True)
class Control:
    pod: Pod

    def ask(self, request: Request) -> tuple[State, ...]:
        """Raises PodError when the lab does not run or refuses."""
        found = self.pod.identity()
        if found is None:
            raise PodError(f"lab {self.pod.lab.profile} does not run")
        path = CONTROL_SOCKET if found.pid == 1 else Path(f"/proc/{found.pid}/root{CONTROL_SOCKET}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10.0)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as stream:
                reply = msgspec.json.decode(stream.readline(), type=Reply)
        if reply.error:
            raise PodError(reply.error)
        return reply.services

    def start(self, spec: Spec) -> None:
        self.ask(Request("start", spec=spec))

    def status(self) -> tuple[State, ...]:
        return self.ask(Request("status"))

    def change(self, verb: str, name: str) -> None:
        """`verb` is stop, restart or kill."""
        self.ask(Request(verb, name))

    def state(self, name: str) -> State | None:
        return next((s for s in self.status() if s.name == name), None)
