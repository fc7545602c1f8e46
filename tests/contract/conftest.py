"""Real Neutrons, started once for all contract tests that want them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.neutron.cloud import BESIDE, Cloud, running
from support.neutron.listener import Listener


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    """The intake that `cloud` notifies."""
    listener = Listener().start()
    yield listener
    listener.stop()


@pytest.fixture(scope="session")
def one_cloud(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[Cloud]:
    """A Neutron in which Astara takes every router."""
    with running(tmp_path_factory.mktemp("neutron"), notify_url=listener.url) as cloud:
        yield cloud
        cloud.client.close()


@pytest.fixture(scope="module")
def cloud(one_cloud: Cloud) -> Cloud:
    """The Neutron with two nodes, whatever the tests of another file announced last."""
    one_cloud.call("PUT", "/astara/nodes", {"nodes": [{"host": "node-a"}, {"host": "node-b"}]})
    return one_cloud


@pytest.fixture(scope="session")
def shared_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A Neutron whose default provider is another; Astara takes flavored routers only. No node is announced."""
    with running(
        tmp_path_factory.mktemp("shared"), providers=BESIDE, astara="bind_hosts = nodes\ndhcp = none"
    ) as cloud:
        yield cloud
        cloud.client.close()
