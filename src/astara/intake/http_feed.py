"""Events over HTTP: Neutron's notification driver of ours POSTs them here, signed. No broker needed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from cheroot import wsgi

from astara.contract.codec import ContractError, decode
from astara.intake.events import NotANotification
from astara.intake.signature import refusal
from astara.intake.tally import Counts, IntakeMetrics, NoIntakeMetrics, Tally
from astara.model.boundaries import Clock, EventSink
from astara.model.errors import BadConfiguration

_log = structlog.get_logger(__name__)
PATH = "/v1/notifications"
#: Neutron's largest notifications (a bulk create of ports) are well below this.
MAX_BODY_BYTES = 4 * 1024 * 1024
_THREADS = 4


@dataclass(frozen=True, slots=True)
class HttpFeedOptions:
    """`secret` is shared with Neutron; never shown."""

    secret: bytes = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 19810


class _Server(wsgi.Server):
    """cheroot, except that a socket which cannot be bound is closed at once."""

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: Any) -> socket.socket:
        try:
            socket_.bind(bind_addr)
        except OSError:
            socket_.close()
            raise
        return socket_


class HttpFeed:
    """Listens for signed notifications.

    Raises:
        BadConfiguration: at `start`, when the address cannot be bound.
    """

    name = "http"

    def __init__(self, options: HttpFeedOptions, clock: Clock, metrics: IntakeMetrics | None = None) -> None:
        self._options = options
        self._clock = clock
        self._tally = Tally(self.name, clock, metrics or NoIntakeMetrics())
        self._sink: EventSink | None = None
        self._server: wsgi.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, sink: EventSink) -> None:
        """Bind and listen; events flow into `sink` from threads of this feed."""
        self._sink = sink
        address = (self._options.host, self._options.port)
        server = _Server(address, self._wsgi, numthreads=_THREADS, server_name="astara", timeout=30)
        server.max_request_body_size = MAX_BODY_BYTES
        try:
            server.prepare()
        except OSError as error:
            raise BadConfiguration(
                f"[intake] http_listen={self._options.host}:{self._options.port} cannot be bound: {error}",
                "choose an address of this machine and a free port",
            ) from None
        self._server = server
        self._thread = threading.Thread(target=server.serve, name="intake-http", daemon=True)
        self._thread.start()
        _log.info("intake.listening", feed=self.name, host=self._options.host, port=self.port)

    @property
    def port(self) -> int:
        """The port really bound (option port 0 picks a free one)."""
        return int(self._server.bind_addr[1]) if self._server else self._options.port

    def stop(self) -> None:
        """Stop listening; requests under way are answered."""
        if self._server and self._thread:
            self._server.stop()
            self._thread.join()
        self._server = self._thread = None

    def connected(self) -> bool:
        """Say whether we listen. Whether Neutron speaks is seen from `counts`."""
        return self._thread is not None and self._thread.is_alive()

    def counts(self) -> Counts:
        """Return what was heard so far."""
        return self._tally.counts()

    def _wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, message = self._answer(environ)
        body = message.encode()
        headers = [("Content-Length", str(len(body))), ("Content-Type", "text/plain; charset=utf-8")]
        start_response(f"{status.value} {status.phrase}", headers if body else [])
        return [body]

    def _answer(self, environ: dict[str, Any]) -> tuple[HTTPStatus, str]:
        if environ["PATH_INFO"] != PATH:
            return HTTPStatus.NOT_FOUND, f"POST {PATH}"
        if environ["REQUEST_METHOD"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, f"POST {PATH}"
        body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        timestamp, signature = environ.get("HTTP_X_ASTARA_TIMESTAMP", ""), environ.get("HTTP_X_ASTARA_SIGNATURE", "")
        why_not = refusal(self._options.secret, timestamp, signature, body, self._clock.wall())
        if why_not is not None:
            _log.warning("intake.refused", feed=self.name, reason=why_not, peer=environ.get("REMOTE_ADDR"))
            return HTTPStatus.UNAUTHORIZED, why_not
        return self._accept(body)

    def _accept(self, body: bytes) -> tuple[HTTPStatus, str]:
        assert self._sink is not None
        try:
            # Decoded as "anything": a notification belongs to Neutron, its fields are picked by name.
            self._tally.deliver(decode(body, object), self._sink)
        except ContractError as error:
            return HTTPStatus.BAD_REQUEST, f"{error.field}: not JSON"
        except NotANotification as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        return HTTPStatus.NO_CONTENT, ""
