"""The machines of the demo: tenants' by the lab's own means, and the world outside."""

from __future__ import annotations

from typing import Any

from astara_lab.demo.cloud import WEB_V6, Outside, Tenant
from astara_lab.demo.proofs import Machine
from astara_lab.hosts import Host, Hosts, OutsideHost
from astara_lab.places import Lab


def boot(lab: Lab, tenant: Tenant, network: str, v4: str | None = None) -> Machine:
    """Make a machine on a tenant's network and let its DHCP client run; `v4` asks Neutron for that very address.

    Raises NotInTime when it gets no lease, or no address by SLAAC where the network promises one.
    """
    port: dict[str, Any] = {}
    if v4 is not None:
        first, *others = tenant.subnets[network]
        port["fixed_ips"] = [{"subnet_id": first, "ip_address": v4}, *({"subnet_id": other} for other in others)]
    name = f"{tenant.name}-{network}"
    host = Hosts(lab).add(name, tenant.networks[network], project=tenant.project_id, **port)
    addresses = {address.version: str(address) for address in host.addresses}
    return Machine(
        name=name,
        netns=host.netns,
        port_id=host.port_id,
        device_id=host.instance_id,
        v4=addresses.get(4, ""),
        v6=addresses.get(6),
        lease=_words(host),
    )


def open_outside(lab: Lab, outside: Outside) -> OutsideHost:
    """Make the machine behind every router's gateway; returns it."""
    return OutsideHost.open(lab, outside.network_id)


def lead_back(outside: OutsideHost, tenant: Tenant) -> None:
    """Route the tenant's IPv6 prefix to its router, as the provider's own routers would."""
    outside.add_route(WEB_V6, tenant.router_v6)


def _words(host: Host) -> str:
    lease = host.lease
    return f"{lease.get('ip', '?')} from {lease.get('serverid', '?')} for {lease.get('lease', '?')} s"
