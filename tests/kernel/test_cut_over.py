"""Two instances with the same ports on one node: one forwards, the other stands by, and takes over without a gap."""

from __future__ import annotations

import contextlib
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.contract.agent import Health, InstanceSpec, InstanceView
from astara.contract.generation import Generation
from astara.host import links
from astara.host.attach.bridge import bridge_name
from astara.model.errors import Stale
from support.node_agent import Deployment, isolated, mac, port, router_document, running, spec
from support.segment import Machine, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
NEXT, LAST = Generation(1, 2), Generation(99, 0)
INSIDE, OUTSIDE = "10.0.0.1", "192.0.2.1"
EVERY_S = 0.004

_ECHO = """
import socket
listening = socket.create_server(("192.0.2.2", 7))
print("ready", flush=True)
peer, _ = listening.accept()
while data := peer.recv(64):
    peer.sendall(data)
"""
_TALK = """
import socket, sys, time
peer = socket.create_connection(("192.0.2.2", 7), timeout=5)
longest, count = 0.0, 0
print("talking", flush=True)
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    began = time.monotonic()
    peer.sendall(b"x")
    assert peer.recv(1) == b"x"
    longest, count = max(longest, time.monotonic() - began), count + 1
    time.sleep(0.002)
print(f"answers {count} longest {longest:.4f}", flush=True)
"""


@contextlib.contextmanager
def machine_on(network_id: str, address: str, gateway: str | None) -> Iterator[Machine]:
    name = f"m-{network_id[:8]}"
    ip("netns", "add", name)
    made = Machine(name, mac())
    outer = f"m{network_id[:8]}"
    try:
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", outer, "master", bridge_name(network_id), "up")
        made.run("ip", "link", "set", "lo", "up")
        made.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        if gateway:
            made.run("ip", "route", "add", "default", "via", gateway)
        yield made
    finally:
        ip("netns", "del", name)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment.at(tmp_path)
    yield made
    with running(made) as (_, client):
        for view in client.instances().instances:
            client.delete_instance(view.id, LAST)


def pair() -> tuple[InstanceSpec, InstanceSpec]:
    """Return two instances of one slot, as during a move: the same ports, the second one stands by."""
    old = spec(port(), port())
    return old, replace(old, id=str(uuid.uuid4()), standby=True)


def views(client: object) -> dict[str, InstanceView]:
    return {view.id: view for view in client.instances().instances}  # type: ignore[attr-defined]


def configured(client: object, instance: InstanceSpec) -> None:
    client.put_instance(instance)  # type: ignore[attr-defined]
    client.configure(instance.id, router_document(instance, inside=f"{INSIDE}/24", outside=f"{OUTSIDE}/24"))  # type: ignore[attr-defined]


def reaches(machine: Machine) -> bool:
    return " 0% packet loss" in machine.run("ping", "-c", "3", "-i", "0.05", "-W", "1", "192.0.2.2", check=False)


def test_who_stands_by_is_configured_and_silent(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        with (
            machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE) as machine,
            machine_on(old.ports[1].network_id, "192.0.2.2", None),
        ):
            before = {name: links.find(links.host_name(name)) for name in (p.port_id for p in old.ports)}
            configured(client, new)
            assert {name: links.find(links.host_name(name)) for name in before} == before
            assert (views(client)[new.id].standby, views(client)[new.id].state.health) == (True, Health.HEALTHY)
            assert reaches(machine)
        client.delete_instance(new.id, NEXT)
        assert {name: links.find(links.host_name(name)) for name in before} == before
        assert [links.find(links.standby_name(name)) for name in before] == [None, None]


def test_a_cut_over_costs_no_connection(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client), contextlib.ExitStack() as cleaning:
        configured(client, old)
        configured(client, new)
        machine = cleaning.enter_context(machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE))
        server = cleaning.enter_context(machine_on(old.ports[1].network_id, "192.0.2.2", None))
        echo = server.start("python3", "-c", _ECHO)
        assert echo.stdout is not None
        assert echo.stdout.readline() == "ready\n"
        talk = machine.start("python3", "-c", _TALK, "2.5")
        assert talk.stdout is not None
        assert talk.stdout.readline() == "talking\n"
        ping = machine.start("ping", "-q", "-c", "400", "-i", str(EVERY_S), "192.0.2.2")
        client.cut_over(new.id, NEXT)
        there = views(client)
        assert (there[old.id].standby, there[new.id].standby) == (True, False)
        client.delete_instance(old.id, NEXT)
        said, talked = ping.communicate(timeout=30)[0], talk.communicate(timeout=30)[0]
        echo.kill()
        echo.communicate()
        lost = re.search(r"(\d+) packets transmitted, (\d+) received", said)
        assert lost is not None, said
        longest = re.search(r"longest ([\d.]+)", talked)
        assert longest is not None, talked  # the connection lived to the end, every byte answered
        gap_s = (int(lost[1]) - int(lost[2])) * EVERY_S
        print(f"cut-over: {gap_s * 1000:.0f} ms of pings lost, longest answer over TCP {longest[1]} s")
        assert reaches(machine)


def test_a_cut_over_may_be_repeated_and_taken_back(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        configured(client, new)
        with (
            machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE) as machine,
            machine_on(old.ports[1].network_id, "192.0.2.2", None),
        ):
            for taker in (new, new, old, old, new):
                client.cut_over(taker.id, NEXT)
                assert [view.id for view in views(client).values() if not view.standby] == [taker.id]
                assert reaches(machine)


def test_an_older_owner_cannot_cut_over(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        configured(client, new)
        client.cut_over(new.id, Generation(2, 1))
        with pytest.raises(Stale):
            client.cut_over(old.id, NEXT)
        assert views(client)[old.id].standby


def test_a_restarted_agent_knows_who_stands_by(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        configured(client, new)
    with running(deployment) as (_, client):
        there = views(client)
        assert (there[old.id].standby, there[new.id].standby) == (False, True)
        assert {view.state.health for view in there.values()} == {Health.HEALTHY}
        with (
            machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE) as machine,
            machine_on(old.ports[1].network_id, "192.0.2.2", None),
        ):
            assert reaches(machine)


def test_who_stands_by_gets_its_lost_link_back_and_is_still_silent(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (agent, client):
        configured(client, old)
        configured(client, new)
        subprocess.run(["ip", "link", "del", links.standby_name(old.ports[0].port_id)], check=True)
        agent.node.get(new.id).verify()
        mended = links.find(links.standby_name(old.ports[0].port_id))
        assert mended is not None
        assert mended.master is None
