"""The suite of providers, and the pool, on machines: a real node agent, QEMU, and an agent in each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from astara.providers.microvm.provider import MicrovmProvider
from astara_suites.providers import AdoptionSuite, InstanceProviderSuite, World
from support.bodied_world import world_of
from support.machines import PATIENCE_S, changed_image, deployment, has_template, needs_image
from support.node_agent import isolated
from support.pooled import Pooled, PoolSuite
from support.probe_driver import lay_out_probe
from support.segment import eventually

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make machines`"),
    needs_image,
]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("node")
    with_probe = changed_image(home, lay_out_probe)
    node = deployment(home / "node", images_dir=with_probe, templates=True)
    with world_of(MicrovmProvider, node, read_s=PATIENCE_S) as world:
        assert eventually(lambda: has_template(node), PATIENCE_S)
        yield world


class TestMicrovmProvider(InstanceProviderSuite, AdoptionSuite):
    @pytest.fixture
    def world(self, machines: World) -> World:
        return machines


@pytest.fixture(scope="module")
def pooled_machines(machines: World) -> Pooled:
    return Pooled.over(machines, spares=2)


class TestPooledMachines(PoolSuite):
    @pytest.fixture
    def pool(self, pooled_machines: Pooled) -> Pooled:
        return pooled_machines
