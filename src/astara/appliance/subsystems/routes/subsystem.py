"""The routes subsystem."""

from __future__ import annotations

from collections.abc import Sequence

from astara.appliance.boundaries import NotPlugged, Place, SubsystemError
from astara.appliance.subsystems.routes.config import RoutesConfig
from astara.appliance.subsystems.routes.plan import Changes, changes
from astara.appliance.system import fib, netns, rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.contract.agent import Deviation


class RoutesSubsystem:
    """Rendered form: the config itself."""

    name = "routes"

    def render(self, place: Place, config: RoutesConfig) -> RoutesConfig:
        return config

    def check(self, place: Place, rendered: RoutesConfig) -> None:
        """Nothing to ask: the kernel judges a route only against addresses that may not be there yet."""

    def apply(self, place: Place, rendered: RoutesConfig, previous: RoutesConfig | None) -> bool:
        with netns.entered(place.netns), Netlink() as kernel:
            plan = _changes(kernel, rendered, "apply")
            self._carry_out(kernel, plan)
        return bool(plan.details)

    def read_back(self, place: Place, rendered: RoutesConfig) -> Sequence[Deviation]:
        with netns.entered(place.netns), Netlink() as kernel:
            plan = _changes(kernel, rendered, "read-back")
        return [Deviation(subsystem=self.name, detail=detail) for detail in plan.details]

    def remove(self, place: Place) -> None:
        with netns.entered(place.netns), Netlink() as kernel:
            self._carry_out(kernel, _changes(kernel, RoutesConfig(), "remove"))

    def _carry_out(self, kernel: Netlink, plan: Changes) -> None:
        for request, error in zip(plan.requests, kernel.attempt(plan.requests), strict=True):
            if error is not None:
                words = error.strerror or str(error)
                raise SubsystemError(self.name, "apply", f"request {request.kind} refused: {words}")


def _changes(kernel: Netlink, config: RoutesConfig, phase: str) -> Changes:
    links = rtnetlink.by_mac(rtnetlink.seen_links(kernel))
    named = {hop.mac for route in config.routes for hop in route.hops if hop.mac is not None}
    named |= {rule.mac for rule in config.rules if rule.mac is not None}
    absent = sorted(named - set(links))
    if absent:
        raise NotPlugged("routes", phase, absent)
    return changes(config, links, fib.routes(kernel), fib.rules(kernel))
