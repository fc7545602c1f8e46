"""A node without power closes no connection: what was asked on one that is open ends all the same."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from astara.appliance.system import netns
from astara.clients.appliance import NodeClient, NodeEndpoint, NodeTimeouts
from astara.clients.authority import issue, open_authority
from astara.contract.identity import ORCHESTRATOR
from astara.model.errors import Retry
from support.node_agent import isolated
from support.segment import ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,  # after others in one process the read ended by Python's timeout; alone never
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
EMPTY = b'{"instances":[],"cursor":0}'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(EMPTY)))
        self.end_headers()
        self.wfile.write(EMPTY)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextlib.contextmanager
def other_host() -> Iterator[str]:
    """A namespace at the other end of a link, 192.0.2.2; gone afterwards, and the link with it."""
    name, link = f"d-{uuid.uuid4().hex[:8]}", f"d{uuid.uuid4().hex[:8]}"
    ip("netns", "add", name)
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("address", "add", "192.0.2.1/24", "dev", link)
        ip("-n", name, "address", "add", "192.0.2.2/24", "dev", "eth0")
        ip("link", "set", link, "up")
        ip("-n", name, "link", "set", "eth0", "up")
        yield name
    finally:
        # A namespace lives as long as a socket in it does, and so would the link.
        ip("link", "del", link)
        ip("netns", "del", name)


def test_a_host_that_is_gone_is_told_from_an_agent_that_takes_long(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    identity = issue(open_authority(tmp_path, now), "one", ORCHESTRATOR, [], now)
    with other_host() as name:
        with netns.entered(Path("/run/netns") / name):
            server = http.server.ThreadingHTTPServer(("192.0.2.2", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = NodeEndpoint("node-a", f"http://192.0.2.2:{server.server_port}")
        client = NodeClient(endpoint, identity, NodeTimeouts(connect_s=1.0, read_s=60.0))
        assert client.instances("router", "r1").instances == ()

        nft = "add table ip dead; add chain ip dead input { type filter hook input priority 0; policy drop; }"
        subprocess.run(["ip", "netns", "exec", name, "nft", nft], check=True)
        began = time.monotonic()
        with pytest.raises(Retry, match="its host does not answer"):
            client.instances("router", "r1")

        assert time.monotonic() - began < httpx.Timeout(60.0).read / 2
        assert client.trouble == "its host does not answer"
        client.close()
        server.shutdown()
        server.server_close()
