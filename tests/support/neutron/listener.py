"""A stand-in for the orchestrator's intake: takes signed notifications and keeps them."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.neutron import SECRET, expected_signature


class Listener:
    """Answers 204 to what is signed rightly, 401 to all else; `answer` overrides both. Bound at `start`."""

    def __init__(self, port: int = 0) -> None:
        self.messages: list[dict[str, Any]] = []
        self.refused = 0
        self.connections = 0
        self.answer: int | None = None
        self._arrived = threading.Condition()
        self._port = port
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1/notifications"

    def start(self, tls: ssl.SSLContext | None = None) -> Listener:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                listener.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(listener.take(self.headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, headers: Any, body: bytes) -> int:
        stamp = headers["X-Astara-Timestamp"]
        signed = headers["X-Astara-Signature"] == expected_signature(SECRET, stamp, body)
        fresh = abs(time.time() - int(stamp)) <= 300
        with self._arrived:
            if self.answer is not None or not (signed and fresh):
                self.refused += 1
                self._arrived.notify_all()
                return self.answer or 401
            self.messages.append(json.loads(body))
            self._arrived.notify_all()
        return 204

    def wait(self, condition: Callable[[], Any], deadline_s: float = 10.0) -> None:
        """Wait until `condition()` holds, looking again at each arrival."""
        with self._arrived:
            assert self._arrived.wait_for(condition, deadline_s), self.names()

    def never(self, condition: Callable[[], Any], for_s: float) -> None:
        """Assert that `condition()` does not come to hold within so many seconds."""
        with self._arrived:
            assert not self._arrived.wait_for(condition, for_s), self.messages

    def names(self) -> list[str]:
        return [message["event_type"] for message in self.messages]

    def hints(self) -> set[tuple[str, str]]:
        """Return every key hinted at so far."""
        payloads = [message["payload"] for message in self.messages if message["event_type"] == "astara.hint"]
        routers = {("router", identifier) for payload in payloads for identifier in payload["routers"]}
        return routers | {("network", identifier) for payload in payloads for identifier in payload["networks"]}

    def forget(self) -> None:
        with self._arrived:
            self.messages.clear()
            self.refused = 0
