"""The greeter driver: one instance per network. Pure: no clock, no I/O, no logger."""

from __future__ import annotations

from collections.abc import Iterable

from astara.contract.codec import digest
from astara.contract.snapshot import NetworkPage, NetworkSnapshot, RouterPage
from astara.model.boundaries import DriverOptions, Event, NetworkWorld, World
from astara.model.resource import Absent, DesiredInstance, DesiredState, Present, ResourceKey, StatusTargets
from astara_greeter.schema import GreeterSection


class GreeterDriver:
    """Which events concern a greeter, and what its instance shall be."""

    name = "greeter"
    summary = "an example: greets every Neutron network that has a subnet"
    reads = "network"

    def __init__(self, options: DriverOptions) -> None:
        self._options = options

    def keys_for(self, event: Event) -> Iterable[ResourceKey]:
        return [ResourceKey(self.name, identifier) for identifier in event.ids.get("network", ())]

    def keys_in(self, page: RouterPage | NetworkPage) -> Iterable[ResourceKey]:
        return [ResourceKey(self.name, one.id) for one in page.networks] if isinstance(page, NetworkPage) else []

    def desired(self, key: ResourceKey, world: World) -> DesiredState:
        network = world.network if isinstance(world, NetworkWorld) else None
        if network is None or not network.subnets:
            return Absent(world.revision)
        instances, unmet = (self._greeter(network),), None
        if network.host is None:
            instances, unmet = (), "no node is announced"
        return Present(world.revision, network.project_id, network.name, instances, StatusTargets(), unmet)

    def _greeter(self, network: NetworkSnapshot) -> DesiredInstance:
        cidrs = sorted(subnet.cidr for subnet in network.subnets)
        section = GreeterSection(network_id=network.id, greeting=f"hello, {' '.join(cidrs)}")
        return DesiredInstance(
            slot="0",
            provider=self._options.default_provider,
            host=network.host or "",
            ports=(),
            section=section,
            digest=digest(section),
        )
