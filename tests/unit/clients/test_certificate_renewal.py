"""Certificates renewed on disk are used by both sides without a restart: real files, real handshakes."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from astara.appliance.api.routing import Response
from astara.appliance.api.server import HttpsServer, ServerOptions
from astara.clients.appliance import NodeClient, NodeEndpoint, NodeTimeouts
from astara.clients.authority import issue, open_authority
from astara.contract.agent import NodeView
from astara.contract.codec import encode
from astara.contract.identity import ORCHESTRATOR, node_role
from astara.model.errors import Retry
from astara.peers.identity import Identity

NODE = "node-a"
NOW = datetime.datetime.now(datetime.UTC)
LONG_AGO = NOW - datetime.timedelta(days=400)


class Answer:
    """Stands for the routes of an agent."""

    def answer(self, _request: Any) -> Response:
        view = NodeView(
            name=NODE,
            agent_version="1",
            contracts=(1,),
            attach_kinds=(),
            drivers=(),
            started_at=0.0,
            instances=0,
            boot_id="1",
        )
        return Response(HTTPStatus.OK, encode(view))


class Peers:
    """A CA, an agent's and an orchestrator's files, and new ones for either."""

    def __init__(self, directory: Path, *, agents: datetime.datetime, orchestrators: datetime.datetime) -> None:
        self._authority = open_authority(directory, NOW)
        self.agent = issue(self._authority, NODE, node_role(NODE), [], agents, days=30)
        self.orchestrator = issue(self._authority, "orchestrator", ORCHESTRATOR, [], orchestrators, days=30)

    def successor(self, role: str, days: int = 60) -> Identity:
        return issue(self._authority, "successor", role, [], NOW, days=days)

    @contextmanager
    def speaking(self) -> Iterator[NodeClient]:
        agent = self.agent
        options = ServerOptions("127.0.0.1", 0, agent.ca_file, agent.cert_file, agent.key_file, ORCHESTRATOR)
        server = HttpsServer(options, Answer())  # type: ignore[arg-type]
        server.start()
        endpoint = NodeEndpoint(NODE, f"https://127.0.0.1:{server.port}")
        client = NodeClient(endpoint, self.orchestrator, NodeTimeouts(quiet_s=0.0))
        try:
            yield client
        finally:
            client.close()
            server.stop()


def replace(old: Identity, new: Identity) -> None:
    old.cert_file.write_bytes(new.cert_file.read_bytes())
    old.key_file.write_bytes(new.key_file.read_bytes())


def test_an_orchestrator_whose_certificate_expired_is_believed_again_once_it_is_renewed_on_disk(tmp_path: Path) -> None:
    peers = Peers(tmp_path, agents=NOW, orchestrators=LONG_AGO)
    with peers.speaking() as client:
        with pytest.raises(Retry):
            client.node()
        replace(peers.orchestrator, peers.successor(ORCHESTRATOR))
        assert client.node().name == NODE


def test_an_agent_whose_certificate_expired_is_believed_again_once_it_is_renewed_on_disk(tmp_path: Path) -> None:
    peers = Peers(tmp_path, agents=LONG_AGO, orchestrators=NOW)
    with peers.speaking() as client:
        with pytest.raises(Retry, match="expired"):
            client.node()
        replace(peers.agent, peers.successor(node_role(NODE)))
        assert client.node().name == NODE


def test_a_connection_that_never_rests_shows_the_renewed_certificate_too(tmp_path: Path) -> None:
    peers = Peers(tmp_path, agents=NOW, orchestrators=NOW)
    with peers.speaking() as client:
        before = client.sight().certificate_expires_at
        assert client.sight().certificate_expires_at == before
        replace(peers.agent, peers.successor(node_role(NODE)))
        client.node()  # answered over the connection there is, which the agent then takes leave of
        after = client.sight().certificate_expires_at
    assert before is not None
    assert after is not None
    assert after > before + 20 * 86400


@pytest.mark.parametrize("side", ["agent", "orchestrator"])
def test_a_renewal_that_is_half_written_or_broken_leaves_in_use_what_was_read_before(tmp_path: Path, side: str) -> None:
    peers = Peers(tmp_path, agents=NOW, orchestrators=NOW)
    own: Identity = getattr(peers, side)
    with peers.speaking() as client:
        own.cert_file.write_bytes(peers.successor(ORCHESTRATOR).cert_file.read_bytes())
        assert client.node().name == NODE
        own.cert_file.unlink()
        assert client.node().name == NODE
