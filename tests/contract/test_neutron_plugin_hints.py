"""What a real Neutron tells over HTTP: standard notifications, signed, and hints for what they leave out."""

from __future__ import annotations

import pytest

from support.neutron.cloud import running
from support.neutron.listener import Listener

pytestmark = pytest.mark.neutron


@pytest.fixture
def heard(listener: Listener) -> Listener:
    """The listener, when hints of earlier tests are out."""
    listener.never(lambda: False, 1.5)
    listener.forget()
    return listener


def test_standard_notifications_arrive_signed_and_without_the_callers_token(cloud, heard):
    network, _ = cloud.network()
    heard.wait(lambda: "network.create.end" in heard.names())
    message = next(item for item in heard.messages if item["event_type"] == "network.create.end")
    assert message["payload"]["network"]["id"] == network["id"]
    assert message["priority"].lower() == "info"
    assert not [name for name in message if name.startswith("_context")]
    assert not [name for name in heard.names() if name.endswith(".start")]
    assert heard.refused == 0


def test_what_the_standard_notification_says_is_not_said_again(cloud, heard):
    network, (subnet,) = cloud.network("10.111.0.0/24")
    cloud.router(subnet)
    cloud.port(network)
    heard.wait(lambda: "port.create.end" in heard.names())
    heard.never(heard.hints, 1.5)


def test_a_subnets_change_hints_at_the_routers_on_it(cloud, heard):
    _, (subnet,) = cloud.network("10.112.0.0/24")
    router = cloud.router(subnet)
    cloud.call("PUT", f"/subnets/{subnet['id']}", {"subnet": {"dns_nameservers": ["192.0.2.9"]}})
    heard.wait(lambda: ("router", router["id"]) in heard.hints())


def test_taking_a_floating_ip_away_hints_at_the_router_that_had_it(cloud, heard):
    external, _ = cloud.network("203.0.113.0/24", external=True)
    network, (subnet,) = cloud.network("10.113.0.0/24")
    router = cloud.router(subnet, gateway=external)
    port = cloud.port(network)
    floating_ip = cloud.make("floatingip", floating_network_id=external["id"], port_id=port["id"])
    heard.forget()
    cloud.call("PUT", f"/floatingips/{floating_ip['id']}", {"floatingip": {"port_id": None}})
    heard.wait(lambda: ("router", router["id"]) in heard.hints())


def test_plugins_whose_notifications_name_no_router_are_hinted_at(cloud, heard):
    external, _ = cloud.network("203.0.113.0/24", external=True)
    _, (subnet,) = cloud.network("10.114.0.0/24")
    router = cloud.router(subnet, gateway=external)
    heard.forget()
    helper = {"conntrack_helper": {"protocol": "udp", "port": 69, "helper": "tftp"}}
    cloud.call("POST", f"/routers/{router['id']}/conntrack_helpers", helper)
    heard.wait(lambda: ("router", router["id"]) in heard.hints())


def test_a_move_is_hinted_at(cloud, heard):
    _, (one, two) = cloud.network("10.115.0.0/24", "10.115.1.0/24")
    router = cloud.router(one, two)
    host = cloud.routers(router["id"])["routers"][0]["host"]
    other = {"node-a": "node-b", "node-b": "node-a"}[host]
    heard.forget()
    cloud.call("PUT", "/astara/placements", {"placements": [{"kind": "router", "id": router["id"], "host": other}]})
    heard.wait(lambda: ("router", router["id"]) in heard.hints())


def test_a_status_we_report_ourselves_causes_no_hint(cloud, heard):
    _, (subnet,) = cloud.network("10.116.0.0/24")
    router = cloud.router(subnet)
    heard.forget()
    cloud.call("PUT", "/astara/status", {"routers": [{"id": router["id"], "status": "DOWN"}]})
    heard.never(heard.hints, 1.5)


def test_what_cannot_be_kept_while_the_listener_is_away_is_announced_as_lost(tmp_path):
    """A Neutron whose queue holds three notifications; the listener comes after ten."""
    late = Listener().start()
    late.stop()  # its port is known now and nobody answers there
    with running(tmp_path, notify_url=late.url, astara="notify_queue = 3") as cloud:
        for _ in range(5):
            last, _ = cloud.network("10.117.0.0/24")
        late.start()
        late.wait(lambda: "astara.resync" in late.names(), deadline_s=20)
        late.wait(lambda: len(late.messages) >= 4)
        assert late.names()[0] == "astara.resync"
        assert late.messages[0]["payload"]["reason"]
        assert late.names().count("astara.resync") == 1
        assert len({message["message_id"] for message in late.messages}) == len(late.messages)
        cloud.call("DELETE", f"/networks/{last['id']}")
        late.wait(lambda: "network.delete.end" in late.names())
        cloud.client.close()
    late.stop()
