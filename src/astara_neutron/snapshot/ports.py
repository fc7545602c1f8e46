"""Ports with their addresses, bindings, names, options and limits."""

from __future__ import annotations

import ipaddress
from typing import Any

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.db.extra_dhcp_opt import models as dhcp_models
from neutron.db.models import dns
from neutron.db.qos import models as qos
from neutron.plugins.ml2 import models as ml2
from neutron_lib import constants
from neutron_lib.db import standard_attr

from astara.contract.snapshot import DhcpOption, FixedIP, PortSnapshot
from astara_neutron.snapshot.qos import port_policy, read_limits
from astara_neutron.snapshot.rows import fetch, grouped

_PORT = models_v2.Port.__table__
_ADDRESS = models_v2.IPAllocation.__table__
_STANDARD = standard_attr.StandardAttribute.__table__
_BINDING = ml2.PortBinding.__table__
_DNS = dns.PortDNS.__table__
_OPTION = dhcp_models.ExtraDhcpOpt.__table__
_PORT_QOS = qos.QosPortPolicyBinding.__table__
_NETWORK_QOS = qos.QosNetworkPolicyBinding.__table__

_PORTS = (
    sa.select(
        _PORT.c.id,
        _PORT.c.network_id,
        _PORT.c.mac_address,
        _PORT.c.device_owner,
        _PORT.c.device_id,
        _PORT.c.project_id,
        _PORT.c.admin_state_up,
        _PORT.c.status,
        _STANDARD.c.revision_number,
        _BINDING.c.host,
        _BINDING.c.vif_type,
        _DNS.c.dns_name,
        _PORT_QOS.c.policy_id.label("own_policy"),
        _NETWORK_QOS.c.policy_id.label("network_policy"),
    )
    .select_from(_PORT)
    .join(_STANDARD, _STANDARD.c.id == _PORT.c.standard_attr_id)
    # During a live migration a port has a second, inactive binding.
    .outerjoin(_BINDING, (_BINDING.c.port_id == _PORT.c.id) & (_BINDING.c.status == constants.ACTIVE))
    .outerjoin(_DNS, _DNS.c.port_id == _PORT.c.id)
    .outerjoin(_PORT_QOS, _PORT_QOS.c.port_id == _PORT.c.id)
    .outerjoin(_NETWORK_QOS, _NETWORK_QOS.c.network_id == _PORT.c.network_id)
)


def read_ports(session: Any, which: sa.ColumnElement[bool]) -> dict[str, PortSnapshot]:
    """Return the ports matching a condition on the table `ports`, by id. Four queries."""
    rows = fetch(session, _PORTS.where(which).order_by(_PORT.c.id))
    wanted = sa.select(_PORT.c.id).where(which)
    addresses = grouped(
        fetch(session, sa.select(_ADDRESS).where(_ADDRESS.c.port_id.in_(wanted))),
        "port_id",
        lambda row: FixedIP(ip_address=row.ip_address, subnet_id=row.subnet_id),
    )
    dhcp_options = grouped(
        fetch(session, sa.select(_OPTION).where(_OPTION.c.port_id.in_(wanted)).order_by(_OPTION.c.opt_name)),
        "port_id",
        lambda row: DhcpOption(opt_name=row.opt_name, opt_value=row.opt_value, ip_version=row.ip_version),
    )
    policies = {row.id: port_policy(row.device_owner, row.own_policy, row.network_policy) for row in rows}
    limits = read_limits(session, policies.values())
    return {
        row.id: PortSnapshot(
            id=row.id,
            network_id=row.network_id,
            mac_address=row.mac_address,
            fixed_ips=tuple(sorted(addresses.get(row.id, ()), key=_by_address)),
            device_owner=row.device_owner,
            device_id=row.device_id,
            project_id=row.project_id or "",
            admin_state_up=bool(row.admin_state_up),
            status=row.status,
            host=row.host or "",
            vif_type=row.vif_type or "unbound",
            dns_name=row.dns_name or "",
            extra_dhcp_opts=dhcp_options.get(row.id, ()),
            bandwidth=limits.get(policies[row.id]),
            revision_number=row.revision_number,
        )
        for row in rows
    }


def _by_address(fixed_ip: FixedIP) -> tuple[int, bytes]:
    address = ipaddress.ip_address(fixed_ip.ip_address)
    return address.version, address.packed
