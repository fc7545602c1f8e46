"""What instances are born with: a certificate for exactly their role, short lived, and a key that is never told."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from astara.clients.appliance import NodeClient, NodeEndpoint
from astara.clients.authority import builder, issue, key_pem, open_authority, subject, usage
from astara.clients.issuing import Papers, make_issuer, open_issuer
from astara.clients.nodes import NodeFleet, NodeInstances, observed
from astara.contract.agent import Body, Credential, Health, InstanceList, InstanceSpec, InstanceView, StateView
from astara.contract.codec import encode
from astara.contract.generation import Generation
from astara.contract.identity import ORCHESTRATOR, instance_role, roles_in
from astara.model.errors import BadConfiguration, Retry, Terminal
from astara.model.resource import ResourceKey
from astara.providers.container.provider import ContainerProvider
from astara.providers.namespace.provider import NamespaceProvider
from support.builders.resources import wanted

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY_S = 86400.0
ONE = "11111111-1111-5111-8111-111111111111"
KEY = ResourceKey("router", "r1")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make_issuer(open_authority(tmp_path, NOW), NOW)
    return tmp_path


class Clock:
    def __init__(self) -> None:
        self.at = NOW.timestamp()

    def __call__(self) -> float:
        return self.at


def papers(home: Path, clock: Clock | None = None) -> Papers:
    return Papers(open_issuer(home / "instances"), 7, clock or Clock())


def peer_of(home: Path, credential: Credential, server_side: bool = True) -> dict[str, Any]:
    """Return what the deployment's other side reads in it after a real handshake over a real socket."""
    for name, text in (("c.crt", credential.certificate), ("c.key", credential.key), ("c.ca", credential.ca)):
        (home / name).write_text(text)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if server_side else ssl.PROTOCOL_TLS_SERVER)
    shown.check_hostname = judge.check_hostname = False
    shown.verify_mode, judge.verify_mode = ssl.CERT_NONE, ssl.CERT_REQUIRED
    shown.load_cert_chain(home / "c.crt", home / "c.key")
    judge.load_verify_locations(home / "ca.crt")
    if not server_side:
        own = issue(open_authority(home, NOW), "judge", ORCHESTRATOR, [], NOW)
        judge.load_cert_chain(own.cert_file, own.key_file)
    here, there = socket.socketpair()
    other = threading.Thread(target=_shake, args=(shown, there, server_side))
    other.start()
    try:
        with judge.wrap_socket(here, server_side=not server_side) as wrapped:
            return dict(wrapped.getpeercert() or {})
    finally:
        here.close()
        other.join(10)


def _shake(context: ssl.SSLContext, end: socket.socket, server_side: bool) -> None:
    try:
        with context.wrap_socket(end, server_side=server_side) as wrapped:
            wrapped.recv(1)
    except OSError:
        end.close()


def test_an_instance_shows_its_own_role_and_the_deployments_ca_vouches_for_it(home: Path) -> None:
    issued = papers(home).issue(ONE)
    assert roles_in(peer_of(home, issued.credential)) == {instance_role(ONE)}
    assert issued.until == NOW.timestamp() + 7 * DAY_S
    assert (home / "c.ca").read_text() == (home / "ca.crt").read_text()


def test_an_instance_cannot_use_it_as_a_client(home: Path) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unsuitable certificate purpose|unsupported"):
        peer_of(home, papers(home).issue(ONE).credential, server_side=False)


@pytest.mark.parametrize("role", [ORCHESTRATOR, "astara:role/node/n1"])
def test_whoever_steals_the_issuing_key_can_be_an_instance_and_nothing_else(home: Path, role: str) -> None:
    issuer = open_issuer(home / "instances")
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(role)])
    forged = (
        builder(subject("x"), issuer.certificate.subject, key, NOW, 1)
        .add_extension(names, critical=False)
        .add_extension(usage(signs=False), critical=True)
        .sign(issuer.key, hashes.SHA256())
    )
    text = forged.public_bytes(serialization.Encoding.PEM).decode() + issuer.chain
    assert roles_in(peer_of(home, Credential(ca=issuer.ca, certificate=text, key=key_pem(key).decode()))) == set()


def test_below_the_issuing_ca_there_is_no_other(home: Path) -> None:
    issuer = open_issuer(home / "instances")
    lengths = [
        found.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        for found in (x509.load_pem_x509_certificate((home / "ca.crt").read_bytes()), issuer.certificate)
    ]
    assert lengths == [1, 0]
    assert {path.stat().st_mode & 0o077 for path in (home / "instances").iterdir()} == {0}


def test_init_again_keeps_the_issuing_ca(home: Path) -> None:
    before = (home / "instances" / "issuing.crt").read_bytes()
    make_issuer(open_authority(home, NOW), NOW)
    assert (home / "instances" / "issuing.crt").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "torn", "of another"])
def test_what_does_not_fit_is_said_at_start_with_the_remedy_and_without_the_key(home: Path, damage: str) -> None:
    path = home / "instances" / "issuing.key"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"SECRET" if damage == "torn" else key_pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(BadConfiguration, match=r"\[identity\] ca_dir") as refused:
        open_issuer(home / "instances")
    assert "astara ca init" in refused.value.remedy
    assert "SECRET" not in f"{refused.value!r}"


def test_it_is_due_when_a_third_is_left(home: Path) -> None:
    clock = Clock()
    issuing = papers(home, clock)
    until = issuing.issue(ONE).until
    clock.at += 4.6 * DAY_S
    assert not issuing.due(until)
    clock.at += 0.1 * DAY_S
    assert issuing.due(until)


class Wire:
    """Remembers what a node was sent; answers like one, or not at all."""

    def __init__(self) -> None:
        self.specs: list[InstanceSpec] = []
        self.there: tuple[InstanceView, ...] = ()
        self.away = False

    def instances(self) -> InstanceList:
        return InstanceList(instances=self.there)

    def put(self, _client: NodeClient, spec: InstanceSpec) -> InstanceView:
        self.specs.append(spec)
        if self.away:
            raise Retry("node n1 cannot be reached")
        return InstanceView(
            id=spec.id,
            key=spec.key,
            slot=spec.slot,
            ports=spec.ports,
            state=StateView(health=Health.UNCONFIGURED),
            created_at=1.0,
            labels=spec.labels,
            body=Body(kind=spec.body.kind, image="frr"),
        )


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr(NodeClient, "put_instance", lambda client, spec: made.put(client, spec))
    monkeypatch.setattr(NodeClient, "instances", lambda client, driver, identifier: made.instances())
    return made


@pytest.fixture
def fleet(home: Path) -> Iterator[NodeFleet]:
    identity = issue(open_authority(home, NOW), "o", ORCHESTRATOR, [], NOW)
    made = NodeFleet({"h1": NodeEndpoint("h1", "https://h1:1")}, identity, papers=papers(home))
    yield made
    made.close()


def created(provider: NodeInstances) -> Any:
    return provider.create(KEY, replace(wanted(), provider=provider.name), Generation(1, 1))


def test_a_container_is_born_with_its_credential_and_a_namespace_without(fleet: NodeFleet, wire: Wire) -> None:
    found = created(ContainerProvider(fleet))
    created(NamespaceProvider(fleet))
    born, plain = wire.specs
    assert born.credential is not None
    assert (
        x509.load_pem_x509_certificate(born.credential.certificate.encode()).subject.rfc4514_string() == f"CN={born.id}"
    )
    assert (plain.credential, plain.labels) == (None, {})
    assert not found.credential_due


def test_what_a_node_tells_shows_when_it_is_due(home: Path, fleet: NodeFleet, wire: Wire) -> None:
    created(ContainerProvider(fleet))
    view = Wire().put(None, wire.specs[0])  # type: ignore[arg-type]
    clock = Clock()
    assert not observed("h1", view, papers(home, clock)).credential_due
    clock.at += 5 * DAY_S
    assert observed("h1", view, papers(home, clock)).credential_due


def test_without_an_issuer_a_container_says_what_to_do_and_a_namespace_is_made(fleet: NodeFleet, wire: Wire) -> None:
    fleet.papers = None
    with pytest.raises(Terminal, match="nobody issues certificates to a container") as refused:
        created(ContainerProvider(fleet))
    assert "astara ca init" in refused.value.remedy
    assert ContainerProvider(fleet).obstacle is not None
    assert NamespaceProvider(fleet).obstacle is None
    created(NamespaceProvider(fleet))


def test_the_key_is_nowhere_but_on_the_wire(fleet: NodeFleet, wire: Wire) -> None:
    """Not in a representation, an error or its traceback, a log, or an answer."""
    provider = ContainerProvider(fleet)
    with capture_logs() as logs:
        found = created(provider)
        wire.away = True
        with pytest.raises(Retry) as failed:
            created(provider)
    sent = [spec.credential for spec in wire.specs]
    view = encode(Wire().put(None, wire.specs[0])).decode()  # type: ignore[arg-type]
    told = "\n".join(
        [repr(found), repr(wire.specs), repr(failed.value), str(failed.getrepr(showlocals=True)), str(logs), view]
    )
    for credential in sent:
        assert credential is not None
        middle = credential.key.splitlines()[1]
        assert middle in encode(wire.specs).decode()
        assert middle not in told


def test_an_adopted_spare_goes_by_the_id_it_was_born_with_now_and_when_it_is_renewed(
    fleet: NodeFleet, wire: Wire
) -> None:
    """Its node demands the role of the spare: another one would cut it off from its own guest."""
    provider, wish = ContainerProvider(fleet), replace(wanted(), provider="container")
    spare = replace(created(provider), id=ONE)
    adopted = provider.adopt(spare, KEY, wish, Generation(1, 1))
    wire.there = (msgspec.structs.replace(Wire().put(None, wire.specs[-1]), born_as=ONE),)  # type: ignore[arg-type]
    created(provider)
    texts = [spec.credential.certificate for spec in wire.specs if spec.credential]
    shown = [x509.load_pem_x509_certificate(text.encode()) for text in texts]
    assert [one.subject.rfc4514_string() for one in shown] == [f"CN={adopted.id}", f"CN={ONE}", f"CN={ONE}"]
