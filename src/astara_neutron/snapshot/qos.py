"""Bandwidth limits as Neutron's QoS resolves them for ports, router gateways and floating IPs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from neutron.db.qos import models as qos
from neutron_lib import constants

from astara.contract.snapshot import Bandwidth
from astara_neutron.snapshot.rows import fetch

_RULE = qos.QosBandwidthLimitRule.__table__
_GATEWAY_OWNERS = (constants.DEVICE_OWNER_ROUTER_GW, constants.DEVICE_OWNER_AGENT_GW)


def read_limits(session: Any, policy_ids: Iterable[str | None]) -> dict[str | None, Bandwidth]:
    """Return the bandwidth limits of each policy that has any. One query."""
    wanted = sorted({policy for policy in policy_ids if policy})
    if not wanted:
        return {}
    rules = fetch(session, sa.select(_RULE).where(_RULE.c.qos_policy_id.in_(wanted)))
    by_policy: dict[str, dict[str, Any]] = {}
    for rule in rules:
        fields = by_policy.setdefault(rule.qos_policy_id, {})
        fields[f"{rule.direction}_kbps"] = rule.max_kbps
        fields[f"{rule.direction}_burst_kb"] = rule.max_burst_kbps
    return {policy: Bandwidth(**fields) for policy, fields in by_policy.items()}


def port_policy(device_owner: str, own: str | None, of_network: str | None) -> str | None:
    """Return the policy that applies to a port: its own, else the network's unless the port is the network's device.

    The rule is QosRule.should_apply_to_port in neutron/objects/qos/rule.py: router gateways do take the
    external network's policy.
    """
    if own:
        return own
    is_device = any(device_owner.startswith(prefix) for prefix in constants.DEVICE_OWNER_PREFIXES)
    if is_device and not device_owner.startswith(_GATEWAY_OWNERS):
        return None
    return of_network
