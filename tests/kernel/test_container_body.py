"""Containers as bodies: the failure rows of docs/design/bodies.md."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import Body, Health, InstanceSpec, PortAttachment
from astara.contract.generation import Generation
from astara.host import namespaces
from astara.host.healer import Pace
from support.containers import container_options, credential, needs_podman
from support.node_agent import Deployment, isolated, port, router_document, running, spec

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
    needs_podman,
]
NOW, LAST = Generation(1, 1), Generation(99, 0)
CONTAINER = Body(kind="container")
HINTS_ONLY = Pace(sweep_period_s=3600.0)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment.at(tmp_path)
    made = dataclasses.replace(made, options=dataclasses.replace(made.options, container=container_options()))
    yield made
    with running(made) as (_, client):
        for view in client.instances().instances:
            client.delete_instance(view.id, LAST)


def container(deployment: Deployment, *ports: PortAttachment) -> InstanceSpec:
    wish = spec(*(ports or (port(),)))
    return replace(wish, body=CONTAINER, credential=credential(deployment.authority, wish.id))


def configured(deployment: Deployment, client: NodeClient) -> InstanceSpec:
    instance = container(deployment)
    client.put_instance(instance)
    client.configure(instance.id, router_document(instance))
    return instance


def inside(instance: InstanceSpec, *argv: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={namespaces.path_of(instance.id)}", *argv], capture_output=True, text=True, check=False
    )
    return done.stdout


def test_a_container_is_made_configured_and_deleted(deployment: Deployment) -> None:
    with running(deployment, pace=HINTS_ONLY) as (_, client):
        instance = configured(deployment, client)
        (view,) = client.instances().instances
        assert view.state.health is Health.HEALTHY
        assert view.body == Body(kind="container", image="this-machine")
        assert "10.0.0.1/24" in inside(instance, "ip", "addr")
        print(client.console_log(instance.id))
        client.delete_instance(instance.id, NOW)
        assert not namespaces.path_of(instance.id).exists()
        assert client.node().bodies == {"container": ("this-machine",), "namespace": ()}
