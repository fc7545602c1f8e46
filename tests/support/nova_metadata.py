"""A stand-in for Nova's metadata API that checks the signature as nova/api/metadata/handler.py does."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class NovaMetadata:
    """Listens on 127.0.0.1 in the thread's namespace. `seen` are the requests' headers, lower case.

    Paths: /big answers 3 MB, /boom 500 with a secret in it, /slow never; everything else a JSON of the identity.
    """

    def __init__(self, shared_secret: bytes) -> None:
        self.seen: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.release = threading.Event()
        nova = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one segment

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                nova.seen.append(headers)
                nova.bodies.append(body)
                if self.path == "/slow":
                    nova.release.wait(20)
                self._answer(*nova._judge(self.path, headers, shared_secret))

            do_POST = do_HEAD = do_PUT = do_GET  # noqa: N815 - http.server's names

            def _answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
                self.wfile.flush()

            def log_message(self, *words: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _judge(self, path: str, headers: dict[str, str], shared_secret: bytes) -> tuple[int, bytes]:
        instance = headers.get("x-instance-id")
        if instance is None or "x-tenant-id" not in headers:
            return 400, b"missing header"
        expected = hmac.new(shared_secret, instance.encode("utf-8"), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, headers.get("x-instance-id-signature", "")):
            return 403, b"Invalid proxy request signature."
        if path == "/boom":
            return 500, b"database password is hunter2"
        if path == "/big":
            return 200, b"x" * 3_000_000
        answer = {name: headers.get(name) for name in ("x-instance-id", "x-tenant-id", "x-forwarded-for")}
        return 200, json.dumps(answer | {"path": path}).encode()
