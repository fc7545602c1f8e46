"""Routers with everything hung on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from neutron.db import models_v2
from neutron.db.models import conntrack_helper, flavor, l3, l3_attrs, ndp_proxy
from neutron.db.qos import models as qos
from neutron_lib import constants
from neutron_lib.db import standard_attr

from astara.contract.snapshot import (
    Bandwidth,
    ConntrackHelperSnapshot,
    FloatingIPSnapshot,
    GatewaySnapshot,
    MemberSnapshot,
    NdpProxySnapshot,
    PortSnapshot,
    Route,
    RouterSnapshot,
)
from astara_neutron import models, ownership
from astara_neutron.snapshot.floating_ips import read_floating_ips
from astara_neutron.snapshot.ports import read_ports
from astara_neutron.snapshot.qos import read_limits
from astara_neutron.snapshot.rows import fetch, grouped

_ROUTER = l3.Router.__table__
_EXTRA = l3_attrs.RouterExtraAttributes.__table__
_ROUTER_PORT = l3.RouterPort.__table__
_ROUTE = l3.RouterRoute.__table__
_PORT = models_v2.Port.__table__
_STANDARD = standard_attr.StandardAttribute.__table__
_HELPER = conntrack_helper.ConntrackHelper.__table__
_NDP = ndp_proxy.NDPProxy.__table__
_NDP_STATE = ndp_proxy.RouterNDPProxyState.__table__
_GATEWAY_QOS = qos.QosRouterGatewayIPPolicyBinding.__table__
_PROFILE = flavor.ServiceProfile.__table__
_PROFILE_BINDING = flavor.FlavorServiceProfileBinding.__table__
_PLACEMENT = models.AstaraPlacement.__table__
_SECOND = models.AstaraPlacement.__table__.alias("second")
_INTERFACES = (constants.DEVICE_OWNER_ROUTER_INTF, constants.DEVICE_OWNER_HA_REPLICATED_INT)
_SLOTS = ("0", "1")

_ROUTERS = (
    sa.select(
        _ROUTER.c.id,
        _ROUTER.c.project_id,
        _ROUTER.c.name,
        _ROUTER.c.admin_state_up,
        _ROUTER.c.status,
        _ROUTER.c.flavor_id,
        _ROUTER.c.gw_port_id,
        _ROUTER.c.enable_snat,
        _STANDARD.c.revision_number,
        _EXTRA.c.ha,
        _NDP_STATE.c.enable_ndp_proxy,
        _GATEWAY_QOS.c.policy_id.label("gateway_policy"),
        _PLACEMENT.c.host,
        _SECOND.c.host.label("second_host"),
    )
    .select_from(_ROUTER)
    .join(_STANDARD, _STANDARD.c.id == _ROUTER.c.standard_attr_id)
    .outerjoin(_EXTRA, _EXTRA.c.router_id == _ROUTER.c.id)
    .outerjoin(_NDP_STATE, _NDP_STATE.c.router_id == _ROUTER.c.id)
    .outerjoin(_GATEWAY_QOS, _GATEWAY_QOS.c.router_id == _ROUTER.c.id)
    .outerjoin(_PLACEMENT, (_PLACEMENT.c.resource_id == _ROUTER.c.id) & (_PLACEMENT.c.kind == models.KIND_ROUTER))
    .outerjoin(_SECOND, (_SECOND.c.resource_id == _ROUTER.c.id) & (_SECOND.c.kind == models.KIND_SECOND))
)


@dataclass(frozen=True, slots=True)
class _Around:
    """What belongs to the routers of one page, by router id."""

    gateways: dict[str, tuple[PortSnapshot, ...]]
    interfaces: dict[str, tuple[PortSnapshot, ...]]
    halves: dict[str, tuple[PortSnapshot, ...]]
    routes: dict[str, tuple[Route, ...]]
    floating_ips: dict[str, tuple[FloatingIPSnapshot, ...]]
    helpers: dict[str, tuple[ConntrackHelperSnapshot, ...]]
    proxies: dict[str, tuple[NdpProxySnapshot, ...]]
    metainfo: dict[str, dict[str, str]]  # by flavor id
    gateway_limits: dict[str | None, Bandwidth]  # by policy id


def page_ids(session: Any, marker: str | None, limit: int) -> list[str]:
    """Return the ids of our following `limit` routers, in the order of their ids."""
    query = sa.select(_ROUTER.c.id).where(_ROUTER.c.id.in_(ownership.our_routers())).order_by(_ROUTER.c.id).limit(limit)
    if marker:
        query = query.where(_ROUTER.c.id > marker)
    return list(session.execute(query).scalars())


def read_routers(context: Any, ids: Collection[str]) -> tuple[RouterSnapshot, ...]:
    """Return those of `ids` that exist and are ours, in the order of their ids."""
    if not ids:
        return ()
    session = context.session
    which = _ROUTER.c.id.in_(sorted(ids)) & _ROUTER.c.id.in_(ownership.our_routers())
    rows = fetch(session, _ROUTERS.where(which).order_by(_ROUTER.c.id))
    found = [row.id for row in rows]
    if not found:
        return ()
    gateways, interfaces, halves = _read_router_ports(session, found)
    around = _Around(
        gateways=gateways,
        interfaces=interfaces,
        halves=halves,
        routes=_read_routes(session, found),
        floating_ips=read_floating_ips(session, found),
        helpers=_read_helpers(session, found),
        proxies=_read_proxies(session, found),
        metainfo=_read_metainfo(session, {row.flavor_id for row in rows if row.flavor_id}),
        gateway_limits=read_limits(session, (row.gateway_policy for row in rows)),
    )
    return tuple(_router(row, around) for row in rows)


def _router(row: Any, around: _Around) -> RouterSnapshot:
    # The gateway Neutron's classic API shows comes first; the others in the order of their ids.
    ports = sorted(around.gateways.get(row.id, ()), key=lambda port: (port.id != row.gw_port_id, port.id))
    metainfo = around.metainfo.get(row.flavor_id, {})
    hosts = (row.host or "", row.second_host or "")
    own_limit = around.gateway_limits.get(row.gateway_policy)
    return RouterSnapshot(
        id=row.id,
        project_id=row.project_id or "",
        name=row.name or "",
        admin_state_up=bool(row.admin_state_up),
        status="DOWN" if row.status == constants.ROUTER_STATUS_ALLOCATING else row.status,  # see status.ROUTER_DOWN
        flavor_id=row.flavor_id,
        ha=bool(row.ha) or metainfo.get("ha") == "true",
        members=tuple(
            MemberSnapshot(slot=slot, host=host, port=port)
            for slot, host, port in zip(_SLOTS, hosts, around.halves.get(row.id, ()), strict=False)
        ),
        enable_ndp_proxy=bool(row.enable_ndp_proxy),
        gateways=tuple(
            GatewaySnapshot(
                port=port,
                enable_snat=bool(row.enable_snat),
                # A policy of the gateway stands before the external network's, which read_ports resolved.
                bandwidth=own_limit if row.gateway_policy else port.bandwidth,
            )
            for port in ports
        ),
        interfaces=around.interfaces.get(row.id, ()),
        routes=around.routes.get(row.id, ()),
        floating_ips=around.floating_ips.get(row.id, ()),
        conntrack_helpers=around.helpers.get(row.id, ()),
        ndp_proxies=around.proxies.get(row.id, ()),
        host=row.host,
        flavor_metainfo=metainfo,
        revision_number=row.revision_number,
    )


def _read_router_ports(session: Any, router_ids: Sequence[str]) -> tuple[dict[str, tuple[PortSnapshot, ...]], ...]:
    """Return (gateways, interfaces, ports of the halves of pairs in the order of their ids), each by router id."""
    bindings = fetch(
        session,
        sa.select(_ROUTER_PORT).where(_ROUTER_PORT.c.router_id.in_(router_ids)).order_by(_ROUTER_PORT.c.port_id),
    )
    wanted = sa.select(_ROUTER_PORT.c.port_id).where(_ROUTER_PORT.c.router_id.in_(router_ids))
    ports = read_ports(session, _PORT.c.id.in_(wanted))
    # Two selects may see two moments: a port deleted in between is gone, not half there.
    present = [row for row in bindings if row.port_id in ports]
    gateways = [row for row in present if row.port_type == constants.DEVICE_OWNER_ROUTER_GW]
    interfaces = [row for row in present if row.port_type in _INTERFACES]
    halves = [row for row in present if row.port_type == constants.DEVICE_OWNER_ROUTER_HA_INTF]
    return (
        grouped(gateways, "router_id", lambda row: ports[row.port_id]),
        grouped(interfaces, "router_id", lambda row: ports[row.port_id]),
        grouped(halves, "router_id", lambda row: ports[row.port_id]),
    )


def _read_routes(session: Any, router_ids: Sequence[str]) -> dict[str, tuple[Route, ...]]:
    query = sa.select(_ROUTE).where(_ROUTE.c.router_id.in_(router_ids))
    return grouped(
        fetch(session, query.order_by(_ROUTE.c.destination, _ROUTE.c.nexthop)),
        "router_id",
        lambda row: Route(destination=row.destination, nexthop=row.nexthop),
    )


def _read_helpers(session: Any, router_ids: Sequence[str]) -> dict[str, tuple[ConntrackHelperSnapshot, ...]]:
    query = sa.select(_HELPER).where(_HELPER.c.router_id.in_(router_ids)).order_by(_HELPER.c.id)
    return grouped(
        fetch(session, query),
        "router_id",
        lambda row: ConntrackHelperSnapshot(id=row.id, protocol=row.protocol, port=row.port, helper=row.helper),
    )


def _read_proxies(session: Any, router_ids: Sequence[str]) -> dict[str, tuple[NdpProxySnapshot, ...]]:
    query = sa.select(_NDP).where(_NDP.c.router_id.in_(router_ids)).order_by(_NDP.c.id)
    return grouped(
        fetch(session, query),
        "router_id",
        lambda row: NdpProxySnapshot(id=row.id, ip_address=row.ip_address, port_id=row.port_id),
    )


def _read_metainfo(session: Any, flavor_ids: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the metainfo of each flavor's service profile. Neutron serves only flavors with one profile for L3."""
    if not flavor_ids:
        return {}
    query = (
        sa.select(_PROFILE_BINDING.c.flavor_id, _PROFILE.c.metainfo)
        .join(_PROFILE, _PROFILE.c.id == _PROFILE_BINDING.c.service_profile_id)
        .where(_PROFILE_BINDING.c.flavor_id.in_(sorted(flavor_ids)))
    )
    return {row.flavor_id: parse_metainfo(row.metainfo) for row in fetch(session, query)}


def parse_metainfo(text: str | None) -> dict[str, str]:
    """Read a profile's metainfo as a JSON object of strings; anything else is none (Neutron takes any text there)."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, str])
    except (msgspec.ValidationError, msgspec.DecodeError):
        return {}
