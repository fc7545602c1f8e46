"""A node agent gives a spare to a resource: once, to one, and so that nothing can tell it was a spare."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import SPARE, Credential, Health, InstanceSpec, InstanceView, Key
from astara.contract.generation import ZERO, Generation
from astara.host import namespaces
from astara.host.healer import Pace
from astara.host.options import Solitary
from astara.host.records import Records
from astara.model.errors import Gone, Stale, Terminal
from support.node_agent import Deployment, isolated, port, router_document, running, spec
from support.segment import eventually

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
NOW, OLDER, LAST = Generation(5, 5), Generation(5, 4), Generation(99, 0)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment.at(tmp_path)
    yield made
    with running(made) as (_, client):
        for view in client.instances().instances:
            client.delete_instance(view.id, LAST)


@pytest.fixture
def client(deployment: Deployment) -> Iterator[NodeClient]:
    with running(deployment) as (_, client):
        yield client


def a_spare(client: NodeClient) -> InstanceSpec:
    made = InstanceSpec(id=str(uuid.uuid4()), key=Key(driver=SPARE, id="0"), slot=str(uuid.uuid4()), generation=ZERO)
    client.put_instance(made)
    return made


def wanting(spare: InstanceSpec) -> InstanceSpec:
    return replace(spec(port()), generation=NOW, adopt=spare.id)


def everything(client: NodeClient) -> list[tuple[str, Key]]:
    return [(view.id, view.key) for view in client.instances().instances]


def spares(client: NodeClient) -> tuple[InstanceView, ...]:
    return client.instances(SPARE).instances


def test_an_adopted_spare_is_the_resources_instance_and_no_other_is_made(client: NodeClient) -> None:
    wanted = wanting(spare := a_spare(client))
    view = client.put_instance(wanted)
    assert (view.id, view.key, view.slot, view.ports) == (wanted.id, wanted.key, wanted.slot, wanted.ports)
    assert (view.born_as, view.state.health) == (spare.id, Health.UNCONFIGURED)
    assert everything(client) == [(wanted.id, wanted.key)]


def test_it_is_configured_and_deleted_by_its_new_name_and_nothing_is_left(client: NodeClient) -> None:
    wanted = wanting(spare := a_spare(client))
    client.put_instance(wanted)
    client.configure(wanted.id, router_document(wanted, generation=NOW, inside="10.0.0.1/24"))
    assert client.instances().instances[0].state.health is Health.HEALTHY
    path = namespaces.path_of(spare.id)
    done = subprocess.run(["nsenter", f"--net={path}", "ip", "addr"], capture_output=True, text=True, check=True)
    assert "10.0.0.1/24" in done.stdout
    client.delete_instance(wanted.id, NOW)
    assert everything(client) == []
    assert namespaces.ids_present() == set()


def test_it_has_the_credential_that_came_with_its_name(deployment: Deployment, client: NodeClient) -> None:
    """What the orchestrator notes as its end must be the end of what the instance shows."""
    spare = a_spare(client)
    credential = Credential(ca="ca", certificate="certificate", key="key")
    client.put_instance(replace(wanting(spare), credential=credential))
    assert Records(deployment.options.state_dir).credential(spare.id) == credential


def test_a_claim_repeated_with_another_spare_brings_a_credential_that_is_not_for_it(
    deployment: Deployment, client: NodeClient
) -> None:
    wanted, another = wanting(spare := a_spare(client)), a_spare(client)
    good, others = (Credential(ca="ca", certificate=name, key="key") for name in ("good", "another's"))
    client.put_instance(replace(wanted, credential=good, labels={"until": "good"}))
    view = client.put_instance(replace(wanted, adopt=another.id, credential=others, labels={"until": "another's"}))
    assert Records(deployment.options.state_dir).credential(spare.id) == good
    assert view.labels == {"until": "good"}


def test_a_claim_repeated_with_or_without_the_spare_finds_the_same_instance(client: NodeClient) -> None:
    wanted, another = wanting(a_spare(client)), a_spare(client)
    first = client.put_instance(wanted)
    for again in (wanted, replace(wanted, adopt=None), replace(wanted, adopt=another.id)):
        assert client.put_instance(again).born_as == first.born_as
    assert [view.id for view in spares(client)] == [another.id]


def test_of_many_that_want_one_spare_one_gets_it(client: NodeClient) -> None:
    spare = a_spare(client)
    claims = [wanting(spare) for _ in range(6)]
    together = threading.Barrier(len(claims))

    def claim(wanted: InstanceSpec) -> bool:
        together.wait()
        try:
            client.put_instance(wanted)
        except Gone:
            return False
        return True

    with ThreadPoolExecutor(len(claims)) as pool:
        won = list(pool.map(claim, claims))
    assert won.count(True) == 1
    assert everything(client) == [(claims[won.index(True)].id, claims[won.index(True)].key)]


def test_of_many_spares_a_resource_gets_one_however_often_it_asks_at_once(deployment: Deployment) -> None:
    with running(deployment) as (agent, client):
        wanted = spec(port())
        claims = [replace(wanted, adopt=a_spare(client).id) for _ in range(3)] + [wanted]
        with ThreadPoolExecutor(len(claims)) as pool:
            with agent.node._held(wanted.id):
                views = [pool.submit(agent.node.put, each) for each in claims]
                assert eventually(lambda: agent.node._users[wanted.id] == 1 + len(claims))
            assert {view.result().id for view in views} == {wanted.id}
        assert len(client.instances("router").instances) == 1
        assert len(spares(client)) >= len(claims) - 2


def test_what_is_gone_taken_or_somebodys_cannot_be_adopted(client: NodeClient) -> None:
    client.put_instance(wanting(taken := a_spare(client)))
    client.put_instance(somebodys := spec())
    client.delete_instance((gone := a_spare(client)).id, ZERO)
    for each in (taken, somebodys, gone):
        with pytest.raises(Gone, match="spare"):
            client.put_instance(wanting(each))


def test_a_spare_that_is_broken_is_refused_and_stays_a_spare(deployment: Deployment) -> None:
    unmended = Pace(settle_s=3600.0, sweep_period_s=3600.0)
    with running(deployment, pace=unmended) as (_, client):
        spare = a_spare(client)
        namespaces.remove(spare.id)
        with pytest.raises(Gone, match="answers"):
            client.put_instance(wanting(spare))
        assert [view.id for view in spares(client)] == [spare.id]


def test_a_refused_port_leaves_a_spare_as_it_was(client: NodeClient) -> None:
    spare = a_spare(client)
    with pytest.raises(Terminal, match="attachment kind"):
        client.put_instance(replace(wanting(spare), ports=(replace(port(), attach="string"),)))
    assert [(view.id, view.ports) for view in spares(client)] == [(spare.id, ())]


def test_once_adopted_it_is_out_of_the_pools_reach(client: NodeClient) -> None:
    wanted = wanting(spare := a_spare(client))
    client.put_instance(wanted)
    with pytest.raises(Stale):
        client.delete_instance(spare.id, ZERO)
    with pytest.raises(Terminal):
        client.put_instance(spare)
    assert everything(client) == [(wanted.id, wanted.key)]


def test_an_older_owner_gets_no_spare_for_what_a_newer_deleted(client: NodeClient) -> None:
    wanted = wanting(a_spare(client))
    client.put_instance(wanted)
    client.delete_instance(wanted.id, NOW)
    spare = a_spare(client)
    for adopt in (spare.id, None):
        with pytest.raises(Stale):
            client.put_instance(replace(wanted, generation=OLDER, adopt=adopt))
    assert [view.id for view in spares(client)] == [spare.id]
    assert client.put_instance(replace(wanted, adopt=spare.id)).born_as == spare.id


def test_a_restarted_agent_knows_it_by_its_new_name(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        wanted = wanting(spare := a_spare(client))
        client.put_instance(wanted)
        kept = a_spare(client)
    with running(deployment) as (_, client):
        view = client.put_instance(wanted)
        assert (view.id, view.born_as, view.ports) == (wanted.id, spare.id, wanted.ports)
        assert [each.id for each in spares(client)] == [kept.id]
        client.delete_instance(wanted.id, NOW)
        assert everything(client) == [(kept.id, kept.key)]


def test_inside_a_body_a_spare_takes_whatever_owner_its_node_names(deployment: Deployment) -> None:
    inside = dataclasses.replace(deployment.options, solitary=Solitary.MACHINE)
    with running(dataclasses.replace(deployment, options=inside)) as (_, client):
        spare = a_spare(client)
        owned = replace(spare, key=Key(driver="router", id=str(uuid.uuid4())), slot="0", generation=NOW)
        assert client.put_instance(owned).born_as is None
        assert everything(client) == [(spare.id, owned.key)]
        with pytest.raises(Terminal, match="belongs to"):
            client.put_instance(replace(spare, generation=LAST))
