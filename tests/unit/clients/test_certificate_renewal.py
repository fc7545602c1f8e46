"""Certificates renewed on disk are used by both sides without a restart: real files, real handshakes."""

from __future__ import annotations

import datetime
import socket
import ssl
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
from astara.clients.revoking import revoke
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

    def revoke(self, name: str) -> None:
        revoke(self._authority, name, NOW)

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


def test_a_connection_is_worth_nothing_once_the_certificate_it_was_opened_with_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who keeps one open may go on for ever."""
    peers = Peers(tmp_path, agents=NOW, orchestrators=NOW)
    seen: list[frozenset[str]] = []
    monkeypatch.setattr(Answer, "answer", _noting(seen, Answer.answer))
    with peers.speaking() as client:
        client.node()
        with monkeypatch.context() as later:
            later.setattr("astara.appliance.api.server.time.time", lambda: NOW.timestamp() + 31 * 86400)
            client.node()
    assert seen == [frozenset({ORCHESTRATOR}), frozenset()]


def _noting(seen: list[frozenset[str]], answer: Any) -> Any:
    def noted(self: Answer, request: Any) -> Response:
        seen.append(request.roles)
        return answer(self, request)

    return noted


def test_a_revoked_certificate_is_refused_without_a_restart_and_all_others_go_on(tmp_path: Path) -> None:
    peers = Peers(tmp_path, agents=NOW, orchestrators=NOW)
    other = peers.successor(ORCHESTRATOR)
    with peers.speaking() as client:
        stolen = copied(peers.orchestrator, tmp_path / "stolen")
        peers.revoke("orchestrator")
        for identity, believed in ((stolen, False), (other, True)):
            thief = NodeClient(client.endpoint, identity, NodeTimeouts(quiet_s=0.0))
            assert answers(thief) == believed
        peers.revoke(NODE)
        assert not answers(NodeClient(client.endpoint, other, NodeTimeouts(quiet_s=0.0)))


def answers(client: NodeClient) -> bool:
    try:
        return client.node().name == NODE
    except Retry:
        return False
    finally:
        client.close()


def copied(identity: Identity, directory: Path) -> Identity:
    """A thief's copy: the files themselves go when they are revoked."""
    directory.mkdir()
    copies = [directory / path.name for path in (identity.cert_file, identity.key_file)]
    for source, copy in zip((identity.cert_file, identity.key_file), copies, strict=True):
        copy.write_bytes(source.read_bytes())
    return Identity(identity.ca_file, *copies)


def test_nobody_resumes_a_session_instead_of_showing_a_certificate(tmp_path: Path) -> None:
    peers = Peers(tmp_path, agents=NOW, orchestrators=NOW)
    files = peers.orchestrator
    context = ssl.create_default_context(cafile=str(files.ca_file))
    context.check_hostname = False
    context.load_cert_chain(files.cert_file, files.key_file)
    with peers.speaking() as client:
        address = ("127.0.0.1", int(client.endpoint.url.rpartition(":")[2]))
        with _asked(context, address, None) as first:
            session = first.session
        with _asked(context, address, session) as second:
            assert not second.session_reused


def _asked(context: ssl.SSLContext, address: tuple[str, int], session: ssl.SSLSession | None) -> ssl.SSLSocket:
    made = context.wrap_socket(socket.create_connection(address, timeout=10), session=session)
    made.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert made.recv(1)  # whatever could be resumed comes before the answer
    return made


@pytest.mark.parametrize("side", ["agent", "orchestrator"])
def test_a_renewal_that_is_half_written_or_broken_leaves_in_use_what_was_read_before(tmp_path: Path, side: str) -> None:
    peers = Peers(tmp_path, agents=NOW, orchestrators=NOW)
    own: Identity = getattr(peers, side)
    with peers.speaking() as client:
        own.cert_file.write_bytes(peers.successor(ORCHESTRATOR).cert_file.read_bytes())
        assert client.node().name == NODE
        own.cert_file.unlink()
        assert client.node().name == NODE
