"""A node agent on a real kernel: what it makes, finds again, refuses, and mends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from astara.appliance.boundaries import Appliance
from astara.clients.appliance import NodeClient
from astara.contract.agent import SPARE, Body, Health, InstanceSpec, Key, StateView
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.host import links, namespaces
from astara.host.attach.bridge import bridge_name
from astara.host.healer import Pace
from astara.model.errors import Retry, Stale, Terminal
from support.node_agent import (
    PROBE,
    AgentProcess,
    Deployment,
    ProbeAppliance,
    ProbeSection,
    isolated,
    port,
    router_document,
    running,
    spec,
)
from support.segment import eventually, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
NOW, LAST = Generation(1, 1), Generation(99, 0)
#: The slow round must not hide that a hint was missed.
HINTS_ONLY = Pace(sweep_period_s=3600.0)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment.at(tmp_path)
    yield made
    with running(made) as (_, client):
        for view in client.instances().instances:
            client.delete_instance(view.id, LAST)


def inside(instance: InstanceSpec, *argv: str) -> str:
    done = subprocess.run(
        ["nsenter", f"--net={namespaces.path_of(instance.id)}", *argv], capture_output=True, text=True, check=False
    )
    return done.stdout


def state(client: NodeClient, instance: InstanceSpec) -> StateView:
    (view,) = client.instances("router", instance.key.id).instances
    return view.state


def configured(client: NodeClient, network: str | None = None, address: str = "10.0.0.1/24") -> InstanceSpec:
    instance = spec(port(network))
    client.put_instance(instance)
    client.configure(instance.id, router_document(instance, inside=address))
    return instance


def identity(instance: InstanceSpec) -> tuple[Any, ...]:
    """What changes when anything is made anew."""
    name = links.host_name(instance.ports[0].port_id)
    return (namespaces.path_of(instance.id).stat().st_ino, links.find(name), inside(instance, "ip", "-o", "addr"))


# What it refuses


def test_who_acts_under_an_older_term_than_somebody_looked_under_is_refused_also_after_a_restart(
    deployment: Deployment,
) -> None:
    with running(deployment) as (agent, client):
        instance = configured(client)  # under term 1, and said to nobody
        newer = deployment.client(agent.server.port, term=7)
        assert newer.instances().instances  # it looks, and that is all
        before = identity(instance)
        for deed in (
            partial(client.put_instance, spec(port())),
            partial(client.attach, instance.id, port(), Generation(6, 99)),
            partial(client.configure, instance.id, router_document(instance, inside="10.0.9.1/24")),
            partial(client.delete_instance, instance.id, Generation(6, 99)),
        ):
            with pytest.raises(Stale, match="older than term 7"):
                deed()
        assert identity(instance) == before
        newer.close()
    with running(deployment) as (_, client):
        with pytest.raises(Stale, match="older than term 7"):
            client.delete_instance(instance.id, Generation(6, 99))
        client.attach(instance.id, port(), Generation(7, 0))


def test_a_change_that_ends_after_a_newer_term_was_heard_of_is_told(deployment: Deployment) -> None:
    with running(deployment) as (agent, client):
        instance = configured(client)
        cursor = agent.node.changes.cursor
        agent.node.floor.hear(4)
        slow = deployment.client(agent.server.port, term=3)  # sent under 3, and let in before 4 was heard of
        slow.attach(instance.id, port(), Generation(4, 0))
        assert [key.id for key in client.changes(cursor, 0.0).keys] == [instance.key.id]
        slow.close()


def test_a_spare_is_nobody_s_and_may_be_made_and_ended_whatever_was_heard(deployment: Deployment) -> None:
    with running(deployment) as (agent, client):
        agent.node.floor.hear(7)
        spare = replace(spec(), key=Key(driver=SPARE, id="0"), generation=Generation(0, 0))
        client.put_instance(spare)
        client.delete_instance(spare.id, Generation(0, 0))
        assert client.instances().instances == ()


# What it makes


def test_an_instance_is_a_namespace_with_its_ports_and_no_other_way_out(deployment: Deployment) -> None:
    instance = spec(port(mtu=1400), port())
    with running(deployment) as (_, client):
        client.put_instance(instance)
        shown = inside(instance, "ip", "-o", "link")
    macs = set(re.findall(r"link/ether (\S+)", shown))
    assert macs == {one.mac for one in instance.ports}
    assert "mtu 1400" in shown
    assert len(shown.splitlines()) == 3  # loopback and the two ports
    assert inside(instance, "ip", "route") == inside(instance, "ip", "-6", "route") == ""
    assert "inet6 fe80" not in inside(instance, "ip", "addr")


def test_a_console_log_says_how_the_instance_is_also_when_no_daemon_ever_wrote(deployment: Deployment) -> None:
    with running(deployment) as (agent, client):
        quiet = spec(port())
        client.put_instance(quiet)
        said = client.console_log(quiet.id)
        assert f"instance {quiet.id}: unconfigured" in said
        assert "log of astara-node" in said
        loud = configured(client)
        log = agent.node.get(loud.id).place.files / "dnsmasq" / "log"
        log.parent.mkdir(mode=0o700)
        log.write_text("no address range available\n")
        said = client.console_log(loud.id)
    assert f"instance {loud.id}: healthy" in said
    assert "==> dnsmasq <==\nno address range available" in said


def test_a_console_log_names_what_differs_and_what_failed(deployment: Deployment) -> None:
    with running(deployment, pace=Pace(sweep_period_s=3600.0)) as (agent, client):
        instance = configured(client)
        agent.healer.stop()
        subprocess.run(["nsenter", f"--net={namespaces.path_of(instance.id)}", "nft", "flush", "ruleset"], check=True)
        agent.node.get(instance.id).failed("the disk is full")
        said = client.console_log(instance.id)
    assert "degraded" in said
    assert "differs: nftables: " in said
    assert "last error: the disk is full" in said


def test_ports_come_and_go_while_the_others_stay(deployment: Deployment) -> None:
    first, second = port(), port()
    instance = spec(first)
    with running(deployment) as (_, client):
        client.put_instance(instance)
        before = links.find(links.host_name(first.port_id))
        client.attach(instance.id, second, NOW)
        assert second.mac in inside(instance, "ip", "link")
        client.detach(instance.id, second.port_id, NOW)
        assert second.mac not in inside(instance, "ip", "link")
        assert links.find(links.host_name(second.port_id)) is None
        assert links.find(links.host_name(first.port_id)) == before


def test_a_port_can_move_to_another_instance_at_once(deployment: Deployment) -> None:
    """The name of a link is free again although the old namespace is still dying."""
    moving = port()
    old, new = spec(moving), spec(moving)
    with running(deployment) as (_, client):
        for _ in range(5):
            client.put_instance(old)
            client.delete_instance(old.id, NOW)
            client.put_instance(new)
            assert moving.mac in inside(new, "ip", "link")
            client.delete_instance(new.id, NOW)


def test_a_refused_port_leaves_the_instance_as_it_was(deployment: Deployment) -> None:
    instance, odd = spec(port()), port(attach="carrier-pigeon")
    with running(deployment) as (_, client):
        client.put_instance(instance)
        with pytest.raises(Terminal, match=r"\$\.port\.attach: no such") as raised:
            client.attach(instance.id, odd, NOW)
        assert "bridge" in raised.value.remedy
        assert client.instances().instances[0].ports == instance.ports


def test_two_ports_whose_names_would_collide_are_refused(deployment: Deployment) -> None:
    first = port()
    twin = port(port_id=first.port_id[:11] + str(uuid.uuid4())[11:])
    with running(deployment) as (_, client):
        client.put_instance(spec(first))
        with pytest.raises(Retry, match="first 11 characters"):
            client.put_instance(spec(twin))
        assert len(client.instances().instances) == 1


# What it finds again


def test_a_restart_touches_nothing_that_is_right(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        instance = configured(client)
    before = identity(instance)
    with running(deployment) as (_, client):
        found = state(client, instance)
        assert (found.health, found.repairs, found.generation) == (Health.HEALTHY, 0, NOW)
        assert identity(instance) == before


def test_no_packet_is_lost_while_the_agent_is_killed_and_started(tmp_path: Path, deployment: Deployment) -> None:
    agent = AgentProcess(deployment, tmp_path, port=19871)
    agent.start()
    network = str(uuid.uuid4())
    one, other = configured(agent.client, network), configured(agent.client, network, "10.0.0.2/24")
    assert "0% packet loss" in inside(one, "ping", "-c1", "-w5", "10.0.0.2")
    pinging = subprocess.Popen(
        ["nsenter", f"--net={namespaces.path_of(one.id)}", "ping", "-q", "-i", "0.01", "10.0.0.2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    agent.stop(signal.SIGKILL)
    agent.start()
    assert {state(agent.client, each).health for each in (one, other)} == {Health.HEALTHY}
    assert agent.stop() == 0
    agent.start()
    agent.client.close()
    pinging.send_signal(signal.SIGINT)
    said, _ = pinging.communicate(timeout=10)
    agent.stop()
    assert " 0% packet loss" in said


def test_after_a_reboot_everything_is_built_again_with_its_last_configuration(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        instances = [configured(client) for _ in range(3)]
    for instance in instances:
        namespaces.remove(instance.id)
        links.remove(links.host_name(instance.ports[0].port_id))
    with running(deployment) as (_, client):
        for instance in instances:
            assert state(client, instance).health is Health.HEALTHY
            assert "10.0.0.1/24" in inside(instance, "ip", "addr")


def test_what_nobody_knows_is_cleared_and_what_is_not_ours_is_left(deployment: Deployment) -> None:
    orphan, stray = str(uuid.uuid4()), port()
    namespaces.prepare_directory()
    namespaces.ensure(orphan)
    links.set_up(links.create_pair(stray, namespaces.path_of(orphan)), stray.port_id)
    ip("netns", "add", "astara-somebody")
    ip("link", "add", "avforeign", "type", "veth", "peer", "name", "avother")
    with running(deployment):
        assert orphan not in namespaces.ids_present()
        assert links.find(links.host_name(stray.port_id)) is None
        assert links.find("avforeign") is not None
        assert "astara-somebody" in ip("netns")
    ip("link", "del", "avforeign")
    ip("netns", "del", "astara-somebody")


def test_a_damaged_record_does_not_keep_the_others_from_being_found(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        good, bad = configured(client), configured(client)
    (deployment.options.state_dir / "instances" / bad.id / "instance.json").write_text("{")
    with running(deployment) as (_, client):
        assert [view.id for view in client.instances().instances] == [good.id]
        assert bad.id not in namespaces.ids_present()


def test_an_interrupted_deletion_is_finished_at_the_next_start(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        instance = configured(client)
        kept = (deployment.options.state_dir / "instances" / instance.id / "instance.json").read_bytes()
        client.delete_instance(instance.id, NOW)
    directory = deployment.options.state_dir / "instances" / instance.id
    directory.mkdir()
    (directory / "instance.json").write_bytes(kept)
    with running(deployment) as (_, client):
        assert client.instances().instances == ()
        assert instance.id not in namespaces.ids_present()


# What it mends


def broken_ruleset(instance: InstanceSpec) -> None:
    inside(instance, "nft", "flush", "ruleset")


def broken_address(instance: InstanceSpec) -> None:
    inside(instance, "ip", "addr", "flush", "dev", links.inner_name(instance.ports[0].port_id))


def broken_link(instance: InstanceSpec) -> None:
    ip("link", "del", links.host_name(instance.ports[0].port_id))


def broken_plug(instance: InstanceSpec) -> None:
    ip("link", "set", links.host_name(instance.ports[0].port_id), "nomaster")


def broken_namespace(instance: InstanceSpec) -> None:
    ip("netns", "del", f"astara-{instance.id}")


def whole(instance: InstanceSpec) -> bool:
    link = links.find(links.host_name(instance.ports[0].port_id))
    return (
        "table inet astara" in inside(instance, "nft", "list", "tables")
        and "10.0.0.1/24" in inside(instance, "ip", "addr")
        and link is not None
        and link.master is not None
    )


@pytest.mark.parametrize(
    "breaking", [broken_ruleset, broken_address, broken_link, broken_plug, broken_namespace], ids=lambda f: f.__name__
)
def test_what_breaks_is_mended_at_once_counted_and_told(deployment: Deployment, breaking: Any) -> None:
    with running(deployment, pace=HINTS_ONLY) as (_, client):
        instance = configured(client)
        assert eventually(lambda: state(client, instance).health is Health.HEALTHY)
        breaking(instance)
        assert eventually(lambda: state(client, instance).repairs > 0)
        assert eventually(lambda: whole(instance) and state(client, instance).health is Health.HEALTHY)
        heard = client.changes(0, 5.0)
        assert [key.id for key in heard.keys] == [instance.key.id]


def test_the_slow_round_finds_what_no_hint_told(deployment: Deployment) -> None:
    with running(deployment, pace=Pace(sweep_period_s=0.1, sweep_cpu_share=1.0)) as (agent, client):
        agent._watch.working = lambda place: None  # type: ignore[method-assign]  # deaf from now on
        instance = configured(client)
        agent._watch.forget(agent.node.get(instance.id).place)
        broken_ruleset(instance)
        assert eventually(lambda: whole(instance))


def test_our_own_work_is_not_taken_for_somebody_elses(deployment: Deployment) -> None:
    looked: list[str] = []
    with running(deployment, pace=HINTS_ONLY) as (agent, client):
        agent.healer.suspect = looked.append  # type: ignore[method-assign]
        instance = configured(client)
        for number in range(5):
            client.configure(instance.id, router_document(instance, inside=f"10.0.{number}.1/24"))
        client.delete_instance(configured(client).id, NOW)
    assert looked == []


def test_creation_and_deletion_that_race_leave_either_all_or_nothing(deployment: Deployment) -> None:
    instance = spec(port())
    with running(deployment) as (agent, client):
        with ThreadPoolExecutor(8) as pool:
            for turn in range(40):
                act = client.put_instance if turn % 2 else partial(_deleted, client)
                pool.submit(act, instance)
        client.put_instance(instance)
        assert [view.id for view in client.instances().instances] == [instance.id]
        client.delete_instance(instance.id, NOW)
        assert client.instances().instances == ()
        assert agent.node._instances == {}
    assert instance.id not in namespaces.ids_present()


def _deleted(client: NodeClient, instance: InstanceSpec) -> None:
    client.delete_instance(instance.id, NOW)


# What it refuses


def test_a_slow_instance_never_holds_up_another(deployment: Deployment) -> None:
    """Trap W13."""
    proceed, entered = threading.Event(), threading.Event()

    class Slow(ProbeAppliance):
        def configs(self, section: ProbeSection) -> Mapping[str, Any]:
            if section.words == "slow":
                entered.set()
                proceed.wait(30)
            return {}

    slow, quick = spec(driver="probe"), spec(driver="probe")
    drivers: dict[str, Appliance] = {"probe": Slow()}
    with running(deployment, drivers) as (_, client):
        for instance in (slow, quick):
            client.put_instance(instance)
        document_of_slow = document("probe", NOW, ProbeSection(words="slow"))
        pushing = threading.Thread(target=client.configure, args=(slow.id, document_of_slow))
        pushing.start()
        try:
            assert entered.wait(10)
            client.configure(quick.id, document("probe", NOW, ProbeSection()))
            assert {view.id for view in client.instances().instances} == {slow.id, quick.id}
        finally:
            proceed.set()
            pushing.join()


def test_a_bug_tells_no_secrets(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap W27: an error path that answered with a traceback and the environment."""

    class Buggy(ProbeAppliance):
        def configs(self, section: ProbeSection) -> Mapping[str, Any]:
            raise RuntimeError("a secret")

    drivers: dict[str, Appliance] = {"probe": Buggy()}
    instance = spec(driver="probe")
    with running(deployment, drivers) as (_, client):
        client.put_instance(instance)
        with pytest.raises(Retry) as raised:
            client.configure(instance.id, document("probe", NOW, ProbeSection()))
    assert "secret" not in str(raised.value)
    assert "Traceback" not in str(raised.value)
    assert "agent's log" in raised.value.remedy
    assert capsys.readouterr().out.count("api.bug") == 1


def test_a_full_disk_is_told_with_its_remedy_and_what_runs_stays(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)], check=True)
    try:
        deployment = Deployment.at(small)
        with running(deployment, PROBE) as (_, client):
            instance = spec(driver="probe")
            client.put_instance(instance)
            client.configure(instance.id, document("probe", NOW, ProbeSection()))
            _fill(small / "ballast")
            with pytest.raises(Retry, match=r"disk|space") as raised:
                client.configure(instance.id, document("probe", NOW, ProbeSection(words="other" * 3000)))
            assert "free space" in raised.value.remedy
            with pytest.raises(Retry, match="disk is full"):
                client.put_instance(spec(driver="probe"))
            assert client.instances().instances[0].state.health is Health.HEALTHY
            (small / "ballast").unlink()
            client.configure(instance.id, document("probe", NOW, ProbeSection(words="other" * 3000)))
            client.delete_instance(instance.id, NOW)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast:
        for size in (4096, 512, 1):
            try:
                while True:
                    ballast.write(b"x" * size)
            except OSError:
                continue


def test_an_unknown_driver_is_refused_with_the_known_ones(deployment: Deployment) -> None:
    instance = spec()
    with running(deployment, PROBE) as (_, client):
        client.put_instance(instance)
        with pytest.raises(Terminal, match=r"\$\.driver") as raised:
            client.configure(instance.id, document("nosuch", NOW, ProbeSection()))
    assert "probe" in raised.value.remedy


def test_the_fence_survives_a_restart(deployment: Deployment) -> None:
    newer = Generation(3, 0)
    with running(deployment) as (_, client):
        instance = configured(client)
        client.configure(instance.id, router_document(instance, newer))
    with running(deployment) as (_, client):
        for act in (
            lambda: client.put_instance(instance),
            lambda: client.attach(instance.id, port(), NOW),
            lambda: client.delete_instance(instance.id, NOW),
        ):
            with pytest.raises(Stale):
                act()


def test_no_bridge_is_left_when_the_last_port_is_gone(deployment: Deployment) -> None:
    network = str(uuid.uuid4())
    one, other = spec(port(network)), spec(port(network))
    with running(deployment) as (_, client):
        for instance in (one, other):
            client.put_instance(instance)
        client.delete_instance(one.id, NOW)
        assert links.find(bridge_name(network)) is not None
        client.delete_instance(other.id, NOW)
        assert links.find(bridge_name(network)) is None


def test_nothing_is_left_after_deletion(deployment: Deployment) -> None:
    before = {link.name for link in links.every()}
    with running(deployment) as (_, client):
        instance = configured(client)
        client.delete_instance(instance.id, NOW)
        assert {link.name for link in links.every()} == before
        assert instance.id not in namespaces.ids_present()
        assert not (deployment.options.state_dir / "instances" / instance.id).exists()
        assert not _processes_below(deployment.options.state_dir)


def _processes_below(directory: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in words and process.name != str(os.getpid()):
            found.append(process.name)
    return found


# Bodies


def test_a_node_says_its_bodies_and_refuses_others_by_name(deployment: Deployment) -> None:
    with running(deployment) as (_, client):
        assert client.node().bodies["namespace"] == ()
        with pytest.raises(Terminal, match=r"\$\.body\.kind") as raised:
            client.put_instance(replace(spec(port()), body=Body(kind="zeppelin")))
        assert "namespace" in raised.value.remedy
        instance = spec(port())
        assert client.put_instance(instance).body == Body()
        with pytest.raises(Terminal, match=r"\$\.body\.image"):
            client.put_instance(replace(instance, body=Body(image="any")))
        assert [view.id for view in client.instances().instances] == [instance.id]
