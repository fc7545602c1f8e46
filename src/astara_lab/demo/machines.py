"""The tenants' machines of the demo, made by the lab's own means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from astara_lab.demo.cloud import Tenant
from astara_lab.demo.proofs import Machine
from astara_lab.hosts import Host, Hosts
from astara_lab.places import Lab


def boot(lab: Lab, tenant: Tenant, network: str, v4: str | None = None) -> Machine:
    """Make a machine on a tenant's network and let its DHCP client run; `v4` asks Neutron for that very address.

    Raises NotInTime when it gets no lease.
    """
    port: dict[str, Any] = {}
    if v4 is not None:
        first, *others = tenant.subnets[network]
        port["fixed_ips"] = [{"subnet_id": first, "ip_address": v4}, *({"subnet_id": other} for other in others)]
    name = f"{tenant.name}-{network}"
    host = Hosts(lab).add(name, tenant.networks[network], project=tenant.project_id, configure=False, **port)
    host.clients.ask_v4()
    return Machine(
        name=name,
        netns=host.netns,
        port_id=host.port_id,
        device_id=host.instance_id,
        v4=str(host.address(4)),
        lease=_words(host),
    )


def await_slaac(lab: Lab, machine: Machine, prefix: str) -> Machine:
    """Return the machine with the address it made itself from router advertisements; raises NotInTime."""
    host = Hosts(lab).get(machine.name)
    host.clients.await_slaac((prefix,))
    return replace(machine, v6=str(host.address(6)))


def _words(host: Host) -> str:
    lease = host.lease
    return f"{lease.get('ip', '?')} from {lease.get('serverid', '?')} for {lease.get('lease', '?')} s"
