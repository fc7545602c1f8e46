"""The suite of providers, and the pool, on containers: a real node agent, Podman, and an agent in each of them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara.providers.container.provider import ContainerProvider
from astara_suites.providers import AdoptionSuite, InstanceProviderSuite, World
from support.bodied_world import world_of
from support.containers import container_options, needs_podman
from support.node_agent import Deployment, isolated
from support.pooled import Pooled, PoolSuite
from support.probe_driver import lay_out_probe

PROJECT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make bodies`"),
    needs_podman,
]


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    (PROJECT / "build").mkdir(exist_ok=True)
    site = Path(tempfile.mkdtemp(prefix="probe-site.", dir=PROJECT / "build"))  # seen from inside: it is on the root
    lay_out_probe(site)
    options = container_options()
    words = [word.replace("PYTHONPATH=", f"PYTHONPATH={site}{os.pathsep}") for word in options.command]
    made = Deployment.at(tmp_path_factory.mktemp("node"))
    container = dataclasses.replace(options, command=tuple(words))
    node = dataclasses.replace(made, options=dataclasses.replace(made.options, container=container))
    try:
        with world_of(ContainerProvider, node) as world:
            yield world
    finally:
        shutil.rmtree(site)


class TestContainerProvider(InstanceProviderSuite, AdoptionSuite):
    @pytest.fixture
    def world(self, containers: World) -> World:
        return containers


@pytest.fixture(scope="module")
def pooled_containers(containers: World) -> Pooled:
    return Pooled.over(containers, spares=2)


class TestPooledContainers(PoolSuite):
    @pytest.fixture
    def pool(self, pooled_containers: Pooled) -> Pooled:
        return pooled_containers
