"""Parts die or are cut off: what runs goes on, and what was wished meanwhile is built once the cause is gone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from astara.admin.cli import cli
from astara.admin.client import OperatorClient
from astara_lab.control import Control
from astara_lab.demo import wounds
from astara_lab.demo.healing import instance_of
from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import http_server
from astara_lab.namespaces import NETNS_DIRECTORY
from astara_lab.places import ADMIN_SOCKET, Lab
from astara_lab.pod import Pod
from astara_lab.waiting import until

pytestmark = pytest.mark.e2e

OUTSIDE = "198.51.100.1"
EVERY_LINK = "$(ip -o link | cut -d: -f2 | cut -d@ -f1 | grep -vw lo)"
Make = Callable[..., Host]


@pytest.fixture
def control(lab: Lab) -> Iterator[Control]:
    """The lab's supervisor; whatever a test stopped runs again after it."""
    control = Control(Pod(lab))
    yield control
    for state in control.status():
        if state.pid is None:
            control.change("restart", state.name)
    until("the orchestrator to be at peace", orchestrator_is_well, 30.0)


def orchestrator_is_well() -> bool:
    try:
        status = OperatorClient(ADMIN_SOCKET).status()
    except Exception as away:
        del away
        return False
    return status.neutron == "ok" and all(node.reachable for node in status.nodes)


def pid_of(control: Control, name: str) -> int | None:
    state = control.state(name)
    return None if state is None else state.pid


def echoes_answered(host: Host, address: str, meanwhile: Callable[[], None], count: int = 400) -> int:
    """How many of `count` ICMP echoes, one every 10 ms, are answered while something is done."""
    process = host.spawn(["ping", "-n", "-q", "-c", str(count), "-W", "2", "-i", "0.01", address])
    meanwhile()
    output, _ = process.communicate(timeout=60.0)
    line = next(line for line in output.splitlines() if "packets transmitted" in line)
    return int(line.split()[3])


def routed(cloud: Any, hosts: Make, number: int) -> tuple[Any, Any, Host]:
    router = cloud.router(f"r{number}")
    net = cloud.routed(f"n{number}", f"10.7.{number}.0/24", router=router)
    return router, net, hosts(f"h{number}", net)


def goes_out(host: Host) -> bool:
    try:
        return bool(host.fetch(f"http://{OUTSIDE}/", timeout_s=1.0).text)
    except OSError:
        return False


@pytest.mark.parametrize("service", ["node", "orchestrator"])
@pytest.mark.parametrize("verb", ["kill", "restart"])
def test_not_one_packet_is_lost_when_the_control_plane_dies(
    cloud: Any, hosts: Make, outside: OutsideHost, control: Control, service: str, verb: str
) -> None:
    _, _, host = routed(cloud, hosts, 1)
    assert host.ping(OUTSIDE) is not None
    before = pid_of(control, service)

    def die_and_return() -> None:
        control.change(verb, service)
        until("another process", lambda: pid_of(control, service) not in (None, before), 15.0)
        until("well again", orchestrator_is_well, 20.0)

    assert echoes_answered(host, OUTSIDE, die_and_return, count=400) == 400


def test_what_is_wished_while_the_orchestrator_is_away_is_built_when_it_returns(
    cloud: Any, hosts: Make, outside: OutsideHost, control: Control
) -> None:
    _, _, host = routed(cloud, hosts, 2)
    control.change("stop", "orchestrator")

    floating = cloud.floating_ip(host)
    control.change("restart", "orchestrator")

    with http_server(host, 80):
        reached = f"http://{floating.floating_ip_address}/"
        until("the floating IP", lambda: _answers(outside, reached), 30.0)


def test_what_is_wished_while_the_node_agent_is_away_is_built_when_it_returns(
    cloud: Any, hosts: Make, outside: OutsideHost, control: Control
) -> None:
    control.change("stop", "node")
    router = cloud.router("r3")
    net = cloud.routed("n3", "10.7.3.0/24", router=router)
    key = f"router/{router.id}"
    until("the reason to be shown", lambda: "not answer" in _because(key), 20.0)

    control.change("restart", "node")

    host = hosts("h3", net, deadline_s=40.0)
    with http_server(outside, 80):
        until("forwarded", lambda: goes_out(host), 30.0)


def test_neutron_away_stops_no_packet_and_is_said(
    cloud: Any, hosts: Make, outside: OutsideHost, control: Control
) -> None:
    router, _, host = routed(cloud, hosts, 4)
    netns = instance_of("router", router.id)
    control.change("stop", "neutron")
    try:
        with http_server(outside, 80):
            until("the way out", lambda: goes_out(host), 10.0)
            wounds.flush_ruleset(netns)
            until("healed without Neutron", lambda: wounds.has_ruleset(netns) and goes_out(host), 15.0)
        until("it is said", lambda: OperatorClient(ADMIN_SOCKET).status().neutron != "ok", 40.0)
        examined = CliRunner().invoke(cli, ["--socket", str(ADMIN_SOCKET), "doctor", "--json"], prog_name="astara")
        assert examined.exit_code == 1
        assert any(line["remedy"] for line in json.loads(examined.output) if not line["ok"])
    finally:
        control.change("restart", "neutron")
        until("Neutron", lambda: _api_answers(cloud), 60.0)


@pytest.mark.parametrize("daemon", ["dnsmasq", "radvd"])
def test_a_killed_daemon_is_started_again(cloud: Any, hosts: Make, daemon: str) -> None:
    router = cloud.router("r5", gateway=False)
    net = cloud.routed(
        "n5", "2001:db8:75::/64", router=router, ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful"
    )
    hosts("h5", net)
    netns = instance_of("router", router.id) if daemon == "radvd" else instance_of("network", net.id)
    victims = set(until("the daemon", lambda: wounds.daemons(netns, daemon), 10.0))

    wounds.kill_daemon(netns, daemon)

    until("its successor", lambda: bool(set(wounds.daemons(netns, daemon)) - victims), 10.0)


@pytest.mark.parametrize("wound", [wounds.flush_ruleset, wounds.destroy_namespace])
def test_a_hurt_router_forwards_again(
    cloud: Any, hosts: Make, outside: OutsideHost, wound: Callable[[str], None]
) -> None:
    router, _, host = routed(cloud, hosts, 6)
    netns = instance_of("router", router.id)
    with http_server(outside, 80):
        until("the way out", lambda: goes_out(host), 10.0)

        wound(netns)

        until("whole", lambda: wounds.has_ruleset(netns) and goes_out(host), 20.0)


@pytest.mark.parametrize(
    "damage",
    [
        ["ip", "-4", "route", "flush", "default"],
        ["sh", "-c", f"for link in {EVERY_LINK}; do ip -4 address flush dev $link; done"],
        ["sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"],
        ["sh", "-c", f"for link in {EVERY_LINK}; do ip link set $link down; done"],
    ],
    ids=["routes", "addresses", "forwarding", "links"],
)
def test_drift_made_by_hand_is_found_and_mended(
    cloud: Any, hosts: Make, outside: OutsideHost, damage: list[str]
) -> None:
    """Trap: drift invisible because only liveness is polled."""
    router, _, host = routed(cloud, hosts, 7)
    netns = instance_of("router", router.id)
    with http_server(outside, 80):
        until("the way out", lambda: goes_out(host), 10.0)

        wounds.inside(netns, *damage)

        until("mended", lambda: goes_out(host), 30.0)


def test_deleting_everything_leaves_nothing_behind(cloud: Any, hosts: Make) -> None:
    """Trap: leftovers block network deletion for ever (W8)."""
    router = cloud.router("r8")
    net = cloud.routed("n8", "10.7.8.0/24", router=router)
    cloud.await_status("router", router)
    until("served", lambda: _instances(f"network/{net.id}"), 10.0)
    places = [instance_of("router", router.id), instance_of("network", net.id)]
    subnet = next(iter(cloud.network.subnets(network_id=net.id)))

    cloud.network.remove_interface_from_router(router, subnet_id=subnet.id)
    cloud.network.delete_router(router)
    cloud.network.delete_network(net)

    until("no namespace", lambda: not any((NETNS_DIRECTORY / place).exists() for place in places), 20.0)
    until("no instance", lambda: not _instances(f"router/{router.id}") and not _instances(f"network/{net.id}"), 10.0)
    assert not list(cloud.network.ports(network_id=net.id))
    bridge = f"abr{net.id[:11]}"
    until("no bridge", lambda: bridge not in _links(), 10.0)


def _links() -> str:
    return subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True).stdout


def _instances(key: str) -> list[str]:
    return [line.id for line in OperatorClient(ADMIN_SOCKET).instances() if line.resource == key]


def _because(key: str) -> str:
    lines = {line.key: line.because for line in OperatorClient(ADMIN_SOCKET).resources()}
    return lines.get(key, "")


def _answers(client: Any, url: str) -> bool:
    try:
        return client.fetch(url, timeout_s=1.0).status == 200
    except OSError:
        return False


def _api_answers(cloud: Any) -> bool:
    try:
        return next(iter(cloud.network.networks(limit=1)), None) is not None
    except Exception as away:
        del away
        return False
