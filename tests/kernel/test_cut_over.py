"""Two instances with the same ports on one node: one forwards, the other stands by, and takes over without a gap."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.contract.agent import Health, InstanceSpec, InstanceView
from astara.contract.generation import Generation
from astara.host import links
from astara.model.errors import Stale
from support.live_traffic import experienced, machine_on, reaches
from support.node_agent import Deployment, isolated, port, router_document, running, spec

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
NEXT, LAST = Generation(1, 2), Generation(99, 0)
INSIDE, OUTSIDE = "10.0.0.1", "192.0.2.1"


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment.at(tmp_path)
    yield made
    with running(made) as (_, client):
        for view in client.instances().instances:
            client.delete_instance(view.id, LAST)


def pair() -> tuple[InstanceSpec, InstanceSpec]:
    """Return two instances of one slot, as during a move: the same ports, the second one stands by."""
    old = spec(port(), port())
    return old, replace(old, id=str(uuid.uuid4()), standby=True)


def views(client: object) -> dict[str, InstanceView]:
    return {view.id: view for view in client.instances().instances}  # type: ignore[attr-defined]


def configured(client: object, instance: InstanceSpec) -> None:
    client.put_instance(instance)  # type: ignore[attr-defined]
    client.configure(instance.id, router_document(instance, inside=f"{INSIDE}/24", outside=f"{OUTSIDE}/24"))  # type: ignore[attr-defined]


def test_who_stands_by_is_configured_and_silent(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        with (
            machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE) as machine,
            machine_on(old.ports[1].network_id, "192.0.2.2", None),
        ):
            before = {name: links.find(links.host_name(name)) for name in (p.port_id for p in old.ports)}
            configured(client, new)
            assert {name: links.find(links.host_name(name)) for name in before} == before
            assert (views(client)[new.id].standby, views(client)[new.id].state.health) == (True, Health.HEALTHY)
            assert reaches(machine)
        client.delete_instance(new.id, NEXT)
        assert {name: links.find(links.host_name(name)) for name in before} == before
        assert [links.find(links.standby_name(name)) for name in before] == [None, None]


def test_a_cut_over_costs_no_connection(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client), contextlib.ExitStack() as cleaning:
        configured(client, old)
        configured(client, new)
        machine = cleaning.enter_context(machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE))
        server = cleaning.enter_context(machine_on(old.ports[1].network_id, "192.0.2.2", None))

        def cut_over() -> None:
            client.cut_over(new.id, NEXT)
            there = views(client)
            assert (there[old.id].standby, there[new.id].standby) == (True, False)
            client.delete_instance(old.id, NEXT)

        found = experienced(machine, server, cut_over)
        print(f"cut-over: {found}")


def test_a_cut_over_may_be_repeated_and_taken_back(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        configured(client, new)
        with (
            machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE) as machine,
            machine_on(old.ports[1].network_id, "192.0.2.2", None),
        ):
            for taker in (new, new, old, old, new):
                client.cut_over(taker.id, NEXT)
                assert [view.id for view in views(client).values() if not view.standby] == [taker.id]
                assert reaches(machine)


def test_an_older_owner_cannot_cut_over(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        configured(client, new)
        client.cut_over(new.id, Generation(2, 1))
        with pytest.raises(Stale):
            client.cut_over(old.id, NEXT)
        assert views(client)[old.id].standby


def test_a_restarted_agent_knows_who_stands_by(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (_, client):
        configured(client, old)
        configured(client, new)
    with running(deployment) as (_, client):
        there = views(client)
        assert (there[old.id].standby, there[new.id].standby) == (False, True)
        assert {view.state.health for view in there.values()} == {Health.HEALTHY}
        with (
            machine_on(old.ports[0].network_id, "10.0.0.2", INSIDE) as machine,
            machine_on(old.ports[1].network_id, "192.0.2.2", None),
        ):
            assert reaches(machine)


def test_who_stands_by_gets_its_lost_link_back_and_is_still_silent(deployment: Deployment) -> None:
    old, new = pair()
    with running(deployment) as (agent, client):
        configured(client, old)
        configured(client, new)
        subprocess.run(["ip", "link", "del", links.standby_name(old.ports[0].port_id)], check=True)
        agent.node.get(new.id).verify()
        mended = links.find(links.standby_name(old.ports[0].port_id))
        assert mended is not None
        assert mended.master is None
