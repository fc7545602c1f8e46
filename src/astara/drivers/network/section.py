"""Network snapshot in, network section out: pure, and the same whatever the order of Neutron's rows."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from astara.contract.snapshot import NetworkSnapshot, PortSnapshot, SubnetSnapshot
from astara.drivers.network.schema import AddressMode, Host, HostRoute, NetworkSection, Option, ServedSubnet
from astara.model.boundaries import DriverOptions

_COMPUTE = "compute:"


def served_subnets(network: NetworkSnapshot) -> list[SubnetSnapshot]:
    """Return the subnets with DHCP enabled, in a stable order."""
    return sorted((subnet for subnet in network.subnets if subnet.enable_dhcp), key=lambda subnet: subnet.id)


def address_mode(subnet: SubnetSnapshot) -> AddressMode:
    """Return how hosts get addresses (Neutron API "ipv6_address_mode").

    An IPv6 subnet without a mode has addresses nobody hands out: it is listed for names and metadata.
    """
    if subnet.ip_version == 4:
        return AddressMode.DHCPV4
    return AddressMode(subnet.ipv6_address_mode or AddressMode.SLAAC)


def network_section(network: NetworkSnapshot, own: PortSnapshot, options: DriverOptions) -> NetworkSection:
    """Return the whole wish for the instance behind DHCP port `own`."""
    subnets = served_subnets(network)
    domain = network.dns_domain.rstrip(".") or options.domain
    return NetworkSection(
        network_id=network.id,
        mac=own.mac_address,
        port_id=own.id,
        mtu=network.mtu,
        enabled=network.admin_state_up,
        domain=domain,
        addresses=_own_addresses(network, own),
        subnets=tuple(_served(subnet, own) for subnet in subnets),
        hosts=_hosts(network, own, domain),
        upstream_dns=options.upstream_dns,
        metadata=options.metadata,
    )


def _own_addresses(network: NetworkSnapshot, own: PortSnapshot) -> tuple[str, ...]:
    cidrs = {subnet.id: subnet.cidr for subnet in network.subnets}
    placed = [
        (ip_address(fixed.ip_address), ip_network(cidrs[fixed.subnet_id]).prefixlen)
        for fixed in own.fixed_ips
        if fixed.subnet_id in cidrs
    ]
    return tuple(
        f"{address}/{prefix}" for address, prefix in sorted(placed, key=lambda at: (at[0].version, int(at[0])))
    )


def _served(subnet: SubnetSnapshot, own: PortSnapshot) -> ServedSubnet:
    mine = sorted(fixed.ip_address for fixed in own.fixed_ips if fixed.subnet_id == subnet.id)
    routes = sorted({(route.destination, route.nexthop) for route in subnet.host_routes})
    return ServedSubnet(
        id=subnet.id,
        cidr=subnet.cidr,
        address=mine[0] if mine else None,
        mode=address_mode(subnet),
        gateway=subnet.gateway_ip,
        dns_servers=subnet.dns_nameservers,
        host_routes=tuple(HostRoute(destination=destination, nexthop=nexthop) for destination, nexthop in routes),
    )


def _hosts(network: NetworkSnapshot, own: PortSnapshot, domain: str) -> tuple[Host, ...]:
    """Name every other port with an address in a served subnet."""
    served = {subnet.id for subnet in network.subnets if subnet.enable_dhcp}
    found = []
    for port in sorted(network.ports, key=lambda port: port.id):
        addresses = [ip_address(fixed.ip_address) for fixed in port.fixed_ips if fixed.subnet_id in served]
        if port.id != own.id and addresses:
            ordered = sorted(addresses, key=lambda address: (address.version, int(address)))
            found.append(_host(port, tuple(str(address) for address in ordered), domain))
    return tuple(found)


def _host(port: PortSnapshot, addresses: tuple[str, ...], domain: str) -> Host:
    names = _names(port, addresses, domain)
    is_server = port.device_owner.startswith(_COMPUTE)
    options = sorted((option.opt_name, option.opt_value, option.ip_version) for option in port.extra_dhcp_opts)
    return Host(
        port_id=port.id,
        mac=port.mac_address,
        addresses=addresses,
        hostname=names[0],
        aliases=names[1:],
        options=tuple(Option(name=name, value=value, ip_version=version) for name, value, version in options),
        instance_id=port.device_id if is_server else "",
        project_id=port.project_id if is_server else "",
    )


def _names(port: PortSnapshot, addresses: tuple[str, ...], domain: str) -> tuple[str, ...]:
    """Return the port's names, the one DHCP hands out first: `dns_name`, else "host-10-0-0-5".

    Both follow neutron.plugins.ml2.extensions.dns_integration (`_get_dns_names_for_port`).
    """
    by_address = [f"host-{address.replace('.', '-').replace(':', '-')}" for address in addresses]
    given = port.dns_name.rstrip(".").removesuffix(f".{domain}")
    names = [given, *by_address] if given else by_address
    return tuple(dict.fromkeys(names))
