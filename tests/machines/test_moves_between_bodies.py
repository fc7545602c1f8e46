"""A router moves on its node from a namespace into a machine and back: connections, which it translates, live on."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import Body, Health, InstanceSpec
from astara.contract.generation import Generation
from astara.host.main import Agent
from astara.model.errors import Retry
from support.live_traffic import Experienced, experienced, far_end_speaks, machine_on, reaches
from support.machines import MICROVM, agent_with_patience, credential, deployment, has_template, needs_image
from support.node_agent import Deployment, isolated, port, router_document, spec
from support.segment import eventually

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make machines`"),
    needs_image,
]
NAMESPACE = Body()
INSIDE, OUTSIDE = "10.0.0.1/24", "192.0.2.1/24"
LAST = Generation(99, 0)
BOOT_S = 200.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deployment(tmp_path_factory.mktemp("node"), templates=True)


@pytest.fixture
def running(node: Deployment) -> Iterator[tuple[Agent, NodeClient]]:
    with agent_with_patience(node) as (agent, client):
        assert eventually(lambda: has_template(node), BOOT_S)
        yield agent, client
        for view in client.instances().instances:
            client.delete_instance(view.id, LAST)


def made(node: Deployment, client: NodeClient, wish: InstanceSpec, body: Body, *, standby: bool) -> InstanceSpec:
    """The same router once more in another body, configured."""
    identifier = str(uuid.uuid4())
    paper = credential(node.authority, identifier) if body is MICROVM else None
    one = replace(wish, id=identifier, body=body, credential=paper, standby=standby)
    client.put_instance(one)

    def taken() -> bool:
        try:
            client.configure(one.id, router_document(one, inside=INSIDE, outside=OUTSIDE))
        except Retry:
            return False
        return True

    assert eventually(taken, BOOT_S)
    return one


def moved(client: NodeClient, old: InstanceSpec, new: InstanceSpec, revision: int) -> None:
    client.cut_over(new.id, Generation(1, revision))
    client.delete_instance(old.id, Generation(1, revision))


def test_connections_translated_by_one_body_go_on_in_another(
    node: Deployment, running: tuple[Agent, NodeClient], capsys: pytest.CaptureFixture[str]
) -> None:
    _, client = running
    wish = spec(port(), port())
    old = made(node, client, wish, NAMESPACE, standby=False)
    with contextlib.ExitStack() as cleaning:
        machine = cleaning.enter_context(machine_on(wish.ports[0].network_id, "10.0.0.2", "10.0.0.1"))
        server = cleaning.enter_context(machine_on(wish.ports[1].network_id, "192.0.2.2", None))
        assert eventually(lambda: reaches(machine), BOOT_S)
        for revision, body in zip(itertools.count(2), (MICROVM, MICROVM, NAMESPACE), strict=False):
            new = made(node, client, wish, body, standby=True)
            found: Experienced = experienced(
                machine, server, lambda old=old, new=new, at=revision: moved(client, old, new, at)
            )
            with capsys.disabled():
                print(f"\n{old.body.kind} to {body.kind}: {found}")
            old = new
            (view,) = client.instances().instances
            assert (view.body.kind, view.state.health) == (body.kind, Health.HEALTHY)


@pytest.mark.parametrize(("source", "target"), [(NAMESPACE, MICROVM), (MICROVM, NAMESPACE)], ids=["into", "out-of"])
def test_after_a_move_the_far_end_of_a_translated_connection_may_speak_first(
    node: Deployment, running: tuple[Agent, NodeClient], source: Body, target: Body
) -> None:
    """Nobody but the copied connection knows whom that packet is for: without it the router itself would refuse it."""
    _, client = running
    wish = spec(port(), port())
    old = made(node, client, wish, source, standby=False)
    with contextlib.ExitStack() as cleaning:
        machine = cleaning.enter_context(machine_on(wish.ports[0].network_id, "10.0.0.2", "10.0.0.1"))
        server = cleaning.enter_context(machine_on(wish.ports[1].network_id, "192.0.2.2", None))
        assert eventually(lambda: reaches(machine), BOOT_S)
        with far_end_speaks(machine, server) as speak:
            moved(client, old, made(node, client, wish, target, standby=True), 2)
            assert speak() == "heard"
