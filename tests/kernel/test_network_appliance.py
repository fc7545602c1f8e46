"""A network document through the engine: DHCP, DNS and metadata for tenants, and nothing else for anybody."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from astara.contract.agent import Health, Outcome
from support.dhcp_clients import Dhclient6
from support.segment import SERVER_MAC, Machine, eventually
from support.served_network import V4, V6, A, B, Network, served_network, server

pytestmark = pytest.mark.kernel

#: Asks for server-0a.openstacklocal (A) from a given source address.
QUESTION = """
import socket, struct, sys
source, server = sys.argv[1:]
family = socket.AF_INET6 if ":" in source else socket.AF_INET
wire = socket.socket(family, socket.SOCK_DGRAM)
wire.bind((source, 0))
wire.settimeout(1)
labels = b"".join(bytes([len(word)]) + word for word in (b"server-0a", b"openstacklocal"))
wire.sendto(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack("!B2H", 0, 1, 1), (server, 53))
print("answered", len(wire.recv(512)))
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with served_network(tmp_path) as made:
        yield made


def fetched(machine: Machine, url: str) -> dict[str, str]:
    said = machine.run("busybox", "wget", "-q", "-O", "-", url, check=False)
    found: dict[str, str] = json.loads(said) if said.startswith("{") else {"error": said.strip()}
    return found


def test_a_dual_stack_tenant_gets_addresses_names_and_its_own_metadata(network: Network) -> None:
    network.push(server(A, "10.1.0.5", "fd01::5"), server(B, "10.1.0.6", "fd01::6"))
    machine = network.lan.machine(A)

    told = network.v4(machine).lease()
    machine.run("ip", "route", "add", "169.254.169.254/32", "via", told["staticroutes"].split()[1])
    six = Dhclient6(machine, network.directory)

    assert told["ip"] == "10.1.0.5"
    assert six.ask()["new_ip6_address"] == "fd01::5"
    assert "10.1.0.6" in machine.run("busybox", "nslookup", "-type=a", "server-0b.openstacklocal", "10.1.0.2")
    assert "fd01::6" in machine.run("busybox", "nslookup", "-type=aaaa", "server-0b.openstacklocal", "10.1.0.2")
    assert fetched(machine, "http://169.254.169.254/latest")["x-instance-id"] == "id-0a"
    six.end()


def test_a_v4_only_network_is_served(network: Network) -> None:
    network.push(server(A, "10.1.0.5"), addresses=("10.1.0.2/24",), subnets=(V4,))

    assert network.v4(network.lan.machine(A)).lease()["ip"] == "10.1.0.5"


def test_a_v6_only_network_is_served(network: Network) -> None:
    network.push(server(A, "fd01::5"), addresses=("fd01::2/64",), subnets=(V6,))
    client = Dhclient6(network.lan.machine(A), network.directory)

    assert client.ask()["new_ip6_address"] == "fd01::5"
    client.end()


def test_nothing_but_its_services_is_reachable_and_nothing_is_forwarded(network: Network) -> None:
    network.push(server(A, "10.1.0.5"))
    machine = network.lan.machine(A)
    machine.run("ip", "addr", "add", "10.1.0.5/24", "dev", "eth0")
    listener = Machine(network.lan.server, SERVER_MAC).start("busybox", "nc", "-l", "-p", "8080")
    assert eventually(lambda: ":8080" in Machine(network.lan.server, SERVER_MAC).run("ss", "-Hlnt"))

    def answers(port: int) -> bool:
        argv = ["timeout", "1", "busybox", "nc", "10.1.0.2", str(port)]
        return "open" in machine.run("sh", "-c", f"{' '.join(argv)} </dev/null && echo open", check=False)

    assert machine.run("ping", "-c1", "-W2", "10.1.0.2")
    assert answers(53)
    assert not answers(8080)
    rules = Machine(network.lan.server, SERVER_MAC).run("nft", "list", "table", "inet", "astara")
    assert "hook forward priority filter; policy drop" in rules
    listener.kill()
    listener.communicate()


def test_dns_answers_the_networks_own_and_private_addresses_only(network: Network) -> None:
    """On a network that is reachable from everywhere, forged questions must not make it flood others."""
    network.push(server(A, "10.1.0.5", "fd01::5"))
    machine = network.lan.machine(A)
    outside = ("192.0.2.7", "2001:db8::7")
    for address in ("10.1.0.5/24", "192.168.7.7/32", "192.0.2.7/32", "fd01::5/64", "fd77::7/128", "2001:db8::7/128"):
        machine.run("ip", "addr", "add", address, "dev", "eth0", *(("nodad",) if ":" in address else ()))
    inside = Machine(network.lan.server, SERVER_MAC)
    link = inside.run("ip", "-o", "-4", "addr", "show", "to", "10.1.0.2").split()[1]
    for source in ("192.168.7.7", "fd77::7", *outside):
        inside.run("ip", "route", "add", source, "dev", link)

    def resolves(source: str) -> bool:
        own = "fd01::2" if ":" in source else "10.1.0.2"
        said = machine.run("python3", "-c", QUESTION, source, own, check=False)
        return any(line.startswith("answered") for line in said.splitlines())  # tracebacks quote the question itself

    assert all(resolves(source) for source in ("10.1.0.5", "192.168.7.7", "fd01::5", "fd77::7"))
    assert not any(resolves(source) for source in outside)


def test_administratively_down_is_closed_and_silent(network: Network) -> None:
    network.push(server(A, "10.1.0.5"))
    machine = network.lan.machine(A)
    pid = network.pid

    network.push(server(A, "10.1.0.5"), enabled=False)
    machine.run("ip", "addr", "add", "10.1.0.5/24", "dev", "eth0")

    assert not Path(f"/proc/{pid}").exists()
    assert network.v4(machine).lease(attempts=1) == {}
    assert "100% packet loss" in machine.run("ping", "-c1", "-W1", "10.1.0.2", check=False)
    assert fetched(machine, "-T 1 http://169.254.169.254/").keys() == {"error"}
    assert network.push(server(A, "10.1.0.5")) is Outcome.APPLIED
    assert network.v4(machine).lease()["ip"] == "10.1.0.5"


def test_a_killed_daemon_is_repaired_and_leases_again(network: Network) -> None:
    network.push(server(A, "10.1.0.5"))
    os.kill(network.pid, signal.SIGKILL)
    assert eventually(lambda: network.engine.state(network.lan.place).health is Health.DEGRADED)

    view = network.engine.repair(network.lan.place)

    assert view.health is Health.HEALTHY
    assert view.repairs == 1
    assert network.v4(network.lan.machine(A)).lease()["ip"] == "10.1.0.5"


def test_a_hanging_daemon_is_repaired(network: Network) -> None:
    network.push(server(A, "10.1.0.5"))
    os.kill(network.pid, signal.SIGSTOP)

    assert network.engine.state(network.lan.place).health is Health.DEGRADED
    assert network.engine.repair(network.lan.place).health is Health.HEALTHY


def test_a_restarted_agent_adopts_everything_and_serves_metadata_again(network: Network) -> None:
    network.push(server(A, "10.1.0.5"))
    machine = network.lan.machine(A)
    machine.run("ip", "addr", "add", "10.1.0.5/24", "dev", "eth0")
    machine.run("ip", "route", "add", "169.254.169.254/32", "dev", "eth0")
    pid = network.pid
    network.proxy.withdraw(network.lan.place)  # as when the process that held the sockets has ended

    network.restarted()

    assert network.engine.repair(network.lan.place).health is Health.HEALTHY
    assert network.pid == pid
    assert fetched(machine, "http://169.254.169.254/latest")["x-instance-id"] == "id-0a"


def test_round_trip_back_to_the_first_wish_is_the_first_world(network: Network) -> None:
    first = (server(A, "10.1.0.5"),)
    network.push(*first)
    files = {path.name: path.read_bytes() for path in (network.lan.place.files / "dnsmasq").iterdir()}
    pid = network.pid

    network.push(*first, server(B, "10.1.0.6"))
    network.push(*first)

    now = {path.name: path.read_bytes() for path in (network.lan.place.files / "dnsmasq").iterdir()}
    assert network.pid == pid
    assert {name: now[name] for name in files if name not in {"log", "leases"}} == {
        name: files[name] for name in files if name not in {"log", "leases"}
    }
    assert network.push(*first) is Outcome.UNCHANGED


def test_a_port_that_comes_is_served_within_a_blink(network: Network) -> None:
    hosts = [server(f"fa:16:3e:00:01:{number:02x}", f"10.1.0.{number}") for number in range(10, 110)]
    network.push(*hosts)

    began = time.monotonic()
    network.push(*hosts, server(A, "10.1.0.5"))

    assert time.monotonic() - began < 0.5  # measured: docs/design/dhcp-dns-metadata.md
    assert network.v4(network.lan.machine(A)).lease()["ip"] == "10.1.0.5"


def test_removal_leaves_nothing(network: Network) -> None:
    network.push(server(A, "10.1.0.5"))
    pid = network.pid

    network.engine.remove(network.lan.place)

    assert not Path(f"/proc/{pid}").exists()
    assert not (network.lan.place.files / "dnsmasq").exists()
    assert "10.1.0.2" not in network.lan.addresses()
