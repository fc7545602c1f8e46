"""What the provider decides by itself, on a cloud of values. The real one: tests/e2e_cloud."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from astara.clients.appliance import NodeSight
from astara.clients.issuing import Issued
from astara.contract.agent import (
    SPARE,
    Credential,
    Health,
    InstanceList,
    InstanceSpec,
    InstanceView,
    NodeView,
    PortAttachment,
    StateView,
)
from astara.contract.codec import digest
from astara.contract.generation import ZERO, Generation
from astara.model.errors import AstaraError, Gone, Retry, Stale, Terminal
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey, Unknown
from astara.providers.nova.boundary import Finding, NewServer, Nic, Server, Subnet
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
    loses_marks: bool = False
    no_groups: AstaraError | None = None

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
        if self.no_groups is not None:
            raise self.no_groups
        return None

    def delete_group(self, key: ResourceKey) -> None: ...

    def mark(self, server_id: str, mark: Mark) -> None:
        if self.loses_marks:
            raise Retry("no answer")
        self.made[server_id] = self.made[server_id].given(mark)

    def rename(self, server_id: str, mark: Mark, was: ResourceKey) -> None: ...

    def subnet(self, subnet_id: str) -> Subnet:
        return Subnet("192.0.2.0/24", None)

    def image_digest(self, image: str | None) -> str | None:
        return "sha256:new"

    def shortcomings(self) -> Iterator[Finding]:
        yield Finding("image", "there")

    def console_log(self, server_id: str) -> str:
        return ""


class Silent:
    """Agents of machines that boot for ever."""

    port = 19801

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


def test_without_room_for_another_server_group_the_server_is_made_without_one(cloud: Values) -> None:
    cloud.no_groups = Retry("Quota exceeded, too many server groups.", "", 300.0)
    provider(cloud).create(KEY, wanted(), NOW)
    assert len(cloud.made) == 1


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


def test_ports_of_a_server_that_somebody_deleted_go_at_the_next_look_and_others_stay(cloud: Values) -> None:
    """Nova lets go of ports it was given and leaves them; only those of a server nobody knew must wait."""
    ours = provider(cloud)
    made, other = ours.create(KEY, wanted(port()), NOW), ours.create(ResourceKey("router", "r2"), wanted(), NOW)
    (server,) = [one for one in cloud.made.values() if one.mark.instance == made.id]
    cloud.delete_server(server.id)

    ours.list(KEY)

    assert {nic.mark.instance for nic in cloud.ports.values()} == {other.id}


def test_ports_of_a_spare_that_another_orchestrator_adopts_are_not_taken_from_it(
    cloud: Values, agents: Answering
) -> None:
    ours, others = answered(cloud, agents), answered(cloud, agents)
    spare = a_spare(ours)
    others.adopt(spare, KEY, wanted(port()), NOW)
    cloud.ports = {name: replace(nic, server_id=None) for name, nic in cloud.ports.items()}  # being plugged

    ours.list(SPARE_KEY)

    assert len(cloud.ports) == 2


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


# Servers whose agents answer


@dataclass
class Inside:
    """One agent inside: what it was told, and the rule by which it gives itself to one resource only."""

    until: float = 1e9
    told: InstanceSpec | None = None
    credentials: list[Credential] = field(default_factory=list)

    def sight(self) -> NodeSight:
        view = NodeView("", "1", (1,), ("nic",), (), 0.0, 0, "b", image="sha256:old")
        return NodeSight(view, certificate_expires_at=self.until)

    def instances(self) -> InstanceList:
        if self.told is None:
            return InstanceList(())
        state = StateView(health=Health.UNCONFIGURED)
        told = self.told
        view = InstanceView(told.id, told.key, told.slot, told.ports, state, 0.0, told.labels)
        return InstanceList((view,))

    def put_instance(self, spec: InstanceSpec) -> None:
        """As host.instance.Instance in a machine."""
        if self.told is not None and self.told.key.driver != SPARE and self.told.key != spec.key:
            raise Terminal("$.key: the instance exists and belongs to another")
        self.told = spec
        if spec.credential is not None:
            self.credentials.append(spec.credential)

    def delete_instance(self, instance_id: str, generation: Generation) -> None:
        if self.told is not None and generation < self.told.generation:
            raise Stale("older")


class Answering:
    """Agents that answer, made with their instances."""

    port = 19801

    def __init__(self) -> None:
        self.inside: dict[str, Inside] = {}

    def of(self, instance: str, address: str) -> Any:
        return self.inside.setdefault(instance, Inside())

    def forget(self, instance: str) -> None: ...

    def close(self) -> None: ...


@dataclass
class Issuer:
    """Issues what says whose it is."""

    def issue(self, instance_id: str) -> Issued:
        return Issued(Credential(ca="", certificate=instance_id, key=""), 1e9)

    def due(self, until: float) -> bool:
        return until < WALL


@pytest.fixture
def agents() -> Answering:
    return Answering()


def answered(cloud: Values, agents: Answering) -> NovaProvider:
    return NovaProvider(cloud, agents, lambda *_: b"papers", wall=lambda: WALL, issuer=Issuer())  # type: ignore[arg-type]


SPARE_KEY = ResourceKey(SPARE, "0")
RIVAL_KEY = ResourceKey("router", "r2")


def a_spare(provider: NovaProvider) -> ObservedInstance:
    provider.create(SPARE_KEY, replace(wanted(), slot=str(uuid.uuid4()), host="nova"), ZERO)
    (spare,) = provider.list(SPARE_KEY).instances
    return spare


def test_a_spare_that_is_adopted_is_the_resources_with_its_ports_and_no_spare_any_more(
    cloud: Values, agents: Answering
) -> None:
    provider = answered(cloud, agents)
    spare = a_spare(provider)

    provider.adopt(spare, KEY, wanted(port()), NOW)

    (own,) = answered(cloud, agents).list(KEY).instances
    assert (own.id, own.slot, own.host, own.ports) == (spare.id, "0", "node-1", (port(),))
    assert provider.list(SPARE_KEY).instances == ()
    told = agents.inside[spare.id].told
    assert told is not None
    assert [one.nic for one in told.ports] == ["fa:16:3e:00:00:09"]


def test_of_two_that_claim_one_spare_one_gets_it_and_the_other_leaves_nothing(cloud: Values, agents: Answering) -> None:
    provider = answered(cloud, agents)
    spare = a_spare(provider)
    late = dict(cloud.made)  # what the second of them saw, just before
    provider.adopt(spare, KEY, wanted(port()), NOW)
    after, ports = dict(cloud.made), set(cloud.ports)

    cloud.made = late
    with pytest.raises(Gone):
        answered(cloud, agents).adopt(spare, RIVAL_KEY, wanted(port("p2")), NOW)

    cloud.made = after
    assert [one.key for one in provider.list().instances] == [KEY]
    assert set(cloud.ports) == ports


def test_a_claim_that_was_cut_short_is_completed_by_whoever_looks_next(cloud: Values, agents: Answering) -> None:
    provider = answered(cloud, agents)
    spare = a_spare(provider)
    cloud.loses_marks = True
    with pytest.raises(Retry):
        provider.adopt(spare, KEY, wanted(), NOW)
    cloud.loses_marks = False
    assert answered(cloud, agents).list(KEY).instances == ()

    answered(cloud, agents).list(SPARE_KEY)

    (own,) = answered(cloud, agents).list(KEY).instances
    assert (own.id, own.slot, own.host) == (spare.id, "0", "node-1")


@pytest.mark.parametrize("marked", [True, False])
def test_a_pool_that_looked_too_early_does_not_delete_what_was_claimed(
    cloud: Values, agents: Answering, marked: bool
) -> None:
    provider = answered(cloud, agents)
    spare = a_spare(provider)
    cloud.loses_marks = not marked
    with contextlib.suppress(Retry):
        provider.adopt(spare, KEY, wanted(port()), NOW)
    ports = set(cloud.ports)

    with pytest.raises(Stale):
        answered(cloud, agents).delete(spare, ZERO)

    assert len(cloud.made) == 1
    assert set(cloud.ports) == ports


def test_a_spare_beside_an_instance_of_the_same_resource_is_not_taken(cloud: Values, agents: Answering) -> None:
    """Slots are for the day their hypervisor is lost."""
    provider = answered(cloud, agents)
    spare = a_spare(provider)
    provider.create(KEY, replace(wanted(), slot="1"), NOW)
    cloud.made = {name: replace(one, hypervisor="one") for name, one in cloud.made.items()}
    with pytest.raises(Gone, match="same hypervisor"):
        provider.adopt(spare, KEY, wanted(), NOW)


def test_a_credential_that_ends_soon_is_seen_and_renewed_once(cloud: Values, agents: Answering) -> None:
    provider = answered(cloud, agents)
    made = provider.create(KEY, wanted(), NOW)
    agents.inside[made.id].until = WALL - 1
    looks: Callable[[], bool] = lambda: provider.list(KEY).instances[0].credential_due  # noqa: E731
    provider = answered(cloud, agents)  # what was asked once is not asked again
    assert looks()

    for _ in range(2):
        provider.create(KEY, wanted(), NOW)

    assert [one.certificate for one in agents.inside[made.id].credentials] == [made.id]
    assert not looks()
