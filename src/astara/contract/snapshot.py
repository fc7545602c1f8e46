"""What the plug-in inside neutron-server tells about routers and networks.

One page answers everything about N resources at once. Addresses are strings as Neutron gives them;
bandwidths are kbit/s, bursts kbit (the units of Neutron's QoS API).
"""

from __future__ import annotations

from astara.contract.codec import Wire

#: Header of every answer of the plug-in: its version. A header, so that neighbours of another version ignore it.
VERSION_HEADER = "Astara-Version"


class Route(Wire, frozen=True):
    """A static route: Neutron's `routes` of a router or `host_routes` of a subnet."""

    destination: str
    nexthop: str


class FixedIP(Wire, frozen=True):
    ip_address: str
    subnet_id: str


class Bandwidth(Wire, frozen=True):
    """Neutron QoS bandwidth limit, seen from the port, router or floating IP it is bound to."""

    ingress_kbps: int | None = None
    ingress_burst_kb: int | None = None
    egress_kbps: int | None = None
    egress_burst_kb: int | None = None


class SubnetSnapshot(Wire, frozen=True):
    id: str
    network_id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[Route, ...] = ()
    address_scope_id: str | None = None


class DhcpOption(Wire, frozen=True):
    """Neutron's `extra_dhcp_opts` of a port."""

    opt_name: str
    opt_value: str
    ip_version: int = 4


class PortSnapshot(Wire, frozen=True):
    id: str
    network_id: str
    mac_address: str
    fixed_ips: tuple[FixedIP, ...] = ()
    device_owner: str = ""
    device_id: str = ""
    project_id: str = ""
    admin_state_up: bool = True
    status: str = "DOWN"
    host: str = ""
    vif_type: str = "unbound"
    dns_name: str = ""
    extra_dhcp_opts: tuple[DhcpOption, ...] = ()
    bandwidth: Bandwidth | None = None
    revision_number: int = 0


class NetworkSnapshot(Wire, frozen=True):
    """A network; `ports` is filled only when networks were asked for (DHCP, DNS, metadata need them)."""

    id: str
    project_id: str = ""
    name: str = ""
    mtu: int = 1500
    dns_domain: str = ""
    external: bool = False
    admin_state_up: bool = True
    network_type: str | None = None
    physical_network: str | None = None
    segmentation_id: int | None = None
    subnets: tuple[SubnetSnapshot, ...] = ()
    ports: tuple[PortSnapshot, ...] = ()
    #: The node that serves this network's DHCP, metadata and DNS; decided by the plug-in.
    host: str | None = None
    #: Neutron's network-wide availability of Astara services; false leaves the network to somebody else.
    managed: bool = True


class PortForwardingSnapshot(Wire, frozen=True):
    """One Neutron port forwarding; a range has equal lengths on both sides."""

    id: str
    protocol: str
    external_port_first: int
    external_port_last: int
    internal_ip: str
    internal_port_first: int
    internal_port_last: int
    internal_port_id: str


class FloatingIPSnapshot(Wire, frozen=True):
    id: str
    floating_ip_address: str
    floating_network_id: str
    fixed_ip_address: str | None = None
    port_id: str | None = None
    status: str = "DOWN"
    project_id: str = ""
    port_forwardings: tuple[PortForwardingSnapshot, ...] = ()
    bandwidth: Bandwidth | None = None


class ConntrackHelperSnapshot(Wire, frozen=True):
    id: str
    protocol: str
    port: int
    helper: str


class NdpProxySnapshot(Wire, frozen=True):
    id: str
    ip_address: str
    port_id: str


class GatewaySnapshot(Wire, frozen=True):
    """One external gateway of a router (a router may have several: Neutron's multiple gateways)."""

    port: PortSnapshot
    enable_snat: bool = True
    bandwidth: Bandwidth | None = None


class MemberSnapshot(Wire, frozen=True):
    """One half of a router that is a pair. `host` is "" while there is no second node for it.

    Through `port` the halves speak to each other; it is bound to `host`.
    """

    slot: str  # "0" | "1"
    host: str
    port: PortSnapshot


class RouterSnapshot(Wire, frozen=True):
    id: str
    project_id: str = ""
    name: str = ""
    admin_state_up: bool = True
    status: str = "ACTIVE"
    flavor_id: str | None = None
    ha: bool = False
    enable_ndp_proxy: bool = False
    gateways: tuple[GatewaySnapshot, ...] = ()
    interfaces: tuple[PortSnapshot, ...] = ()
    routes: tuple[Route, ...] = ()
    floating_ips: tuple[FloatingIPSnapshot, ...] = ()
    conntrack_helpers: tuple[ConntrackHelperSnapshot, ...] = ()
    ndp_proxies: tuple[NdpProxySnapshot, ...] = ()
    #: The node that serves this router; decided by the plug-in when the router's ports are bound.
    host: str | None = None
    #: `metainfo` of the flavor's service profile, e.g. {"body": "namespace"}.
    flavor_metainfo: dict[str, str] = {}
    revision_number: int = 0
    #: Both halves when `ha`; empty as long as they have no ports.
    members: tuple[MemberSnapshot, ...] = ()


class RouterPage(Wire, frozen=True):
    """Answer of GET /v2.0/astara/routers. `networks` carries every network a router here touches, without ports."""

    revision: int
    routers: tuple[RouterSnapshot, ...]
    networks: tuple[NetworkSnapshot, ...]
    #: Marker of the following page; None on the last one.
    next: str | None = None


class NetworkPage(Wire, frozen=True):
    """Answer of GET /v2.0/astara/networks, with the ports of each network."""

    revision: int
    networks: tuple[NetworkSnapshot, ...]
    next: str | None = None


class Change(Wire, frozen=True):
    """One row of the plug-in's change journal: this resource may look different since `revision`."""

    revision: int
    kind: str  # "router" | "network"
    id: str


class ChangePage(Wire, frozen=True):
    """Answer of GET /v2.0/astara/changes?since=N.

    `truncated` says the journal no longer reaches back to N: look at everything again.
    """

    revision: int
    changes: tuple[Change, ...]
    truncated: bool = False


#: NeutronError.type of the 409 that answers a change under a term older than one the plug-in has heard of.
STALE_TERM = "StaleTerm"


class StatusItem(Wire, frozen=True):
    id: str
    status: str  # ACTIVE | DOWN | ERROR


class StatusReport(Wire, frozen=True):
    """Body of PUT /v2.0/astara/status: what runs, written into Neutron in one call."""

    routers: tuple[StatusItem, ...] = ()
    ports: tuple[StatusItem, ...] = ()
    floating_ips: tuple[StatusItem, ...] = ()


class ActiveHalf(Wire, frozen=True):
    """Body of PUT /v2.0/astara/active: of this router, a pair, the half on this node is the active one."""

    id: str
    host: str


class NodeItem(Wire, frozen=True):
    """A node that can serve instances, as the orchestrator announces it to the plug-in (PUT /v2.0/astara/nodes)."""

    host: str
    available: bool = True


class NodeReport(Wire, frozen=True):
    nodes: tuple[NodeItem, ...]


class PlacementItem(Wire, frozen=True):
    """From now on this router or network is served by this node. "router/1" is the second half of a pair."""

    kind: str  # "router" | "router/1" | "network"
    id: str
    host: str


class PlacementReport(Wire, frozen=True):
    """Body of PUT /v2.0/astara/placements."""

    placements: tuple[PlacementItem, ...]


class IdQuery(Wire, frozen=True):
    """Body of POST /v2.0/astara/routers and /v2.0/astara/networks: the same as GET with many `id=`."""

    ids: tuple[str, ...]


class DhcpPortRequest(Wire, frozen=True):
    """Body of PUT /v2.0/astara/dhcp_ports: make or mend the DHCP port of one network on one node. Idempotent."""

    network_id: str
    host: str


class DhcpPortReply(Wire, frozen=True):
    port: PortSnapshot


class Hint(Wire, frozen=True):
    """Payload of the `astara.hint` notification: look at these again."""

    routers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
