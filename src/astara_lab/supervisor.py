"""Keeps the services of a lab running, the way systemd's Restart=always would.

One thread, one loop: signals (SIGCHLD) and requests wake it, and it starts again what died, with a growing delay.
It is the init of the pod, so it also collects processes whose parents have gone.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from astara_lab.supervised import STEADY_AFTER_S, Reply, Request, Spec, State, restart_delay_s

#: What services get to end by themselves at shutdown before init ends and the kernel kills the rest.
GRACE_S = 4.0


@dataclass
class Service:
    spec: Spec
    pid: int | None = None
    started_at: float = 0.0
    due_at: float | None = None  # when to start it (again); None: not planned
    wanted: bool = True
    restarts: int = 0
    quick_failures: int = 0
    ended: int | None = None


class Supervisor:
    """`run` serves the control socket until it is told to shut down."""

    def __init__(self, control: Path) -> None:
        self._services: dict[str, Service] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(control))
        self._listener.listen(16)
        self._stopping = False
        self._end_by = 0.0

    def run(self) -> None:
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        wake_read.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._ask_all_to_end())
        self._selector.register(wake_read, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not (self._stopping and self._quiet()):
            for key, _ in self._selector.select(self._next_wake_s()):
                if key.fileobj is self._listener:
                    self._serve(self._listener.accept()[0])
                else:
                    with contextlib.suppress(BlockingIOError):
                        wake_read.recv(4096)
            self._collect()
            self._start_due()

    def _next_wake_s(self) -> float | None:
        if self._stopping:
            return 0.1
        due = [s.due_at for s in self._services.values() if s.due_at is not None and s.pid is None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _quiet(self) -> bool:
        running = any(s.pid for s in self._services.values())
        return not running or time.monotonic() > self._end_by

    # -- processes

    def _launch(self, service: Service) -> None:
        spec = service.spec
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, spec.log, flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        service.due_at = None
        service.started_at = time.monotonic()
        try:
            service.pid = os.posix_spawnp(
                spec.argv[0],
                spec.argv,
                spec.env,
                file_actions=actions,
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM],
            )
        except OSError as error:
            with Path(spec.log).open("a") as log:
                log.write(f"cannot start {spec.argv[0]}: {error}\n")
            service.ended = 127
            self._plan_restart(service)

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self._services.values():
                if service.pid == pid:
                    service.pid = None
                    service.ended = os.waitstatus_to_exitcode(status)
                    if service.spec.whole_group:
                        _end_group(pid)
                    self._plan_restart(service)

    def _plan_restart(self, service: Service) -> None:
        if not service.wanted or not service.spec.restart or self._stopping:
            return
        if service.due_at is not None:
            return
        steady = time.monotonic() - service.started_at >= STEADY_AFTER_S
        service.quick_failures = 1 if steady else service.quick_failures + 1
        service.restarts += 1
        service.due_at = time.monotonic() + restart_delay_s(service.quick_failures)

    def _start_due(self) -> None:
        now = time.monotonic()
        for service in list(self._services.values()):
            if service.pid is None and service.due_at is not None and service.due_at <= now:
                self._launch(service)

    # -- requests

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(2.0)
            try:
                with connection.makefile("rb") as stream:
                    request = msgspec.json.decode(stream.readline(), type=Request)
                reply = self._answer(request)
            except (OSError, msgspec.MsgspecError) as error:
                reply = Reply(error=str(error))
            with contextlib.suppress(OSError):
                connection.sendall(msgspec.json.encode(reply) + b"\n")

    def _answer(self, request: Request) -> Reply:
        if request.verb == "start" and request.spec:
            self._start(request.spec)
        elif request.verb == "shutdown":
            self._ask_all_to_end()
        elif request.verb != "status":
            service = self._services.get(request.name)
            if service is None:
                known = ", ".join(sorted(self._services)) or "none"
                return Reply(error=f"no service {request.name!r} here; there are: {known}")
            self._change(service, request.verb)
        return Reply(services=tuple(_state(s) for s in self._services.values()))

    def _start(self, spec: Spec) -> None:
        service = self._services.setdefault(spec.name, Service(spec))
        changed = service.spec != spec
        service.spec, service.wanted = spec, True
        if service.pid is None:
            service.quick_failures = 0
            self._launch(service)
        elif changed:
            self._change(service, "restart")

    def _change(self, service: Service, verb: str) -> None:
        """stop: SIGTERM and stay down. restart: SIGTERM and start again. kill: SIGKILL, as chaos would."""
        service.wanted = verb != "stop"
        if service.pid is None:
            service.due_at = time.monotonic() if service.wanted else None
            return
        if verb == "restart":
            service.due_at = time.monotonic()
        os.kill(service.pid, signal.SIGKILL if verb == "kill" else signal.SIGTERM)

    def _ask_all_to_end(self) -> None:
        self._stopping = True
        self._end_by = time.monotonic() + GRACE_S
        for service in self._services.values():
            service.wanted, service.due_at = False, None
            if service.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(service.pid, signal.SIGTERM)


def _end_group(leader: int) -> None:
    """What a dead service left behind in its session would keep its sockets and files: it goes too."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _state(service: Service) -> State:
    up_s = time.monotonic() - service.started_at if service.pid else 0.0
    return State(service.spec.name, service.pid, round(up_s, 1), service.restarts, service.wanted, service.ended)
