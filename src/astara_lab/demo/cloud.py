"""What the demo asks of Neutron, through openstacksdk, as any tenant would."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from astara_lab.places import EXTERNAL_PHYSNET, NEUTRON_URL

if TYPE_CHECKING:
    from openstack.connection import Connection

OUTSIDE_V4 = "203.0.113.0/24"
OUTSIDE_GATEWAY_V4 = "203.0.113.1"
OUTSIDE_V6 = "2001:db8:ff::/64"
OUTSIDE_GATEWAY_V6 = "2001:db8:ff::1"
WEB_V4, DB_V4 = "10.10.1.0/24", "10.10.2.0/24"
WEB_V6 = "2001:db8:a:1::/64"
#: Blue's and green's web machine have this address, both.
SAME_ADDRESS = "10.10.1.10"
FORWARDED_PORT, INTERNAL_PORT = 8443, 7000


@dataclass(frozen=True, slots=True)
class Outside:
    """The external network: what lies behind every router's gateway."""

    network_id: str


@dataclass(slots=True)
class Tenant:
    """One project with a router and networks; `subnets` maps a network's name to the ids of its subnets."""

    name: str
    project_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    router_id: str = ""
    router_v4: str = ""
    router_v6: str = ""
    networks: dict[str, str] = field(default_factory=dict)
    subnets: dict[str, list[str]] = field(default_factory=dict)


class Cloud:
    """A connection to the lab's Neutron, without Keystone."""

    def __init__(self) -> None:
        import openstack

        self.connection: Connection = openstack.connect(
            load_yaml_config=False,
            load_envvars=False,
            auth_type="none",
            endpoint=NEUTRON_URL,
            network_endpoint_override=NEUTRON_URL,
        )

    @property
    def network(self) -> Any:
        return self.connection.network

    def outside(self) -> Outside:
        """Make the external network with an IPv4 and an IPv6 subnet."""
        made = self.network.create_network(
            name="outside",
            is_router_external=True,
            provider_network_type="flat",
            provider_physical_network=EXTERNAL_PHYSNET,
        )
        for version, cidr, gateway in ((4, OUTSIDE_V4, OUTSIDE_GATEWAY_V4), (6, OUTSIDE_V6, OUTSIDE_GATEWAY_V6)):
            self.network.create_subnet(
                name=f"outside-v{version}",
                network_id=made.id,
                ip_version=version,
                cidr=cidr,
                gateway_ip=gateway,
                is_dhcp_enabled=False,
            )
        return Outside(made.id)

    def tenant_network(self, tenant: Tenant, name: str, v4: str, v6: str | None = None) -> None:
        """Make a network with an IPv4 subnet, and an IPv6 subnet by SLAAC when asked."""
        made = self.network.create_network(name=f"{tenant.name}-{name}", project_id=tenant.project_id)
        tenant.networks[name] = made.id
        wanted: list[dict[str, Any]] = [{"ip_version": 4, "cidr": v4}]
        if v6:
            wanted.append({"ip_version": 6, "cidr": v6, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"})
        tenant.subnets[name] = [
            self.network.create_subnet(
                name=f"{tenant.name}-{name}-v{one['ip_version']}",
                network_id=made.id,
                project_id=tenant.project_id,
                **one,
            ).id
            for one in wanted
        ]

    def router(self, tenant: Tenant, outside: Outside, *, ha: bool = False) -> None:
        """Make a router with a gateway to the outside."""
        made = self.network.create_router(
            name=tenant.name,
            project_id=tenant.project_id,
            external_gateway_info={"network_id": outside.network_id},
            **({"is_ha": True} if ha else {}),
        )
        tenant.router_id = made.id
        addresses = [fixed["ip_address"] for fixed in made.external_gateway_info["external_fixed_ips"]]
        tenant.router_v4 = next(address for address in addresses if ":" not in address)
        tenant.router_v6 = next(address for address in addresses if ":" in address)

    def interface(self, tenant: Tenant, subnet_id: str) -> None:
        """Give the tenant's router an interface in a subnet."""
        self.network.add_interface_to_router(tenant.router_id, subnet_id=subnet_id)

    def floating_ip(self, tenant: Tenant, outside: Outside, port_id: str, fixed_ip: str) -> str:
        """Give a port a floating IP; returns the address."""
        made = self.network.create_ip(
            floating_network_id=outside.network_id,
            project_id=tenant.project_id,
            port_id=port_id,
            fixed_ip_address=fixed_ip,
        )
        return str(made.floating_ip_address)

    def port_forwarding(self, tenant: Tenant, outside: Outside, port_id: str, internal_ip: str) -> str:
        """Forward one TCP port of a floating IP of its own to a port; returns the floating address."""
        made = self.network.create_ip(floating_network_id=outside.network_id, project_id=tenant.project_id)
        self.network.create_port_forwarding(
            floatingip_id=made.id,
            protocol="tcp",
            external_port=FORWARDED_PORT,
            internal_port=INTERNAL_PORT,
            internal_port_id=port_id,
            internal_ip_address=internal_ip,
        )
        return str(made.floating_ip_address)

    def router_status(self, tenant: Tenant) -> str:
        return str(self.network.get_router(tenant.router_id).status)

    def dhcp_server(self, network_id: str) -> str:
        """Return the IPv4 address of the port that serves a network's DHCP and DNS."""
        ports = self.network.ports(network_id=network_id, device_owner="network:dhcp")
        return next(
            str(fixed["ip_address"]) for port in ports for fixed in port.fixed_ips if ":" not in fixed["ip_address"]
        )
