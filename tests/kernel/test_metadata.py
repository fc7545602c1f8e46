"""The metadata proxy: guests in namespaces ask, a stand-in for Nova checks who they are said to be."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from astara.appliance.boundaries import SubsystemError
from astara.appliance.subsystems.metadata.config import Identity, MetadataConfig
from astara.appliance.subsystems.metadata.exchange import Limits
from astara.appliance.subsystems.metadata.proxy import MetadataProxy
from astara.appliance.subsystems.metadata.subsystem import MetadataSubsystem
from astara.appliance.system import netns
from support.nova_metadata import NovaMetadata
from support.segment import SERVER_MAC, Machine, Segment, eventually, segment

pytestmark = pytest.mark.kernel

SECRET = b"only the node and Nova know"
A, B = "fa:16:3e:00:00:0a", "fa:16:3e:00:00:0b"
ALICE = Identity(A, (ip_address("10.1.0.5"), ip_address("fd01::5")), "instance-a", "project-a")
BOB = Identity(B, (ip_address("10.1.0.6"),), "instance-b", "project-b")
LIMITS = Limits(request_s=1.0, idle_s=1.0, connect_s=1.0, answer_s=1.0, connections=4)


class Answered:
    def __init__(self, lan: Segment, nova: NovaMetadata) -> None:
        self.lan = lan
        self.nova = nova
        self.proxy = MetadataProxy(nova.url, SECRET, LIMITS)
        self.proxy.start()
        self.subsystem = MetadataSubsystem(self.proxy)
        lan.address("10.1.0.2/24", "169.254.169.254/32", "fd01::2/64", "fe80::a9fe:a9fe/64")

    def push(self, *identities: Identity, lan: Segment | None = None) -> bool:
        place = (lan or self.lan).place
        wish = self.subsystem.render(place, MetadataConfig(SERVER_MAC, identities))
        self.subsystem.check(place, wish)
        touched = self.subsystem.apply(place, wish, None)
        assert self.found(*identities, lan=lan) == []
        return touched

    def found(self, *identities: Identity, lan: Segment | None = None) -> list[str]:
        wish = MetadataConfig(SERVER_MAC, identities)
        return [each.detail for each in self.subsystem.read_back((lan or self.lan).place, wish)]

    def guest(self, mac: str, *addresses: str) -> Guest:
        return Guest(plugged(self.lan, mac, *addresses))


def plugged(lan: Segment, mac: str, *addresses: str) -> Machine:
    machine = lan.machine(mac)
    for each in addresses:
        machine.run("ip", "addr", "add", each, "dev", "eth0", *(["nodad"] if ":" in each else []))
    machine.run("ip", "route", "add", "169.254.169.254/32", "dev", "eth0")
    eventually(lambda: "scope link" in (seen := machine.run("ip", "-6", "addr")) and "tentative" not in seen)
    return machine


class Guest:
    """A tenant machine that speaks HTTP over plain sockets, so that it can say anything."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def connect(self, *, v6: bool = False) -> socket.socket:
        with netns.entered(Path("/run/netns") / self.machine.netns):
            family = socket.AF_INET6 if v6 else socket.AF_INET
            made = socket.socket(family, socket.SOCK_STREAM)
            index = socket.if_nametoindex("eth0")
        made.settimeout(8)
        try:
            made.connect(("fe80::a9fe:a9fe", 80, 0, index) if v6 else ("169.254.169.254", 80))
        except OSError:
            made.close()
            raise
        return made

    def say(self, text: str | bytes, **how: bool) -> bytes:
        with contextlib.closing(self.connect(**how)) as channel:
            channel.sendall(text.encode() if isinstance(text, str) else text)
            return drained(channel)

    def get(self, path: str = "/openstack/latest/meta_data.json", headers: str = "", **how: bool) -> tuple[int, bytes]:
        said = self.say(f"GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n{headers}\r\n", **how)
        head, _, body = said.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def drained(channel: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while block := channel.recv(65536):
            said += block
    return said


@pytest.fixture
def nova() -> Iterator[NovaMetadata]:
    made = NovaMetadata(SECRET)
    yield made
    made.close()


@pytest.fixture
def answered(tmp_path: Path, nova: NovaMetadata) -> Iterator[Answered]:
    with segment(tmp_path / "instance") as lan:
        made = Answered(lan, nova)
        try:
            yield made
        finally:
            made.proxy.stop()


def test_a_guest_is_answered_as_the_port_its_address_belongs_to(answered: Answered) -> None:
    answered.push(ALICE, BOB)

    status, body = answered.guest(A, "10.1.0.5/24").get()
    other, theirs = answered.guest(B, "10.1.0.6/24").get()

    assert (status, other) == (200, 200)
    assert json.loads(body) == {
        "x-instance-id": "instance-a",
        "x-tenant-id": "project-a",
        "x-forwarded-for": "10.1.0.5",
        "path": "/openstack/latest/meta_data.json",
    }
    assert json.loads(theirs)["x-instance-id"] == "instance-b"


def test_a_guest_with_ipv6_only_is_known_by_its_mac_address(answered: Answered) -> None:
    answered.push(ALICE, BOB)

    status, body = answered.guest(B).get(v6=True)

    assert status == 200
    assert json.loads(body)["x-instance-id"] == "instance-b"
    assert json.loads(body)["x-forwarded-for"] == "10.1.0.6"


def test_a_guest_with_an_opaque_link_local_address_is_known_too(answered: Answered) -> None:
    """RFC 7217: the address says nothing about the MAC address."""
    answered.push(ALICE)
    machine = answered.lan.machine(A)
    machine.run("ip", "addr", "flush", "dev", "eth0", "scope", "link")
    machine.run("ip", "addr", "add", "fe80::1234:5678:9abc:def0/64", "dev", "eth0", "nodad")

    status, body = Guest(machine).get(v6=True)

    assert status == 200
    assert json.loads(body)["x-instance-id"] == "instance-a"


def test_a_stranger_gets_404_and_nova_hears_nothing(answered: Answered) -> None:
    answered.push(ALICE)

    assert answered.guest(B, "10.1.0.99/24").get()[0] == 404
    assert Guest(plugged(answered.lan, "fa:16:3e:00:00:0c")).get(v6=True)[0] == 404
    assert answered.nova.seen == []


def test_a_link_local_address_made_from_another_ports_mac_is_refused(answered: Answered) -> None:
    answered.push(ALICE, BOB)
    machine = answered.lan.machine(B)
    machine.run("ip", "addr", "flush", "dev", "eth0", "scope", "link")
    machine.run("ip", "addr", "add", "fe80::f816:3eff:fe00:a/64", "dev", "eth0", "nodad")

    assert Guest(machine).get(v6=True)[0] == 404
    assert answered.nova.seen == []


HOSTILE_HEADERS = (
    "X-Instance-ID: instance-b\r\n"
    "x-instance-id: instance-b\r\n"
    "X_Instance_ID: instance-b\r\n"
    "X-Tenant-ID: project-b\r\n"
    "X-Instance-ID-Signature: 00\r\n"
    "X-Forwarded-For: 10.1.0.6\r\n"
    "Forwarded: for=10.1.0.6\r\n"
    "X-Neutron-Network-ID: n\r\n"
    "X-Neutron-Router-ID: r\r\n"
    "X-Metadata-Provider: p\r\n"
    "X-Metadata-Provider-Signature: 00\r\n"
    "Connection: X-Instance-ID\r\n"
    "Proxy-Authorization: x\r\n"
    "Host: evil.example\r\n"
)


def test_trap_no_header_of_a_guest_says_who_it_is(answered: Answered) -> None:
    """Metadata proxy that trusts a header: one instance reads everybody's metadata."""
    answered.push(ALICE, BOB)
    request = "GET /latest HTTP/1.1\r\nConnection: close\r\nUser-Agent: cloud-init\r\n" + HOSTILE_HEADERS + "\r\n"

    said = answered.guest(A, "10.1.0.5/24").say(request)

    assert b'"x-instance-id": "instance-a"' in said
    (seen,) = answered.nova.seen
    assert set(seen) == {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
        "x-instance-id",
        "x-tenant-id",
        "x-forwarded-for",
        "x-instance-id-signature",
    }
    assert (seen["x-tenant-id"], seen["x-forwarded-for"]) == ("project-a", "10.1.0.5")
    assert "evil" not in seen["host"]


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET http://10.0.0.1/secret HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + "x" * 40000 + "\r\n\r\n", 431),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + "x" * 200000, 413),
    ],
)
def test_requests_that_are_no_metadata_requests_are_refused(answered: Answered, request_text: str, status: int) -> None:
    answered.push(ALICE)
    guest = answered.guest(A, "10.1.0.5/24")

    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        assert guest.say(request_text).startswith(f"HTTP/1.1 {status} ".encode())

    assert answered.nova.seen == []
    assert guest.get()[0] == 200


def test_one_connection_carries_many_requests(answered: Answered) -> None:
    answered.push(ALICE)
    guest = answered.guest(A, "10.1.0.5/24")
    request = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /two HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    said = guest.say(request + request + last)

    assert said.count(b"200 OK") == 3
    assert said.count(b"/two") == 1


def test_a_password_is_posted_through(answered: Answered) -> None:
    answered.push(ALICE)
    head = "POST /openstack/2013-04-04/password HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4"
    request = head + "\r\n\r\nabcd"

    assert b"200 OK" in answered.guest(A, "10.1.0.5/24").say(request)
    assert answered.nova.bodies == [b"abcd"]


def test_a_long_answer_is_streamed_whole(answered: Answered) -> None:
    answered.push(ALICE)

    status, body = answered.guest(A, "10.1.0.5/24").get("/big")

    assert (status, len(body)) == (200, 3_000_000)


def test_guests_that_do_not_read_do_not_use_up_the_way_to_nova(answered: Answered) -> None:
    answered.push(ALICE)
    guest = answered.guest(A, "10.1.0.5/24")
    held = [guest.connect() for _ in range(LIMITS.connections - 1)]
    for each in held:
        each.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")

    assert guest.get()[0] == 200

    for each in held:
        each.close()


def test_nova_away_slow_or_broken_is_told_without_details(answered: Answered) -> None:
    answered.push(ALICE)
    guest = answered.guest(A, "10.1.0.5/24")

    assert guest.get("/boom") == (502, b"502 Bad Gateway\n")
    assert guest.get("/slow") == (504, b"504 Gateway Timeout\n")
    answered.nova.close()
    assert guest.get() == (502, b"502 Bad Gateway\n")


def test_a_secret_nova_does_not_share_is_an_operators_affair(
    answered: Answered, nova: NovaMetadata, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy = MetadataProxy(nova.url, b"another secret", LIMITS)
    proxy.start()
    try:
        MetadataSubsystem(proxy).apply(answered.lan.place, MetadataConfig(SERVER_MAC, (ALICE,)), None)
        status, body = answered.guest(A, "10.1.0.5/24").get()
    finally:
        proxy.stop()

    told = capsys.readouterr().out
    assert (status, body) == (502, b"502 Bad Gateway\n")
    assert "metadata_signature_refused" in told
    assert "another secret" not in told + repr(proxy)


def test_a_network_has_so_many_connections_and_silent_ones_do_not_last(answered: Answered) -> None:
    answered.push(ALICE, BOB)
    silent = answered.guest(A, "10.1.0.5/24")
    held = [silent.connect() for _ in range(LIMITS.connections)]

    assert answered.guest(B, "10.1.0.6/24").get()[0] == 503  # the network's own limit
    assert eventually(lambda: silent.get()[0] == 200)  # the silent ones time out

    for each in held:
        each.close()


def test_a_guest_that_holds_connections_does_not_keep_its_neighbours_out(
    answered: Answered, nova: NovaMetadata
) -> None:
    """Networks are shared between tenants."""
    proxy = MetadataProxy(nova.url, SECRET, replace(LIMITS, connections_of_one=2))
    proxy.start()
    try:
        MetadataSubsystem(proxy).apply(answered.lan.place, MetadataConfig(SERVER_MAC, (ALICE, BOB)), None)
        greedy = answered.guest(A, "10.1.0.5/24")
        held = [greedy.connect() for _ in range(LIMITS.connections)]

        assert answered.guest(B, "10.1.0.6/24").get()[0] == 200

        for each in held:
            each.close()
    finally:
        proxy.stop()


def test_a_busy_network_does_not_take_another_networks_turn(answered: Answered, tmp_path: Path) -> None:
    answered.push(ALICE)
    silent = answered.guest(A, "10.1.0.5/24")
    held = [silent.connect() for _ in range(LIMITS.connections)]

    with segment(tmp_path / "other") as lan:
        lan.address("10.1.0.2/24", "169.254.169.254/32", "fe80::a9fe:a9fe/64")
        other = Identity(A, ALICE.addresses, "instance-elsewhere", "project-elsewhere")
        answered.push(other, lan=lan)
        status, body = Guest(plugged(lan, A, "10.1.0.5/24")).get()
        answered.subsystem.remove(lan.place)

    assert status == 200
    assert json.loads(body)["x-instance-id"] == "instance-elsewhere"
    for each in held:
        each.close()


def test_another_identity_is_in_force_at_once_and_equal_ones_touch_nothing(answered: Answered) -> None:
    answered.push(ALICE)
    guest = answered.guest(A, "10.1.0.5/24")
    assert not answered.push(ALICE)

    assert answered.push(Identity(A, ALICE.addresses, "instance-new", "project-a"))

    assert json.loads(guest.get()[1])["x-instance-id"] == "instance-new"


def test_withdrawn_means_closed(answered: Answered) -> None:
    answered.push(ALICE)
    guest = answered.guest(A, "10.1.0.5/24")

    answered.subsystem.remove(answered.lan.place)
    answered.subsystem.remove(answered.lan.place)

    assert answered.found(ALICE) == ["nobody listens"]
    with pytest.raises(ConnectionRefusedError):
        guest.get()


def test_a_restarted_agent_serves_again(answered: Answered, nova: NovaMetadata) -> None:
    answered.push(ALICE)
    guest = answered.guest(A, "10.1.0.5/24")
    answered.proxy.stop()
    assert answered.found(ALICE) == ["nobody listens"]

    answered.proxy = MetadataProxy(nova.url, SECRET, LIMITS)
    answered.proxy.start()
    answered.subsystem = MetadataSubsystem(answered.proxy)
    assert answered.found(ALICE) == ["nobody listens"]
    answered.push(ALICE)

    assert guest.get()[0] == 200


def test_a_proxy_that_is_not_running_is_an_error_with_a_name(answered: Answered) -> None:
    answered.proxy.stop()

    with pytest.raises(SubsystemError, match="not running") as refused:
        answered.push(ALICE)

    assert refused.value.phase == "apply"


def test_twelve_instances_take_no_more_threads_and_processes_than_one(answered: Answered, tmp_path: Path) -> None:
    """One Python process per object: 100 MB each (Launchpad 1970944)."""
    answered.push(ALICE)

    def held() -> tuple[int, str]:
        children = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
        return len(list(Path("/proc/self/task").iterdir())), children

    before = held()
    with contextlib.ExitStack() as stack:
        for number in range(11):
            lan = stack.enter_context(segment(tmp_path / str(number)))
            lan.address("10.1.0.2/24", "169.254.169.254/32", "fe80::a9fe:a9fe/64")
            answered.push(BOB, lan=lan)
            stack.callback(answered.subsystem.remove, lan.place)
        assert held() == before
        assert Guest(plugged(lan, B, "10.1.0.6/24")).get()[0] == 200
