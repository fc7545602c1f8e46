"""A provider of bodies with agents of their own, on one real node, for the suites of `astara_suites.providers`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager

from astara.clients.appliance import NodeEndpoint, NodeTimeouts
from astara.clients.issuing import Papers, make_issuer, open_issuer
from astara.clients.nodes import NodeFleet, NodeInstances
from astara.contract.generation import Generation
from astara_suites.providers import World
from support.node_agent import NODE, PROBE, Deployment, running

SILENT = "silent"


@contextmanager
def world_of(kind: type[NodeInstances], node: Deployment, read_s: float = 30.0) -> Iterator[World]:
    """`read_s`: how long the node may take over one request."""
    make_issuer(node.authority, datetime.datetime.now(datetime.UTC))
    papers = Papers(open_issuer(node.authority.directory / "instances"), 7)
    with running(node, PROBE) as (agent, _):
        nodes = {NODE: node.endpoint(agent.server.port), SILENT: NodeEndpoint(SILENT, "https://127.0.0.1:9")}
        timeouts = NodeTimeouts(connect_s=1.0, read_s=read_s, quiet_s=0.2)
        fleet = NodeFleet(nodes, node.orchestrator, timeouts, papers)
        provider = kind(fleet)
        try:
            yield World(provider, NODE, SILENT)
        finally:
            for instance in provider.list().instances:
                provider.delete(instance, Generation(99, 0))
            fleet.close()
