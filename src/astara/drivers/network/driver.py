"""The network driver: DHCP, DNS and metadata of a Neutron network become one service instance. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from astara.contract.agent import PortAttachment
from astara.contract.codec import digest
from astara.contract.snapshot import NetworkPage, NetworkSnapshot, PortSnapshot, RouterPage
from astara.drivers.network.schema import AddressMode
from astara.drivers.network.section import address_mode, network_section, served_subnets
from astara.model.boundaries import DriverOptions, Event, NetworkWorld, World
from astara.model.resource import Absent, DesiredInstance, DesiredState, PortNeeded, Present, ResourceKey, StatusTargets

NAME = "network"
SLOT = "0"
DHCP_OWNER = "network:dhcp"
#: Neutron's binding:vif_type -> how the node plugs the port (entry points `astara.attach`).
ATTACH_KINDS = {"bridge": "bridge", "ovs": "ovs"}


class NetworkDriver:
    """Which events concern a network, and what its instance shall be."""

    name = NAME
    summary = "Neutron networks: DHCPv4, DHCPv6, DNS names, metadata; with or without a router"
    reads = "network"

    def __init__(self, options: DriverOptions) -> None:
        self._options = options

    def keys_for(self, event: Event) -> Iterable[ResourceKey]:
        """Name the networks a notification names: its own, its subnet's, its port's."""
        return [ResourceKey(NAME, identifier) for identifier in event.ids.get("network", ())]

    def keys_in(self, page: RouterPage | NetworkPage) -> Iterable[ResourceKey]:
        """Name the networks of a bulk page that want an instance."""
        if isinstance(page, NetworkPage):
            return [ResourceKey(NAME, network.id) for network in page.networks if wants_service(network)]
        return []

    def desired(self, key: ResourceKey, world: World) -> DesiredState:
        """Turn the snapshot of one network into the wish.

        Raises:
            TypeError: `world` is a router's.
        """
        if not isinstance(world, NetworkWorld):
            raise TypeError(f"{NAME} driver reads networks")
        network = world.network
        if network is None or not wants_service(network):
            return Absent(world.revision)
        if not network.host:
            return _waiting(world.revision, network, _no_node(network), ())
        own = _own_port(network, network.host)
        if own is None:
            return PortNeeded(world.revision, network.id, network.host)
        if own.vif_type not in ATTACH_KINDS:
            return _waiting(world.revision, network, _not_bound(own), (own,))
        return self._present(world.revision, network, network.host, own)

    def _present(self, revision: int, network: NetworkSnapshot, host: str, own: PortSnapshot) -> Present:
        section = network_section(network, own, self._options)
        instance = DesiredInstance(
            slot=SLOT,
            provider=self._options.network_provider or self._options.default_provider,
            host=host,
            ports=(_attachment(own, network),),
            section=section,
            digest=digest(section),
        )
        return Present(
            revision=revision,
            project_id=network.project_id,
            name=network.name,
            instances=(instance,),
            status=_targets((own,)),
        )


def wants_service(network: NetworkSnapshot) -> bool:
    """Say whether the network is ours to serve and has a subnet with DHCP enabled."""
    return network.managed and any(subnet.enable_dhcp for subnet in network.subnets)


def dhcp_device_id(network_id: str, host: str) -> str:
    """Return the device_id of our DHCP port: neutron.common.utils.get_dhcp_agent_device_id, so agents can take over."""
    return f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, host.partition('.')[0])}-{network_id}"


def _own_port(network: NetworkSnapshot, host: str) -> PortSnapshot | None:
    """Return our DHCP port when it is complete: on this node, with an address in every subnet DHCP hands out from."""
    needed = {subnet.id for subnet in served_subnets(network) if address_mode(subnet) is not AddressMode.SLAAC}
    mine = dhcp_device_id(network.id, host)
    complete = (
        port
        for port in network.ports
        if port.device_owner == DHCP_OWNER
        and port.device_id == mine
        and port.host == host
        and needed <= {fixed.subnet_id for fixed in port.fixed_ips}
    )
    return min(complete, key=lambda port: port.id, default=None)


def _attachment(port: PortSnapshot, network: NetworkSnapshot) -> PortAttachment:
    return PortAttachment(
        port_id=port.id,
        mac=port.mac_address,
        network_id=network.id,
        mtu=network.mtu,
        attach=ATTACH_KINDS[port.vif_type],
        network_type=network.network_type,
        physical_network=network.physical_network,
        segmentation_id=network.segmentation_id,
    )


def _waiting(revision: int, network: NetworkSnapshot, why: str, ports: tuple[PortSnapshot, ...]) -> Present:
    return Present(
        revision=revision,
        project_id=network.project_id,
        name=network.name,
        instances=(),
        status=_targets(ports),
        unmet=why,
    )


def _targets(ports: tuple[PortSnapshot, ...]) -> StatusTargets:
    return StatusTargets(ports=tuple((port.id, port.status) for port in ports))


def _no_node(network: NetworkSnapshot) -> str:
    return (
        f"no node serves network {network.id}: start a node agent, or list one under [nodes], and see `astara status`"
    )


def _not_bound(port: PortSnapshot) -> str:
    return (
        f"DHCP port {port.id} is {port.vif_type} on node {port.host or '(none)'}: "
        "check that an ML2 mechanism driver serves its network there, then set its binding again"
    )
