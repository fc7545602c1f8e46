"""Servers of Nova's as instances: found by their metadata, plugged by us, configured through the agent inside."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import ApplyReport, Health, InstanceSpec, InstanceView, Key, PortAttachment, StateView
from astara.contract.codec import Wire
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.model.boundaries import ProviderListing
from astara.model.errors import AstaraError, Gone, Retry, Stale
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey, Unknown
from astara.providers.nova import refusals
from astara.providers.nova.agents import Agents
from astara.providers.nova.boundary import Cloud, NewServer, Nic, Server
from astara.providers.nova.marks import Mark, NicMark, nic_mark

_log = structlog.get_logger(__name__)
#: A port of ours whose server is nowhere this long after it was made belongs to a creation that was cut short.
_ORPHAN_S = 600.0
_AT_ONCE = 16

#: (instance id, management address) -> the content of the config drive.
PapersFor = Callable[[str, Nic], bytes]


class NovaProvider:
    """Implements `model.boundaries.InstanceProvider`. No call waits for a machine: one that boots is silent, no more.

    `boot_deadline_s`: a server whose agent has never answered by then is reported broken, with the reason.
    """

    name = "nova"
    summary = "servers of Nova's, each with an agent of its own, reached over the management network"

    def __init__(
        self,
        cloud: Cloud,
        agents: Agents,
        papers_for: PapersFor,
        boot_deadline_s: float = 180.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cloud = cloud
        self._agents = agents
        self._papers_for = papers_for
        self._boot_deadline_s = boot_deadline_s
        self._wall = wall
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="nova-agents")
        self._fences = _Fences()
        self._met: set[str] = set()
        #: Instances deleted by this process: their ports may go as soon as Nova has let go of them.
        self._doomed: set[str] = set()
        self._no_room_until: dict[tuple[ResourceKey, str], tuple[float, str]] = {}

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"hotplug", "console-log"})

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._agents.close()

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Two calls to the cloud, whatever there is, and one to each agent, all at once.

        Raises Retry when the cloud does not answer: nothing is known then, and nothing may be concluded.
        """
        servers = self._cloud.servers(key)
        nics = self._cloud.nics() if servers or self._doomed else ()
        self._sweep(nics)
        found = tuple(self._pool.map(lambda server: self._observed(server, _of(server, nics)), servers))
        return ProviderListing(instances=found, unreachable_hosts=frozenset())

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance:
        """Make the server of this slot, or find it and make its ports those wished for.

        An answer that was lost makes no double: what is there already is looked for first, by its metadata.
        """
        self._fences.admit(key, generation)
        self._refuse_early(key, wanted.slot)
        nics = self._cloud.nics()
        server = self._existing(key, wanted)
        if server is None:
            self._sweep(nics)
            server, own = self._make(key, wanted)
        else:
            own = self._align(server, _of(server, nics), wanted.ports, generation)
        return self._observed(server, own, ports=wanted.ports)

    def delete(self, instance: ObservedInstance, generation: Generation) -> None:
        """Take the server and its ports away. The last of a resource takes the server group along."""
        found = [one for one in self._cloud.servers(instance.key) if one.mark.instance == instance.id]
        if found:
            self._fences.admit(found[0].mark.key, generation)
        for server in found:
            self._note_capacity(server)
            self._cloud.delete_server(server.id)
        self._doomed.add(instance.id)
        if not any(server.building for server in found):
            self._forsake(nic for nic in self._cloud.nics() if nic.mark.instance == instance.id)
        self._agents.forget(instance.id)
        self._met.discard(instance.id)
        if instance.key is not None and not self._cloud.servers(instance.key):
            self._cloud.delete_group(instance.key)

    def attach_port(self, instance: ObservedInstance, port: PortAttachment, generation: Generation) -> ObservedInstance:
        server, nics = self._find(instance, generation)
        wished = [one for one in _ports(nics) if one.port_id != port.port_id]
        return self._observed(server, self._align(server, nics, (*wished, port), generation))

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance:
        server, nics = self._find(instance, generation)
        wished = [one for one in _ports(nics) if one.port_id != port_id]
        return self._observed(server, self._align(server, nics, wished, generation))

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        """Tell the agent its ports, if it does not know them yet, then its whole configuration."""
        server, nics = self._find(instance, generation)
        agent = self._agent(server, nics)
        self._introduce(agent, server, nics, generation)
        return agent.configure(instance.id, document(driver, generation, section))

    def console_log(self, instance: ObservedInstance) -> str:
        return self._cloud.console_log(self._server(instance).id)

    # -- making

    def _make(self, key: ResourceKey, wanted: DesiredInstance) -> tuple[Server, tuple[Nic, ...]]:
        """Ports first, then the server with all of them. What a refusal leaves behind is taken away at once."""
        mark = Mark(str(uuid.uuid4()), key, wanted.slot, wanted.host, wanted.image)
        nics: list[Nic] = []
        try:
            nics.append(self._cloud.create_nic(NicMark(mark.instance)))
            nics.extend(self._cloud.create_nic(nic_mark(mark.instance, port)) for port in wanted.ports)
            papers = self._papers_for(mark.instance, nics[0])
            group = self._cloud.ensure_group(key)
            server = self._cloud.create_server(NewServer(mark, tuple(nic.id for nic in nics), papers, group))
        except AstaraError as error:
            if not _may_have_been_done(error):
                self._undo(key, nics)
            raise
        _log.info("nova.created", key=str(key), slot=wanted.slot, server=server.id, instance=mark.instance)
        return self._only(key, wanted, server), tuple(nics)

    def _undo(self, key: ResourceKey, nics: Iterable[Nic]) -> None:
        """What cannot be taken away now goes later: ports by the sweep, the group with the resource's next server."""
        with contextlib.suppress(AstaraError):
            for nic in nics:
                self._cloud.delete_nic(nic.id)
            if not self._cloud.servers(key):
                self._cloud.delete_group(key)

    def _only(self, key: ResourceKey, wanted: DesiredInstance, ours: Server) -> Server:
        """Of two that were made at once the older stays; whoever made the younger takes it away again."""
        oldest = self._existing(key, wanted)
        if oldest is None or oldest.id == ours.id:
            return ours
        _log.warning("nova.double", key=str(key), kept=oldest.id, deleted=ours.id)
        self._cloud.delete_server(ours.id)
        raise Retry(f"{key} slot {wanted.slot}: another orchestrator made it at the same time", "nothing to do", 1.0)

    def _existing(self, key: ResourceKey, wanted: DesiredInstance) -> Server | None:
        place = (wanted.slot, wanted.host)
        same = [one for one in self._cloud.servers(key) if (one.mark.slot, one.mark.host) == place]
        return min(same, key=lambda one: (one.created_at, one.id), default=None)

    def _sweep(self, nics: Iterable[Nic]) -> None:
        """Delete ports that no server has, nor will: of servers deleted meanwhile, of creations that were cut short."""
        free = [nic for nic in nics if nic.server_id is None]
        self._forsake(nic for nic in free if nic.mark.instance in self._doomed)
        old = [nic for nic in free if self._wall() - nic.created_at > _ORPHAN_S]
        living = {server.mark.instance for server in self._cloud.servers()} if old else set()
        self._forsake(nic for nic in old if nic.mark.instance not in living)

    def _forsake(self, nics: Iterable[Nic]) -> None:
        for nic in nics:
            _log.info("nova.port-deleted", port=nic.id, instance=nic.mark.instance)
            self._cloud.delete_nic(nic.id)

    # -- plugging

    def _align(
        self, server: Server, nics: Sequence[Nic], ports: Iterable[PortAttachment], generation: Generation
    ) -> tuple[Nic, ...]:
        """Have the server carry exactly these ports, and its agent know them; return its NICs then."""
        wished = {port.port_id: port for port in ports}
        if server.building:
            return self._as_born(server, nics, wished)
        kept: list[Nic] = []
        for nic in nics:
            carried = nic.mark.carried()
            if carried is None or wished.get(carried.port_id) == carried:
                kept.append(nic)
                continue
            self._cloud.unplug(server.id, nic.id)
            self._cloud.delete_nic(nic.id)
        for nic in kept:
            if nic.server_id != server.id:
                self._cloud.plug(server.id, nic.id)
        there = {port.port_id for port in _ports(kept)}
        for port_id in wished.keys() - there:
            kept.append(self._plugged(server, wished[port_id]))
        if server.mark.instance in self._met:
            self._introduce(self._agent(server, kept), server, kept, generation)
        return tuple(kept)

    def _as_born(self, server: Server, nics: Sequence[Nic], wished: Mapping[str, PortAttachment]) -> tuple[Nic, ...]:
        """Nova changes nothing on a server it is making, which has the ports it was asked for with."""
        if {port.port_id: port for port in _ports(nics)} != wished:
            raise Retry(f"server {server.id} is still being made; its ports change when it is ACTIVE")
        return tuple(nics)

    def _plugged(self, server: Server, port: PortAttachment) -> Nic:
        nic = self._cloud.create_nic(nic_mark(server.mark.instance, port))
        try:
            self._cloud.plug(server.id, nic.id)
        except AstaraError as error:
            if not _may_have_been_done(error):
                self._cloud.delete_nic(nic.id)
            raise
        return nic

    def _introduce(self, agent: NodeClient, server: Server, nics: Sequence[Nic], generation: Generation) -> None:
        """Tell the agent which of its interfaces are which ports; it finds them by the MAC addresses Nova gave them."""
        mark = server.mark
        carried = [(nic.mark.carried(), nic.mac) for nic in nics]
        ports = tuple(replace(port, attach="nic", nic=mac) for port, mac in carried if port is not None)
        key = Key(driver=mark.key.driver, id=mark.key.id)
        agent.put_instance(InstanceSpec(id=mark.instance, key=key, slot=mark.slot, generation=generation, ports=ports))

    # -- looking

    def _observed(
        self, server: Server, nics: Sequence[Nic], ports: tuple[PortAttachment, ...] | None = None
    ) -> ObservedInstance:
        mark = server.mark
        state, image = self._state(server, nics)
        return ObservedInstance(
            id=mark.instance,
            slot=mark.slot,
            provider=self.name,
            host=mark.host,
            ports=_ports(nics) if ports is None else ports,
            state=state,
            created_at=server.created_at,
            key=mark.key,
            image=mark.image,
            image_digest=image,
        )

    def _state(self, server: Server, nics: Sequence[Nic]) -> tuple[StateView | Unknown, str | None]:
        """What the agent says; what Nova says, where it knows that there is no agent to ask."""
        if server.fault is not None:
            return StateView(health=Health.FAILED, last_error=f"Nova: {server.fault}"), None
        try:
            view = self._view(server, nics)
        except AstaraError as error:
            return self._silent(server, error), None
        self._met.add(server.mark.instance)
        if view is None:
            return StateView(health=Health.UNCONFIGURED), None
        return view.state, view.image

    def _view(self, server: Server, nics: Sequence[Nic]) -> InstanceView | None:
        """Return what the agent says of its one instance; None before it was told of it."""
        said = self._agent(server, nics).instances().instances
        return next((one for one in said if one.id == server.mark.instance), None)

    def _silent(self, server: Server, error: AstaraError) -> StateView | Unknown:
        age = self._wall() - server.created_at
        if server.mark.instance in self._met or age < self._boot_deadline_s:
            return Unknown.UNREACHABLE
        reason = f"its agent never answered within {self._boot_deadline_s:.0f} s of its creation: {error}"
        return StateView(health=Health.FAILED, last_error=reason)

    def _agent(self, server: Server, nics: Sequence[Nic]) -> NodeClient:
        """Raises Retry when there is no address to reach it at."""
        addresses = [address for nic in nics if nic.mark.port_id is None for address in nic.addresses]
        if not addresses:
            raise Retry(
                f"server {server.id} has no address on the management network", "see that the network has subnets"
            )
        return self._agents.of(server.mark.instance, addresses[0])

    def _find(self, instance: ObservedInstance, generation: Generation) -> tuple[Server, tuple[Nic, ...]]:
        """Raises Gone, Stale."""
        server = self._server(instance)
        self._fences.admit(server.mark.key, generation)
        return server, _of(server, self._cloud.nics())

    def _server(self, instance: ObservedInstance) -> Server:
        for server in self._cloud.servers(instance.key):
            if server.mark.instance == instance.id:
                return server
        raise Gone(f"no server carries instance {instance.id}", "nothing to do: it is made anew when it is wanted")

    # -- capacity

    def _note_capacity(self, server: Server) -> None:
        """A server without a hypervisor is no accident of that server: the next would fail for the same reason."""
        if server.fault is not None and refusals.is_capacity(server.fault):
            until = self._wall() + refusals.CAPACITY_AFTER_S
            self._no_room_until[server.mark.key, server.mark.slot] = (until, server.fault)

    def _refuse_early(self, key: ResourceKey, slot: str) -> None:
        until, fault = self._no_room_until.get((key, slot), (0.0, ""))
        if until > self._wall():
            raise refusals.no_room(fault, until - self._wall())
        self._no_room_until.pop((key, slot), None)


class _Fences:
    """The newest generation this process saw for each resource: what is older comes too late. Agents keep their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[ResourceKey, Generation] = {}

    def admit(self, key: ResourceKey, generation: Generation) -> None:
        """Raises Stale."""
        with self._lock:
            newest = self._newest.get(key)
            if newest is not None and generation < newest:
                raise Stale(f"{key}: generation {generation} is older than {newest}")
            self._newest[key] = generation


def _of(server: Server, nics: Iterable[Nic]) -> tuple[Nic, ...]:
    return tuple(nic for nic in nics if nic.mark.instance == server.mark.instance)


def _ports(nics: Iterable[Nic]) -> tuple[PortAttachment, ...]:
    return tuple(port for nic in nics if (port := nic.mark.carried()) is not None)


def _may_have_been_done(error: AstaraError) -> bool:
    """An answer that was lost says nothing about what was done: what was made for it must stay."""
    return isinstance(error, Retry) and error.after_s is None
