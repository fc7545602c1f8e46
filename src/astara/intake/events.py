"""A notification of Neutron's becomes a frozen value, or is counted. Pure.

Only the event type and a few ids are read. `_context_*` fields say who *asked*, not whose resource it
is, and are never looked at (trap W4); payloads may hold secrets (a VPN's pre-shared key) and are never
kept, logged or repeated in an error.

Event names: neutron.pecan_wsgi.hooks.notifier publishes "<resource>.<action>.start|end" for every
REST resource; neutron.db.l3_db publishes "router.interface.create|delete", without start and end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from astara.model.boundaries import Event

HINT = "astara.hint"
RESYNC = "astara.resync"
_ROUTER_OWNERS = ("network:router", "network:ha_router", "network:floatingip")
_ACTIONS = ("create", "update", "delete")


@dataclass(frozen=True, slots=True)
class Heard:
    """Somebody may be concerned."""

    event: Event


@dataclass(frozen=True, slots=True)
class Overrun:
    """The sender had to drop notifications: everything must be looked at again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Known, and nothing to do: its ".end" follows, or Neutron resources we do not serve."""

    type: str


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """Not a notification we know; counted, so that a changed name is noticed and not swallowed (W1-W3)."""

    type: str


Notification: TypeAlias = Heard | Overrun | Ignored | Unrecognised


class NotANotification(ValueError):
    """The message has no event type or no payload object. Carries no part of the message."""


def parse(message: Any) -> Notification:
    """Read one oslo.messaging notification (`event_type`, `payload`), as RabbitMQ and HTTP deliver it.

    Raises:
        NotANotification: when it is not one.
    """
    if not isinstance(message, Mapping):
        raise NotANotification("the body is not a JSON object")
    kind, payload = message.get("event_type"), message.get("payload")
    if not isinstance(kind, str) or not isinstance(payload, Mapping):
        raise NotANotification("event_type must be a string and payload an object")
    if kind == RESYNC:
        return Overrun(_text(payload.get("reason")) or RESYNC)
    if kind in _READERS:
        return Heard(Event(kind, _tidy(_READERS[kind](payload))))
    if kind in _IGNORED or (kind.endswith(".start") and kind.removesuffix(".start") + ".end" in _KNOWN):
        return Ignored(kind)
    return Unrecognised(kind)


_Ids: TypeAlias = Iterable[tuple[str, Any]]


def _bodies(payload: Mapping[str, Any], resource: str) -> list[Mapping[str, Any]]:
    """Return the resources of a payload: one, or several after a bulk create (`{"ports": [...]}`)."""
    several = payload.get(f"{resource}s")
    found = several if isinstance(several, list) else [payload.get(resource)]
    return [body for body in found if isinstance(body, Mapping)]


def _network(payload: Mapping[str, Any]) -> _Ids:
    yield "network", payload.get("network_id")
    for body in _bodies(payload, "network"):
        yield "network", body.get("id")


def _subnet(payload: Mapping[str, Any]) -> _Ids:
    yield "subnet", payload.get("subnet_id")
    for body in _bodies(payload, "subnet"):
        yield "subnet", body.get("id")
        yield "network", body.get("network_id")


def _port(payload: Mapping[str, Any]) -> _Ids:
    yield "port", payload.get("port_id")
    for body in _bodies(payload, "port"):
        yield "port", body.get("id")
        yield "network", body.get("network_id")
        if str(body.get("device_owner", "")).startswith(_ROUTER_OWNERS):
            yield "router", body.get("device_id")


def _router(payload: Mapping[str, Any]) -> _Ids:
    yield "router", payload.get("router_id")
    for body in _bodies(payload, "router"):
        yield "router", body.get("id")


def _router_interface(payload: Mapping[str, Any]) -> _Ids:
    for body in _bodies(payload, "router_interface"):
        yield "router", body.get("id")
        yield "port", body.get("port_id")
        yield "network", body.get("network_id")
        yield "subnet", body.get("subnet_id")


def _floating_ip(payload: Mapping[str, Any]) -> _Ids:
    for body in _bodies(payload, "floatingip"):
        yield "router", body.get("router_id")
        yield "port", body.get("port_id")


def _hint(payload: Mapping[str, Any]) -> _Ids:
    for kind, field in (("router", "routers"), ("network", "networks")):
        found = payload.get(field)
        for identifier in found if isinstance(found, list | tuple) else ():
            yield kind, identifier


def _each_action(resource: str) -> list[str]:
    return [f"{resource}.{action}.end" for action in _ACTIONS]


_READERS: dict[str, Callable[[Mapping[str, Any]], _Ids]] = {
    **dict.fromkeys(_each_action("network"), _network),
    **dict.fromkeys(_each_action("subnet"), _subnet),
    **dict.fromkeys(_each_action("port"), _port),
    **dict.fromkeys(_each_action("router"), _router),
    **dict.fromkeys(("router.interface.create", "router.interface.delete"), _router_interface),
    **dict.fromkeys(_each_action("floatingip"), _floating_ip),
    HINT: _hint,
}

#: Resources of Neutron's API whose notifications name no router or network; where they matter, the plug-in hints.
_OTHER_RESOURCES = [
    "address_group",
    "address_scope",
    "agent",
    "auto_allocated_topology",
    "bandwidth_limit_rule",
    "conntrack_helper",
    "default_security_group_rule",
    "dscp_marking_rule",
    "endpoint_group",
    "firewall_group",
    "firewall_policy",
    "firewall_rule",
    "flavor",
    "ikepolicy",
    "ipsec_site_connection",
    "ipsecpolicy",
    "local_ip",
    "local_ip_association",
    "log",
    "metering_label",
    "metering_label_rule",
    "minimum_bandwidth_rule",
    "minimum_packet_rate_rule",
    "ndp_proxy",
    "network_segment_range",
    "packet_rate_limit_rule",
    "policy",
    "port_forwarding",
    "quota",
    "rbac_policy",
    "security_group",
    "security_group_rule",
    "segment",
    "service_profile",
    "subnetpool",
    "trunk",
    "vpnservice",
]
_IGNORED = frozenset(kind for resource in _OTHER_RESOURCES for kind in _each_action(resource))
_KNOWN = _IGNORED | _READERS.keys()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tidy(found: _Ids) -> dict[str, tuple[str, ...]]:
    """Keep non-empty strings, each once, in order."""
    ids: dict[str, dict[str, None]] = {}
    for kind, identifier in found:
        if isinstance(identifier, str) and identifier:
            ids.setdefault(kind, {})[identifier] = None
    return {kind: tuple(known) for kind, known in ids.items()}
