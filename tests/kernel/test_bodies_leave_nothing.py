"""Instances made, killed and deleted again and again leave nothing: process, link, namespace, container, file."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.appliance.system import processes
from astara.clients.appliance import NodeClient
from astara.contract.agent import Body, Health
from astara.contract.generation import Generation
from astara.host import links, namespaces
from astara.host.bodies.container.podman import Podman
from support.containers import container_options, credential, needs_podman
from support.node_agent import NODE, Deployment, isolated, port, router_document, running, spec
from support.segment import eventually

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
MANY = pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])


@dataclass(frozen=True)
class Inventory:
    """What could be left. `descriptors` are the node agent's own; who has ended and waits for init does not count."""

    processes: int
    links: int
    namespaces: int
    containers: int
    files: int
    mounts: int
    descriptors: int

    @classmethod
    def of(cls, deployment: Deployment) -> Inventory:
        storage = deployment.options.container.storage
        assert storage is not None
        directories = [deployment.options.state_dir / "instances", storage]
        return cls(
            processes=sum(processes.running(pid) is not None for pid in _pids()),
            links=len(links.every()),
            namespaces=len(namespaces.ids_present()),
            containers=len(Podman(deployment.options.container).instances(NODE)) if shutil.which("podman") else 0,
            files=sum(len(names) + len(files) for top in directories for _, names, files in os.walk(top)),
            mounts=len(Path("/proc/self/mounts").read_text().splitlines()),
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
        )


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def live_and_die(deployment: Deployment, client: NodeClient, kind: str, *, killed: bool) -> None:
    wish = spec(port(), port())
    papers = credential(deployment.authority, wish.id) if kind != "namespace" else None
    wish = replace(wish, body=Body(kind=kind), credential=papers)
    client.put_instance(wish)
    client.configure(wish.id, router_document(wish, outside="203.0.113.2/24"))
    if killed and kind == "container":
        file = deployment.options.state_dir / "instances" / wish.id / "body" / "init.pid"
        born = processes.remembered(file)
        assert born is not None
        os.kill(born.pid, signal.SIGKILL)
        assert eventually(lambda: processes.remembered(file) not in (None, born))
        assert eventually(lambda: client.instances().instances[0].state.health is Health.HEALTHY)
    client.delete_instance(wish.id, Generation(9, 0))


@pytest.mark.parametrize("rounds", [6, MANY])
@pytest.mark.parametrize("kind", ["namespace", pytest.param("container", marks=needs_podman)])
def test_rounds_of_creating_killing_and_deleting_leave_nothing(tmp_path: Path, kind: str, rounds: int) -> None:
    made = Deployment.at(tmp_path)
    deployment = dataclasses.replace(made, options=dataclasses.replace(made.options, container=container_options()))
    with running(deployment) as (_, client):
        live_and_die(deployment, client, kind, killed=False)  # what is made once for all
        before = Inventory.of(deployment)
        for number in range(rounds):
            live_and_die(deployment, client, kind, killed=number % 2 == 0)
        assert eventually(lambda: Inventory.of(deployment) == before), (before, Inventory.of(deployment))
