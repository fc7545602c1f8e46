"""The router section of a document: what one router instance shall be. Wire types only.

Links are named by MAC address. Addresses with a prefix are "10.0.0.1/24"; without, "10.0.0.1".
"""

from __future__ import annotations

import enum

from astara.contract.codec import Wire

#: Between two VRRP advertisements. The other half takes over three of them after the last one it heard.
ADVERT_MS = 20
#: What is possible (RFC 9568 5.2.7: centiseconds, 12 bits).
ADVERTS_MS = range(10, 40951, 10)


class RaMode(enum.StrEnum):
    """Neutron's ipv6_ra_mode: which flags the router advertisement carries (RFC 4861, RFC 4862)."""

    SLAAC = "slaac"  # prefix A=1, M=0, O=0
    DHCPV6_STATELESS = "dhcpv6-stateless"  # prefix A=1, M=0, O=1
    DHCPV6_STATEFUL = "dhcpv6-stateful"  # prefix A=0, M=1, O=1


class Shaping(Wire, frozen=True):
    """Rates in kbit/s, bursts in kbit, seen from the link they are on: egress leaves the router through it."""

    ingress_kbps: int | None = None
    ingress_burst_kb: int | None = None
    egress_kbps: int | None = None
    egress_burst_kb: int | None = None


class AdvertisedPrefix(Wire, frozen=True):
    """One IPv6 subnet for which this router sends advertisements."""

    prefix: str
    mode: RaMode
    dns_servers: tuple[str, ...] = ()


class InternalLink(Wire, frozen=True):
    """A router interface on a tenant network. `scope_v4`, `scope_v6`: its subnets' address scopes, "" for none."""

    mac: str
    port_id: str
    network_id: str
    mtu: int
    addresses: tuple[str, ...]
    advertise: tuple[AdvertisedPrefix, ...] = ()
    shaping: Shaping | None = None
    scope_v4: str = ""
    scope_v6: str = ""


class ExternalLink(Wire, frozen=True):
    """A gateway port. `nexthops` are the external subnets' gateways, at most one per IP version, used as default route.

    `snat_v4` is the address masquerading uses, None when SNAT is off or the port has no IPv4 address. Address scopes
    as on an internal link: within one that is not "", nothing is masqueraded.
    """

    mac: str
    port_id: str
    network_id: str
    mtu: int
    addresses: tuple[str, ...]
    nexthops: tuple[str, ...] = ()
    snat_v4: str | None = None
    shaping: Shaping | None = None
    scope_v4: str = ""
    scope_v6: str = ""


class FloatingIP(Wire, frozen=True):
    """One-to-one translation; applies only to traffic that enters or leaves through `external_port_id`'s link."""

    id: str
    floating: str
    fixed: str
    external_port_id: str
    shaping: Shaping | None = None


class PortForwarding(Wire, frozen=True):
    """`floating`:external range -> `internal`:internal range, equal lengths. protocol: tcp, udp, sctp, dccp, icmp."""

    id: str
    protocol: str
    floating: str
    external_first: int
    external_last: int
    internal: str
    internal_first: int
    internal_last: int
    external_port_id: str


class StaticRoute(Wire, frozen=True):
    destination: str
    nexthop: str


class ConntrackHelper(Wire, frozen=True):
    protocol: str
    port: int
    helper: str


class NdpProxy(Wire, frozen=True):
    """Answer neighbour solicitations for `address` on the external link (Neutron's ndp_proxy)."""

    address: str
    external_port_id: str


class Pair(Wire, frozen=True):
    """This half of a highly available router and the other one; the only part in which their documents differ.

    `address` ("169.254.192.5/18") and `peer` ("169.254.192.9") are on the link `mac`, which no tenant sees.
    `peer_mac`: the other half's `mac`; "" from an orchestrator of an earlier version, then it is asked for.
    `advert_ms`: between two VRRP advertisements, a multiple of 10 (RFC 9568 5.2.7 counts centiseconds).
    """

    mac: str
    port_id: str
    network_id: str
    mtu: int
    address: str
    peer: str
    advert_ms: int = ADVERT_MS
    peer_mac: str = ""


class RouterSection(Wire, frozen=True):
    """One router. `enabled` false (administratively down): links stay, nothing is forwarded or advertised."""

    router_id: str
    enabled: bool = True
    internal: tuple[InternalLink, ...] = ()
    external: tuple[ExternalLink, ...] = ()
    floating_ips: tuple[FloatingIP, ...] = ()
    port_forwardings: tuple[PortForwarding, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    conntrack_helpers: tuple[ConntrackHelper, ...] = ()
    ndp_proxies: tuple[NdpProxy, ...] = ()
    #: IPv6 prefixes reachable from outside without translation (the whole of the internal v6 subnets).
    routed_v6: tuple[str, ...] = ()
    #: None: it runs alone.
    pair: Pair | None = None
