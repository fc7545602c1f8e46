"""Addresses translated on the way: SNAT, floating IPs, port forwardings. Every claim is a packet's."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Iterator
from socket import socket
from typing import Any

import pytest

from astara_lab.hosts import Host, OutsideHost
from astara_lab.listeners import http_server, tcp_echo, tcp_server, udp_echo
from astara_lab.waiting import until

pytestmark = pytest.mark.e2e

OUTSIDE = "198.51.100.1"
Make = Callable[..., Host]


def gateway_v4(cloud: Any, router: Any) -> str:
    """The router's own address on the external network."""
    shown = cloud.network.get_router(router.id).external_gateway_info["external_fixed_ips"]
    return next(fixed["ip_address"] for fixed in shown if "." in fixed["ip_address"])


def seen_by(server: str, client: Any) -> str | None:
    """The source address under which a web server saw the client; None when it did not answer."""
    try:
        return str(client.fetch(f"http://{server}/", timeout_s=2.0).text)
    except OSError:
        return None


@contextlib.contextmanager
def connection(client: Any, address: str, port: int) -> Iterator[socket]:
    """An established TCP connection out of a machine."""
    with client.socket() as link:
        link.settimeout(5.0)
        link.connect((address, port))
        yield link


def echoes(link: socket, word: bytes = b"still there?", within_s: float = 2.0) -> bool:
    """Whether the other end of an established connection still answers."""
    try:
        link.sendall(word)
        readable, _, _ = select.select([link], [], [], within_s)
        return bool(readable) and link.recv(100).endswith(word)
    except OSError:
        return False


def test_snat_gives_a_tenant_the_gateway_address(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.1.0.0/24", router=router))

    with http_server(outside, 80):
        assert seen_by(OUTSIDE, host) == gateway_v4(cloud, router)


def test_snat_switched_off_shows_the_tenants_own_address(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r", external_gateway_info={"network_id": cloud.external.id, "enable_snat": False})
    host = hosts("a", cloud.routed("n", "10.1.1.0/24", router=router))
    outside.add_route("10.1.1.0/24", gateway_v4(cloud, router))

    with http_server(outside, 80):
        assert seen_by(OUTSIDE, host) == str(host.address(4))


def test_snat_switched_on_later_takes_over_without_touching_the_lease(
    cloud: Any, hosts: Make, outside: OutsideHost
) -> None:
    gateway = {"network_id": cloud.external.id}
    router = cloud.router("r", external_gateway_info=gateway | {"enable_snat": False})
    host = hosts("a", cloud.routed("n", "10.1.2.0/24", router=router))

    cloud.network.update_router(router, external_gateway_info=gateway | {"enable_snat": True})

    with http_server(outside, 80):
        until("SNAT", lambda: seen_by(OUTSIDE, host) == gateway_v4(cloud, router), 10.0)


def test_floating_ip_both_ways(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.2.0.0/24", router=router))

    floating = cloud.floating_ip(host)

    with http_server(host, 80), http_server(outside, 80):
        until("the floating IP answers", lambda: seen_by(floating.floating_ip_address, outside) == OUTSIDE, 10.0)
        assert seen_by(OUTSIDE, host) == floating.floating_ip_address
    cloud.await_status("ip", floating)


def test_floating_ip_moves_to_another_machine(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    net = cloud.routed("n", "10.2.1.0/24", router=router)
    one, two = hosts("one", net), hosts("two", net)
    floating = cloud.floating_ip(one)

    with http_server(two, 80):
        cloud.network.update_ip(floating, port_id=two.port_id)
        until("two answers", lambda: seen_by(floating.floating_ip_address, outside) == OUTSIDE, 10.0)


def test_removing_a_floating_ip_cuts_its_connections(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    """Trap: connections that survive a floating IP's removal."""
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.2.2.0/24", router=router))
    floating = cloud.floating_ip(host)
    with tcp_echo(host, 7):
        until("echo", lambda: _answers(outside, floating.floating_ip_address, 7), 10.0)
        with connection(outside, floating.floating_ip_address, 7) as link:
            assert echoes(link)

            cloud.network.update_ip(floating, port_id=None)

            until("the connection is dead", lambda: not echoes(link, within_s=0.5), 10.0)


def test_a_machine_reaches_its_neighbours_floating_ip_and_its_own(cloud: Any, hosts: Make) -> None:
    """Trap: a host that cannot reach a neighbour's floating IP (hairpin)."""
    router = cloud.router("r")
    net = cloud.routed("n", "10.2.3.0/24", router=router)
    one, two = hosts("one", net), hosts("two", net)
    floating = cloud.floating_ip(two)

    with http_server(two, 80):
        until("by the neighbour", lambda: seen_by(floating.floating_ip_address, one) is not None, 10.0)
        assert seen_by(floating.floating_ip_address, two) is not None


def test_port_forwarding_tcp_and_udp_with_another_inner_port(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.3.0.0/24", router=router))
    floating = cloud.floating_ip()
    for protocol in ("tcp", "udp"):
        cloud.network.create_port_forwarding(
            floatingip_id=floating.id,
            internal_ip_address=str(host.address(4)),
            internal_port_id=host.port_id,
            internal_port=7,
            external_port=2007,
            protocol=protocol,
        )

    with tcp_echo(host, 7), udp_echo(host, 7):
        until("tcp", lambda: _answers(outside, floating.floating_ip_address, 2007), 10.0)
        until("udp", lambda: _answers_udp(outside, floating.floating_ip_address, 2007), 10.0)
        assert not _answers(outside, floating.floating_ip_address, 7)


def test_a_range_of_ports_forwarded_keeps_each_ports_place(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.3.1.0/24", router=router))
    floating = cloud.floating_ip()
    cloud.network.create_port_forwarding(
        floatingip_id=floating.id,
        internal_ip_address=str(host.address(4)),
        internal_port_id=host.port_id,
        internal_port_range="8000:8003",
        external_port_range="9000:9003",
        protocol="tcp",
    )

    with contextlib.ExitStack() as servers:
        for port in (8000, 8003):
            servers.enter_context(tcp_server(host, port, _says(str(port).encode())))
        until("first", lambda: _answers(outside, floating.floating_ip_address, 9000), 10.0)
        assert outside.ask_tcp(floating.floating_ip_address, 9000, b"?") == b"8000"
        assert outside.ask_tcp(floating.floating_ip_address, 9003, b"?") == b"8003"


def test_a_deleted_port_forwarding_forwards_no_more(cloud: Any, hosts: Make, outside: OutsideHost) -> None:
    router = cloud.router("r")
    host = hosts("a", cloud.routed("n", "10.3.2.0/24", router=router))
    floating = cloud.floating_ip()
    forwarding = cloud.network.create_port_forwarding(
        floatingip_id=floating.id,
        internal_ip_address=str(host.address(4)),
        internal_port_id=host.port_id,
        internal_port=7,
        external_port=2007,
        protocol="tcp",
    )
    with tcp_echo(host, 7):
        until("forwarded", lambda: _answers(outside, floating.floating_ip_address, 2007), 10.0)
        with connection(outside, floating.floating_ip_address, 2007) as link:
            assert echoes(link)

            cloud.network.delete_port_forwarding(forwarding, floating)

            until("the connection is dead", lambda: not echoes(link, within_s=0.5), 10.0)
        assert not _answers(outside, floating.floating_ip_address, 2007)


def test_a_machine_reaches_its_neighbours_forwarded_port(cloud: Any, hosts: Make) -> None:
    router = cloud.router("r")
    net = cloud.routed("n", "10.3.3.0/24", router=router)
    one, two = hosts("one", net), hosts("two", net)
    floating = cloud.floating_ip()
    cloud.network.create_port_forwarding(
        floatingip_id=floating.id,
        internal_ip_address=str(two.address(4)),
        internal_port_id=two.port_id,
        internal_port=7,
        external_port=2007,
        protocol="tcp",
    )

    with tcp_echo(two, 7):
        until("hairpin", lambda: _answers(one, floating.floating_ip_address, 2007), 10.0)


def _answers(client: Any, address: str, port: int) -> bool:
    try:
        return bool(client.ask_tcp(address, port, b"x", timeout_s=1.0))
    except OSError:
        return False


def _answers_udp(client: Any, address: str, port: int) -> bool:
    try:
        return bool(client.ask_udp(address, port, b"x", timeout_s=1.0))
    except OSError:
        return False


def _says(word: bytes) -> Callable[[socket, str], None]:
    def serve(link: socket, _peer: str) -> None:
        link.recv(100)
        link.sendall(word)

    return serve
