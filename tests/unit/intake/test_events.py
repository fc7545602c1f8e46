"""Excerpts of what Neutron 29 really sent, reduced to the fields that matter and with other ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astara.intake.events import Heard, Ignored, NotANotification, Overrun, Unrecognised, parse
from astara.model.boundaries import Event

ROUTER, NETWORK, SUBNET, PORT, FLOATING = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "12345")


def message(event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "_context_project_id": "somebody-elses-project",
        "_context_is_admin": True,
        "event_type": event_type,
        "message_id": "9f7565ac",
        "payload": payload,
        "priority": "INFO",
        "publisher_id": "network.host",
    }


COMPUTE_PORT = {
    "id": PORT,
    "network_id": NETWORK,
    "device_id": "server",
    "device_owner": "compute:nova",
    "status": "DOWN",
}
ROUTER_PORT = {**COMPUTE_PORT, "device_id": ROUTER, "device_owner": "network:router_gateway"}


@pytest.mark.parametrize(
    ("event_type", "payload", "ids"),
    [
        ("network.create.end", {"network": {"id": NETWORK, "mtu": 1450}}, {"network": (NETWORK,)}),
        ("network.delete.end", {"network": {"id": NETWORK}, "network_id": NETWORK}, {"network": (NETWORK,)}),
        (
            "subnet.update.end",
            {"subnet": {"id": SUBNET, "network_id": NETWORK, "enable_dhcp": True}},
            {"subnet": (SUBNET,), "network": (NETWORK,)},
        ),
        ("port.update.end", {"port": COMPUTE_PORT}, {"port": (PORT,), "network": (NETWORK,)}),
        (
            "port.delete.end",
            {"port": ROUTER_PORT, "port_id": PORT},
            {"port": (PORT,), "network": (NETWORK,), "router": (ROUTER,)},
        ),
        ("port.create.end", {"ports": [COMPUTE_PORT, COMPUTE_PORT]}, {"port": (PORT,), "network": (NETWORK,)}),
        ("router.update.end", {"router": {"id": ROUTER, "routes": []}}, {"router": (ROUTER,)}),
        ("router.delete.end", {"router": {"id": ROUTER}, "router_id": ROUTER}, {"router": (ROUTER,)}),
        (
            "router.interface.create",
            {"router_interface": {"id": ROUTER, "port_id": PORT, "network_id": NETWORK, "subnet_id": SUBNET}},
            {"router": (ROUTER,), "port": (PORT,), "network": (NETWORK,), "subnet": (SUBNET,)},
        ),
        (
            "floatingip.update.end",
            {"floatingip": {"id": FLOATING, "router_id": ROUTER, "port_id": PORT}},
            {"router": (ROUTER,), "port": (PORT,)},
        ),
        ("floatingip.delete.end", {"floatingip": {"id": FLOATING, "router_id": None}, "floatingip_id": FLOATING}, {}),
        ("astara.hint", {"routers": [ROUTER], "networks": [NETWORK]}, {"router": (ROUTER,), "network": (NETWORK,)}),
    ],
)
def test_real_notifications_name_their_resources(
    event_type: str, payload: dict[str, Any], ids: dict[str, tuple[str, ...]]
) -> None:
    """W1, W2, W3: the names are Neutron's own, interface events without ".end" included."""
    assert parse(message(event_type, payload)) == Heard(Event(event_type, ids))


@pytest.mark.parametrize("event_type", ["router.change.end", "router.interface.create.end", "port.create", ""])
def test_a_guessed_name_is_unknown_and_not_swallowed(event_type: str) -> None:
    """W1: `router.change.end` never existed."""
    assert parse(message(event_type, {})) == Unrecognised(event_type)


@pytest.mark.parametrize(
    "event_type", ["port.update.start", "security_group_rule.create.end", "vpnservice.delete.start"]
)
def test_what_says_nothing_new_is_known_and_ignored(event_type: str) -> None:
    assert parse(message(event_type, {"id": PORT})) == Ignored(event_type)


def test_a_sender_that_dropped_notifications_asks_for_a_full_look() -> None:
    assert parse(message("astara.resync", {"reason": "12 dropped"})) == Overrun("12 dropped")


def test_the_caller_of_the_api_never_decides_whose_resource_it_is() -> None:
    """W4: an admin acts on a tenant's router; the context is the admin's."""
    heard = parse(message("router.update.end", {"router": {"id": ROUTER, "project_id": "tenant"}}))
    assert "somebody-elses-project" not in repr(heard)


def test_a_secret_in_a_payload_leaves_with_the_payload() -> None:
    """A VPN's pre-shared key is on the bus in clear text."""
    secret = "correct horse"
    ignored = parse(message("ipsec_site_connection.create.end", {"ipsec_site_connection": {"psk": secret}}))
    assert secret not in repr(ignored)
    with pytest.raises(NotANotification) as refused:
        parse({"event_type": 7, "payload": {"psk": secret}})
    assert secret not in repr(refused.value)


@pytest.mark.parametrize("body", [None, [], "port.create.end", {"event_type": "port.create.end"}, {"payload": {}}])
def test_what_is_no_notification_is_refused(body: Any) -> None:
    with pytest.raises(NotANotification):
        parse(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "network_id", "x"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(["port", "router", "router_interface", "floatingip", "network", "ports"]), JSON, JSON)
def test_no_payload_however_strange_breaks_the_parser(field: str, body: Any, identifier: Any) -> None:
    for event_type in ("port.update.end", "router.interface.create", "astara.hint"):
        parse(message(event_type, {field: body, "port_id": identifier, "routers": body, "networks": identifier}))
