"""The links subsystem: one dump, one batch of requests."""

from __future__ import annotations

from collections.abc import Sequence

from astara.appliance.boundaries import NotPlugged, Place, SubsystemError
from astara.appliance.subsystems.links.config import LinksConfig
from astara.appliance.subsystems.links.plan import Changes, World, changes, missing, retirements
from astara.appliance.system import netns, rtnetlink
from astara.appliance.system.announce import Announcer
from astara.appliance.system.devconf import LinkSettings
from astara.appliance.system.netlink import Netlink
from astara.appliance.system.rtnetlink import Link
from astara.appliance.system.sysctl import Settings
from astara.contract.agent import Deviation


class LinksSubsystem:
    """Rendered form: the config itself."""

    name = "links"

    def __init__(self, announcer: Announcer | None = None) -> None:
        self._announcer = announcer or Announcer()

    def render(self, place: Place, config: LinksConfig) -> LinksConfig:
        return config

    def check(self, place: Place, rendered: LinksConfig) -> None:
        with netns.entered(place.netns), Netlink() as kernel:
            absent = missing(rendered, rtnetlink.by_mac(rtnetlink.seen_links(kernel)))
        if absent:
            raise NotPlugged(self.name, "check", absent)

    def apply(self, place: Place, rendered: LinksConfig, previous: LinksConfig | None) -> bool:
        with netns.entered(place.netns), Netlink() as kernel, Settings() as settings:
            world = _world(kernel, rtnetlink.links(kernel), settings, rendered)
            absent = missing(rendered, world.links)
            plan = changes(rendered, world)
            _carry_out(kernel, settings, plan)
            retired = retirements(rendered, previous or LinksConfig(), world)
            _carry_out(kernel, settings, retired)
        if plan.announce:
            self._announcer.announce(place.netns, plan.announce)
        if absent:
            raise NotPlugged(self.name, "apply", absent)
        return bool(plan.details or retired.details)

    def read_back(self, place: Place, rendered: LinksConfig) -> Sequence[Deviation]:
        with netns.entered(place.netns), Netlink() as kernel, Settings() as settings:
            world = _world(kernel, rtnetlink.seen_links(kernel), settings, rendered)
            details = [f"link {mac} is missing" for mac in missing(rendered, world.links)]
            details += changes(rendered, world).details
        return [Deviation(subsystem=self.name, detail=detail) for detail in details]

    def remove(self, place: Place) -> None:
        with netns.entered(place.netns), Netlink() as kernel, Settings() as settings:
            world = _world(kernel, rtnetlink.links(kernel), settings, LinksConfig())
            _carry_out(kernel, settings, changes(LinksConfig(), world))


def _world(kernel: Netlink, links: Sequence[Link], settings: Settings, wish: LinksConfig) -> World:
    known = any(link.neighbours for link in wish.links)
    return World(
        links=rtnetlink.by_mac(links),
        addresses=rtnetlink.addresses(kernel),
        proxies=rtnetlink.proxies(kernel),
        sysctl=LinkSettings(links, settings.read).read,
        neighbours=rtnetlink.neighbours(kernel) if known else (),
    )


def _carry_out(kernel: Netlink, settings: Settings, plan: Changes) -> None:
    for setting in plan.settings:
        settings.write(setting.path, setting.value)
    try:
        kernel.do(plan.requests)
    except OSError as error:
        raise SubsystemError("links", "apply", error.strerror or str(error)) from error
