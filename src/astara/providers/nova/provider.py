"""Servers of Nova's as instances: found by their metadata, plugged by us, configured through the agent inside."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from astara.clients import issuing
from astara.contract.agent import SPARE, ApplyReport, PortAttachment
from astara.contract.codec import Wire
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.model.boundaries import Image, ProviderListing
from astara.model.errors import AstaraError, Gone, Retry
from astara.model.operator import CheckLine
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey, Unknown
from astara.peers.identity import Identity
from astara.providers.nova import checks, options, sdk
from astara.providers.nova.agents import Agents
from astara.providers.nova.birth import Births, PaperWriter
from astara.providers.nova.boundary import Cloud, NewServer, Nic, Server
from astara.providers.nova.gates import Fences, Room
from astara.providers.nova.leftovers import Leftovers
from astara.providers.nova.marks import Mark, NicMark, nic_mark
from astara.providers.nova.plugging import Plugging, carried_by, introduce, may_have_been_done, of
from astara.providers.nova.sight import Look, Sight
from astara.providers.nova.spares import Spares

_log = structlog.get_logger(__name__)
_AT_ONCE = 16
#: A spare is on some hypervisor, and serves a router whatever host Neutron placed that on.
_ANYWHERE = "nova"

#: A plan that plugs goes on to push at once.
_FRESH_S = 10.0

#: (instance id, management port) -> the content of the config drive's file.
PapersFor = Callable[[str, Nic], bytes]
#: (resource, why): look at it.
OnChange = Callable[[ResourceKey, str], None]


@dataclass(frozen=True, slots=True)
class _Told:
    server: Server
    nics: tuple[Nic, ...]
    at: float


class NovaProvider:
    """Implements `model.boundaries.AdoptingProvider`. No call waits for a machine: one that boots is silent, no more.

    `boot_deadline_s`: a server whose agent has never answered by then is reported broken, with the reason.
    `issuer` renews what servers were born with; `places`: hosts for Neutron to put routers on, without node agents.
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
        issuer: issuing.Papers | None = None,
        places: Sequence[str] = (),
    ) -> None:
        self._cloud = cloud
        self._agents = agents
        self._papers_for = papers_for
        self._wall = wall
        self._issuer = issuer
        self.places = tuple(places)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="nova-agents")
        self._plugging = Plugging(cloud, self._pool)
        due = issuer.due if issuer is not None else lambda _: False
        self._sight = Sight(agents, boot_deadline_s, wall, due, self._booting)
        self._spares = Spares(cloud, self._sight)
        self._leftovers = Leftovers(cloud, self._plugging, wall)
        self._fences = Fences()
        self._room = Room(wall)
        self._births: Births | None = None
        self._expected: dict[str, ResourceKey] = {}
        #: What agents were told just now, so that a push right after that need not ask the cloud again.
        self._told: dict[str, _Told] = {}

    @classmethod
    def with_agents(
        cls,
        settings: Mapping[str, str],
        identity: Identity,
        issuer: issuing.Papers | None,
        term: Callable[[], int] = lambda: 0,
    ) -> NovaProvider:
        """Make it from its section of astara.conf, `identity` being the orchestrator's. Raises BadConfiguration."""
        chosen = options.read(settings)
        cloud = sdk.SdkCloud(sdk.connect(chosen.access), chosen.choice)
        writer = PaperWriter(cloud, issuer, chosen.agent_port, chosen.completes_checksums)
        agents = Agents(identity, chosen.agent_port, term)
        return cls(cloud, agents, writer, chosen.boot_deadline_s, issuer=issuer, places=chosen.places)

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"hotplug", "console-log", "adopt", "anywhere"})

    @property
    def hosts(self) -> Sequence[str]:
        return (_ANYWHERE,)

    @property
    def obstacle(self) -> str | None:
        """Why no instance can be made, and what to do; None when nothing is in the way."""
        if self._issuer is not None:
            return None
        return f"nobody issues certificates to a {self.name} server: run `astara ca init`, set [identity] ca_dir"

    def follow(self, on_change: OnChange) -> None:
        """Say from now on when a machine that was booting takes connections."""

        def heard(instance: str) -> None:
            self._sight.listening(instance)
            if (key := self._expected.pop(instance, None)) is not None:
                on_change(key, "its server has booted")

        self._births = Births(self._agents.port, heard)

    def checks(self) -> Iterable[CheckLine]:
        """Judge for `astara doctor` what this provider needs of the cloud."""
        return checks.examine(self._cloud)

    def close(self) -> None:
        if self._births is not None:
            self._births.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._agents.close()

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Two calls to the cloud, whatever there is, and one to each agent, all at once.

        Raises Retry when the cloud does not answer: nothing is known then, and nothing may be concluded.
        """
        servers = self._cloud.servers(key)
        for instance in self._leftovers.missed(key, servers):
            self._forget(instance)
        nics = self._cloud.nics() if servers or self._leftovers.expected else ()
        self._leftovers.sweep(nics)
        found = tuple(self._pool.map(lambda server: self._observed(server, of(server, nics)), servers))
        return ProviderListing(instances=found, unreachable_hosts=frozenset())

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance:
        """Make the server of this slot, or find it and make its ports those wished for; renew what it shows when due.

        An answer that was lost makes no double: what is there already is looked for first, by its metadata.
        """
        self._fences.admit(key, generation)
        self._room.refuse_early(key, wanted.slot)
        server = self._existing(key, wanted)
        nics = self._cloud.nics()
        if server is None:
            self._leftovers.sweep(nics)
            server, own = self._make(key, wanted)
        else:
            own = self._align(server, of(server, nics), wanted.ports, generation)
            self._renew(server, own, generation)
        return self._observed(server, own, ports=wanted.ports)

    def image_now(self, host: str, image: str | None) -> Image:
        """Return what Glance has under that name now. Raises Terminal when it has nothing."""
        return Image(image, self._cloud.image_digest(image))

    def adopt(
        self, spare: ObservedInstance, key: ResourceKey, wanted: DesiredInstance, generation: Generation
    ) -> ObservedInstance:
        """Claim a spare: its agent gives itself to one resource only, whoever asks; then its marks say so too.

        A claim that is cut short between the two is completed by whoever sees the spare next.
        """
        self._fences.admit(key, generation)
        servers = self._cloud.servers(key)
        if any(one.mark.slot == wanted.slot for one in servers):
            return self.create(key, wanted, generation)
        server = self._spares.find(spare)
        if server.hypervisor is not None and any(one.hypervisor == server.hypervisor for one in servers):
            raise Gone(f"spare {spare.id} is on the same hypervisor as another instance of {key}", "take another")
        nics = of(server, self._cloud.nics())
        claimed = server.given(Mark(spare.id, key, wanted.slot, wanted.host, spare.image))
        coming = self._pool.submit(self._spares.claim, claimed, nics, generation)
        try:
            made = self._plugging.make([nic_mark(spare.id, port) for port in wanted.ports])
        except AstaraError:
            coming.result()
            raise
        try:
            coming.result()
        except AstaraError:
            self._plugging.forsake(made)
            raise
        own = self._align(claimed, (*nics, *made), wanted.ports, generation)
        self._pool.submit(self._cloud.rename, claimed.id, claimed.mark, server.mark.key)
        return self._observed(claimed, own, ports=wanted.ports)

    def delete(self, instance: ObservedInstance, generation: Generation) -> None:
        """Take the server and its ports away. The last of a resource takes the server group along.

        Raises Stale for a spare that has become somebody's.
        """
        found = [one for one in self._cloud.servers(instance.key) if one.mark.instance == instance.id]
        if instance.key is not None and instance.key.driver == SPARE:
            self._spares.refuse_adopted(instance, found, generation)
        if found:
            self._fences.admit(found[0].mark.key, generation)
        for server in found:
            self._room.note(server)
            self._cloud.delete_server(server.id)
        self._leftovers.doom(instance.id)
        if not any(server.building for server in found):
            self._plugging.forsake(nic for nic in self._cloud.nics() if nic.mark.instance == instance.id)
        self._forget(instance.id)
        if instance.key is not None and not self._cloud.servers(instance.key):
            self._cloud.delete_group(instance.key)

    def attach_port(self, instance: ObservedInstance, port: PortAttachment, generation: Generation) -> ObservedInstance:
        server, nics = self._find(instance, generation)
        wished = [one for one in carried_by(nics) if one.port_id != port.port_id]
        return self._observed(server, self._align(server, nics, (*wished, port), generation))

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance:
        server, nics = self._find(instance, generation)
        wished = [one for one in carried_by(nics) if one.port_id != port_id]
        return self._observed(server, self._align(server, nics, wished, generation))

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        """Tell the agent its ports, if it does not know them yet, then its whole configuration."""
        wish = document(driver, generation, section)
        told = self._told.pop(instance.id, None)
        if told is not None and self._wall() - told.at < _FRESH_S:
            self._fences.admit(told.server.mark.key, generation)
            with contextlib.suppress(Gone):  # it has forgotten meanwhile: it is told again
                return self._sight.agent(told.server, told.nics).configure(instance.id, wish)
        server, nics = self._find(instance, generation)
        agent = self._sight.agent(server, nics)
        introduce(agent, server, nics, generation)
        return agent.configure(instance.id, wish)

    def console_log(self, instance: ObservedInstance) -> str:
        return self._cloud.console_log(self._server(instance).id)

    # -- making

    def _make(self, key: ResourceKey, wanted: DesiredInstance) -> tuple[Server, tuple[Nic, ...]]:
        """Ports first, then the server with all of them. What a refusal leaves behind is taken away at once."""
        mark = Mark(str(uuid.uuid4()), key, wanted.slot, wanted.host, wanted.image)
        nics = self._plugging.make([NicMark(mark.instance), *(nic_mark(mark.instance, port) for port in wanted.ports)])
        try:
            papers = self._papers_for(mark.instance, nics[0])
            new = NewServer(mark, tuple(nic.id for nic in nics), papers, self._group(key))
            server = self._cloud.create_server(new)
        except AstaraError as error:
            if not may_have_been_done(error):
                self._undo(key, nics)
            raise
        _log.info("nova.created", key=str(key), slot=wanted.slot, server=server.id, instance=mark.instance)
        return self._only(key, wanted, server), tuple(nics)

    def _group(self, key: ResourceKey) -> str | None:
        """Who adopts a spare would not be in its group; nobody would take that away again.

        Groups are few (Nova's quota is ten by default), and apart is only better: without room for one it goes without.
        """
        if key.driver == SPARE:
            return None
        try:
            return self._cloud.ensure_group(key)
        except Retry as error:
            if may_have_been_done(error):
                raise
            _log.warning("nova.no-server-group", key=str(key), reason=str(error), remedy=error.remedy)
            return None

    def _undo(self, key: ResourceKey, nics: Iterable[Nic]) -> None:
        """What cannot be taken away now goes later: ports by the sweep, the group with the resource's next server."""
        with contextlib.suppress(AstaraError):
            self._plugging.forsake(nics)
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

    def _align(
        self, server: Server, nics: Sequence[Nic], ports: Iterable[PortAttachment], generation: Generation
    ) -> tuple[Nic, ...]:
        """Have the server carry exactly these ports, and its agent know them."""
        own = self._plugging.align(server, nics, ports)
        if self._sight.met(server.mark.instance):
            introduce(self._sight.agent(server, own), server, own, generation)
            self._told[server.mark.instance] = _Told(server, own, self._wall())
        return own

    def _renew(self, server: Server, nics: Sequence[Nic], generation: Generation) -> None:
        instance = server.mark.instance
        if self._issuer is None or not self._sight.due(instance):
            return
        issued = self._issuer.issue(instance)
        introduce(self._sight.agent(server, nics), server, nics, generation, issued.credential)
        self._sight.renewed(instance, issued.until)
        _log.info("nova.credential-renewed", instance=instance)

    # -- looking

    def _observed(
        self, server: Server, nics: Sequence[Nic], ports: tuple[PortAttachment, ...] | None = None
    ) -> ObservedInstance:
        look = Look(Unknown.UNREACHABLE) if self._awaited(server) else self._sight.look(server, nics)
        if look.view is not None:
            server = self._spares.completed(server, look.view)
        self._leftovers.note(server)
        mark = server.mark
        return ObservedInstance(
            id=mark.instance,
            slot=mark.slot,
            provider=self.name,
            host=mark.host,
            ports=carried_by(nics) if ports is None else ports,
            state=look.state,
            created_at=server.created_at,
            key=mark.key,
            image=mark.image,
            image_digest=look.image,
            credential_due=look.due,
        )

    def _awaited(self, server: Server) -> bool:
        """Whether there is nobody to be asked yet: the attempt alone takes a second."""
        return server.fault is None and self._births is not None and self._births.awaits(server.mark.instance)

    def _booting(self, server: Server, address: str, within_s: float) -> None:
        if self._births is not None:
            self._expected[server.mark.instance] = server.mark.key
            self._births.expect(server.mark.instance, address, within_s)

    def _forget(self, instance: str) -> None:
        self._sight.forget(instance)
        self._told.pop(instance, None)
        self._expected.pop(instance, None)
        if self._births is not None:
            self._births.forget(instance)

    def _find(self, instance: ObservedInstance, generation: Generation) -> tuple[Server, tuple[Nic, ...]]:
        """Raises Gone, Stale."""
        server = self._server(instance)
        self._fences.admit(server.mark.key, generation)
        return server, of(server, self._cloud.nics())

    def _server(self, instance: ObservedInstance) -> Server:
        for server in self._cloud.servers(instance.key):
            if server.mark.instance == instance.id:
                return server
        raise Gone(f"no server carries instance {instance.id}", "nothing to do: it is made anew when it is wanted")
