"""Which row of Neutron's tables concerns which routers and networks. Declared once, for every table a snapshot reads.

A row names what it concerns by references such as ("port", id). Most are followed at commit, in a few
selects for the whole transaction (`resolve`); routers and networks are ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.db.extra_dhcp_opt import models as dhcp_models
from neutron.db.models import (
    conntrack_helper,
    dns,
    external_net,
    flavor,
    l3,
    l3_attrs,
    ndp_proxy,
    port_forwarding,
    segment,
    servicetype,
)
from neutron.db.network_dhcp_agent_binding import models as dhcp_agents
from neutron.db.qos import models as qos
from neutron.plugins.ml2 import models as ml2
from neutron_lib import constants

from astara_neutron.models import KIND_NETWORK, KIND_ROUTER
from astara_neutron.snapshot.networks import NOT_HOSTS

Key: TypeAlias = tuple[str, str]  # (KIND_ROUTER | KIND_NETWORK, id): the ends
Reference: TypeAlias = tuple[str, str]  # (kind, id), kinds below and the two above
Row: TypeAlias = Mapping[str, Any]

PORT, SUBNET, POOL, POLICY, FLOATING_IP, FLAVOR, PROFILE = (
    "port",
    "subnet",
    "subnetpool",
    "policy",
    "floatingip",
    "flavor",
    "profile",
)
#: The network and every router with a port on it.
NETWORK_AND_ROUTERS = "network+routers"

ROUTER_OWNERS = (
    constants.DEVICE_OWNER_ROUTER_INTF,
    constants.DEVICE_OWNER_HA_REPLICATED_INT,
    constants.DEVICE_OWNER_ROUTER_GW,
)
_OF_ROUTERS = (*ROUTER_OWNERS, constants.DEVICE_OWNER_ROUTER_HA_INTF)


@dataclass(frozen=True, slots=True)
class Watch:
    """One table: what its rows refer to, and the columns whose change matters (None: all)."""

    model: type[Any]
    refers: Callable[[Row], Iterable[Reference]]
    columns: frozenset[str] | None = None


def _to(kind: str, column: str) -> Callable[[Row], Iterable[Reference]]:
    def refers(row: Row) -> Iterable[Reference]:
        return [(kind, row[column])] if row.get(column) else []

    return refers


def port_references(row: Row) -> Iterator[Reference]:
    """A port concerns its network, unless it is no host there, and the router it belongs to."""
    if row["device_owner"] not in NOT_HOSTS:
        yield KIND_NETWORK, row["network_id"]
    if row["device_owner"] in _OF_ROUTERS and row["device_id"]:
        yield KIND_ROUTER, row["device_id"]


def _router_port_references(row: Row) -> Iterator[Reference]:
    yield KIND_ROUTER, row["router_id"]
    yield PORT, row["port_id"]


_PORT_COLUMNS = frozenset(
    {"network_id", "mac_address", "device_owner", "device_id", "project_id", "admin_state_up", "status"}
)
_NETWORK_COLUMNS = frozenset({"project_id", "name", "mtu", "admin_state_up"})
_ROUTER_COLUMNS = frozenset(
    {"project_id", "name", "admin_state_up", "status", "flavor_id", "gw_port_id", "enable_snat"}
)

WATCHES = (
    Watch(l3.Router, _to(KIND_ROUTER, "id"), _ROUTER_COLUMNS),
    Watch(l3_attrs.RouterExtraAttributes, _to(KIND_ROUTER, "router_id"), frozenset({"ha"})),
    Watch(l3.RouterPort, _router_port_references),
    Watch(l3.RouterRoute, _to(KIND_ROUTER, "router_id")),
    Watch(l3.FloatingIP, _to(KIND_ROUTER, "router_id")),
    Watch(port_forwarding.PortForwarding, _to(FLOATING_IP, "floatingip_id")),
    Watch(conntrack_helper.ConntrackHelper, _to(KIND_ROUTER, "router_id")),
    Watch(ndp_proxy.NDPProxy, _to(KIND_ROUTER, "router_id")),
    Watch(ndp_proxy.RouterNDPProxyState, _to(KIND_ROUTER, "router_id")),
    Watch(servicetype.ProviderResourceAssociation, _to(KIND_ROUTER, "resource_id")),
    Watch(flavor.ServiceProfile, _to(PROFILE, "id"), frozenset({"metainfo"})),
    Watch(flavor.FlavorServiceProfileBinding, _to(FLAVOR, "flavor_id")),
    Watch(models_v2.Port, port_references, _PORT_COLUMNS),
    Watch(models_v2.IPAllocation, _to(PORT, "port_id")),
    Watch(ml2.PortBinding, _to(PORT, "port_id"), frozenset({"host", "vif_type", "status"})),
    Watch(dns.PortDNS, _to(PORT, "port_id"), frozenset({"dns_name"})),
    Watch(dhcp_models.ExtraDhcpOpt, _to(PORT, "port_id")),
    Watch(models_v2.Network, _to(NETWORK_AND_ROUTERS, "id"), _NETWORK_COLUMNS),
    Watch(dns.NetworkDNSDomain, _to(NETWORK_AND_ROUTERS, "network_id")),
    Watch(external_net.ExternalNetwork, _to(NETWORK_AND_ROUTERS, "network_id")),
    Watch(segment.NetworkSegment, _to(NETWORK_AND_ROUTERS, "network_id")),
    Watch(dhcp_agents.NetworkDhcpAgentBinding, _to(KIND_NETWORK, "network_id")),
    Watch(models_v2.Subnet, _to(NETWORK_AND_ROUTERS, "network_id")),
    Watch(models_v2.DNSNameServer, _to(SUBNET, "subnet_id")),
    Watch(models_v2.SubnetRoute, _to(SUBNET, "subnet_id")),
    Watch(models_v2.SubnetPool, _to(POOL, "id"), frozenset({"address_scope_id"})),
    Watch(qos.QosBandwidthLimitRule, _to(POLICY, "qos_policy_id")),
    Watch(qos.QosPortPolicyBinding, _to(PORT, "port_id")),
    Watch(qos.QosNetworkPolicyBinding, _to(NETWORK_AND_ROUTERS, "network_id")),
    Watch(qos.QosFIPPolicyBinding, _to(FLOATING_IP, "fip_id")),
    Watch(qos.QosRouterGatewayIPPolicyBinding, _to(KIND_ROUTER, "router_id")),
)

_PORT = models_v2.Port.__table__
_SUBNET = models_v2.Subnet.__table__
_ROUTER = l3.Router.__table__
_ROUTER_PORT = l3.RouterPort.__table__
_FLOATING_IP = l3.FloatingIP.__table__
_PROFILE_BINDING = flavor.FlavorServiceProfileBinding.__table__
_PORT_QOS = qos.QosPortPolicyBinding.__table__
_NETWORK_QOS = qos.QosNetworkPolicyBinding.__table__
_FIP_QOS = qos.QosFIPPolicyBinding.__table__
_GATEWAY_QOS = qos.QosRouterGatewayIPPolicyBinding.__table__


def _select(column: Any, where: Any, wanted: Collection[str]) -> sa.Select[Any]:
    return sa.select(column).where(where.in_(sorted(wanted)), column.is_not(None)).distinct()


def _column(kind: str, column: Any, where: Any) -> Callable[[Any, Collection[str]], Iterator[Reference]]:
    def follow(connection: Any, wanted: Collection[str]) -> Iterator[Reference]:
        for (value,) in connection.execute(_select(column, where, wanted)):
            yield kind, value

    return follow


def _follow_policy(connection: Any, wanted: Collection[str]) -> Iterator[Reference]:
    for kind, table, column in (
        (PORT, _PORT_QOS, _PORT_QOS.c.port_id),
        (NETWORK_AND_ROUTERS, _NETWORK_QOS, _NETWORK_QOS.c.network_id),
        (FLOATING_IP, _FIP_QOS, _FIP_QOS.c.fip_id),
        (KIND_ROUTER, _GATEWAY_QOS, _GATEWAY_QOS.c.router_id),
    ):
        yield from _column(kind, column, table.c.policy_id)(connection, wanted)


def _follow_port(connection: Any, wanted: Collection[str]) -> Iterator[Reference]:
    query = sa.select(_PORT.c.network_id, _PORT.c.device_owner, _PORT.c.device_id).where(_PORT.c.id.in_(sorted(wanted)))
    for row in connection.execute(query):
        yield from port_references(row._mapping)


def _follow_network(connection: Any, wanted: Collection[str]) -> Iterator[Reference]:
    yield from ((KIND_NETWORK, network_id) for network_id in wanted)
    query = _select(_ROUTER_PORT.c.router_id, _PORT.c.network_id, wanted)
    query = query.join_from(_ROUTER_PORT, _PORT, _PORT.c.id == _ROUTER_PORT.c.port_id)
    for (router_id,) in connection.execute(query):
        yield KIND_ROUTER, router_id


#: In this order each kind is followed once: none leads back to one before it.
_FOLLOW: tuple[tuple[str, Callable[[Any, Collection[str]], Iterator[Reference]]], ...] = (
    (PROFILE, _column(FLAVOR, _PROFILE_BINDING.c.flavor_id, _PROFILE_BINDING.c.service_profile_id)),
    (FLAVOR, _column(KIND_ROUTER, _ROUTER.c.id, _ROUTER.c.flavor_id)),
    (POLICY, _follow_policy),
    (FLOATING_IP, _column(KIND_ROUTER, _FLOATING_IP.c.router_id, _FLOATING_IP.c.id)),
    (POOL, _column(NETWORK_AND_ROUTERS, _SUBNET.c.network_id, _SUBNET.c.subnetpool_id)),
    (SUBNET, _column(NETWORK_AND_ROUTERS, _SUBNET.c.network_id, _SUBNET.c.id)),
    (PORT, _follow_port),
    (NETWORK_AND_ROUTERS, _follow_network),
)


def resolve(connection: Any, references: Iterable[Reference]) -> set[Key]:
    """Follow references to the routers and networks they concern: at most one round per kind, whatever their number."""
    by_kind: dict[str, set[str]] = defaultdict(set)
    for kind, identifier in references:
        by_kind[kind].add(identifier)
    for kind, follow in _FOLLOW:
        wanted = by_kind.pop(kind, None)
        if wanted:
            for found_kind, identifier in follow(connection, wanted):
                by_kind[found_kind].add(identifier)
    return {(kind, identifier) for kind in (KIND_ROUTER, KIND_NETWORK) for identifier in by_kind.get(kind, ())}
