"""Routers the storm leaves alone, with machines on them, and the steady questions that go through them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from astara_lab.hosts import Host, Hosts, OutsideHost
from astara_lab.waiting import until
from storm.kills import identity
from storm.probes import Outcome, Question
from storm.probing import Order, Probing
from storm.sight import Sight

OUTSIDE_V4, OUTSIDE_V6 = "198.51.100.1", "2001:db8:ffff::1"
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Still:
    """One untouched router: `inner` has no floating IP, `server` has one."""

    name: str
    router_id: str
    network_id: str
    inner: Host
    server: Host
    floating: str
    pair: bool = False

    def questions(self) -> tuple[Question, ...]:
        v6 = str(self.server.address(6))
        return (
            Question(f"{self.name} out by SNAT", self.name, self.inner.netns, OUTSIDE_V4, "fresh"),
            Question(f"{self.name} in by floating IP", self.name, "astara-outside", self.floating, "fresh"),
            Question(f"{self.name} in by IPv6", self.name, "astara-outside", v6, "flow"),
            Question(f"{self.name} out by TCP", self.name, self.inner.netns, OUTSIDE_V4, "tcp"),
        )


class Untouched:
    """Builds them, asks through them, and knows which namespaces are theirs."""

    def __init__(self, hosts: Hosts, neutron: Any, external: Any, outside: OutsideHost, flavor: str | None) -> None:
        self._hosts = hosts
        self._neutron = neutron
        self._external = external
        self._outside = outside
        self._flavor = flavor
        self.stills: list[Still] = []
        self._questions: tuple[Question, ...] = ()
        self._probing: Probing | None = None
        self._namespaces: dict[str, int | None] = {}

    def build(self, count: int, pairs: int = 0) -> None:
        """Single routers, and then pairs. Raises NotInTime when one of them does not come to life."""
        for number in range(1, count + pairs + 1):
            self.stills.append(self._still(number, pair=number > count))
        self._questions = tuple(question for still in self.stills for question in still.questions())

    def _still(self, number: int, *, pair: bool) -> Still:
        name = f"{'pair' if pair else 'still'}{number}"
        kind: dict[str, Any] = {"flavor_id": self._flavor} if self._flavor else {}
        kind |= {"is_ha": True} if pair else {}
        router = self._neutron.create_router(name=name, external_gateway_info={"network_id": self._external.id}, **kind)
        network = self._neutron.create_network(name=name)
        v6 = f"2001:db8:a0:{number:x}::/64"
        slaac = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
        for body in ({"ip_version": 4, "cidr": f"10.40.{number}.0/24"}, {"ip_version": 6, "cidr": v6, **slaac}):
            subnet = self._neutron.create_subnet(network_id=network.id, **body)
            self._neutron.add_interface_to_router(router, subnet=subnet.id)
        inner = self._hosts.add(f"{name}-inner", network.id, deadline_s=_PATIENCE_S)
        server = self._hosts.add(f"{name}-server", network.id, deadline_s=_PATIENCE_S)
        fixed = str(server.address(4))
        floating = self._neutron.create_ip(
            floating_network_id=self._external.id, port_id=server.port_id, fixed_ip_address=fixed
        )
        shown = self._neutron.get_router(router.id).external_gateway_info["external_fixed_ips"]
        gateway_v6 = next(f["ip_address"] for f in shown if ":" in f["ip_address"])
        self._outside.add_route(v6, gateway_v6)
        return Still(name, router.id, network.id, inner, server, floating.floating_ip_address, pair)

    def await_paths(self) -> None:
        """Raises NotInTime unless every path carries packets; only then is a lost packet a loss."""
        for still in self.stills:
            paths = (
                (still.inner, OUTSIDE_V4),
                (self._outside, still.floating),
                (self._outside, str(still.server.address(6))),
            )
            for machine, address in paths:
                until(f"{still.name}: echo from {address}", lambda m=machine, a=address: m.ping(a, 2.0), _PATIENCE_S)

    def start(self, seen: Sight, every_s: float, stream_patience_s: float = 20.0) -> None:
        self._namespaces = {name: identity(name) for name in self.spared(seen)}
        speakers = (self._outside.netns, *(still.server.netns for still in self.stills))
        self._probing = Probing.start(Order(self._questions, speakers, every_s, stream_patience_s))

    def stop(self) -> tuple[tuple[Question, Outcome], ...]:
        """Return what every question met; empty when none was asked."""
        if self._probing is None:
            return ()
        return tuple(zip(self._questions, self._probing.stop(), strict=True))

    def spared(self, seen: Sight) -> frozenset[str]:
        """Return the namespaces that hold a link of these routers or networks, found by the ports' MAC addresses."""
        macs = self._macs(self.stills)
        return frozenset(namespace.name for namespace in seen.namespaces if namespace.macs & macs)

    def spared_on(self, nodes: Iterable[Sight], *, pairs: bool) -> dict[str, int]:
        """As `spared`, on several nodes and by what tells each from a later one; `pairs` or single routers."""
        macs = self._macs([still for still in self.stills if still.pair == pairs])
        return {one.name: one.inode for seen in nodes for one in seen.namespaces if one.macs & macs}

    def _macs(self, stills: Iterable[Still]) -> set[str]:
        return {
            port.mac_address
            for still in stills
            for filters in ({"device_id": still.router_id}, {"network_id": still.network_id})
            for port in self._neutron.ports(**filters)
        }

    def replaced(self) -> tuple[str, ...]:
        """Return namespaces that are not the same as at the start: nobody had a reason to touch them."""
        return tuple(name for name, before in self._namespaces.items() if identity(name) != before)

    def remove(self) -> None:
        """Delete machines, routers and networks again."""
        from storm.changes import empty_router

        for still in self.stills:
            self._hosts.delete(still.inner.name)
            self._hosts.delete(still.server.name)
            empty_router(self._neutron, still.router_id)
            self._neutron.delete_router(still.router_id)
            self._neutron.delete_network(still.network_id)
