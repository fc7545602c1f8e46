"""HTTPS with mutual TLS, by cheroot.

The handshake runs in a worker and only once the peer has sent something: cheroot itself would run it in the
thread that accepts, where one silent peer stops everybody.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from cheroot import server as cheroot_server
from cheroot import wsgi

from astara.appliance.api.routing import Request, Response, Router
from astara.appliance.api.tls import CannotServe, CertificateFiles, RenewingTls
from astara.contract.generation import TERM_HEADER
from astara.contract.identity import roles_in

_log = structlog.get_logger(__name__)
_MAX_HEADER_BYTES = 16 * 1024
_MAX_CONNECTIONS = 256
_HANDSHAKE_TIMEOUT_S = 5.0
_IDLE_TIMEOUT_S = 60
_BACKLOG = 128
_TERM = f"HTTP_{TERM_HEADER.upper().replace('-', '_')}"
_DIGITS = 19  # a term fits into 63 bits
#: How often the accepting thread looks up without a reason; the longest that stopping takes.
_TICK_S = 0.2


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`role` is the one a client's certificate must carry."""

    host: str
    port: int
    ca_file: Path
    cert_file: Path
    key_file: Path
    role: str
    threads: int = 24
    max_body_bytes: int = 16 * 1024 * 1024


class _Connection(cheroot_server.HTTPConnection):
    """One peer: shakes hands and checks its role before the first request is read."""

    greeted = False
    waited = False

    def communicate(self) -> bool:
        if not self.greeted and not self._greet():
            return False
        return bool(super().communicate())  # type: ignore[no-untyped-call]  # cheroot's stubs name no types

    def _greet(self) -> bool:
        self.greeted = True
        try:
            self.socket.settimeout(_HANDSHAKE_TIMEOUT_S)
            self.socket.do_handshake()
            self.socket.settimeout(self.server.timeout)
        except (OSError, ValueError) as error:
            _log.warning("tls.refused", peer=self.remote_addr, reason=_reason(error))
            return False
        roles = roles_in(self.socket.getpeercert())
        if self.server.role not in roles:
            _log.warning("tls.wrong_role", peer=self.remote_addr, wanted=self.server.role, roles=sorted(roles))
        self.ssl_env = {
            "astara.roles": roles,
            "astara.context": self.socket.context,
            "astara.until": _ends(self.socket.getpeercert()),
        }
        return True


class _Server(wsgi.Server):
    ConnectionClass = _Connection
    max_request_header_size = _MAX_HEADER_BYTES
    keep_alive_conn_limit = _MAX_CONNECTIONS
    expiration_interval = _TICK_S
    role = ""

    def process_conn(self, conn: Any) -> None:
        """Give a peer a worker only when it has said something."""
        if not conn.waited:
            conn.waited = True
            self._connections.put(conn)  # type: ignore[attr-defined]  # set in prepare()
            return
        super().process_conn(conn)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        _log.warning("http.connection", detail=str(msg), exc_info=traceback)


class HttpsServer:
    """Serves one `Router` until `stop`.

    Raises:
        CannotServe: from `start`, when a certificate cannot be used or the address cannot be bound.
    """

    def __init__(self, options: ServerOptions, router: Router) -> None:
        self._options = options
        self._router = router
        self._tls: RenewingTls | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port really bound (options may say 0)."""
        assert self._server is not None
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Bind and serve in threads of our own; returns once requests are accepted."""
        options = self._options
        server = _Server(
            (options.host, options.port),
            self._wsgi,
            numthreads=options.threads,
            server_name="astara",
            timeout=_IDLE_TIMEOUT_S,
            request_queue_size=_BACKLOG,
        )
        server.role = options.role
        server.max_request_body_size = options.max_body_bytes
        server.ssl_adapter = self._tls = RenewingTls(
            CertificateFiles(options.ca_file, options.cert_file, options.key_file)
        )
        try:
            server.prepare()
        except OSError as error:
            where = f"{options.host}:{options.port}"
            raise CannotServe(f"listen: {where} cannot be bound: {error}; choose another, or end who has it") from None
        self._server = server
        self._thread = threading.Thread(target=server.serve, name="https", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let running requests finish, then close."""
        if self._server is not None:
            self._server.stop()
        if self._thread is not None:
            self._thread.join()

    def _wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # The handshake looked at the certificate once; a connection may outlive it.
        ended = environ.get("astara.until", 0.0) < time.time()
        response = self._router.answer(
            Request(
                method=environ["REQUEST_METHOD"],
                path=environ["PATH_INFO"],
                query=environ["QUERY_STRING"],
                body=environ["wsgi.input"].read(),
                roles=frozenset() if ended else environ.get("astara.roles", frozenset()),
                term=_term(environ.get(_TERM, "")),
            )
        )
        headers = [("Content-Length", str(len(response.body))), *_type(response)]
        if ended or (self._tls is not None and environ.get("astara.context") is not self._tls.context()):
            # A client that never lets a connection rest would be shown the certificate of before until it expires.
            headers.append(("Connection", "close"))
        start_response(_status_line(response), headers)
        return (response.body,)


def _ends(certificate: dict[str, Any]) -> float:
    """Return when a verified certificate ends, in seconds since the epoch."""
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))


def _term(said: str) -> int:
    return int(said) if said.isascii() and said.isdigit() and len(said) < _DIGITS else 0


def _status_line(response: Response) -> str:
    return f"{int(response.status)} {HTTPStatus(response.status).phrase}"


def _type(response: Response) -> list[tuple[str, str]]:
    return [("Content-Type", response.content_type)] if response.body else []


def _reason(error: Exception) -> str:
    """OpenSSL's words without its source line: "certificate has expired"."""
    return getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error) or type(error).__name__
