"""A Neutron with our plug-in, in memory, served over HTTP: what tenants wish for is put into it directly.

It answers in the plug-in's wire language, each call after the time a real one takes, and remembers when it was first
told that a port or a floating IP is ACTIVE.
"""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from cheroot import wsgi

from astara.contract.codec import Wire, decode, encode
from astara.contract.snapshot import IdQuery, StatusReport
from support.fakes.neutron import FakeNeutron

#: Measured at Neutron 29 (docs/design/neutron-plugin.md): a call, and each router in its answer.
CALL_S = 0.02
ROUTER_S = 0.001


class _Bound(Wire, frozen=True):
    bound: int = 0
    waiting: int = 0


class ServedNeutron:
    """`state` is the database. `active_at`: monotonic seconds at which an id was first reported ACTIVE."""

    def __init__(self) -> None:
        self.state = FakeNeutron()
        self.active_at: dict[str, float] = {}
        self._changed = threading.Condition()
        self._server = wsgi.Server(("127.0.0.1", 0), self._wsgi, numthreads=8, server_name="neutron")
        self._server.prepare()
        self._thread = threading.Thread(target=self._server.serve, name="neutron", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.bind_addr[1]}"

    def close(self) -> None:
        self._server.stop()
        self._thread.join()

    def wait_active(self, ids: Iterable[str], within_s: float) -> None:
        """Return once all have been reported ACTIVE; raises TimeoutError."""
        wanted = set(ids)
        with self._changed:
            if not self._changed.wait_for(lambda: wanted <= self.active_at.keys(), within_s):
                missing = wanted - self.active_at.keys()
                raise TimeoutError(f"{len(missing)} of {len(wanted)} were not ACTIVE within {within_s:.0f} s")

    def _wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
        answer = self._answer(environ["PATH_INFO"].rpartition("/")[2], query, body)
        start_response("200 OK", [("Content-Length", str(len(answer))), ("Content-Type", "application/json")])
        return [answer]

    def _answer(self, what: str, query: dict[str, list[str]], body: bytes) -> bytes:
        time.sleep(CALL_S)
        match what:
            case "routers" | "networks":
                ids = decode(body, IdQuery).ids if body else query.get("id")
                marker, limit = query.get("marker", [None])[0], int(query.get("limit", ["200"])[0])
                page = getattr(self.state, what)(ids, marker, limit)
                time.sleep(ROUTER_S * len(getattr(page, what)))
                return encode(page)
            case "changes":
                return encode(self.state.changes(int(query["since"][0])))
            case "status":
                self._told(decode(body, StatusReport))
                return b"{}"
            case "nodes":
                return encode(_Bound())
        return msgspec.json.encode({"NeutronError": {"message": f"{what} is not served here"}})

    def _told(self, report: StatusReport) -> None:
        self.state.report_status(report)
        now = time.monotonic()
        with self._changed:
            for item in (*report.ports, *report.floating_ips):
                if item.status == "ACTIVE":
                    self.active_at.setdefault(item.id, now)
            self._changed.notify_all()
