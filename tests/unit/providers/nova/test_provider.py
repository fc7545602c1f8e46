"""What the provider decides by itself, on a cloud of values. The real one: tests/e2e_cloud."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from astara.contract.agent import PortAttachment
from astara.contract.codec import digest
from astara.contract.generation import Generation
from astara.model.errors import AstaraError, Retry, Stale, Terminal
from astara.model.resource import DesiredInstance, ResourceKey, Unknown
from astara.providers.nova.boundary import NewServer, Nic, Server
from astara.providers.nova.marks import Mark, NicMark
from astara.providers.nova.provider import NovaProvider
from astara_suites.providers import GOOD

KEY, NOW, OLD = ResourceKey("router", "r1"), Generation(2, 1), Generation(1, 9)
WALL = 1000.0


@dataclass
class Values:
    """Implements `boundary.Cloud`; `refuses` is raised by the next create_server, `rival` appears beside it."""

    made: dict[str, Server] = field(default_factory=dict)
    ports: dict[str, Nic] = field(default_factory=dict)
    refuses: AstaraError | None = None
    rival: Server | None = None

    def servers(self, key: ResourceKey | None = None) -> Sequence[Server]:
        return [one for one in self.made.values() if key in (None, one.mark.key)]

    def nics(self) -> Sequence[Nic]:
        return list(self.ports.values())

    def create_server(self, new: NewServer) -> Server:
        if self.refuses is not None:
            raise self.refuses
        if self.rival is not None:
            self.made[self.rival.id] = self.rival
        server = Server(str(uuid.uuid4()), new.mark, WALL)
        self.made[server.id] = server
        for nic in new.nics:
            self.ports[nic] = replace(self.ports[nic], server_id=server.id)
        return server

    def delete_server(self, server_id: str) -> None:
        self.made.pop(server_id, None)
        self.ports = {i: replace(n, server_id=None) if n.server_id == server_id else n for i, n in self.ports.items()}

    def create_nic(self, mark: NicMark) -> Nic:
        nic = Nic(str(uuid.uuid4()), mark, "fa:16:3e:00:00:09", None, ("192.0.2.10",), WALL)
        self.ports[nic.id] = nic
        return nic

    def delete_nic(self, nic_id: str) -> None:
        self.ports.pop(nic_id, None)

    def plug(self, server_id: str, nic_id: str) -> None:
        self.ports[nic_id] = replace(self.ports[nic_id], server_id=server_id)

    def unplug(self, server_id: str, nic_id: str) -> None:
        self.ports[nic_id] = replace(self.ports[nic_id], server_id=None)

    def ensure_group(self, key: ResourceKey) -> str | None:
        return None

    def delete_group(self, key: ResourceKey) -> None: ...

    def console_log(self, server_id: str) -> str:
        return ""


class Silent:
    """Agents of machines that boot for ever."""

    def of(self, instance: str, address: str) -> Any:
        raise Retry("no answer")

    def forget(self, instance: str) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def cloud() -> Values:
    return Values()


def provider(cloud: Values, wall: float = WALL) -> NovaProvider:
    return NovaProvider(cloud, Silent(), lambda *_: b"papers", wall=lambda: wall)  # type: ignore[arg-type]  # silent


def wanted(*ports: PortAttachment) -> DesiredInstance:
    return DesiredInstance("0", "nova", "node-1", ports, GOOD, digest(GOOD))


def port(name: str = "p1") -> PortAttachment:
    return PortAttachment(port_id=name, mac="fa:16:3e:00:00:01", network_id="n1", attach="ovs")


def test_creating_twice_makes_one(cloud: Values) -> None:
    first = provider(cloud).create(KEY, wanted(port()), NOW)
    assert provider(cloud).create(KEY, wanted(port()), NOW).id == first.id
    assert len(cloud.made) == 1
    assert len(cloud.ports) == 2  # management, and the one wished for


def test_a_machine_that_boots_is_silent(cloud: Values) -> None:
    assert provider(cloud).create(KEY, wanted(), NOW).state is Unknown.UNREACHABLE


def test_of_two_made_at_once_the_older_stays(cloud: Values) -> None:
    cloud.rival = Server("rival", Mark("other", KEY, "0", "node-1"), WALL - 1)
    with pytest.raises(Retry):
        provider(cloud).create(KEY, wanted(), NOW)
    assert set(cloud.made) == {"rival"}


@pytest.mark.parametrize("refused", [Terminal("no such image"), Retry("quota", "", 300.0)])
def test_a_refused_creation_leaves_no_port(cloud: Values, refused: AstaraError) -> None:
    cloud.refuses = refused
    with pytest.raises(type(refused)):
        provider(cloud).create(KEY, wanted(port()), NOW)
    assert not cloud.ports


def test_an_answer_that_was_lost_takes_no_port_from_a_server_that_may_exist(cloud: Values) -> None:
    cloud.refuses = Retry("no answer")
    with pytest.raises(Retry):
        provider(cloud).create(KEY, wanted(port()), NOW)
    assert len(cloud.ports) == 2


def test_ports_of_a_creation_cut_short_go_after_a_while_and_others_stay(cloud: Values) -> None:
    cloud.refuses = Retry("no answer")
    with pytest.raises(Retry):
        provider(cloud).create(KEY, wanted(port()), NOW)
    cloud.refuses = None
    made = provider(cloud).create(ResourceKey("router", "r2"), wanted(), NOW)
    assert len(cloud.ports) == 3

    provider(cloud, WALL + 3600).list()

    assert {nic.mark.instance for nic in cloud.ports.values()} == {made.id}


def test_ports_of_a_building_server_stay_until_nova_has_let_go_of_them(cloud: Values) -> None:
    """Nova waits for them to be plugged, and would wait for minutes before it deletes."""
    ours = provider(cloud)
    made = ours.create(KEY, wanted(port()), NOW)
    (server,) = cloud.made.values()
    cloud.made[server.id] = replace(server, building=True)

    ours.delete(made, NOW)
    assert len(cloud.ports) == 2

    ours.list()
    assert not cloud.ports


def test_an_older_generation_neither_makes_nor_deletes(cloud: Values) -> None:
    ours = provider(cloud)
    made = ours.create(KEY, wanted(), NOW)
    for late in (lambda: ours.create(KEY, wanted(), OLD), lambda: ours.delete(made, OLD)):
        with pytest.raises(Stale):
            late()
    assert len(cloud.made) == 1


def test_a_slot_without_room_is_not_tried_again_at_once(cloud: Values) -> None:
    ours = provider(cloud)
    made = ours.create(KEY, wanted(), NOW)
    (server,) = cloud.made.values()
    cloud.made[server.id] = replace(server, fault="No valid host was found.")
    ours.delete(made, NOW)

    with pytest.raises(Retry, match="No valid host") as refused:
        ours.create(KEY, wanted(), NOW)
    assert (refused.value.after_s or 0) > 200


def test_a_server_that_is_still_made_is_left_alone(cloud: Values) -> None:
    """Nova refuses to plug into it, and has its ports already, though Neutron does not show it yet."""
    ours = provider(cloud)
    made = ours.create(KEY, wanted(port()), NOW)
    (server,) = cloud.made.values()
    cloud.made[server.id] = replace(server, building=True)
    cloud.ports = {name: replace(nic, server_id=None) for name, nic in cloud.ports.items()}

    assert ours.create(KEY, wanted(port()), NOW).id == made.id
    assert all(nic.server_id is None for nic in cloud.ports.values())
    with pytest.raises(Retry):
        ours.create(KEY, wanted(), NOW)
