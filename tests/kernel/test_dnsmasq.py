"""dnsmasq as we run it, asked by real clients over a real segment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

import pytest

from astara.appliance.boundaries import SubsystemError
from astara.appliance.subsystems.dnsmasq.config import (
    DnsmasqConfig,
    Host,
    Mode,
    PortOption,
    StaticRoute,
    Subnet,
)
from astara.appliance.subsystems.dnsmasq.subsystem import DnsmasqSubsystem
from astara.appliance.system import processes
from support.dhcp_clients import Dhclient6, Udhcpc
from support.segment import SERVER_MAC, Segment, eventually, segment

pytestmark = pytest.mark.kernel

A = "fa:16:3e:00:00:0a"
B = "fa:16:3e:00:00:0b"

V4 = Subnet(
    id="v4",
    network=IPv4Network("10.1.0.0/24"),
    address=IPv4Address("10.1.0.2"),
    mode=Mode.DHCPV4,
    gateway=IPv4Address("10.1.0.1"),
    dns_servers=(IPv4Address("10.1.0.2"),),
    routes=(StaticRoute(IPv4Network("169.254.169.254/32"), IPv4Address("10.1.0.2")),),
)
OTHER_V4 = Subnet(
    id="other",
    network=IPv4Network("10.2.0.0/24"),
    address=IPv4Address("10.2.0.2"),
    mode=Mode.DHCPV4,
    dns_servers=(IPv4Address("9.9.9.9"),),
)
V6 = Subnet(
    id="v6",
    network=IPv6Network("fd01::/64"),
    address=IPv6Address("fd01::2"),
    mode=Mode.STATEFUL,
    dns_servers=(IPv6Address("fd01::2"),),
)
STATELESS = Subnet(
    id="v6s",
    network=IPv6Network("fd02::/64"),
    address=IPv6Address("fd02::2"),
    mode=Mode.STATELESS,
    dns_servers=(IPv6Address("fd02::53"),),
)


def host(mac: str, *addresses: str, name: str = "", options: tuple[PortOption, ...] = ()) -> Host:
    return Host(
        port_id=f"port-{mac[-2:]}",
        mac=mac,
        addresses=tuple(ip_address(each) for each in addresses),
        hostname=name or f"host-{mac[-2:]}",
        options=options,
    )


def config(*hosts: Host, subnets: tuple[Subnet, ...] = (V4, V6), **more: object) -> DnsmasqConfig:
    return DnsmasqConfig(SERVER_MAC, "openstacklocal", 1442, subnets, hosts, **more)  # type: ignore[arg-type]


class Served:
    """The subsystem on a segment, as the engine would use it."""

    def __init__(self, lan: Segment, directory: Path) -> None:
        self.lan = lan
        self.directory = directory
        self.subsystem = DnsmasqSubsystem()
        lan.address("10.1.0.2/24", "10.2.0.2/24", "fd01::2/64", "fd02::2/64")

    def push(self, wish: DnsmasqConfig) -> bool:
        rendered = self.subsystem.render(self.lan.place, wish)
        self.subsystem.check(self.lan.place, rendered)
        touched = self.subsystem.apply(self.lan.place, rendered, None)
        assert self.found(wish) == []
        return touched

    def found(self, wish: DnsmasqConfig) -> list[str]:
        rendered = self.subsystem.render(self.lan.place, wish)
        return [each.detail for each in self.subsystem.read_back(self.lan.place, rendered)]

    @property
    def pid(self) -> int:
        return int((self.lan.place.files / "dnsmasq" / "daemon.pid").read_text().split()[0])

    @property
    def leases(self) -> str:
        return (self.lan.place.files / "dnsmasq" / "leases").read_text()

    def v4_client(self, mac: str) -> Udhcpc:
        return Udhcpc(self.lan.machine(mac), self.directory)

    def v6_client(self, mac: str) -> Dhclient6:
        machine = self.lan.machine(mac)
        eventually(lambda: "scope link" in (out := machine.run("ip", "-6", "addr")) and "tentative" not in out)
        return Dhclient6(machine, self.directory)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    directory = tmp_path / "clients"
    directory.mkdir()
    with segment(tmp_path / "instance") as lan:
        yield Served(lan, directory)


def test_a_known_port_gets_its_address_and_everything_the_subnet_says(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5", "fd01::5", name="web")))

    told = served.v4_client(A).lease()

    assert told["ip"] == "10.1.0.5"
    assert told["mask"] == "24"
    assert told["router"] == "10.1.0.1"
    assert told["dns"] == "10.1.0.2"
    assert told["domain"] == "openstacklocal"
    assert told["hostname"] == "web"
    assert told["mtu"] == "1442"
    assert told["lease"] == "86400"
    assert told["staticroutes"] == "169.254.169.254/32 10.1.0.2 0.0.0.0/0 10.1.0.1"
    assert told["msstaticroutes"] == told["staticroutes"]


def test_a_subnet_without_gateway_announces_none(served: Served) -> None:
    served.push(config(host(A, "10.2.0.5"), subnets=(OTHER_V4,)))

    told = served.v4_client(A).lease()

    assert told["ip"] == "10.2.0.5"
    assert "router" not in told
    assert told["dns"] == "9.9.9.9"
    assert "staticroutes" not in told


def test_an_unknown_machine_is_not_answered(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5")))

    assert served.v4_client(B).lease(attempts=2) == {}


def test_each_port_is_served_from_its_own_subnet_of_the_network(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5"), host(B, "10.2.0.6"), subnets=(V4, OTHER_V4)))

    first, second = served.v4_client(A).lease(), served.v4_client(B).lease()

    assert (first["ip"], first["dns"]) == ("10.1.0.5", "10.1.0.2")
    assert (second["ip"], second["dns"]) == ("10.2.0.6", "9.9.9.9")
    assert "10.2.0.0/24 0.0.0.0" in first["staticroutes"]


def test_ports_come_and_go_without_a_restart(served: Served) -> None:
    """Trap W25: a daemon restarted on every push."""
    served.push(config(host(A, "10.1.0.5")))
    pid = served.pid

    assert served.push(config(host(A, "10.1.0.5"), host(B, "10.1.0.6")))
    assert served.v4_client(B).lease()["ip"] == "10.1.0.6"
    assert served.push(config(host(A, "10.1.0.5")))

    assert served.pid == pid
    assert "10.1.0.6" not in served.leases
    assert not served.push(config(host(A, "10.1.0.5")))


def test_an_address_goes_to_the_port_that_has_it_now(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5")))
    assert served.v4_client(A).lease()["ip"] == "10.1.0.5"
    pid = served.pid

    served.push(config(host(B, "10.1.0.5")))

    assert served.v4_client(B).lease()["ip"] == "10.1.0.5"
    assert served.pid == pid


def test_a_port_whose_address_changed_gets_it_when_it_renews(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5")))
    client = served.v4_client(A)
    assert client.stay()["ip"] == "10.1.0.5"

    served.push(config(host(A, "10.1.0.7")))
    client.renew()

    assert client.told("bound", "renew")["ip"] == "10.1.0.7"
    client.end()


def test_a_renewal_keeps_the_address_across_a_restart_of_dnsmasq(served: Served) -> None:
    wish = config(host(A, "10.1.0.5"))
    served.push(wish)
    client = served.v4_client(A)
    assert client.stay()["ip"] == "10.1.0.5"
    os.kill(served.pid, signal.SIGKILL)

    served.push(wish)
    client.renew()

    assert client.told("bound", "renew")["ip"] == "10.1.0.5"
    client.end()


def test_a_port_gets_its_own_options(served: Served) -> None:
    options = (
        PortOption("150", "10.1.0.9", 4),
        PortOption("bootfile-name", "a, b;c", 4),
        PortOption("ntp-server", "10.1.0.8,10.1.0.9", 4),
    )
    served.push(config(host(A, "10.1.0.5", options=options)))

    told = served.v4_client(A).lease()

    assert told["opt150"] == "0a010009"
    assert told["ntpsrv"] == "10.1.0.8 10.1.0.9"


def test_a_port_with_options_comes_without_loss_of_leases(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5")))
    client = served.v4_client(A)
    assert client.stay()["ip"] == "10.1.0.5"

    served.push(config(host(A, "10.1.0.5"), host(B, "10.1.0.6", options=(PortOption("150", "10.1.0.9", 4),))))
    assert served.v4_client(B).lease()["opt150"] == "0a010009"
    pid = served.pid
    served.push(config(host(A, "10.1.0.5"), host(B, "10.1.0.6", options=(PortOption("150", "10.1.0.8", 4),))))

    assert "10.1.0.5" in served.leases
    assert served.pid == pid
    client.end()


HOSTILE = (
    PortOption("router\ndhcp-script=/bin/true", "10.1.0.66", 4),
    PortOption("router", "10.1.0.66\ndhcp-script=/bin/true", 4),
    PortOption("tag:subnet-v4,option:router", "10.1.0.66", 4),
    PortOption("bootfile-name", '"\ntag:subnet-v4,option:router,10.1.0.66', 4),
    PortOption("bootfile-name", "a b\ntag:subnet-v4,option:ntp-server,10.1.0.66\nb c", 4),
    PortOption("bootfile-name", '",x\\"', 4),
    PortOption("bootfile-name", "x" * 4000, 4),
    PortOption("no-such-option", "1", 4),
    PortOption("router", "not an address", 4),
    PortOption("bootfile-name", "x", 6),
    PortOption("", "", 4),
    PortOption("#", "#", 4),
)


def test_trap_injection_a_hostile_port_changes_nothing_for_others(served: Served) -> None:
    """Octavia LP 2162101, 2162103."""
    bad = Host("bad", B, (IPv4Address("10.1.0.6"),), "x\ny,10.1.0.66", ("a b", "a\n10.1.0.5 evil"), HOSTILE)
    served.push(config(host(A, "10.1.0.5"), bad))

    told = served.v4_client(A).lease()
    theirs = served.v4_client(B).lease()

    assert (told["ip"], told["router"]) == ("10.1.0.5", "10.1.0.1")
    assert "ntpsrv" not in told
    assert theirs["ip"] == "10.1.0.6"
    assert "hostname" not in theirs
    assert not served.lan.place.files.joinpath("dnsmasq", "names").read_text().count("evil")


def test_names_of_ports_are_answered_forward_and_backward(served: Served) -> None:
    port = Host("p", A, (IPv4Address("10.1.0.5"), IPv6Address("fd01::5")), "web", ("www", "a.b", "c.d.openstacklocal."))
    served.push(config(port))
    client = served.lan.machine(B)
    client.run("ip", "addr", "add", "10.1.0.9/24", "dev", "eth0")

    def ask(*words: str) -> str:
        return client.run("busybox", "nslookup", *words, "10.1.0.2", check=False)

    for name in ("web", "web.openstacklocal", "www", "www.openstacklocal", "a.b.openstacklocal", "c.d.openstacklocal"):
        assert "Address: 10.1.0.5" in ask("-type=a", name)
        assert "Address: fd01::5" in ask("-type=aaaa", name)
    assert "name = web.openstacklocal" in ask("10.1.0.5")
    assert "name = web.openstacklocal" in ask("fd01::5")
    assert "NXDOMAIN" in ask("-type=a", "other.openstacklocal")
    assert "REFUSED" in ask("-type=a", "example.com")
    assert "REFUSED" in ask("-type=a", "a.b")


def test_trap_a_client_cannot_name_itself(served: Served) -> None:
    served.push(config(Host("p", A, (IPv4Address("10.1.0.5"),), "")))
    machine = served.lan.machine(A)
    machine.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-x", "hostname:gateway", "-s", "/bin/true")
    machine.run("ip", "addr", "add", "10.1.0.5/24", "dev", "eth0")

    assert "NXDOMAIN" in machine.run(
        "busybox", "nslookup", "-type=a", "gateway.openstacklocal", "10.1.0.2", check=False
    )


def test_other_names_are_asked_upstream(served: Served) -> None:
    upstream = served.lan.machine(B)
    upstream.run("ip", "addr", "add", "10.1.0.53/24", "dev", "eth0")
    answering = upstream.start(
        "dnsmasq",
        "-k",
        "-C",
        "/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file",
        "--address=/example.com/192.0.2.7",
    )
    served.push(config(host(A, "10.1.0.5"), upstream=(IPv4Address("10.1.0.53"),)))
    client = served.lan.machine(A)
    client.run("ip", "addr", "add", "10.1.0.5/24", "dev", "eth0")

    def ask() -> str:
        return client.run("busybox", "nslookup", "-type=a", "example.com", "10.1.0.2", check=False)

    assert eventually(lambda: "192.0.2.7" in ask())
    answering.kill()
    answering.communicate()


def test_stateful_dhcpv6_gives_address_and_resolver(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5", "fd01::5")))
    client = served.v6_client(A)

    told = client.ask()

    assert told["new_ip6_address"] == "fd01::5"
    assert told["new_dhcp6_name_servers"] == "fd01::2"
    assert told["new_dhcp6_domain_search"] == "openstacklocal."
    client.end()


def test_stateless_dhcpv6_gives_the_resolver_and_no_address(served: Served) -> None:
    option = PortOption("bootfile-url", "tftp://[fd02::9]/x", 6)
    served.push(config(host(A, "fd02::aaaa", options=(option,)), subnets=(STATELESS,)))
    client = served.v6_client(A)

    told = client.ask(stateless=True)

    assert told["new_dhcp6_name_servers"] == "fd02::53"
    assert "new_ip6_address" not in told
    client.end()


def test_an_unknown_machine_is_told_nothing_by_stateless_dhcpv6(served: Served) -> None:
    served.push(config(host(A, "fd02::aaaa"), subnets=(STATELESS,)))
    client = served.v6_client(B)

    assert client.ask(stateless=True, timeout_s=4) == {}
    client.end()


def test_an_ipv6_address_goes_to_the_port_that_has_it_now(served: Served) -> None:
    served.push(config(host(A, "fd01::5"), subnets=(V6,)))
    first = served.v6_client(A)
    assert first.ask()["new_ip6_address"] == "fd01::5"
    first.end()
    pid = served.pid

    served.push(config(host(B, "fd01::5"), subnets=(V6,)))

    assert "fd01::5" not in served.leases
    assert served.pid == pid
    second = served.v6_client(B)
    assert second.ask()["new_ip6_address"] == "fd01::5"
    second.end()


def test_the_dhcpv6_server_keeps_its_identity_when_all_its_files_are_lost(served: Served) -> None:
    served.push(config(host(A, "fd01::5"), subnets=(V6,)))
    identity = served.leases
    served.subsystem.remove(served.lan.place)

    served.push(config(host(A, "fd01::5"), subnets=(V6,)))

    assert identity == f"duid 00:02:00:00:7e:d9:{SERVER_MAC}\n"  # RFC 8415 11.3
    assert served.leases == identity


def test_a_port_with_two_ipv6_addresses_gets_both(served: Served) -> None:
    other = Subnet("v6b", IPv6Network("fd02::/64"), IPv6Address("fd02::2"), Mode.STATEFUL)
    served.push(config(host(A, "fd01::5", "fd02::5"), subnets=(V6, other)))
    client = served.v6_client(A)

    client.ask()

    assert "fd01::5" in served.leases
    assert "fd02::5" in served.leases
    client.end()


def test_a_port_with_more_ipv6_addresses_than_a_line_carries_gets_the_first(served: Served) -> None:
    served.push(config(host(A, *(f"fd01::1:2:3:{number:x}" for number in range(0x1000, 0x1040))), subnets=(V6,)))
    client = served.v6_client(A)

    client.ask()

    assert "fd01::1:2:3:10" in served.leases
    client.end()


def test_a_subnet_that_goes_takes_its_leases_along(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5"), host(B, "10.2.0.5"), subnets=(V4, OTHER_V4)))
    assert served.v4_client(A).lease()["ip"] == "10.1.0.5"
    assert served.v4_client(B).lease()["ip"] == "10.2.0.5"

    served.push(config(host(A, "10.1.0.5"), subnets=(V4,)))

    assert "10.1.0.5" in served.leases
    assert "10.2.0.5" not in served.leases


def test_nothing_to_serve_runs_nothing_and_leaves_no_file(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5")))
    pid = served.pid

    served.push(config(host(A, "10.1.0.5"), subnets=()))

    assert not Path(f"/proc/{pid}").exists()
    assert not (served.lan.place.files / "dnsmasq").exists()


def test_a_restarted_agent_adopts_the_running_daemon(served: Served) -> None:
    wish = config(host(A, "10.1.0.5"))
    served.push(wish)
    pid = served.pid

    served.subsystem = DnsmasqSubsystem()

    assert served.found(wish) == []
    assert not served.push(wish)
    assert served.pid == pid


def test_a_killed_daemon_is_seen_and_comes_back_with_its_leases(served: Served) -> None:
    wish = config(host(A, "10.1.0.5"))
    served.push(wish)
    client = served.v4_client(A)
    assert client.lease()["ip"] == "10.1.0.5"
    killed = served.pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: served.found(wish) == ["does not run"])
    assert served.found(wish) == ["does not run"]

    served.push(wish)

    assert served.pid != killed
    assert "10.1.0.5" in served.leases
    assert client.lease()["ip"] == "10.1.0.5"


def test_a_hanging_daemon_is_seen_and_replaced(served: Served) -> None:
    wish = config(host(A, "10.1.0.5"))
    served.push(wish)
    hanging = served.pid
    os.kill(hanging, signal.SIGSTOP)
    assert served.found(wish) == ["does not answer"]

    served.push(wish)

    assert served.pid != hanging
    assert served.v4_client(A).lease()["ip"] == "10.1.0.5"


def test_an_edited_file_is_seen_and_put_right(served: Served) -> None:
    wish = config(host(A, "10.1.0.5"))
    served.push(wish)
    (served.lan.place.files / "dnsmasq" / "hosts").write_text(f"{A},10.1.0.99\n")
    assert served.found(wish) == ["file hosts differs"]

    served.push(wish)

    assert served.v4_client(A).lease()["ip"] == "10.1.0.5"


def test_a_main_file_that_dnsmasq_refuses_leaves_the_running_one_alone(served: Served) -> None:
    wish = config(host(A, "10.1.0.5"))
    served.push(wish)
    pid = served.pid
    good = served.subsystem.render(served.lan.place, wish)
    assert good is not None
    object.__setattr__(good, "lines", (*good.lines, "dhcp-range=nonsense"))

    with pytest.raises(SubsystemError, match="bad dhcp-range at line") as refused:
        served.subsystem.check(served.lan.place, good)

    assert refused.value.phase == "check"
    assert served.pid == pid
    assert served.found(wish) == []


def test_it_runs_under_an_account_of_its_own_and_stays_small(served: Served, tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents):
        directory.chmod(directory.stat().st_mode | 0o011)
    hosts = tuple(host(f"fa:16:3e:00:01:{n:02x}", f"10.1.0.{n}") for n in range(10, 210))
    served.push(config(*hosts))

    status = Path(f"/proc/{served.pid}/status").read_text()
    rollup = Path(f"/proc/{served.pid}/smaps_rollup").read_text()
    private_kb = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty"))

    assert "Uid:\t0" not in status
    assert private_kb < 1024


def test_it_listens_on_the_served_link_only(served: Served) -> None:
    served.push(config(host(A, "10.1.0.5")))

    with_netns = ["ip", "netns", "exec", served.lan.server, "ss", "-Hlnup"]
    _, sockets = processes.run(None, ["/usr/bin/env", *with_netns])

    local = {line.split()[3] for line in sockets.splitlines() if ":53 " in line}
    assert local
    assert not any(address.startswith(("127.", "0.0.0.0", "*", "[::]", "[::1]")) for address in local)
