"""One node in trouble is a host of which nothing is known; the others are served as ever."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from astara.clients.appliance import NodeClient, NodeEndpoint
from astara.clients.authority import issue, open_authority
from astara.contract.agent import InstanceList
from astara.contract.identity import ORCHESTRATOR
from astara.model.errors import AstaraError, Gone, Retry, Stale, Terminal
from astara.providers.namespace.provider import NamespaceProvider


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
    provider = NamespaceProvider(nodes, identity)
    listing = provider.list()
    provider.close()
    assert listing.unreachable_hosts == {"bad"}
