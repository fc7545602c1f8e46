"""Routers in machines of their own: what packets experience, and the failure rows of docs/design/bodies.md."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import Health, InstanceSpec
from astara.contract.document import Document, document
from astara.contract.generation import Generation
from astara.drivers.router.schema import FloatingIP, RouterSection
from astara.host import namespaces
from astara.host.bodies.microvm import machine
from astara.host.main import Agent
from astara.model.errors import Retry
from support.builders.router import external, internal
from support.machines import agent_with_patience, deployment, has_template, host_on, machine_spec, needs_image
from support.node_agent import NODE, Deployment, isolated, port
from support.segment import eventually
from support.terrain import Host, Terrain, terrain

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make machines`"),
    needs_image,
]
LAST = Generation(99, 0)
GATEWAY, OUTSIDE, FLOATING = "203.0.113.2", "203.0.113.1", "203.0.113.9"
BOOT_S = 200.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """One node for all tests here: its template is made once."""
    return deployment(tmp_path_factory.mktemp("node"), templates=True)


@dataclass
class Site:
    """A router in a machine between a tenant's host `a` and the host `outside`."""

    client: NodeClient
    agent: Agent
    instance: InstanceSpec
    a: Host
    outside: Host

    def section(self, **more: object) -> RouterSection:
        inner, outer = self.instance.ports
        section = RouterSection(
            router_id=self.instance.key.id,
            internal=(internal(inner.mac, "10.0.0.1/24"),),
            external=(external(outer.mac, f"{GATEWAY}/24", nexthops=(OUTSIDE,), snat=GATEWAY),),
        )
        return replace(section, **more)

    def push(self, revision: int, **more: object) -> None:
        wish = document("router", Generation(1, revision), self.section(**more))
        assert eventually(lambda: self._taken(wish), BOOT_S)

    def _taken(self, wish: Document) -> bool:
        """A machine that is slow today may answer too late: the same once more is done already, or goes on."""
        try:
            self.client.configure(self.instance.id, wish)
        except Retry:
            return False
        return True

    @property
    def pid(self) -> int:
        return machine.marked(NODE)[self.instance.id]

    def health(self) -> Health:
        (view,) = self.client.instances().instances
        return view.state.health


@pytest.fixture
def site(node: Deployment, tmp_path: Path) -> Iterator[Site]:
    with terrain(tmp_path) as land, agent_with_patience(node) as (agent, client):
        yield from _site(land, node, agent, client)


def _site(land: Terrain, node: Deployment, agent: Agent, client: NodeClient) -> Iterator[Site]:
    instance = machine_spec(node.authority, port(), port())
    eventually(lambda: has_template(node), BOOT_S)
    client.put_instance(instance)
    inner, outer = instance.ports
    try:
        a = host_on(land, "a", inner, "10.0.0.5/24", via="10.0.0.1")
        outside = host_on(land, "out", outer, f"{OUTSIDE}/24", "198.51.100.1/32", via="")
        yield Site(client, agent, instance, a, outside)
    finally:
        client.delete_instance(instance.id, LAST)


def _template(node: Deployment) -> bool:
    return any((node.options.state_dir / "templates").glob("*/picture"))


def test_a_machine_routes_translates_and_answers_for_floating_ips(site: Site) -> None:
    site.push(2)
    site.outside.serve("198.51.100.1", 80)
    assert site.a.seen_as("198.51.100.1", 80) == GATEWAY
    port_id = f"port-{site.instance.ports[1].mac}"
    floating = FloatingIP(id="f", floating=FLOATING, fixed="10.0.0.5", external_port_id=port_id)
    site.push(3, floating_ips=(floating,))
    site.a.serve("10.0.0.5", 80)
    assert site.outside.reaches(FLOATING, 80)
    assert site.a.seen_as("198.51.100.1", 80) == FLOATING


def test_a_killed_machine_is_started_anew_and_routes_as_before(site: Site) -> None:
    site.push(2)
    site.outside.serve("198.51.100.1", 80)
    before = site.pid
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: site.a.seen_as("198.51.100.1", 80) == GATEWAY, BOOT_S)
    assert site.pid != before


def test_a_machine_that_hangs_is_started_anew(site: Site) -> None:
    site.push(2)
    site.outside.serve("198.51.100.1", 80)
    before = site.pid
    os.kill(before, signal.SIGSTOP)
    site.agent.healer.suspect(site.instance.id)
    assert eventually(lambda: site.instance.id in machine.marked(NODE) and site.pid != before, BOOT_S)
    assert eventually(lambda: site.a.seen_as("198.51.100.1", 80) == GATEWAY, BOOT_S)


def test_ports_come_and_go_while_it_runs(site: Site) -> None:
    site.push(2)
    before, third = site.pid, port()
    site.client.attach(site.instance.id, third, Generation(1, 3))
    assert len(_interfaces(site)) == 4  # the management link and three ports
    site.client.detach(site.instance.id, third.port_id, Generation(1, 4))
    assert len(_interfaces(site)) == 3
    assert site.pid == before
    assert eventually(lambda: site.health() is Health.HEALTHY)


def _interfaces(site: Site) -> list[str]:
    """The taps of the machine."""
    space = namespaces.path_of(site.instance.id).name
    done = subprocess.run(["ip", "-n", space, "-o", "tuntap"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_restarted_node_agent_finds_its_machines_and_leaves_them_alone(node: Deployment, tmp_path: Path) -> None:
    with terrain(tmp_path) as land:
        with agent_with_patience(node) as (_, client):
            instance = machine_spec(node.authority, port(), port())
            client.put_instance(instance)
        before = machine.marked(NODE)[instance.id]
        with agent_with_patience(node) as (agent, client):
            assert eventually(lambda: client.instances().instances, 30.0)
            agent.healer.suspect(instance.id)
            assert client.instances().instances[0].state.health is Health.UNCONFIGURED
            assert machine.marked(NODE)[instance.id] == before
            client.delete_instance(instance.id, LAST)
        assert land.tag


MANY = pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])


@pytest.mark.parametrize("rounds", [4, MANY])
def test_nothing_is_left_after_rounds_of_making_killing_and_deleting(node: Deployment, rounds: int) -> None:
    with agent_with_patience(node) as (_, client):
        eventually(lambda: has_template(node), BOOT_S)

        def live_and_die(*, killed: bool) -> None:
            instance = machine_spec(node.authority, port())
            client.put_instance(instance)
            if killed:
                os.kill(machine.marked(NODE)[instance.id], signal.SIGKILL)
            client.delete_instance(instance.id, LAST)

        live_and_die(killed=False)  # what is made once for all
        before = _everything(node)
        for round_number in range(rounds):
            live_and_die(killed=round_number % 2 == 1)
        assert eventually(lambda: _everything(node) == before, 20.0), _everything(node) - before


def _everything(node: Deployment) -> set[str]:
    """Namespaces, links, machines, processes of ours that nobody buried, files of instances and open ones."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {
        *(path.name for path in namespaces.RUN.iterdir()),
        *(line.split(":")[1] for line in links.splitlines()),
        *machine.marked(NODE),
        *(f"zombie {pid}" for pid in _zombies()),
        f"{len(list(Path('/proc/self/fd').iterdir()))} descriptors",
        *(str(path) for path in (node.options.state_dir / "instances").rglob("*")),
        *(str(path) for path in Path("/run/astara").rglob("*")),
    }


def _zombies() -> list[int]:
    """Children of this process, which the agent is part of, that have ended and were not buried."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = file.read_text().rsplit(")", 1)[1].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.append(int(file.parent.name))
    return found


def test_an_image_that_does_not_boot_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "image"
    broken.mkdir()
    good = deployment(tmp_path / "node").options.microvm.images_dir
    for name in ("vmlinux", "initramfs", "manifest.json"):
        (broken / name).symlink_to(good / name)
    (broken / "root.sqfs").write_bytes(bytes(1 << 20))
    node = deployment(tmp_path / "node", images_dir=broken)
    with agent_with_patience(node) as (_, client):
        before = _everything(node)
        with pytest.raises(Retry, match="astara: no root file system"):
            client.put_instance(machine_spec(node.authority, port()))
        assert eventually(lambda: _everything(node) == before), _everything(node) - before


def test_a_machine_is_refused_when_memory_is_short_and_nothing_is_left(tmp_path: Path) -> None:
    node = deployment(tmp_path, memory_mb=1 << 20)
    with agent_with_patience(node) as (_, client):
        before = _everything(node)
        with pytest.raises(Retry, match=r"another machine needs \d+ MB of memory, \d+ are free"):
            client.put_instance(machine_spec(node.authority, port()))
        assert _everything(node) == before
