"""Networks with their subnets and, when asked for, their ports."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.db.models import dns, external_net, segment
from neutron.db.network_dhcp_agent_binding import models as dhcp_agents
from neutron_lib import constants

from astara.contract.snapshot import NetworkSnapshot, PortSnapshot, Route, SubnetSnapshot
from astara_neutron import models, nodes, ownership
from astara_neutron.snapshot.ports import read_ports
from astara_neutron.snapshot.rows import fetch, grouped

_NETWORK = models_v2.Network.__table__
_SUBNET = models_v2.Subnet.__table__
_POOL = models_v2.SubnetPool.__table__
_NAMESERVER = models_v2.DNSNameServer.__table__
_HOST_ROUTE = models_v2.SubnetRoute.__table__
_PORT = models_v2.Port.__table__
_EXTERNAL = external_net.ExternalNetwork.__table__
_DOMAIN = dns.NetworkDNSDomain.__table__
_SEGMENT = segment.NetworkSegment.__table__
_AGENT = dhcp_agents.NetworkDhcpAgentBinding.__table__
_PLACEMENT = models.AstaraPlacement.__table__

#: Ports that are no host on their network: an address kept aside, and the router's own foot outside.
NOT_HOSTS = (constants.DEVICE_OWNER_FLOATINGIP, constants.DEVICE_OWNER_ROUTER_GW)

_NETWORKS = (
    sa.select(
        _NETWORK.c.id,
        _NETWORK.c.project_id,
        _NETWORK.c.name,
        _NETWORK.c.mtu,
        _NETWORK.c.admin_state_up,
        _DOMAIN.c.dns_domain,
        _EXTERNAL.c.network_id.label("external"),
        _PLACEMENT.c.host,
    )
    .select_from(_NETWORK)
    .outerjoin(_DOMAIN, _DOMAIN.c.network_id == _NETWORK.c.id)
    .outerjoin(_EXTERNAL, _EXTERNAL.c.network_id == _NETWORK.c.id)
    .outerjoin(_PLACEMENT, (_PLACEMENT.c.resource_id == _NETWORK.c.id) & (_PLACEMENT.c.kind == models.KIND_NETWORK))
)


@dataclass(frozen=True, slots=True)
class _Around:
    """What belongs to the networks of one page, by network id (nameservers and routes: by subnet id)."""

    segments: dict[str, tuple[Any, ...]]
    subnets: dict[str, tuple[SubnetSnapshot, ...]]
    ports: dict[str, tuple[PortSnapshot, ...]]
    agents: frozenset[str]
    hosts: tuple[str, ...]
    serves: bool


def page_ids(session: Any, marker: str | None, limit: int) -> list[str]:
    """Return the ids of the following `limit` networks, in the order of their ids."""
    query = sa.select(_NETWORK.c.id).order_by(_NETWORK.c.id).limit(limit)
    if marker:
        query = query.where(_NETWORK.c.id > marker)
    return list(session.execute(query).scalars())


def read_networks(context: Any, ids: Collection[str], *, with_ports: bool) -> tuple[NetworkSnapshot, ...]:
    """Return the networks that exist among `ids`, in the order of their ids."""
    if not ids:
        return ()
    wanted, session = sorted(ids), context.session
    rows = fetch(session, _NETWORKS.where(_NETWORK.c.id.in_(wanted)).order_by(_NETWORK.c.id))
    around = _Around(
        segments=_read_segments(session, wanted),
        subnets=_read_subnets(session, wanted),
        ports=_read_hosts(session, wanted) if with_ports else {},
        agents=frozenset(
            session.execute(sa.select(_AGENT.c.network_id).where(_AGENT.c.network_id.in_(wanted))).scalars()
        ),
        hosts=tuple(nodes.available(context)),
        serves=ownership.serves_dhcp(),
    )
    return tuple(_network(row, around) for row in rows)


def _network(row: Any, around: _Around) -> NetworkSnapshot:
    segments = around.segments.get(row.id, ())
    first = segments[0] if segments else None
    managed = around.serves and row.id not in around.agents
    # Decided by hash until a DHCP port exists; then by the placement that was stored with it.
    host = (row.host or nodes.choose(row.id, around.hosts)) if managed else None
    return NetworkSnapshot(
        id=row.id,
        project_id=row.project_id or "",
        name=row.name or "",
        mtu=row.mtu,
        dns_domain=row.dns_domain or "",
        external=row.external is not None,
        admin_state_up=bool(row.admin_state_up),
        network_type=first.network_type if first else None,
        physical_network=first.physical_network if first else None,
        segmentation_id=first.segmentation_id if first else None,
        subnets=around.subnets.get(row.id, ()),
        ports=around.ports.get(row.id, ()),
        host=host,
        managed=managed,
    )


def _read_segments(session: Any, network_ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    query = sa.select(_SEGMENT).where(_SEGMENT.c.network_id.in_(network_ids), _SEGMENT.c.is_dynamic.is_(False))
    return grouped(fetch(session, query.order_by(_SEGMENT.c.segment_index)), "network_id", lambda row: row)


def _read_hosts(session: Any, network_ids: Sequence[str]) -> dict[str, tuple[PortSnapshot, ...]]:
    which = _PORT.c.network_id.in_(network_ids) & _PORT.c.device_owner.not_in(NOT_HOSTS)
    return grouped(read_ports(session, which).values(), "network_id", lambda port: port)


def _read_subnets(session: Any, network_ids: Sequence[str]) -> dict[str, tuple[SubnetSnapshot, ...]]:
    """Three queries: subnets with their address scope, name servers, host routes."""
    in_networks = _SUBNET.c.network_id.in_(network_ids)
    wanted = sa.select(_SUBNET.c.id).where(in_networks)
    nameservers = grouped(
        fetch(session, sa.select(_NAMESERVER).where(_NAMESERVER.c.subnet_id.in_(wanted)).order_by(_NAMESERVER.c.order)),
        "subnet_id",
        lambda row: row.address,
    )
    routes = grouped(
        fetch(
            session,
            sa.select(_HOST_ROUTE)
            .where(_HOST_ROUTE.c.subnet_id.in_(wanted))
            .order_by(_HOST_ROUTE.c.destination, _HOST_ROUTE.c.nexthop),
        ),
        "subnet_id",
        lambda row: Route(destination=row.destination, nexthop=row.nexthop),
    )
    rows = fetch(
        session,
        sa.select(_SUBNET, _POOL.c.address_scope_id)
        .outerjoin(_POOL, _POOL.c.id == _SUBNET.c.subnetpool_id)
        .where(in_networks)
        .order_by(_SUBNET.c.ip_version, _SUBNET.c.id),
    )
    return grouped(rows, "network_id", lambda row: _subnet(row, nameservers, routes))


def _subnet(row: Any, nameservers: dict[str, tuple[str, ...]], routes: dict[str, tuple[Route, ...]]) -> SubnetSnapshot:
    return SubnetSnapshot(
        id=row.id,
        network_id=row.network_id,
        cidr=row.cidr,
        ip_version=row.ip_version,
        gateway_ip=row.gateway_ip or None,
        enable_dhcp=bool(row.enable_dhcp),
        ipv6_ra_mode=row.ipv6_ra_mode,
        ipv6_address_mode=row.ipv6_address_mode,
        dns_nameservers=nameservers.get(row.id, ()),
        host_routes=routes.get(row.id, ()),
        address_scope_id=row.address_scope_id,
    )
