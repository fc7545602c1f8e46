"""Simulated tenant machines on Neutron's networks, and one outside the cloud.

hosts = Hosts(find_lab())                     # inside the pod: `astara lab exec`, `astara lab run`
web = hosts.add("web", network="blue")        # a port, a namespace, a real DHCP client
web.ping("10.0.0.1")                          # see machine.Machine for what it can do
hosts.delete("web")
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from astara_lab import second_node
from astara_lab.dhcp import Client
from astara_lab.machine import INTERFACE, Machine
from astara_lab.neutron_api import NeutronApi, Record, neutron_of
from astara_lab.places import EXTERNAL_BRIDGE, NODE_NAME, Lab
from astara_lab.plug import BridgePlug, Outlet, OvsPlug, Plug

NETNS_PREFIX = "astara-host-"
DEVICE_OWNER = "compute:lab"

_SLAAC_MODES = ("slaac", "dhcpv6-stateless")


class HostRecord(msgspec.Struct, frozen=True):
    """What is remembered of a machine while the pod lives. `device_id` is its instance id for metadata."""

    name: str
    port_id: str
    device_id: str
    network_id: str
    project_id: str
    mac: str
    mtu: int
    vni: int | None = None


class Promised(msgspec.Struct, frozen=True):
    """What a port's subnets say its machine can get by itself."""

    dhcp_v4: bool
    slaac: tuple[str, ...]  # prefixes
    dhcp_v6: bool
    dhcp_v6_stateless: bool


@dataclass(frozen=True)
class Host(Machine):
    """A tenant's machine. Everything in Machine, and who it is."""

    record: HostRecord
    clients: Client

    @property
    def mac(self) -> str:
        return self.record.mac

    @property
    def port_id(self) -> str:
        return self.record.port_id

    @property
    def instance_id(self) -> str:
        return self.record.device_id

    @property
    def lease(self) -> dict[str, str]:
        """Its DHCPv4 lease as udhcpc tells it; empty without one."""
        return self.clients.lease

    def acquire(self, promised: Promised, deadline_s: float = 20.0) -> None:
        """Runs the DHCP clients and waits for what was promised. Raises NotInTime."""
        if promised.dhcp_v4:
            self.clients.ask_v4(deadline_s)
        if promised.slaac:
            self.clients.await_slaac(promised.slaac, deadline_s)
        if promised.dhcp_v6:
            self.clients.ask_v6(deadline_s)
        elif promised.dhcp_v6_stateless:
            self.clients.ask_v6(deadline_s, stateless=True)


@dataclass(frozen=True)
class Hosts:
    """The machines of one lab. Use it inside the pod."""

    lab: Lab

    @cached_property
    def neutron(self) -> NeutronApi:
        return neutron_of(self.lab)

    def add(
        self,
        name: str,
        network: str,
        *,
        project: str | None = None,
        versions: Sequence[int] = (4, 6),
        configure: bool = True,
        deadline_s: float = 20.0,
        **port: Any,
    ) -> Host:
        """Makes a port on `network` (name or id), a machine for it, and lets its DHCP clients run.

        `versions` chooses the IP versions its port gets addresses of; `configure` false leaves the interface up and
        empty; further keywords go into the port's body (`fixed_ips`, `port_security_enabled`, `extra_dhcp_opts` …).
        Raises NeutronRefused, PlugError, and NotInTime when what Neutron promises does not come.
        """
        net = self.neutron.find("networks", network)
        subnets = self.neutron.list("subnets", network_id=net["id"])
        body = _port_body(name, net, project, port)
        if "fixed_ips" not in port and set(versions) != {4, 6}:
            body["fixed_ips"] = [{"subnet_id": s["id"]} for s in subnets if s["ip_version"] in versions]
        made = self.neutron.create("ports", body)
        return self._bring_to_life(made, net, promised_to(made, subnets), configure, deadline_s)

    def attach(self, port: str, *, configure: bool = True, deadline_s: float = 20.0) -> Host:
        """A machine for a port that exists already and is bound to the lab's node; its name is the port's."""
        found = self.neutron.find("ports", port)
        net = self.neutron.find("networks", found["network_id"])
        subnets = self.neutron.list("subnets", network_id=net["id"])
        return self._bring_to_life(found, net, promised_to(found, subnets), configure, deadline_s)

    def _bring_to_life(self, port: Record, net: Record, promised: Promised, configure: bool, deadline_s: float) -> Host:
        record = HostRecord(
            name=port["name"],
            port_id=port["id"],
            device_id=port["device_id"],
            network_id=port["network_id"],
            project_id=port["project_id"],
            mac=port["mac_address"],
            mtu=int(net["mtu"]),
            vni=_vni(net),
        )
        host = self._host(record)
        self._file(record.name).write_bytes(msgspec.json.encode(record))
        host.resolver.write_text("")
        _plug_of(self.lab).plug(_outlet(record))
        host.clients.settle()
        host.run(["ip", "link", "set", INTERFACE, "up"])
        if configure:
            host.acquire(promised, deadline_s)
        return host

    def promised(self, host: Host) -> Promised:
        """What the machine's port should get now, for another `acquire`."""
        port = self.neutron.find("ports", host.port_id)
        return promised_to(port, self.neutron.list("subnets", network_id=port["network_id"]))

    def list(self) -> tuple[Host, ...]:
        records = (msgspec.json.decode(f.read_bytes(), type=HostRecord) for f in sorted(self.lab.hosts.glob("*.json")))
        return tuple(self._host(record) for record in records)

    def get(self, name: str) -> Host:
        """Raises LookupError."""
        try:
            return self._host(msgspec.json.decode(self._file(name).read_bytes(), type=HostRecord))
        except FileNotFoundError:
            known = ", ".join(h.name for h in self.list()) or "none"
            raise LookupError(f"no machine called {name!r}; there are: {known}") from None

    def delete(self, name: str, *, keep_port: bool = False) -> None:
        """Removes the machine and its port; absence is success."""
        if not self._file(name).exists():
            return
        host = self.get(name)
        _plug_of(self.lab).unplug(_outlet(host.record))
        if not keep_port:
            self.neutron.delete("ports", host.port_id)
        for file in self.lab.hosts.glob(f"{name}.*"):
            file.unlink()

    def _file(self, name: str) -> Path:
        return self.lab.hosts / f"{name}.json"

    def _host(self, record: HostRecord) -> Host:
        netns, resolver = NETNS_PREFIX + record.name, self.lab.hosts / f"{record.name}.resolv"
        machine = Machine(record.name, netns, resolver)
        return Host(record.name, netns, resolver, record, Client(machine, self.lab.hosts))


def _port_body(name: str, network: Record, project: str | None, further: Record) -> Record:
    body = {
        "name": name,
        "network_id": network["id"],
        "project_id": project or network["project_id"],
        "device_owner": DEVICE_OWNER,
        "device_id": str(uuid.uuid4()),
        "binding:host_id": NODE_NAME,
    }
    return body | further


def promised_to(port: Record, subnets: Sequence[Record]) -> Promised:
    """What the subnets of a port's addresses offer."""
    by_id = {subnet["id"]: subnet for subnet in subnets}
    mine = [by_id[fixed["subnet_id"]] for fixed in port["fixed_ips"] if fixed["subnet_id"] in by_id]
    v6 = [subnet for subnet in mine if subnet["ip_version"] == 6]
    served = [subnet["ipv6_address_mode"] for subnet in v6 if subnet["enable_dhcp"]]
    return Promised(
        dhcp_v4=any(subnet["ip_version"] == 4 and subnet["enable_dhcp"] for subnet in mine),
        slaac=tuple(subnet["cidr"] for subnet in v6 if subnet["ipv6_ra_mode"] in _SLAAC_MODES),
        dhcp_v6="dhcpv6-stateful" in served,
        dhcp_v6_stateless="dhcpv6-stateless" in served,
    )


def _outlet(record: HostRecord) -> Outlet:
    return Outlet(record.port_id, record.network_id, NETNS_PREFIX + record.name, record.mtu, record.mac, record.vni)


def _vni(network: Record) -> int | None:
    """What a machine on the first node needs to be told where the network spans two; None: it does not."""
    spans = second_node.is_there() and network.get("provider:network_type") == "vxlan"
    return int(network["provider:segmentation_id"]) if spans else None


def _plug_of(lab: Lab) -> Plug:
    return BridgePlug() if lab.bridged else OvsPlug()


@dataclass(frozen=True)
class OutsideHost(Machine):
    """A machine outside the cloud, on an external network: it owns the gateway addresses of its subnets.

    Neutron knows nothing of it, so what reaches it has left the cloud, and what it sends comes from outside.
    Opened again it is the same machine to its neighbours: another MAC address behind the same IP address, unannounced,
    is not found for up to 53 s (RFC 4861 6.3.2 and 10: reachable for 15 to 45 s, then 5 s of delay and 3 s of probes).
    """

    outlet: Outlet

    @classmethod
    def open(cls, lab: Lab, network: str, *, name: str = "outside") -> OutsideHost:
        """Makes it (anew) on the external network of that name or id, with an address for each subnet's gateway_ip."""
        api = neutron_of(lab)
        net = api.find("networks", network)
        subnets = api.list("subnets", network_id=net["id"])
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{net['id']}/{name}")
        wire = second_node.WIRE if second_node.is_there() else None
        outlet = Outlet(identity.hex, net["id"], f"astara-{name}", int(net["mtu"]), _own_mac(identity), wire=wire)
        host = cls(name, outlet.netns, lab.hosts / f"{name}.outside", outlet)
        _outside_plug_of(lab).plug(outlet)
        host.run(["sh", "-c", f"echo 0 >/proc/sys/net/ipv6/conf/{INTERFACE}/dad_transmits"])
        host.run(["ip", "link", "set", INTERFACE, "up"])
        for subnet in subnets:
            if subnet["gateway_ip"]:
                length = ipaddress.ip_network(subnet["cidr"]).prefixlen
                host.add_address(f"{subnet['gateway_ip']}/{length}")
        return host

    def add_address(self, address: str) -> None:
        """One more address with prefix length, for a second machine outside."""
        nodad = ["nodad"] if ":" in address else []
        done = self.run(["ip", "address", "replace", address, "dev", INTERFACE, *nodad])
        if not done.ok:
            raise LookupError(done.stderr)

    def add_route(self, prefix: str, via: str) -> None:
        """A way back into the cloud, for tenants' prefixes that are routed and not translated (IPv6)."""
        done = self.run(["ip", "-6" if ":" in prefix else "-4", "route", "replace", prefix, "via", via])
        if not done.ok:
            raise LookupError(done.stderr)

    def close(self, lab: Lab) -> None:
        """Removes it; absence is success."""
        _outside_plug_of(lab).unplug(self.outlet)


def _own_mac(identity: uuid.UUID) -> str:
    """A locally administered unicast address (IEEE 802, 8.4) that goes with the identity."""
    return bytes((0x02, *identity.bytes[:5])).hex(":")


def _outside_plug_of(lab: Lab) -> Plug:
    return BridgePlug() if lab.bridged else OvsPlug(EXTERNAL_BRIDGE)
