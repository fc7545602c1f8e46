from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from astara.contract.snapshot import DhcpOption, NetworkPage, NetworkSnapshot, Route, RouterPage
from astara.drivers.network.driver import NetworkDriver, dhcp_device_id
from astara.drivers.network.schema import AddressMode, Host, HostRoute, NetworkSection
from astara.model.boundaries import DriverOptions, Event, NetworkWorld, RouterWorld
from astara.model.resource import Absent, DesiredState, PortNeeded, Present, ResourceKey
from support.builders.neutron import NODE, network, port, subnet

KEY = ResourceKey("network", "blue")
DEFAULTS = DriverOptions()
V4 = subnet("v4", "10.0.0.0/24", gateway_ip="10.0.0.1")
V6 = subnet("v6", "2001:db8:1::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
NET = network("blue", V4, V6, host=NODE, mtu=1450, name="blue net")
OWN = port(
    "dhcp",
    NET,
    "2001:db8:1::2@v6",
    "10.0.0.2@v4",
    device_owner="network:dhcp",
    device_id=dhcp_device_id("blue", NODE),
)
VM = port(
    "vm", NET, "10.0.0.5@v4", "2001:db8:1::5@v6", device_owner="compute:nova", device_id="server-1", project_id="p7"
)
INTERFACE = port(
    "router-if", NET, "10.0.0.1@v4", device_owner="network:router_interface", device_id="r1", project_id="p7"
)


def net(*ports: Any, **fields: Any) -> NetworkSnapshot:
    return structs.replace(NET, ports=ports or (OWN, VM, INTERFACE), **fields)


def desired(snapshot: NetworkSnapshot | None, options: DriverOptions = DEFAULTS) -> DesiredState:
    return NetworkDriver(options).desired(KEY, NetworkWorld(7, snapshot))


def section(snapshot: NetworkSnapshot, options: DriverOptions = DEFAULTS) -> NetworkSection:
    present = desired(snapshot, options)
    assert isinstance(present, Present)
    assert present.unmet is None
    (only,) = present.instances
    assert isinstance(only.section, NetworkSection)
    return only.section


def host(snapshot: NetworkSnapshot, port_id: str) -> Host:
    (found,) = (known for known in section(snapshot).hosts if known.port_id == port_id)
    return found


def test_the_device_id_of_our_port_is_neutrons_so_that_its_agent_can_take_over() -> None:
    # As neutron.common.utils.get_dhcp_agent_device_id (Neutron 29) answers for both names of the host.
    expected = "dhcp9b3b6618-0449-5cf4-ba1a-1bd2727132bc-net-1"
    assert [dhcp_device_id("net-1", name) for name in ("node-1", "node-1.example.org")] == [expected] * 2


@pytest.mark.parametrize(
    "snapshot",
    [
        None,
        net(managed=False),
        net(subnets=()),
        net(subnets=(structs.replace(V4, enable_dhcp=False), structs.replace(V6, enable_dhcp=False))),
        net(external=True, subnets=(structs.replace(V4, enable_dhcp=False),)),
    ],
)
def test_what_needs_no_dhcp_or_is_served_by_others_gets_no_instance(snapshot: NetworkSnapshot | None) -> None:
    assert desired(snapshot) == Absent(7)


def test_an_ipv6_only_network_is_served_too() -> None:
    assert [served.mode for served in section(net(subnets=(V6,))).subnets] == [AddressMode.SLAAC]


def test_without_a_node_the_network_waits_and_says_what_to_do() -> None:
    waiting = desired(net(host=None))
    assert isinstance(waiting, Present)
    assert waiting.instances == ()
    assert "no node serves network blue" in (waiting.unmet or "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"fixed_ips": ()},
        {"host": "node-2"},
        {"device_id": "reserved_dhcp_port"},
        {"device_owner": "compute:nova"},
    ],
)
def test_no_complete_port_of_ours_means_neutron_must_make_or_mend_it(wrong: dict[str, Any]) -> None:
    assert desired(net(structs.replace(OWN, **wrong), VM)) == PortNeeded(7, "blue", NODE)


def test_a_port_name_is_no_proof_that_a_port_is_ours() -> None:
    """Trap: port names used as trust. A tenant's port that claims the owner but not the device is not taken."""
    foreign = structs.replace(OWN, device_id="dhcp-mine")
    assert isinstance(desired(net(foreign)), PortNeeded)


def test_an_automatic_address_is_not_waited_for() -> None:
    """Neutron gives SLAAC addresses by itself; asking for the port again and again would not help."""
    only4 = structs.replace(OWN, fixed_ips=OWN.fixed_ips[1:])
    assert [(served.id, served.address) for served in section(net(only4)).subnets] == [("v4", "10.0.0.2"), ("v6", None)]


def test_a_port_that_cannot_be_plugged_is_named() -> None:
    waiting = desired(net(structs.replace(OWN, vif_type="binding_failed")))
    assert isinstance(waiting, Present)
    assert "DHCP port dhcp is binding_failed" in (waiting.unmet or "")


def test_the_instance_is_plugged_with_its_one_port() -> None:
    present = desired(net())
    assert isinstance(present, Present)
    (only,) = present.instances
    assert [(attached.port_id, attached.mtu, attached.attach) for attached in only.ports] == [("dhcp", 1450, "bridge")]
    assert (only.host, only.slot, only.provider) == (NODE, "0", "namespace")
    assert present.status.ports == (("dhcp", "DOWN"),)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("dhcpv6-stateful", AddressMode.DHCPV6_STATEFUL),
        ("dhcpv6-stateless", AddressMode.DHCPV6_STATELESS),
        ("slaac", AddressMode.SLAAC),
        (None, AddressMode.SLAAC),
    ],
)
def test_each_ipv6_address_mode_is_served_as_itself(mode: str | None, expected: AddressMode) -> None:
    """W24: no DHCPv6 hole."""
    found = section(net(subnets=(structs.replace(V6, ipv6_address_mode=mode),)))
    assert found.subnets[0].mode is expected


def test_options_of_a_subnet_are_handed_over() -> None:
    rich = structs.replace(
        V4,
        dns_nameservers=("192.0.2.2", "192.0.2.1"),
        host_routes=(Route(destination="203.0.113.0/24", nexthop="10.0.0.9"),),
    )
    (served,) = section(net(subnets=(rich,))).subnets
    assert served.dns_servers == ("192.0.2.2", "192.0.2.1")  # their order is the tenant's preference
    assert served.host_routes == (HostRoute(destination="203.0.113.0/24", nexthop="10.0.0.9"),)
    assert (served.gateway, served.address, served.mode) == ("10.0.0.1", "10.0.0.2", AddressMode.DHCPV4)


def test_a_subnet_without_dhcp_is_not_served() -> None:
    found = section(net(subnets=(V4, structs.replace(V6, enable_dhcp=False))))
    assert [served.id for served in found.subnets] == ["v4"]
    assert host(net(subnets=(V4, structs.replace(V6, enable_dhcp=False))), "vm").addresses == ("10.0.0.5",)


def test_the_dhcp_ports_addresses_carry_prefixes() -> None:
    assert section(net()).addresses == ("10.0.0.2/24", "2001:db8:1::2/64")


def test_hosts_are_named_after_their_addresses_as_neutron_does() -> None:
    vm = host(net(), "vm")
    assert (vm.hostname, vm.aliases) == ("host-10-0-0-5", ("host-2001-db8-1--5",))
    assert vm.addresses == ("10.0.0.5", "2001:db8:1::5")


def test_a_name_given_to_the_port_comes_first() -> None:
    vm = host(net(OWN, structs.replace(VM, dns_name="web")), "vm")
    assert (vm.hostname, vm.aliases[0]) == ("web", "host-10-0-0-5")


def test_the_domain_is_the_networks_or_else_the_clouds() -> None:
    assert section(net(), DriverOptions(domain="cloud.example")).domain == "cloud.example"
    assert section(net(dns_domain="tenant.example.")).domain == "tenant.example"


def test_only_servers_have_a_metadata_identity() -> None:
    """A router's or a DHCP port's address must not answer for a server."""
    assert (host(net(), "vm").instance_id, host(net(), "vm").project_id) == ("server-1", "p7")
    assert (host(net(), "router-if").instance_id, host(net(), "router-if").project_id) == ("", "")


def test_our_own_port_is_not_a_host() -> None:
    assert {known.port_id for known in section(net()).hosts} == {"vm", "router-if"}


def test_extra_options_of_a_port_are_handed_over() -> None:
    option = DhcpOption(opt_name="bootfile-name", opt_value="pxe.0")
    (found,) = host(net(OWN, structs.replace(VM, extra_dhcp_opts=(option,))), "vm").options
    assert (found.name, found.value, found.ip_version) == ("bootfile-name", "pxe.0", 4)


def test_administrative_state_and_operators_choices_are_handed_over() -> None:
    found = section(net(admin_state_up=False), DriverOptions(upstream_dns=("192.0.2.53",), metadata=False))
    assert (found.enabled, found.upstream_dns, found.metadata) == (False, ("192.0.2.53",), False)


@given(st.data())
def test_the_digest_does_not_depend_on_the_order_of_rows(data: st.DataObject) -> None:
    ports = (OWN, INTERFACE, *(port(f"vm{n}", NET, f"10.0.0.{n}@v4", f"2001:db8:1::{n}@v6") for n in range(10, 16)))
    mixed = [
        structs.replace(known, fixed_ips=tuple(data.draw(st.permutations(known.fixed_ips))))
        for known in data.draw(st.permutations(ports))
    ]
    assert desired(net(*mixed, subnets=tuple(data.draw(st.permutations(NET.subnets))))) == desired(net(*ports))


def test_events_concern_the_networks_they_name() -> None:
    driver = NetworkDriver(DriverOptions())
    assert list(driver.keys_for(Event("port.update.end", {"port": ("vm",), "network": ("blue",)}))) == [KEY]
    assert list(driver.keys_for(Event("router.update.end", {"router": ("r1",)}))) == []


def test_a_page_names_the_networks_that_want_service() -> None:
    driver = NetworkDriver(DriverOptions())
    page = NetworkPage(revision=1, networks=(net(), structs.replace(NET, id="other", managed=False)))
    assert list(driver.keys_in(page)) == [KEY]
    assert list(driver.keys_in(RouterPage(revision=1, routers=(), networks=(NET,)))) == []


def test_a_router_is_not_a_network() -> None:
    with pytest.raises(TypeError, match="reads networks"):
        NetworkDriver(DriverOptions()).desired(KEY, RouterWorld(1, None, {}))
