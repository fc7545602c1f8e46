"""Short ways to write Neutron's snapshots in tests: everything has a plausible default."""

from __future__ import annotations

from typing import Any

from astara.contract.snapshot import FixedIP, GatewaySnapshot, NetworkSnapshot, PortSnapshot, SubnetSnapshot

NODE = "node-1"


def subnet(identifier: str, cidr: str, **fields: Any) -> SubnetSnapshot:
    version = 6 if ":" in cidr else 4
    return SubnetSnapshot(
        **{"id": identifier, "network_id": f"net-{identifier}", "cidr": cidr, "ip_version": version} | fields
    )


def network(identifier: str, *subnets: SubnetSnapshot, **fields: Any) -> NetworkSnapshot:
    return NetworkSnapshot(**{"id": identifier, "project_id": "p1", "subnets": subnets} | fields)


def port(identifier: str, net: NetworkSnapshot, *addresses: str, **fields: Any) -> PortSnapshot:
    """`addresses` are "IP@SUBNET_ID"."""
    fixed = tuple(
        FixedIP(ip_address=address, subnet_id=subnet_id)
        for address, _, subnet_id in (a.partition("@") for a in addresses)
    )
    number = sum(identifier.encode()) % 251
    return PortSnapshot(
        **{
            "id": identifier,
            "network_id": net.id,
            "mac_address": f"fa:16:3e:00:00:{number:02x}",
            "fixed_ips": fixed,
            "host": NODE,
            "vif_type": "bridge",
        }
        | fields
    )


def gateway(of: PortSnapshot, **fields: Any) -> GatewaySnapshot:
    return GatewaySnapshot(**{"port": of} | fields)
