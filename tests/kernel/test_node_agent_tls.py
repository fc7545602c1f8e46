"""Who may speak to a node agent, and that nothing of a tenant can."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from astara.appliance.system import netns
from astara.clients.appliance import NodeClient, NodeEndpoint
from astara.clients.authority import issue, open_authority
from astara.contract.generation import Generation
from astara.contract.identity import ORCHESTRATOR, node_role
from astara.host import links, namespaces
from astara.host.attach.bridge import bridge_name, guarded
from astara.host.main import Agent
from astara.model.errors import AstaraError, Retry
from astara.peers.identity import Identity, context_for
from support.node_agent import NODE, Deployment, isolated, port, running, spec
from support.segment import eventually, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
TODAY = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment.at(tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="module")
def agent(deployment: Deployment) -> Iterator[Agent]:
    with running(deployment) as (agent, _):
        yield agent


def refused(client: NodeClient) -> str:
    """Ask, and return why it was refused."""
    with pytest.raises(AstaraError) as raised:
        client.node()
    client.close()
    return f"{raised.value} {raised.value.remedy}"


def test_an_answer_shows_the_nodes_clock_and_when_its_certificate_expires(agent: Agent, deployment: Deployment) -> None:
    client = deployment.client(agent.server.port)
    sight = client.sight()
    client.close()
    certificate = x509.load_pem_x509_certificate(deployment.options.cert_file.read_bytes())
    assert sight.certificate_expires_at == certificate.not_valid_after_utc.timestamp()
    assert sight.clock_ahead_s is not None
    assert abs(sight.clock_ahead_s) < 20.0


def test_a_certificate_of_another_ca_is_refused_and_logged(
    agent: Agent, deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = issue(open_authority(tmp_path, TODAY), "orchestrator", ORCHESTRATOR, [], TODAY)
    mixed = Identity(deployment.orchestrator.ca_file, stranger.cert_file, stranger.key_file)
    assert "cannot be reached" in refused(deployment.client(agent.server.port, mixed))
    assert eventually(lambda: "tls.refused" in (said := capsys.readouterr().out) and "127.0.0.1" in said)


def test_a_node_may_not_speak_to_a_node(
    agent: Agent, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    other = issue(deployment.authority, "node-b", node_role("node-b"), [], TODAY)
    assert "role" in refused(deployment.client(agent.server.port, other))
    assert "tls.wrong_role" in capsys.readouterr().out


def test_without_a_certificate_nothing_is_said(agent: Agent, deployment: Deployment) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(deployment.orchestrator.ca_file)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"https://127.0.0.1:{agent.server.port}/v1/node", verify=context)


def test_an_expired_certificate_is_refused_and_the_log_says_expired(
    agent: Agent, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    long_ago = TODAY - datetime.timedelta(days=400)
    expired = issue(deployment.authority, "expired", ORCHESTRATOR, [], long_ago, days=30)
    assert "certificate" in refused(deployment.client(agent.server.port, expired))
    assert eventually(lambda: "expired" in capsys.readouterr().out.lower())


def test_the_orchestrator_refuses_an_agent_that_is_another_node(agent: Agent, deployment: Deployment) -> None:
    endpoint = NodeEndpoint("node-z", f"https://127.0.0.1:{agent.server.port}")
    assert "node/node-z" in refused(NodeClient(endpoint, deployment.orchestrator))


def test_plain_http_gets_no_answer_from_the_node(agent: Agent) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{agent.server.port}/v1/node")


def test_a_peer_that_says_nothing_holds_up_nobody(agent: Agent, deployment: Deployment) -> None:
    silent = [socket.create_connection(("127.0.0.1", agent.server.port)) for _ in range(40)]
    client = deployment.client(agent.server.port)
    try:
        assert client.node().name == NODE
    finally:
        client.close()
        for each in silent:
            each.close()


def test_oversized_headers_and_bodies_are_refused(agent: Agent, deployment: Deployment) -> None:
    context = context_for(deployment.orchestrator, node_role(NODE))
    with httpx.Client(base_url=f"https://127.0.0.1:{agent.server.port}", verify=context) as http:
        assert http.get("/v1/node", headers={"x-long": "x" * 100_000}).status_code in (413, 414, 431)
        assert http.put(f"/v1/instances/{uuid.uuid4()}", content=b"x" * (17 * 1024 * 1024)).status_code == 413


def test_a_dead_node_is_left_alone_for_a_moment(deployment: Deployment) -> None:
    """Retrying against peers known to be dead held every worker for the length of a timeout."""
    client = NodeClient(NodeEndpoint(NODE, "https://127.0.0.1:9"), deployment.orchestrator)
    with pytest.raises(Retry):
        client.node()
    with pytest.raises(Retry) as again:
        client.node()
    assert again.value.after_s is not None
    client.close()


# Nothing of a tenant can reach the node


@pytest.fixture
def tenant(agent: Agent, deployment: Deployment) -> Iterator[tuple[Path, str]]:
    """A namespace plugged into a network with an address, and the MAC of the node's bridge there."""
    instance = spec(port())
    client = deployment.client(agent.server.port)
    client.put_instance(instance)
    inner = links.inner_name(instance.ports[0].port_id)
    name = f"astara-{instance.id}"
    ip("-n", name, "addr", "add", "192.0.2.99/24", "dev", inner)
    ip("-n", name, "link", "set", inner, "up")
    ip("-n", name, "route", "add", "default", "dev", inner)
    bridge = bridge_name(instance.ports[0].network_id)
    yield namespaces.path_of(instance.id), ip("-o", "link", "show", bridge).split("link/ether ")[1].split()[0]
    client.delete_instance(instance.id, Generation(9, 0))
    client.close()


@pytest.fixture
def node_address() -> Iterator[str]:
    """An address of the node itself, with routing on, as a careless operator may have it."""
    ip("link", "add", "avtest0", "type", "bridge")
    ip("link", "set", "avtest0", "name", "mgmt0")
    ip("addr", "add", "192.0.2.1/24", "dev", "mgmt0")
    ip("link", "set", "mgmt0", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    yield "192.0.2.1"
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    ip("link", "del", "mgmt0")


def test_the_node_does_not_answer_arp_on_a_tenants_network(tenant: tuple[Path, str], node_address: str) -> None:
    assert not _connects(tenant[0], node_address, 1)
    assert "lladdr" not in ip("-n", tenant[0].name, "neigh")


def test_packets_sent_straight_to_the_nodes_bridge_reach_nothing(
    tenant: tuple[Path, str], node_address: str, agent: Agent
) -> None:
    inside, mac = tenant
    name = inside.name
    inner = next(line.split(":")[1].split("@")[0].strip() for line in ip("-n", name, "-o", "link").splitlines()[1:])
    ip("-n", name, "neigh", "replace", node_address, "lladdr", mac, "dev", inner, "nud", "permanent")
    with socket.create_server((node_address, 0)) as listening:
        assert not _connects(inside, node_address, listening.getsockname()[1])
        assert _syns_seen_by_guard() > 0  # they arrived at the node, and ended there


def test_the_node_has_no_address_on_a_tenants_network(tenant: tuple[Path, str]) -> None:
    lines = [line for line in ip("-o", "addr").splitlines() if " abr" in line or " av" in line]
    assert lines == []


def test_a_guard_that_was_opened_is_closed_again(agent: Agent) -> None:
    _nft("flush", "table", "inet", "astara")
    assert not guarded()
    for attachment in agent._around.attachments.values():
        attachment.tend()
    assert guarded()


def _connects(inside: Path, address: str, at: int) -> bool:
    with netns.entered(inside):
        calling = socket.socket()
    with calling:
        calling.settimeout(1.0)
        try:
            calling.connect((address, at))
        except OSError:
            return False
        return True


def _syns_seen_by_guard() -> int:
    return int(_nft("list", "counter", "inet", "astara", "refused").split("packets ")[1].split()[0])


def _nft(*words: str) -> str:
    return subprocess.run(["nft", *words], check=True, capture_output=True, text=True).stdout
