"""One node in trouble is a host of which nothing is known; the others are served as ever."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from astara.clients.appliance import NodeClient, NodeEndpoint
from astara.clients.authority import issue, open_authority
from astara.clients.nodes import NodeFleet, instance_id, observed
from astara.contract.agent import Body, Health, InstanceList, InstanceView, Key, StateView
from astara.contract.identity import ORCHESTRATOR
from astara.model.boundaries import ProviderListing
from astara.model.errors import AstaraError, Gone, Retry, Stale, Terminal
from astara.model.resource import ResourceKey
from astara.providers.container.provider import ContainerProvider
from astara.providers.memory.provider import MemoryProvider
from astara.providers.microvm.provider import MicrovmProvider
from astara.providers.namespace.provider import NamespaceProvider
from astara.reconcile.sources import sources

KEY = ResourceKey("router", "1")
KINDS = {"namespace": NamespaceProvider, "container": ContainerProvider, "microvm": MicrovmProvider}


@pytest.mark.parametrize("error", [Retry("away"), Terminal("another contract"), Gone("another server"), Stale("what?")])
def test_a_node_that_answers_nonsense_stops_nobody_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: AstaraError
) -> None:
    """An agent of another version made every listing Terminal: no resource on any node was looked at any more."""

    def instances(node: NodeClient, driver: str | None = None, identifier: str | None = None) -> InstanceList:
        if node.name == "bad":
            raise error
        return InstanceList(instances=())

    monkeypatch.setattr(NodeClient, "instances", instances)
    now = datetime.datetime.now(datetime.UTC)
    identity = issue(open_authority(tmp_path, now), "one", ORCHESTRATOR, [], now)
    nodes = {name: NodeEndpoint(name, f"https://{name}:1") for name in ("bad", "good")}
    fleet = NodeFleet(nodes, identity)
    listing = fleet.list()
    fleet.close()
    assert listing.unreachable_hosts == {"bad"}


class Counted(NodeFleet):
    """One node with an instance of every body of one slot; counts how often it is asked for them."""

    def __init__(self) -> None:
        self.asked = 0

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        self.asked += 1
        views = (
            InstanceView(
                id=instance_id(KEY, "0", kind),
                key=Key(driver=KEY.driver, id=KEY.id),
                slot="0",
                ports=(),
                state=StateView(health=Health.HEALTHY),
                created_at=1.0,
                body=Body(kind=kind),
            )
            for kind in KINDS
        )
        return ProviderListing(tuple(observed("n1", view) for view in views), frozenset())


def test_a_look_asks_a_node_once_whatever_its_instances_are_made_of() -> None:
    fleet = Counted()
    found = [source.lister.list(KEY) for source in sources({name: maker(fleet) for name, maker in KINDS.items()})]
    assert fleet.asked == 1
    [listing] = found
    assert [instance.provider for instance in listing.instances] == list(KINDS)


def test_each_provider_reports_only_instances_of_its_own_body_and_their_ids_differ() -> None:
    """During a move two bodies of one slot are on one node."""
    listings = {name: maker(Counted()).list(KEY).instances for name, maker in KINDS.items()}
    assert {name: [i.provider for i in instances] for name, instances in listings.items()} == {k: [k] for k in KINDS}
    assert len({instance.id for instances in listings.values() for instance in instances}) == len(KINDS)


def test_providers_that_share_nothing_are_asked_one_by_one() -> None:
    ones = {"a": MemoryProvider(), "b": MemoryProvider()}
    assert [source.providers for source in sources(ones)] == [("a",), ("b",)]
