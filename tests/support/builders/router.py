"""Sections for routers in tests: short to write, real in shape."""

from __future__ import annotations

from typing import Any

from astara.drivers.router.schema import ExternalLink, FloatingIP, InternalLink, PortForwarding


def internal(mac: str, *addresses: str, **more: Any) -> InternalLink:
    return InternalLink(mac=mac, port_id=f"port-{mac}", network_id="tenant", mtu=1500, addresses=addresses, **more)


def external(
    mac: str, *addresses: str, nexthops: tuple[str, ...] = (), snat: str | None = None, **more: Any
) -> ExternalLink:
    return ExternalLink(
        mac=mac,
        port_id=f"port-{mac}",
        network_id="public",
        mtu=1500,
        addresses=addresses,
        nexthops=nexthops,
        snat_v4=snat,
        **more,
    )


def floating(address: str, fixed: str, mac: str, **more: Any) -> FloatingIP:
    return FloatingIP(id=address, floating=address, fixed=fixed, external_port_id=f"port-{mac}", **more)


def forwarding(
    protocol: str, address: str, outer: tuple[int, int], fixed: str, inner: tuple[int, int], mac: str
) -> PortForwarding:
    return PortForwarding(
        id=f"{protocol}{outer}",
        protocol=protocol,
        floating=address,
        external_first=outer[0],
        external_last=outer[1],
        internal=fixed,
        internal_first=inner[0],
        internal_last=inner[1],
        external_port_id=f"port-{mac}",
    )
