"""A sample of what the storm left, proven by packets: a lease, the way out, floating IPs, forwarded ports."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from random import Random
from typing import Any

from astara_lab.hosts import Host, Hosts, OutsideHost
from astara_lab.listeners import tcp_server, udp_echo
from astara_lab.waiting import NotInTime

_LEASE_S = 20.0
_FLOATING_PORT = 7070


def prove(
    hosts: Hosts, neutron: Any, outside: OutsideHost, project: str, random: Random, count: int
) -> Iterator[tuple[str, bool, str]]:
    """Bring machines for some of the storm's ports to life; yields (claim, holds, evidence)."""
    leased = {subnet.id for subnet in neutron.subnets(ip_version=4) if subnet.is_dhcp_enabled}
    ports = [
        port
        for port in neutron.ports(project_id=project, device_owner="compute:lab")
        if any(fixed["subnet_id"] in leased for fixed in port.fixed_ips)
    ]
    ips = list(neutron.ips(project_id=project))
    # Those that have something to show first.
    served = {ip.port_id for ip in ips if ip.port_id} | {
        rule.internal_port_id for ip in ips for rule in neutron.port_forwardings(ip)
    }
    chosen = sorted(ports, key=lambda port: (port.id not in served, random.random()))[:count]
    for port in chosen:
        yield from _port(hosts, neutron, outside, port, ips)


def _port(
    hosts: Hosts, neutron: Any, outside: OutsideHost, port: Any, ips: list[Any]
) -> Iterator[tuple[str, bool, str]]:
    who = f"{port.name} ({port.id})"
    machine = hosts.attach(port.id, configure=False)
    try:
        machine.clients.ask_v4(_LEASE_S)
        got = str(machine.address(4))
        wanted = [fixed["ip_address"] for fixed in port.fixed_ips if ":" not in fixed["ip_address"]]
        yield f"{who} gets a lease", got in wanted, f"{got}, Neutron says {', '.join(wanted)}"
        yield from _translated(neutron, outside, machine, port, ips)
    except NotInTime as late:
        yield f"{who} gets a lease", False, str(late)
    finally:
        hosts.delete(machine.name, keep_port=True)


def _translated(
    neutron: Any, outside: OutsideHost, machine: Host, port: Any, ips: list[Any]
) -> Iterator[tuple[str, bool, str]]:
    routers = {router.id: router for router in neutron.routers()}
    for ip in ips:
        router = routers.get(ip.router_id)
        if router is None or not router.is_admin_state_up:
            continue
        if ip.port_id == port.id and ip.fixed_ip_address == str(machine.address(4)):
            with tcp_server(machine, _FLOATING_PORT, _says):
                yield f"{machine.name} by floating IP", *_asked(outside, ip.floating_ip_address, _FLOATING_PORT)
        for rule in neutron.port_forwardings(ip):
            if rule.internal_port_id == port.id and rule.internal_ip_address == str(machine.address(4)):
                yield from _forwarded(outside, machine, ip.floating_ip_address, rule)


def _forwarded(outside: OutsideHost, machine: Host, floating: str, rule: Any) -> Iterator[tuple[str, bool, str]]:
    claim = f"{machine.name} by forwarded {rule.protocol} port {rule.external_port}"
    server = tcp_server(machine, rule.internal_port, _says) if rule.protocol == "tcp" else None
    with server or udp_echo(machine, rule.internal_port):
        yield claim, *_asked(outside, floating, rule.external_port, udp=server is None)


def _says(connection: socket.socket, _peer: str) -> None:
    connection.recv(100)
    connection.sendall(b"here")


def _asked(outside: OutsideHost, address: str, port: int, *, udp: bool = False) -> tuple[bool, str]:
    ask = outside.ask_udp if udp else outside.ask_tcp
    error = ""
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            try:
                return bool(ask(address, port, b"?", 2.0)), f"{address}:{port} answered"
            except ConnectionError as refused:
                error = f", {refused}"
    return False, f"{address}:{port} did not answer{error}"
