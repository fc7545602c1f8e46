"""The change journal on a real Neutron: every write names what it concerns, and the revision never goes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from astara.contract.snapshot import VERSION_HEADER
from support.neutron.cloud import Cloud

pytestmark = pytest.mark.neutron


@dataclass
class World:
    """A router with one interface, a gateway, a port and a floating IP; and things the writes hang on them."""

    cloud: Cloud
    external: dict[str, Any]
    network: dict[str, Any]
    subnet: dict[str, Any]
    router: dict[str, Any]
    port: dict[str, Any]
    floating_ip: dict[str, Any]
    policy: dict[str, Any]
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def router_path(self) -> str:
        return f"/routers/{self.router['id']}"

    def put(self, resource: str, path: str, **fields: Any) -> None:
        self.cloud.call("PUT", path, {resource: fields})

    def forwarding_ip(self) -> dict[str, Any]:
        """A second floating IP with one port forwarding, made at first use."""
        if "forwarding" not in self.made:
            floating_ip = self.cloud.make("floatingip", floating_network_id=self.external["id"])
            internal = self.cloud.port(self.network)
            self.made["pf_port"] = internal
            self.made["pf_ip"] = floating_ip
            self.made["forwarding"] = self.cloud.forwarding(internal, floating_ip, 8080)
        return self.made["forwarding"]


@pytest.fixture(scope="module")
def world(cloud: Cloud) -> World:
    external, _ = cloud.network("203.0.113.0/24", external=True)
    network, (subnet,) = cloud.network("10.50.0.0/24")
    router = cloud.router(subnet, gateway=external)
    port = cloud.port(network)
    floating_ip = cloud.make("floatingip", floating_network_id=external["id"])
    policy = cloud.make("policy", "/qos/policies", name="p")
    return World(cloud, external, network, subnet, router, port, floating_ip, policy)


def rule_path(world: World) -> str:
    return f"/qos/policies/{world.policy['id']}/bandwidth_limit_rules"


def make_rule(world: World) -> None:
    world.made["rule"] = world.cloud.make("bandwidth_limit_rule", rule_path(world), max_kbps=1000)


def make_forwarding(world: World) -> None:
    world.forwarding_ip()


def forwarding_path(world: World) -> str:
    return f"/floatingips/{world.made['pf_ip']['id']}/port_forwardings/{world.made['forwarding']['id']}"


def make_second_interface(world: World) -> None:
    _, (subnet,) = world.cloud.network("10.51.0.0/24")
    world.made["second"] = subnet
    world.cloud.call("PUT", f"{world.router_path}/add_router_interface", {"subnet_id": subnet["id"]})


def remove_second_interface(world: World) -> None:
    path = f"{world.router_path}/remove_router_interface"
    world.cloud.call("PUT", path, {"subnet_id": world.made["second"]["id"]})


def make_helper(world: World) -> None:
    helpers = f"{world.router_path}/conntrack_helpers"
    world.made["helper"] = world.cloud.make("conntrack_helper", helpers, protocol="udp", port=69, helper="tftp")


def make_second_subnet(world: World) -> None:
    network_id = world.network["id"]
    world.made["v6"] = world.cloud.make("subnet", network_id=network_id, cidr="2001:db8:50::/64", ip_version=6)


def make_port(world: World) -> None:
    world.made["port"] = world.cloud.port(world.network)


def delete(world: World, path: str) -> None:
    world.cloud.call("DELETE", path)


ROUTER, NETWORK, BOTH = {"router"}, {"network"}, {"router", "network"}

#: (what a tenant or operator does, which of the world's router and network must be named), in this order.
WRITES: list[tuple[str, Callable[[World], Any], set[str]]] = [
    ("router name", lambda w: w.put("router", w.router_path, name="other"), ROUTER),
    ("router down", lambda w: w.put("router", w.router_path, admin_state_up=False), ROUTER),
    (
        "extra routes",
        lambda w: w.put("router", w.router_path, routes=[{"destination": "10.9.0.0/16", "nexthop": "10.50.0.9"}]),
        ROUTER,
    ),
    ("extra routes removed", lambda w: w.put("router", w.router_path, routes=[]), ROUTER),
    (
        "snat off",
        lambda w: w.put(
            "router", w.router_path, external_gateway_info={"network_id": w.external["id"], "enable_snat": False}
        ),
        ROUTER,
    ),
    ("interface added", make_second_interface, ROUTER),
    ("interface removed", remove_second_interface, ROUTER),
    ("helper created", make_helper, ROUTER),
    (
        "helper updated",
        lambda w: w.put("conntrack_helper", f"{w.router_path}/conntrack_helpers/{w.made['helper']['id']}", port=70),
        ROUTER,
    ),
    ("helper deleted", lambda w: delete(w, f"{w.router_path}/conntrack_helpers/{w.made['helper']['id']}"), ROUTER),
    ("floating ip", lambda w: w.put("floatingip", fip_path(w), port_id=w.port["id"]), ROUTER),
    ("floating ip policy", lambda w: w.put("floatingip", fip_path(w), qos_policy_id=w.policy["id"]), ROUTER),
    ("rule created", make_rule, ROUTER),
    (
        "rule updated",
        lambda w: w.put("bandwidth_limit_rule", f"{rule_path(w)}/{w.made['rule']['id']}", max_kbps=2000),
        ROUTER,
    ),
    ("rule deleted", lambda w: delete(w, f"{rule_path(w)}/{w.made['rule']['id']}"), ROUTER),
    ("floating ip policy off", lambda w: w.put("floatingip", fip_path(w), qos_policy_id=None), ROUTER),
    ("floating ip taken away", lambda w: w.put("floatingip", fip_path(w), port_id=None), ROUTER),
    ("forwarding created", make_forwarding, ROUTER),
    ("forwarding updated", lambda w: w.put("port_forwarding", forwarding_path(w), external_port=9090), ROUTER),
    ("forwarding deleted", lambda w: delete(w, forwarding_path(w)), ROUTER),
    (
        "gateway policy",
        lambda w: w.put(
            "router",
            w.router_path,
            external_gateway_info={"network_id": w.external["id"], "qos_policy_id": w.policy["id"]},
        ),
        ROUTER,
    ),
    ("rule of the gateway's policy", make_rule, ROUTER),
    (
        "external network policy",
        lambda w: w.put("network", f"/networks/{w.external['id']}", qos_policy_id=w.policy["id"]),
        ROUTER,
    ),
    ("network name", lambda w: w.put("network", network_path(w), name="other"), BOTH),
    ("network mtu", lambda w: w.put("network", network_path(w), mtu=1400), BOTH),
    ("network domain", lambda w: w.put("network", network_path(w), dns_domain="a.example."), BOTH),
    ("network policy", lambda w: w.put("network", network_path(w), qos_policy_id=w.policy["id"]), BOTH),
    ("network policy off", lambda w: w.put("network", network_path(w), qos_policy_id=None), BOTH),
    ("network down", lambda w: w.put("network", network_path(w), admin_state_up=False), BOTH),
    ("subnet name servers", lambda w: w.put("subnet", subnet_path(w), dns_nameservers=["192.0.2.1"]), BOTH),
    (
        "subnet routes",
        lambda w: w.put("subnet", subnet_path(w), host_routes=[{"destination": "10.8.0.0/16", "nexthop": "10.50.0.8"}]),
        BOTH,
    ),
    ("dhcp off", lambda w: w.put("subnet", subnet_path(w), enable_dhcp=False), BOTH),
    ("dhcp on", lambda w: w.put("subnet", subnet_path(w), enable_dhcp=True), BOTH),
    ("second subnet", make_second_subnet, BOTH),
    ("second subnet deleted", lambda w: delete(w, f"/subnets/{w.made['v6']['id']}"), BOTH),
    ("port created", make_port, NETWORK),
    ("port name server name", lambda w: w.put("port", made_port(w), dns_name="db"), NETWORK),
    (
        "port address",
        lambda w: w.put("port", made_port(w), fixed_ips=[{"subnet_id": w.subnet["id"], "ip_address": "10.50.0.200"}]),
        NETWORK,
    ),
    (
        "port options",
        lambda w: w.put("port", made_port(w), extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": "1300"}]),
        NETWORK,
    ),
    ("port policy", lambda w: w.put("port", made_port(w), qos_policy_id=w.policy["id"]), NETWORK),
    ("port policy off", lambda w: w.put("port", made_port(w), qos_policy_id=None), NETWORK),
    ("port device", lambda w: w.put("port", made_port(w), device_id="vm", device_owner="compute:x"), NETWORK),
    ("port bound", lambda w: w.put("port", made_port(w), **{"binding:host_id": "node-a"}), NETWORK),
    ("port deleted", lambda w: delete(w, made_port(w)), NETWORK),
    (
        "ports in bulk",
        lambda w: w.cloud.call("POST", "/ports", {"ports": [{"network_id": w.network["id"]}] * 2}),
        NETWORK,
    ),
    ("gateway cleared", lambda w: w.put("router", w.router_path, external_gateway_info={}), ROUTER),
    ("ndp proxy on", lambda w: ndp_proxy_on(w), ROUTER),
]


def ndp_proxy_on(world: World) -> None:
    scope = world.cloud.make("address_scope", "/address-scopes", name="s", ip_version=6)
    pool = world.cloud.make(
        "subnetpool", name="p", prefixes=["2001:db8:b000::/48"], default_prefixlen=64, address_scope_id=scope["id"]
    )
    outside = world.cloud.make("network", name="out", **{"router:external": True})
    world.cloud.make("subnet", network_id=outside["id"], ip_version=6, subnetpool_id=pool["id"])
    gateway = {"network_id": outside["id"]}
    world.put("router", world.router_path, external_gateway_info=gateway, enable_ndp_proxy=True)


def fip_path(world: World) -> str:
    return f"/floatingips/{world.floating_ip['id']}"


def network_path(world: World) -> str:
    return f"/networks/{world.network['id']}"


def subnet_path(world: World) -> str:
    return f"/subnets/{world.subnet['id']}"


def made_port(world: World) -> str:
    return f"/ports/{world.made['port']['id']}"


@pytest.mark.parametrize(("write", "concerned"), [(item[1], item[2]) for item in WRITES], ids=[i[0] for i in WRITES])
def test_every_kind_of_write_names_what_it_concerns(world, write, concerned):
    before = world.cloud.revision()
    write(world)
    changed = world.cloud.changed_after(before)
    ours = {"router": world.router["id"], "network": world.network["id"]}
    assert {("router", ours["router"])} <= changed or "router" not in concerned
    assert {("network", ours["network"])} <= changed or "network" not in concerned


def test_a_tenants_port_does_not_make_routers_be_looked_at(world):
    before = world.cloud.revision()
    port = world.cloud.port(world.network)
    world.cloud.call("DELETE", f"/ports/{port['id']}")
    assert world.cloud.changed_after(before) == {("network", world.network["id"])}


def test_reads_and_things_we_do_not_serve_leave_the_journal_alone(world):
    group = world.cloud.make("security_group", "/security-groups", name="g")
    before = world.cloud.revision()
    world.cloud.routers(world.router["id"])
    world.cloud.call("GET", "/ports")
    world.put("security_group", f"/security-groups/{group['id']}", description="other")
    world.put("port", f"/ports/{world.port['id']}", name="only a name")
    assert world.cloud.revision() == before


def test_a_refused_write_leaves_the_journal_alone(world):
    before = world.cloud.revision()
    outside = [{"ip_address": "192.0.2.1"}]
    world.cloud.call("POST", "/ports", {"port": {"network_id": world.network["id"], "fixed_ips": outside}}, status=400)
    path = f"{world.router_path}/add_router_interface"
    world.cloud.call("PUT", path, {"subnet_id": world.subnet["id"]}, status=400)
    assert world.cloud.changed_after(before) == set()


def test_deleting_a_router_and_a_network_names_them(cloud):
    network, (subnet,) = cloud.network("10.60.0.0/24")
    router = cloud.router(subnet)
    before = cloud.revision()
    cloud.call("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.call("DELETE", f"/routers/{router['id']}")
    assert ("router", router["id"]) in cloud.changed_after(before)
    before = cloud.revision()
    cloud.call("DELETE", f"/networks/{network['id']}")
    assert ("network", network["id"]) in cloud.changed_after(before)
    assert cloud.sql("SELECT * FROM astara_placements WHERE resource_id IN (?, ?)", router["id"], network["id"]) == []


def test_recent_changes_are_answered_again_because_a_transaction_may_commit_late(cloud):
    network, _ = cloud.network()
    revision = cloud.revision()
    again = cloud.changes(revision)
    assert ("network", network["id"]) in {(change["kind"], change["id"]) for change in again["changes"]}
    assert not again["truncated"]
    assert again["revision"] == revision


def test_a_snapshot_carries_a_revision_that_covers_what_it_shows(cloud):
    network, _ = cloud.network()
    page = cloud.networks(network["id"])
    assert page["revision"] == cloud.revision()


def test_every_answer_says_the_plugins_version(cloud):
    answer = cloud.client.get("/astara/changes", params={"since": 0})
    assert answer.headers[VERSION_HEADER] == version("astara")


def test_a_position_from_another_database_means_look_at_everything(cloud):
    assert cloud.changes(cloud.revision() + 1000)["truncated"]
    assert not cloud.changes(cloud.revision())["truncated"]


def test_a_change_that_could_not_be_traced_means_look_at_everything(cloud):
    before = cloud.revision()
    cloud.sql("INSERT INTO astara_changes (kind, resource_id, created_at) VALUES ('*', '*', strftime('%s'))")
    page = cloud.changes(before)
    assert page["truncated"]
    assert not cloud.changes(page["revision"])["truncated"]
    assert {change["kind"] for change in page["changes"]} <= {"router", "network"}


def test_a_pruned_journal_says_so_and_its_revision_stays(cloud):
    cloud.network()
    revision = cloud.revision()
    cloud.sql("DELETE FROM astara_changes WHERE seq < ?", revision)
    page = cloud.changes(revision - 5)
    assert page["truncated"]
    assert page["revision"] == revision
    assert cloud.changes(0)["truncated"]
    assert not cloud.changes(revision)["truncated"]
    cloud.sql("DELETE FROM astara_changes")  # not even then is a number given out twice
    cloud.network()
    assert cloud.revision() > revision


def test_reading_changes_costs_the_same_however_many_routers_there_are(cloud):
    cloud.changes(cloud.revision())
    quiet = cloud.queries
    for _ in range(5):
        cloud.router()
    cloud.changes(cloud.revision())
    assert cloud.queries == quiet <= 5


class Operations(RuleBasedStateMachine):
    """Random API calls; after each, whatever differs in the snapshots must have been named by the journal."""

    cloud: Cloud
    ids: dict[str, list[str]]

    def __init__(self) -> None:
        super().__init__()
        self.before = self.view()
        self.revision = self.cloud.revision()

    def view(self) -> dict[tuple[str, str], Any]:
        routers, networks = self.cloud.routers(), self.cloud.networks()
        seen = {("router", item["id"]): self.bare(item) for item in routers["routers"]}
        return seen | {("network", item["id"]): self.bare(item) for item in networks["networks"]}

    def bare(self, item: Any) -> Any:
        """Leave out Neutron's revision numbers, which count what we have no interest in too."""
        if isinstance(item, dict):
            return {name: self.bare(value) for name, value in item.items() if name != "revision_number"}
        return [self.bare(value) for value in item] if isinstance(item, list) else item

    def choose(self, kind: str, data: st.DataObject) -> str | None:
        rows = self.cloud.call("GET", f"/{kind}")[kind.replace("-", "_")]
        names = sorted(row["id"] for row in rows if row.get("name") == "machine")
        return data.draw(st.sampled_from(names)) if names else None

    def attempt(self, method: str, path: str, body: Any = None) -> None:
        self.cloud.client.request(method, path, json=body)

    @rule(cidr=st.sampled_from(["10.70.0.0/24", "10.71.0.0/24"]), external=st.booleans())
    def make_network(self, cidr: str, external: bool) -> None:
        self.cloud.network(cidr, external=external, name="machine")

    @rule(data=st.data())
    def make_router(self, data: st.DataObject) -> None:
        self.attempt("POST", "/routers", {"router": {"name": "machine"}})

    @rule(data=st.data())
    def make_port(self, data: st.DataObject) -> None:
        if network := self.choose("networks", data):
            self.attempt("POST", "/ports", {"port": {"network_id": network, "name": "machine"}})

    @rule(data=st.data())
    def set_gateway(self, data: st.DataObject) -> None:
        router, network = self.choose("routers", data), self.choose("networks", data)
        if router and network:
            info = data.draw(st.sampled_from([{"network_id": network}, {}]))
            self.attempt("PUT", f"/routers/{router}", {"router": {"external_gateway_info": info}})

    @rule(data=st.data(), verb=st.sampled_from(["add_router_interface", "remove_router_interface"]))
    def interface(self, data: st.DataObject, verb: str) -> None:
        router, network = self.choose("routers", data), self.choose("networks", data)
        if router and network:
            subnets = self.cloud.call("GET", "/subnets", params={"network_id": network})["subnets"]
            self.attempt("PUT", f"/routers/{router}/{verb}", {"subnet_id": subnets[0]["id"]})

    @rule(data=st.data(), mtu=st.integers(1280, 1450))
    def change_network(self, data: st.DataObject, mtu: int) -> None:
        if network := self.choose("networks", data):
            self.attempt("PUT", f"/networks/{network}", {"network": {"mtu": mtu}})

    @rule(data=st.data(), host=st.sampled_from(["node-a", "node-b"]))
    def move_router(self, data: st.DataObject, host: str) -> None:
        if router := self.choose("routers", data):
            placements = [{"kind": "router", "id": router, "host": host}]
            self.attempt("PUT", "/astara/placements", {"placements": placements})

    @rule(data=st.data(), kind=st.sampled_from(["ports", "networks", "routers"]))
    def delete(self, data: st.DataObject, kind: str) -> None:
        if identifier := self.choose(kind, data):
            self.attempt("DELETE", f"/{kind}/{identifier}")

    @invariant()
    def the_journal_names_what_differs(self) -> None:
        now, revision = self.view(), self.cloud.revision()
        differs = {key for key in now.keys() | self.before.keys() if now.get(key) != self.before.get(key)}
        assert differs <= self.cloud.changed_after(self.revision), differs
        assert revision >= self.revision
        self.before, self.revision = now, revision


def test_whatever_differs_in_a_snapshot_was_named_by_the_journal(cloud):
    machine = type("Machine", (Operations,), {"cloud": cloud})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=4, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
