"""The suite of providers on the simulated one and on network namespaces, through a real node agent and real TLS.

Each also with spares in front (pool/): whoever asks cannot tell an adopted instance from one made for them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from astara.clients.appliance import NodeEndpoint, NodeTimeouts
from astara.clients.nodes import NodeFleet
from astara.contract.codec import digest
from astara.contract.generation import Generation
from astara.providers.memory.cloud import MemoryCloud
from astara.providers.memory.provider import MemoryProvider
from astara.providers.namespace.provider import NamespaceProvider
from astara_suites.providers import REFUSED, AdoptionSuite, InstanceProviderSuite, World
from support.node_agent import NODE, PROBE, Deployment, isolated, running
from support.pooled import Pooled, PoolSuite


@pytest.fixture
def memory() -> World:
    cloud = MemoryCloud(unreachable={"silent"}, refused={digest(REFUSED): "a bad word"})
    return World(MemoryProvider(cloud), NODE, "silent")


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not isolated():
        pytest.skip("makes network namespaces: run it by `make test`")
    deployment = Deployment.at(tmp_path_factory.mktemp("agent"))
    with running(deployment, PROBE) as (agent, _):
        nodes = {NODE: deployment.endpoint(agent.server.port), "silent": NodeEndpoint("silent", "https://127.0.0.1:9")}
        fleet = NodeFleet(nodes, deployment.orchestrator, NodeTimeouts(connect_s=1.0, quiet_s=0.2))
        provider = NamespaceProvider.on_nodes(fleet)
        yield World(provider, NODE, "silent")
        for instance in provider.list().instances:
            provider.delete(instance, Generation(99, 0))
        fleet.close()


@pytest.fixture
def pooled_memory(memory: World) -> Pooled:
    assert isinstance(memory.provider, MemoryProvider)
    memory.provider.cloud.hosts = (NODE, "silent")
    return Pooled.over(memory, spares=6)


@pytest.fixture(scope="module")
def pooled_namespace(namespace: World) -> Pooled:
    return Pooled.over(namespace, spares=6)


class TestPooledProvider(PoolSuite):
    @pytest.fixture(params=["pooled_memory", pytest.param("pooled_namespace", marks=pytest.mark.kernel)])
    def pool(self, request: pytest.FixtureRequest) -> Pooled:
        made: Pooled = request.getfixturevalue(request.param)
        return made


class TestInstanceProvider(InstanceProviderSuite, AdoptionSuite):
    @pytest.fixture(params=["memory", pytest.param("namespace", marks=pytest.mark.kernel)])
    def world(self, request: pytest.FixtureRequest) -> World:
        made: World = request.getfixturevalue(request.param)
        return made
