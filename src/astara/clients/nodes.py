"""The node agents of a deployment, asked once for all, and the instances they make, whatever these are made of."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import structlog

from astara.clients.appliance import NodeClient, NodeEndpoint, NodeSight, NodeTimeouts
from astara.clients.issuing import Issued, Papers
from astara.clients.node_feed import Feed, OnChange
from astara.contract.agent import ApplyReport, Body, InstanceSpec, InstanceView, Key, PortAttachment
from astara.contract.codec import Wire
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.model.boundaries import Image, ProviderListing
from astara.model.errors import AstaraError, Retry, Terminal
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey
from astara.peers.identity import Identity

_log = structlog.get_logger(__name__)
_IDS = uuid.UUID("6c0c8d6e-4a0f-5d2e-9a51-3f6f0c1d7a91")
NAMESPACE = "namespace"
#: The label in which an instance says which edition it is of, if of any.
EDITION = "astara:edition"
#: The label in which an instance says when its credential ends: seconds since the epoch.
CREDENTIAL_UNTIL = "astara:credential-until"


def instance_id(key: ResourceKey, slot: str, body: str = NAMESPACE, edition: str | None = None) -> str:
    """Return the id of the one instance of (key, slot, body, edition): a lost answer never makes a second one.

    Two bodies of one slot are two ids, and so are two editions: during a move or an upgrade both are on one node.
    """
    made_of = "" if body == NAMESPACE else f"/{body}"
    edited = f"#{edition}" if edition else ""
    return str(uuid.uuid5(_IDS, f"{key.driver}/{key.id}/{slot}{made_of}{edited}"))


class NodeFleet:
    """A client per node agent, shared by every provider whose instances node agents make. `nodes`: host to agent.

    One listing holds the instances of every body; `ObservedInstance.provider` says which. `papers` issues what
    instances with an agent of their own are born with; without, there can be none of them. `term` as NodeClient's.
    """

    def __init__(
        self,
        nodes: Mapping[str, NodeEndpoint],
        identity: Identity,
        timeouts: NodeTimeouts | None = None,
        papers: Papers | None = None,
        term: Callable[[], int] = lambda: 0,
    ) -> None:
        self.papers = papers
        self._clients = {host: NodeClient(endpoint, identity, timeouts, term=term) for host, endpoint in nodes.items()}
        self._pool = ThreadPoolExecutor(max(1, 4 * len(self._clients)), thread_name_prefix="nodes")

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(self._clients)

    def close(self) -> None:
        """Give up all connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def node(self, host: str) -> NodeSight:
        """Ask one agent about itself; raises Retry when it does not answer."""
        return self.client(host).sight()

    def trouble(self, host: str) -> str | None:
        """Why a node did not answer the last time; None when it did."""
        return self.client(host).trouble

    def watch(self, on_change: OnChange, crashed: Callable[[str], None] | None = None) -> Feed:
        """Follow every node's change feed in threads of their own, until `Feed.stop`; see clients.node_feed."""
        return Feed(self._clients.values(), on_change, crashed)

    def client(self, host: str) -> NodeClient:
        """Return the client of one host; raises Terminal for a host that is not configured."""
        client = self._clients.get(host)
        if client is None:
            raise Terminal(f"no node agent is known for host {host!r}", f"add it: [nodes] node = {host}=https://…")
        return client

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Ask all nodes at once; the slowest that answers, or the timeout, decides how long it takes."""
        driver, identifier = (key.driver, key.id) if key is not None else (None, None)
        answers = self._everywhere(lambda client: client.instances(driver, identifier).instances)
        return ProviderListing(
            instances=tuple(
                observed(host, view, self.papers)
                for host, views in answers.items()
                if views is not None
                for view in views
            ),
            unreachable_hosts=frozenset(host for host, views in answers.items() if views is None),
        )

    def _everywhere(
        self, ask: Callable[[NodeClient], tuple[InstanceView, ...]]
    ) -> dict[str, tuple[InstanceView, ...] | None]:
        def answer(client: NodeClient) -> tuple[InstanceView, ...] | None:
            try:
                return ask(client)
            except AstaraError as error:
                # Also an agent of another version, or another server at its address: unknown there, as usual elsewhere.
                if not isinstance(error, Retry):
                    _log.warning("node.not-understood", node=client.name, error=str(error), remedy=error.remedy)
                return None

        if len(self._clients) == 1:
            return {host: answer(client) for host, client in self._clients.items()}
        asked = {host: self._pool.submit(answer, client) for host, client in self._clients.items()}
        return {host: future.result() for host, future in asked.items()}


class NodeInstances:
    """Implements `model.boundaries.InstanceProvider` for one kind of body; providers of that kind only name it.

    `source` is the fleet: whoever asks several providers at once asks it once (reconcile.sources).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    #: Whether there is an agent of its own in each, which must be told from others.
    has_agent: ClassVar[bool] = True

    def __init__(self, fleet: NodeFleet) -> None:
        self.source = fleet

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"fenced", "hotplug", "console-log", "adopt", "cut-over"})

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.source.hosts

    def image_now(self, host: str, image: str | None) -> Image:
        """Return the image a node would take. Raises Terminal when it cannot make such a body, or has no such image."""
        if self.name == NAMESPACE:
            return Image()
        bodies = self.source.client(host).node().bodies
        known = bodies.get(self.name)
        if known is None or image not in (None, *known):
            what = f"instances of kind {self.name}" + (f" with the image {image}" if image else "")
            raise Terminal(f"node {host} cannot make {what}", "see body.unavailable in the log of astara-node there")
        return Image(name=image or next(iter(known), None))

    @property
    def obstacle(self) -> str | None:
        """Why no instance can be made, and what to do; None when nothing is in the way."""
        if not self.has_agent or self.source.papers is not None:
            return None
        return f"nobody issues certificates to a {self.name}: run `astara ca init`, set [identity] ca_dir"

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Ask all nodes, and leave out other bodies."""
        listing = self.source.list(key)
        return replace(listing, instances=tuple(one for one in listing.instances if one.provider == self.name))

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance:
        """Make it, or find it and make its ports those wished for; with an agent it gets a new credential each time."""
        return self._put(key, wanted, generation, adopt=None)

    def adopt(
        self, spare: ObservedInstance, key: ResourceKey, wanted: DesiredInstance, generation: Generation
    ) -> ObservedInstance:
        """Claim a spare of the wished host; the node agent asks it before it gives it away."""
        return self._put(key, wanted, generation, adopt=spare.id)

    def _put(
        self, key: ResourceKey, wanted: DesiredInstance, generation: Generation, adopt: str | None
    ) -> ObservedInstance:
        identifier = instance_id(key, wanted.slot, self.name, wanted.edition)
        edition = {EDITION: wanted.edition} if wanted.edition else {}
        issued = self._issued(adopt or self._born_as(key, wanted.host, identifier)) if self.has_agent else None
        spec = InstanceSpec(
            id=identifier,
            key=Key(driver=key.driver, id=key.id),
            slot=wanted.slot,
            generation=generation,
            ports=wanted.ports,
            body=Body(kind=self.name, image=wanted.image),
            adopt=adopt,
            standby=wanted.standby,
            labels=edition if issued is None else {**edition, CREDENTIAL_UNTIL: f"{issued.until:.0f}"},
            credential=None if issued is None else issued.credential,
        )
        return self._observed(wanted.host, self.source.client(wanted.host).put_instance(spec))

    def delete(self, instance: ObservedInstance, generation: Generation) -> None:
        self.source.client(instance.host).delete_instance(instance.id, generation)

    def cut_over(self, instance: ObservedInstance, generation: Generation) -> ObservedInstance:
        return self._observed(instance.host, self.source.client(instance.host).cut_over(instance.id, generation))

    def attach_port(self, instance: ObservedInstance, port: PortAttachment, generation: Generation) -> ObservedInstance:
        return self._observed(instance.host, self.source.client(instance.host).attach(instance.id, port, generation))

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance:
        return self._observed(instance.host, self.source.client(instance.host).detach(instance.id, port_id, generation))

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        client = self.source.client(instance.host)
        return client.configure(instance.id, document(driver, generation, section))

    def console_log(self, instance: ObservedInstance) -> str:
        return self.source.client(instance.host).console_log(instance.id)

    def _born_as(self, key: ResourceKey, host: str, identifier: str) -> str:
        """Return the id its agent goes by: that of a spare stays when somebody adopts it."""
        there = self.source.client(host).instances(key.driver, key.id).instances
        return next((view.born_as or view.id for view in there if view.id == identifier), identifier)

    def _issued(self, identifier: str) -> Issued:
        if self.source.papers is None:
            reason, _, remedy = (self.obstacle or "").partition(": ")
            raise Terminal(reason, remedy)
        return self.source.papers.issue(identifier)

    def _observed(self, host: str, view: InstanceView) -> ObservedInstance:
        return observed(host, view, self.source.papers)


def observed(host: str, view: InstanceView, papers: Papers | None = None) -> ObservedInstance:
    """Return what the agent of `host` says of an instance in the orchestrator's terms."""
    ends = view.labels.get(CREDENTIAL_UNTIL)
    return ObservedInstance(
        id=view.id,
        slot=view.slot,
        provider=view.body.kind,
        host=host,
        ports=view.ports,
        state=view.state,
        created_at=view.created_at,
        key=ResourceKey(view.key.driver, view.key.id),
        image=view.body.image,
        image_digest=view.image,
        standby=view.standby,
        edition=view.labels.get(EDITION, ""),
        credential_due=ends is not None and papers is not None and papers.due(float(ends)),
    )
