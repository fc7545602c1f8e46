"""The admin REST API on a unix socket: whoever may open the file is the operator (mode 0600), nobody else."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import structlog
from cheroot import wsgi

from astara.admin import peer
from astara.admin.routes import Reply, answer
from astara.admin.witness import Act, Witness, witnessed
from astara.model.errors import BadConfiguration
from astara.model.operator import Operator

_log = structlog.get_logger(__name__)
_MODE = 0o600
_MAX_BODY_BYTES = 64 * 1024
#: The kernel's sun_path, with its closing zero.
_MAX_PATH_BYTES = 107
_THREADS = 4
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class _PrivateServer(wsgi.Server):
    """cheroot, except that the socket is never open to others, not even for the moment between bind and chmod."""

    def bind_unix_socket(self, bind_addr: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.fchmod(sock.fileno(), _MODE)
        try:
            sock.bind(bind_addr)
        except OSError:
            sock.close()
            raise
        self.socket = sock
        return sock


class AdminServer:
    """Serves one `Operator` until `stop`; `witness` is told who changed what, and whether it was let be.

    Raises:
        BadConfiguration: at `claim` and `start`, when somebody already listens there or the path cannot be bound.
    """

    def __init__(self, operator: Operator, socket_path: Path, witness: Witness = lambda key, line: None) -> None:
        self._operator = operator
        self._witness = witness
        self._path = socket_path
        self._server: _PrivateServer | None = None
        self._thread: threading.Thread | None = None

    def claim(self) -> None:
        """Make sure that the path can be ours, without listening yet: a second orchestrator shall not begin to work."""
        self._make_room()

    def start(self) -> None:
        """Bind and serve in a thread of our own; returns once requests are accepted."""
        self._make_room()
        server = _PrivateServer(str(self._path), self._wsgi, numthreads=_THREADS, server_name="astara", timeout=30)
        server.peercreds_enabled = True
        server.max_request_body_size = _MAX_BODY_BYTES
        try:
            server.prepare()
        except OSError as error:
            raise BadConfiguration(
                f"[admin] socket={self._path}: cannot be bound ({error.strerror or error})",
                "name a file in a directory this process may write to",
            ) from None
        self._server = server
        self._thread = threading.Thread(target=server.serve, name="admin", daemon=True)
        self._thread.start()
        _log.info("admin.listening", socket=str(self._path))

    def stop(self) -> None:
        """Stop serving and take the socket file away."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join()
        self._path.unlink(missing_ok=True)
        self._server = self._thread = None

    def _make_room(self) -> None:
        if len(os.fsencode(self._path)) > _MAX_PATH_BYTES:
            raise BadConfiguration(
                f"[admin] socket={self._path}: longer than the {_MAX_PATH_BYTES} bytes a unix socket may have",
                "choose a shorter path, for example /run/astara/admin.sock",
            )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if _somebody_listens(self._path):
                raise BadConfiguration(
                    f"[admin] socket={self._path}: another orchestrator listens there",
                    "stop it, or give this one a socket of its own",
                )
            if self._path.is_socket():
                self._path.unlink()
        except OSError as error:
            raise BadConfiguration(
                f"[admin] socket={self._path}: {error.strerror or error}",
                "name a file in a directory this process may write to",
            ) from None

    def _wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        reply = self._answer(environ, body)
        headers = [("Content-Length", str(len(reply.body)))]
        if reply.body:
            headers.append(("Content-Type", reply.content_type))
        start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", headers)
        return [reply.body]

    def _answer(self, environ: Mapping[str, Any], body: bytes) -> Reply:
        method, path = environ["REQUEST_METHOD"], unquote(environ["PATH_INFO"])
        at, began = time.time(), time.monotonic()
        reply = answer(self._operator, method, path, body, dict(parse_qsl(environ.get("QUERY_STRING", ""))))
        if method not in _READING:
            who = peer.who(int(environ["X_REMOTE_PID"]), int(environ["X_REMOTE_UID"]))
            self._witness(*witnessed(Act(who, method, path, body, at, time.monotonic() - began), reply))
        return reply


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True
