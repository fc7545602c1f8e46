"""Floating IPs with their port forwardings and limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from neutron.db.models import l3, port_forwarding
from neutron.db.qos import models as qos

from astara.contract.snapshot import FloatingIPSnapshot, PortForwardingSnapshot
from astara_neutron.snapshot.qos import read_limits
from astara_neutron.snapshot.rows import fetch, grouped

_FLOATING_IP = l3.FloatingIP.__table__
_FORWARDING = port_forwarding.PortForwarding.__table__
_OWN_QOS = qos.QosFIPPolicyBinding.__table__
_NETWORK_QOS = qos.QosNetworkPolicyBinding.__table__


def read_floating_ips(session: Any, router_ids: Sequence[str]) -> dict[str, tuple[FloatingIPSnapshot, ...]]:
    """Return the floating IPs of each router. Three queries."""
    on_routers = _FLOATING_IP.c.router_id.in_(router_ids)
    rows = fetch(
        session,
        sa.select(
            _FLOATING_IP, sa.func.coalesce(_OWN_QOS.c.policy_id, _NETWORK_QOS.c.policy_id).label("effective_policy")
        )
        .outerjoin(_OWN_QOS, _OWN_QOS.c.fip_id == _FLOATING_IP.c.id)
        .outerjoin(_NETWORK_QOS, _NETWORK_QOS.c.network_id == _FLOATING_IP.c.floating_network_id)
        .where(on_routers)
        .order_by(_FLOATING_IP.c.id),
    )
    wanted = sa.select(_FLOATING_IP.c.id).where(on_routers)
    forwardings = grouped(
        fetch(
            session, sa.select(_FORWARDING).where(_FORWARDING.c.floatingip_id.in_(wanted)).order_by(_FORWARDING.c.id)
        ),
        "floatingip_id",
        _forwarding,
    )
    limits = read_limits(session, (row.effective_policy for row in rows))
    return grouped(
        rows,
        "router_id",
        lambda row: FloatingIPSnapshot(
            id=row.id,
            floating_ip_address=row.floating_ip_address,
            floating_network_id=row.floating_network_id,
            fixed_ip_address=row.fixed_ip_address,
            port_id=row.fixed_port_id,
            status=row.status or "DOWN",
            project_id=row.project_id or "",
            port_forwardings=forwardings.get(row.id, ()),
            bandwidth=limits.get(row.effective_policy),
        ),
    )


def _forwarding(row: Any) -> PortForwardingSnapshot:
    return PortForwardingSnapshot(
        id=row.id,
        protocol=row.protocol,
        external_port_first=row.external_port_start,
        external_port_last=row.external_port_end,
        internal_ip=row.internal_ip_address,
        internal_port_first=row.internal_port_start,
        internal_port_last=row.internal_port_end,
        internal_port_id=row.internal_neutron_port_id,
    )
