"""Two halves of a router: whatever ends the active one, what tenants have established goes on through the other."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from msgspec import structs

from astara.appliance.boundaries import SubsystemError
from astara.appliance.subsystems.conntrackd.config import ConntrackdConfig
from astara.appliance.subsystems.conntrackd.subsystem import ConntrackdSubsystem
from astara.appliance.subsystems.gate import subsystem as gate
from astara.contract.agent import Health, PortAttachment, Role
from astara.contract.document import Document, document
from astara.contract.generation import Generation
from astara.drivers.router.schema import RouterSection
from astara.host import namespaces
from astara_lab.conversation import Conversation, conversation
from support.builders.router import external
from support.node_agent import Deployment, isolated, port, running, spec
from support.pair import (
    GATEWAY,
    HEART_MACS,
    HEARTS,
    INSIDE_MAC,
    METADATA,
    OUTSIDE_MAC,
    WEB,
    WORLD,
    Half,
    TwoNodes,
    section,
    two_nodes,
)
from support.segment import Machine, eventually, ip
from support.terrain import PATIENT_S, Connection, Server

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    with two_nodes(tmp_path_factory.mktemp("pair")) as made:
        made.ready()
        yield made


def through(world: TwoNodes, happens: Callable[[], object], until: Callable[[], bool]) -> Conversation:
    """Talk, let it happen, wait until it has had its effect and a hundred answers have come after that."""
    with conversation(world.web.netns, world.world.netns, WORLD) as said:
        assert eventually(lambda: said.tcp_answers > 50 and len(said.answered) > 50)
        happens()
        assert eventually(until), [half.told() for half in world.halves]
        enough = said.tcp_answers + 100
        assert eventually(lambda: said.tcp_answers > enough or said.tcp_broken), said.tcp_answers
    return said


def unharmed(said: Conversation) -> bool:
    return said.tcp_broken is None and len(said.seen_as) == 1


def goodbye(half: Half) -> None:
    _leaving.add(half)
    os.kill(half.pids("keepalived")[0], signal.SIGTERM)


def mended(world: TwoNodes, half: Half) -> None:
    """What a node agent does, once it is over: whoever said goodbye needs a second to end."""
    half.reconnect(connected=True)
    if half.engine.state(half.place).health is Health.HEALTHY:
        eventually(lambda: not half.pids("keepalived"), within_s=3 if half in _leaving else 0)
    _leaving.discard(half)
    half.engine.repair(half.place)
    world.settled()


_leaving: set[Half] = set()


def killed(half: Half) -> None:
    for pid in half.pids("keepalived"):
        os.kill(pid, signal.SIGKILL)


def frozen(half: Half) -> None:
    for pid in half.pids("keepalived"):
        os.kill(pid, signal.SIGSTOP)


def cut_off(half: Half) -> None:
    half.reconnect(connected=False)


@pytest.mark.parametrize(
    "death",
    [cut_off, killed, *(pytest.param(slowly, marks=pytest.mark.slow) for slowly in (frozen, goodbye))],
)
def test_connections_outlive_the_active_half(world: TwoNodes, death: Callable[[Half], None]) -> None:
    active, standby = world.settled()

    said = through(world, lambda: death(active), lambda: standby.role() is Role.ACTIVE)

    assert unharmed(said), said.tcp_broken
    mended(world, active)


def test_who_speaks_no_more_forwards_no_more(world: TwoNodes) -> None:
    """Stopped, it cannot say goodbye, hear the other one, or close anything: its gate closes by itself."""
    active, standby = world.settled()
    frozen(active)

    assert eventually(lambda: standby.role() is Role.ACTIVE)
    assert active.role() is Role.STANDBY

    mended(world, active)


@pytest.mark.slow
def test_no_half_takes_over_because_it_is_back(world: TwoNodes) -> None:
    """Flapping: with equal rights, who is active stays it."""
    active, standby = world.settled()
    standby.engine.remove(standby.place)
    standby.configure()

    assert eventually(lambda: standby.role() is Role.STANDBY and standby.pids("keepalived"))
    time.sleep(0.3)  # an order of magnitude more than any timer of the election
    assert active.role() is Role.ACTIVE


def test_the_half_that_stands_by_is_dark(world: TwoNodes) -> None:
    """It has the active one's addresses: a single frame of it would lead the switches astray."""
    active, standby = world.settled()

    assert " 0% packet loss" in _ping(active, WEB)
    assert "100% packet loss" in _ping(standby, WEB)


def test_metadata_is_asked_for_through_the_active_half(world: TwoNodes) -> None:
    """The guest has a default route only; both halves would turn its question round, and one is dark."""
    world.settled()
    for link in ("all", "eth0"):
        world.web.sysctl(f"net.ipv4.conf.{link}.accept_redirects", "0")
    guest, service = (Path("/run/netns") / machine.netns for machine in (world.web, world.service))

    with contextlib.closing(Server(service, METADATA, 80)), Connection(guest, METADATA, 80, None, PATIENT_S) as asked:
        assert asked.seen_as == WEB
        assert asked.echo("who am I?")


def _ping(half: Half, address: str) -> str:
    inside = Machine(half.netns, "")
    return inside.run("ping", "-c", "2", "-i", "0.05", "-W", "0.5", address, check=False)


def test_neighbours_and_switches_know_where_the_router_is(world: TwoNodes) -> None:
    active, standby = world.settled()
    world.web.run("ping", "-c", "1", "-W", "2", GATEWAY)

    goodbye(active)

    assert eventually(lambda: standby.role() is Role.ACTIVE)
    way = "p-in" if standby.index == 0 else "t-in"
    assert eventually(lambda: f"{INSIDE_MAC} dev {way}" in _learnt(world)), _learnt(world)
    assert INSIDE_MAC in world.web.run("ip", "neigh", "show", GATEWAY)
    assert world.web.run("ping", "-c", "1", "-W", "2", GATEWAY)
    mended(world, active)


def _learnt(world: TwoNodes) -> str:
    return Machine(world.halves[0].node, "").run("bridge", "fdb", "show", "br", "br-in")


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_that_do_not_hear_each_other_one_forwards(world: TwoNodes, first: int) -> None:
    """Launchpad 1597461: the link between them was cut, both live. What is established goes on through one of them."""
    active_is(world, first)
    lower, higher = world.halves

    said = through(world, lambda: _deaf(world), lambda: _roles(world) == [Role.YIELDING, Role.ACTIVE])

    assert unharmed(said), said.tcp_broken
    _heard_again(world)
    assert world.settled() == (higher, lower)


def test_of_two_that_do_not_hear_each_other_the_last_one_serves(world: TwoNodes) -> None:
    active_is(world, 1)
    _, higher = world.halves
    _deaf(world)
    assert eventually(lambda: _roles(world) == [Role.YIELDING, Role.ACTIVE])
    seen = set[tuple[Role | None, ...]]()
    with conversation(world.web.netns, world.world.netns, WORLD) as said:
        while said.tcp_answers < _LONG_REMEMBERED and said.tcp_broken is None:
            seen.add(tuple(_roles(world)))
    assert (said.tcp_broken, seen) == (None, {(Role.YIELDING, Role.ACTIVE)})

    frozen(higher)

    assert eventually(lambda: _roles(world) == [Role.ACTIVE, Role.STANDBY])
    assert eventually(lambda: " 0% packet loss" in world.web.run("ping", "-c", "2", "-W", "1", WORLD, check=False))
    _heard_again(world)
    mended(world, higher)


def test_who_pretends_to_be_the_other_half_makes_halves_change_places_once(world: TwoNodes) -> None:
    """A tenant whose port may send under the router's MAC address. While the halves hear each other, one serves."""
    lower = active_is(world, 0)
    frame = _announcement(INSIDE_MAC, "169.254.255.1")
    _nft(lower, "add element netdev astara_gate fresh { 0 timeout 1m }")
    world.flood("in", frame)
    # Who has just taken over hears what the other one sent before it gave way.
    assert gate.role_in(lower.place.netns) is Role.ACTIVE
    _nft(lower, "delete element netdev astara_gate fresh { 0 }")

    said = through(world, lambda: world.flood("in", frame), lambda: _roles(world) == [Role.STANDBY, Role.ACTIVE])

    assert unharmed(said), said.tcp_broken
    for _ in range(5):  # it does not even remember it: the other one may die before it advertises again
        world.flood("in", frame)
        assert gate.role_in(lower.place.netns) is Role.STANDBY


def test_halves_that_see_each_other_nowhere_serve_both(world: TwoNodes) -> None:
    """The whole fabric between the nodes is cut: each has tenants of its own. Then it is mended."""
    active, standby = world.settled()
    active.reconnect(connected=False)
    assert eventually(lambda: active.role() is standby.role() is Role.ACTIVE)

    active.reconnect(connected=True)

    world.settled()
    assert eventually(lambda: " 0% packet loss" in world.web.run("ping", "-c", "2", "-W", "1", WORLD, check=False))


def _nft(half: Half, command: str) -> None:
    ip("netns", "exec", half.netns, "nft", command)


#: One in two milliseconds at most: for longer than a half remembers that it saw the other one, and it sees it again.
_LONG_REMEMBERED = 1300


def _announcement(mac: str, address: str) -> bytes:
    """Return a gratuitous ARP request (RFC 5944 4.6) in an Ethernet frame."""
    source, packed = bytes.fromhex(mac.replace(":", "")), ip_address(address).packed
    return b"\xff" * 6 + source + bytes.fromhex("0806000108000604") + b"\x00\x01" + source + packed + bytes(6) + packed


def _deaf(world: TwoNodes) -> None:
    world.halves[0].reconnect(connected=False, networks=("heart",))


def _heard_again(world: TwoNodes) -> None:
    world.halves[0].reconnect(connected=True, networks=("heart",))


def _roles(world: TwoNodes) -> list[Role | None]:
    return [gate.role_in(half.place.netns) for half in world.halves]


@pytest.mark.slow
def test_link_up_and_path_dead_is_a_reason_to_hand_over(world: TwoNodes) -> None:
    """Trap: undetected elsewhere. The node's way outside is gone, every link of the router is up."""
    active, standby = world.settled()
    assert eventually(lambda: _path(active) == _path(standby) == "0")
    time.sleep(2.5)  # who was never answered cannot miss an answer
    active.reconnect(connected=False, networks=("out",))

    assert eventually(lambda: _path(active) == "-50")
    assert eventually(lambda: (active.role(), standby.role()) == (Role.STANDBY, Role.ACTIVE))
    assert eventually(lambda: " 0% packet loss" in world.web.run("ping", "-c", "2", "-W", "1", WORLD, check=False))

    active.reconnect(connected=True)
    assert eventually(lambda: _path(active) == "0")
    assert world.settled() == (standby, active)


@pytest.mark.slow
def test_next_hops_that_speak_ipv6_alone_are_asked_too(world: TwoNodes) -> None:
    """By neighbour solicitations: neither half has an IPv4 address outside."""
    gateway = "2001:db8::9"
    world.world.run("ip", "addr", "add", f"{gateway}/64", "dev", "eth0", "nodad")
    outside = (external(OUTSIDE_MAC, "2001:db8::1/64", nexthops=(gateway,)),)
    for half in world.halves:
        half.configure(external=outside)
    active, standby = world.settled()
    time.sleep(2.5)  # who was never answered cannot miss an answer
    assert _path(active) == _path(standby) == "0"

    active.reconnect(connected=False, networks=("out",))

    assert eventually(lambda: _path(active) == "-50")
    assert eventually(lambda: (active.role(), standby.role()) == (Role.STANDBY, Role.ACTIVE))
    assert _path(standby) == "0"
    active.reconnect(connected=True)
    assert eventually(lambda: _path(active) == "0")
    for half in world.halves:
        half.configure()
    world.settled()


@pytest.mark.slow
def test_the_half_whose_path_is_dead_stands_back_from_one_that_is_well(world: TwoNodes) -> None:
    """By addresses alone the other one would: one node has lost its way outside and the HA network at once."""
    active_is(world, 1)
    lower, higher = world.halves
    assert eventually(lambda: _path(higher) == "0")
    time.sleep(2.5)  # who was never answered cannot miss an answer

    higher.reconnect(connected=False, networks=("out", "heart"))

    assert eventually(lambda: _roles(world) == [Role.ACTIVE, Role.YIELDING])
    assert eventually(lambda: " 0% packet loss" in world.web.run("ping", "-c", "2", "-W", "1", WORLD, check=False))
    assert _roles(world) == [Role.ACTIVE, Role.YIELDING]
    higher.reconnect(connected=True, networks=("out",))
    time.sleep(2.5)  # its next hop answers again; it knows nothing of what began meanwhile, and must not win by that
    higher.reconnect(connected=True)
    assert eventually(lambda: _path(higher) == "0")
    assert world.settled() == (lower, higher)


def _path(half: Half) -> str:
    return (half.place.files / "keepalived" / "path").read_text().strip()


def test_a_half_whose_peer_answers_no_more_goes_on(world: TwoNodes) -> None:
    """Its advertisements would wait for the peer's MAC address for ever, and its gate opens with those that leave."""
    active, standby = world.settled()

    def lonely() -> None:
        standby.reconnect(connected=False)
        ip("-n", active.netns, "neigh", "flush", "dev", "e-heart")  # what was learnt would be doubted in five seconds

    said = through(world, lonely, lambda: standby.role() is Role.ACTIVE)

    assert active.role() is Role.ACTIVE
    assert unharmed(said), said.tcp_broken
    mended(world, standby)


def test_a_half_whose_peer_never_was_there_serves(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as made:
        half = made.halves[0]
        half.configure()
        assert eventually(lambda: half.role() is Role.ACTIVE), half.told()
        assert eventually(lambda: " 0% packet loss" in _ping(half, WEB))


def test_what_another_pair_advertises_closes_no_gate(world: TwoNodes) -> None:
    """Switches bring it to everybody while they do not know where its receiver is."""
    lower = active_is(world, 0)
    for _ in range(5):
        world.flood("heart", _advertisement(to=HEART_MACS[0].replace("01", "99")))
        assert gate.role_in(lower.place.netns) is Role.ACTIVE


def active_is(world: TwoNodes, index: int) -> Half:
    """Have this half be the active one; the other one leaves for a moment."""
    active, standby = world.settled()
    if active.index != index:
        goodbye(active)
        assert eventually(lambda: standby.role() is Role.ACTIVE)
        mended(world, active)
    return world.halves[index]


def _advertisement(to: str) -> bytes:
    """Return a VRRPv3 advertisement in an Ethernet frame; nobody gets as far as its checksums."""
    ethernet = bytes.fromhex((to + HEART_MACS[1]).replace(":", "")) + b"\x08\x00"
    ipv4 = struct.pack("!BxH4xBB2x4s4s", 0x45, 28, 255, 112, *(ip_address(one).packed for one in HEARTS))
    return ethernet + ipv4 + bytes((0x31, 1, 250, 0, 0, 2, 0, 0))


def test_another_configuration_changes_no_role(world: TwoNodes) -> None:
    """W7: both are configured. The active one's gate stays open, keepalived is the same process."""
    active, standby = world.settled()
    before = active.pids("keepalived")

    for half in (standby, active):
        half.configure(external=())
    assert active.role() is Role.ACTIVE
    for half in (standby, active):
        half.configure()

    assert world.settled() == (active, standby)
    assert active.pids("keepalived") == before
    assert active.engine.state(active.place).health is Health.HEALTHY


def test_a_new_half_knows_what_is_established(world: TwoNodes) -> None:
    """An upgrade: the half that stands by is replaced by another instance, then the active one goes."""
    active, standby = world.settled()

    def upgraded() -> None:
        standby.kill()
        standby.engine.remove(standby.place)
        standby.plug()
        standby.configure()
        assert eventually(lambda: str(WORLD) in _connections(standby))
        goodbye(active)

    said = through(world, upgraded, lambda: standby.role() is Role.ACTIVE)

    assert unharmed(said), said.tcp_broken
    mended(world, active)


def _connections(half: Half) -> str:
    return Machine(half.netns, "").run("conntrack", "-L", "-p", "tcp", "--state", "ESTABLISHED")


def test_where_protocols_have_no_names_conntrackd_is_refused(world: TwoNodes, tmp_path: Path) -> None:
    """It would start, and tell the other half of nothing that it had not seen begin itself."""
    nameless = tmp_path / "conntrackd"
    hide, start = "mount --bind /dev/null /etc/protocols", 'exec /usr/sbin/conntrackd "$@"'
    nameless.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{hide}; {start}' - \"$@\"\n")
    nameless.chmod(0o755)
    half = world.halves[0]
    config = ConntrackdConfig(
        heart=HEART_MACS[0], address=IPv4Address("169.254.192.5"), peer=IPv4Address("169.254.192.7")
    )
    for program, refused in (("/usr/sbin/conntrackd", False), (str(nameless), True)):
        subsystem = ConntrackdSubsystem(program)
        rendered = subsystem.render(half.place, config)
        with pytest.raises(SubsystemError, match="install netbase") if refused else contextlib.nullcontext():
            subsystem.check(half.place, rendered)


def test_a_gate_somebody_opened_is_closed_again(world: TwoNodes) -> None:
    _, standby = world.settled()
    ip("netns", "exec", standby.netns, "nft", "flush", "chain", "netdev", "astara_gate", "inward")
    assert standby.engine.state(standby.place).health is Health.DEGRADED

    assert standby.engine.repair(standby.place).health is Health.HEALTHY


@pytest.mark.slow
@pytest.mark.parametrize("advert_ms", [10, 50])
def test_halves_may_speak_more_or_less_often(tmp_path: Path, advert_ms: int) -> None:
    with two_nodes(tmp_path) as made:
        for half in made.ready(advert_ms):
            assert half.engine.state(half.place).health is Health.HEALTHY


@pytest.mark.slow
def test_nothing_is_left(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as made:
        active, _ = made.ready()
        active.engine.remove(active.place)

        assert active.pids("keepalived") == active.pids("conntrackd") == []
        assert "astara_gate" not in ip("netns", "exec", active.netns, "nft", "list", "tables")


@pytest.mark.slow
def test_a_node_agent_tells_who_is_active_also_after_a_push(tmp_path: Path) -> None:
    """Two instances of one agent, as if on two nodes."""
    deployment = Deployment.at(tmp_path)
    heart = str(uuid.uuid4())
    ports = [structs.replace(port(), network_id=heart) for _ in HEARTS]
    specs = [spec(one) for one in ports]
    with running(deployment) as (agent, client):
        try:
            for index, one in enumerate(specs):
                client.put_instance(one)
                client.configure(one.id, alone(index, ports))

            def told() -> set[Role | None]:
                return {view.state.role for view in client.instances().instances}

            assert eventually(lambda: told() == {Role.ACTIVE, Role.STANDBY}), told()

            for index, one in enumerate(specs):
                client.configure(one.id, alone(index, ports, revision=2, enabled=False))

            assert told() == {Role.ACTIVE, Role.STANDBY}

            def roles() -> dict[str, Role | None]:
                return {view.id: view.state.role for view in client.instances().instances}

            ends_in_silence(roles, contextlib.nullcontext)
            ends_in_silence(roles, lambda silent: agent.node.get(silent).turn)  # somebody is busy with it
        finally:
            for one in specs:
                client.delete_instance(one.id, Generation(9, 9))


def ends_in_silence(
    roles: Callable[[], dict[str, Role | None]], meanwhile: Callable[[str], contextlib.AbstractContextManager[object]]
) -> None:
    """Stop the active half: its lease ends, which no kernel tells.

    Whoever sees the other one active sees that this one is not: no moment of two, and none of nobody.
    """
    assert eventually(lambda: set(roles().values()) == {Role.ACTIVE, Role.STANDBY}), roles()
    silent = next(one for one, role in roles().items() if role is Role.ACTIVE)
    stopped = keepalived_in(silent)
    with meanwhile(silent):
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        seen = taken_over(roles, silent)
        assert seen[silent] is Role.STANDBY, seen
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):  # the agent has started it anew
            os.kill(pid, signal.SIGCONT)


def taken_over(roles: Callable[[], dict[str, Role | None]], before: str) -> dict[str, Role | None]:
    """Return what is told first when another one than `before` is told active."""
    told: list[dict[str, Role | None]] = []

    def another() -> bool:
        told.append(roles())
        return any(role is Role.ACTIVE for one, role in told[-1].items() if one != before)

    assert eventually(another), told[-1]
    return told[-1]


def keepalived_in(instance_id: str) -> list[int]:
    inside = subprocess.run(
        ["ip", "netns", "pids", namespaces.path_of(instance_id).name], capture_output=True, check=True
    )
    pids = [int(pid) for pid in inside.stdout.split()]
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "keepalived"]


def alone(index: int, ports: list[PortAttachment], *, revision: int = 1, enabled: bool = True) -> Document:
    """Return the document of a half without tenants' networks."""
    pair = structs.replace(section(index).pair, mac=ports[index].mac, peer_mac=ports[1 - index].mac)
    return document("router", Generation(1, revision), RouterSection(router_id="r", enabled=enabled, pair=pair))
