"""The traffic subsystem."""

from __future__ import annotations

from collections.abc import Sequence

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.traffic.config import TrafficConfig
from astara.appliance.subsystems.traffic.plan import World, changes, device_changes, devices_of
from astara.appliance.system import netns, rtnetlink, tc
from astara.appliance.system.netlink import Netlink, Request
from astara.appliance.system.rtnetlink import Link
from astara.contract.agent import Deviation


class TrafficSubsystem:
    """Rendered form: the config itself."""

    name = "traffic"

    def render(self, place: Place, config: TrafficConfig) -> TrafficConfig:
        return config

    def check(self, place: Place, rendered: TrafficConfig) -> None:
        """Nothing to ask: the kernel has no dry run for queueing disciplines; `apply` is undone by the engine."""

    def apply(self, place: Place, rendered: TrafficConfig, previous: TrafficConfig | None) -> bool:
        with netns.entered(place.netns), Netlink() as kernel:
            world = _world(kernel, rtnetlink.seen_links(kernel))
            devices = device_changes(rendered, world)
            if devices.requests:
                self._carry_out(kernel, devices.requests)
                world = _world(kernel, rtnetlink.links(kernel))
            plan = changes(rendered, world)
            self._carry_out(kernel, plan.requests)
        return bool(devices.details or plan.details)

    def read_back(self, place: Place, rendered: TrafficConfig) -> Sequence[Deviation]:
        with netns.entered(place.netns), Netlink() as kernel:
            world = _world(kernel, rtnetlink.seen_links(kernel))
            details = [*device_changes(rendered, world).details, *changes(rendered, world).details]
        return [Deviation(subsystem=self.name, detail=detail) for detail in details]

    def remove(self, place: Place) -> None:
        self.apply(place, TrafficConfig(), None)

    def _carry_out(self, kernel: Netlink, requests: Sequence[Request]) -> None:
        try:
            kernel.do(requests)
        except OSError as error:
            raise SubsystemError(self.name, "apply", error.strerror or str(error)) from error


def _world(kernel: Netlink, links: Sequence[Link]) -> World:
    return World(
        links=rtnetlink.by_mac(links),
        devices=devices_of(links),
        disciplines=tc.disciplines(kernel),
        classes=lambda index: tc.classes(kernel, index),
        filters=lambda index, parent: tc.filters(kernel, index, parent),
    )
