"""Instances that are network namespaces, made by the node agents (host/)."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog

from astara.clients.appliance import NodeClient, NodeEndpoint, NodeSight, NodeTimeouts
from astara.clients.identity import Identity
from astara.contract.agent import ApplyReport, InstanceSpec, InstanceView, Key, PortAttachment
from astara.contract.codec import Wire
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.model.boundaries import ProviderListing
from astara.model.errors import AstaraError, Retry, Terminal
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey
from astara.providers.namespace.feed import Feed, OnChange

_log = structlog.get_logger(__name__)
_IDS = uuid.UUID("6c0c8d6e-4a0f-5d2e-9a51-3f6f0c1d7a91")


def instance_id(key: ResourceKey, slot: str) -> str:
    """Return the id of the one instance of (key, slot): an answer that got lost never makes a second one."""
    return str(uuid.uuid5(_IDS, f"{key.driver}/{key.id}/{slot}"))


class NamespaceProvider:
    """Implements `model.boundaries.InstanceProvider` over node agents; `nodes` maps a host's name to its agent."""

    name = "namespace"
    summary = "network namespaces, made by the node agents listed under [nodes]"

    def __init__(
        self, nodes: Mapping[str, NodeEndpoint], identity: Identity, timeouts: NodeTimeouts | None = None
    ) -> None:
        self._clients = {host: NodeClient(endpoint, identity, timeouts) for host, endpoint in nodes.items()}
        self._pool = ThreadPoolExecutor(max(1, 4 * len(self._clients)), thread_name_prefix="nodes")

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"hotplug", "console-log"})

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
        return self._client(host).sight()

    def trouble(self, host: str) -> str | None:
        """Why a node did not answer the last time; None when it did."""
        return self._client(host).trouble

    def watch(self, on_change: OnChange, crashed: Callable[[str], None] | None = None) -> Feed:
        """Follow every node's change feed in threads of their own, until `Feed.stop`; see providers.namespace.feed."""
        return Feed(self._clients.values(), on_change, crashed)

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Ask all nodes at once; the slowest that answers, or the timeout, decides how long it takes."""
        driver, identifier = (key.driver, key.id) if key is not None else (None, None)
        answers = self._everywhere(lambda client: client.instances(driver, identifier).instances)
        return ProviderListing(
            instances=tuple(
                _observed(host, view) for host, views in answers.items() if views is not None for view in views
            ),
            unreachable_hosts=frozenset(host for host, views in answers.items() if views is None),
        )

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance:
        spec = InstanceSpec(
            id=instance_id(key, wanted.slot),
            key=Key(driver=key.driver, id=key.id),
            slot=wanted.slot,
            generation=generation,
            ports=wanted.ports,
        )
        return _observed(wanted.host, self._client(wanted.host).put_instance(spec))

    def delete(self, instance: ObservedInstance, generation: Generation) -> None:
        self._client(instance.host).delete_instance(instance.id, generation)

    def attach_port(self, instance: ObservedInstance, port: PortAttachment, generation: Generation) -> ObservedInstance:
        return _observed(instance.host, self._client(instance.host).attach(instance.id, port, generation))

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance:
        return _observed(instance.host, self._client(instance.host).detach(instance.id, port_id, generation))

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        return self._client(instance.host).configure(instance.id, document(driver, generation, section))

    def console_log(self, instance: ObservedInstance) -> str:
        return self._client(instance.host).console_log(instance.id)

    def _client(self, host: str) -> NodeClient:
        client = self._clients.get(host)
        if client is None:
            raise Terminal(f"no node agent is known for host {host!r}", f"add it: [nodes] node = {host}=https://…")
        return client

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


def _observed(host: str, view: InstanceView) -> ObservedInstance:
    return ObservedInstance(
        id=view.id,
        slot=view.slot,
        provider=NamespaceProvider.name,
        host=host,
        ports=view.ports,
        state=view.state,
        created_at=view.created_at,
        key=ResourceKey(view.key.driver, view.key.id),
    )
