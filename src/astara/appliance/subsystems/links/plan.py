"""What differs between the wanted links and the kernel's, as requests. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from astara.appliance.subsystems.links.config import Interface, LinkConfig, LinksConfig
from astara.appliance.system import rtnetlink
from astara.appliance.system.netlink import Request
from astara.appliance.system.rtnetlink import Address, Link, Neighbour, Proxy


@dataclass(frozen=True, slots=True)
class World:
    """The kernel's answer. `sysctl(path)` reads below /proc/sys/net; None when there is no such file."""

    links: Mapping[str, Link]
    addresses: Sequence[Address]
    proxies: Sequence[Proxy]
    sysctl: Callable[[str], str | None]
    neighbours: Sequence[Neighbour] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    path: str  # below /proc/sys/net
    value: str


@dataclass(slots=True)
class Changes:
    """What to do, in this order: settings, requests. `details` says it in words, one per change."""

    details: list[str] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    #: (link, address) pairs that are new here: neighbours may know them somewhere else.
    announce: list[tuple[Link, Interface]] = field(default_factory=list)

    def add(self, detail: str, *requests: Request) -> None:
        self.details.append(detail)
        self.requests.extend(requests)


def missing(config: LinksConfig, links: Mapping[str, Link]) -> list[str]:
    """Return the MAC addresses nothing is plugged in for."""
    return [link.mac for link in config.links if link.mac not in links]


def changes(config: LinksConfig, world: World) -> Changes:
    """Compare. Links that are missing are skipped: see `missing`.

    Additions come before removals, so that a link never is without an address in between, which would take
    the routes that go through it along. A link that is to speak IPv6 no more loses its IPv6 addresses and neighbour
    proxies by that setting alone, before any request: they are not there to be removed.
    """
    plan = Changes()
    present = [(link, world.links[link.mac]) for link in config.links if link.mac in world.links]
    for wanted, link in present:
        _settings(plan, wanted, link, world)
        _link_state(plan, wanted, link)
    wanted_pairs = {(link.index, address) for wanted, link in present for address in wanted.addresses}
    silent = {link.index for wanted, link in present if not wanted.ipv6}
    _additions(plan, present, world)
    for address in world.addresses:
        if not address.ours or _link_local(address) or (address.index, address.interface) in wanted_pairs:
            continue
        if address.interface.version == 4 or address.index not in silent:
            plan.add(
                f"address {address.interface} is not wanted",
                rtnetlink.delete_address(address.index, address.interface),
            )
    _proxies(plan, present, world, silent)
    _neighbours(plan, present, world)
    return plan


def retirements(config: LinksConfig, previous: LinksConfig, world: World) -> Changes:
    """Return what puts links down that were listed until now: what they were before we were told about them."""
    plan = Changes()
    listed = {link.mac for link in config.links}
    for gone in previous.links:
        link = world.links.get(gone.mac)
        if gone.mac in listed or link is None:
            continue
        path = f"ipv6/conf/{link.name}/disable_ipv6"
        if world.sysctl(path) == "0":
            plan.settings.append(Setting(path, "1"))
        if link.up:
            plan.add(f"link {gone.mac} is up", rtnetlink.set_link(link.index, up=False))
    return plan


def _settings(plan: Changes, wanted: LinkConfig, link: Link, world: World) -> None:
    settings = [*link_settings(link.name, ipv6=wanted.ipv6, proxy=bool(wanted.proxied))]
    if wanted.arp_retry_ms is not None:
        settings.append((f"ipv4/neigh/{link.name}/retrans_time_ms", str(wanted.arp_retry_ms)))
    for path, value in settings:
        found = world.sysctl(path)
        if found is not None and found != value:
            plan.details.append(f"link {wanted.mac}: {path.rpartition('/')[2]} is {found}, not {value}")
            plan.settings.append(Setting(path, value))


def link_settings(name: str, *, ipv6: bool, proxy: bool) -> Iterator[tuple[str, str]]:
    """Yield (path below /proc/sys/net, value) for one link.

    arp_ignore and arp_announce: with several links on one network each answers for its own addresses only.
    promote_secondaries: removing one address of a subnet must not take the others along.
    """
    v4 = f"ipv4/conf/{name}"
    yield f"{v4}/arp_ignore", "1"
    yield f"{v4}/arp_announce", "2"
    yield f"{v4}/rp_filter", "0"
    yield f"{v4}/accept_redirects", "0"
    yield f"{v4}/promote_secondaries", "1"
    v6 = f"ipv6/conf/{name}"
    if ipv6:
        yield f"{v6}/accept_ra", "0"
        yield f"{v6}/autoconf", "0"
        yield f"{v6}/accept_redirects", "0"
        yield f"{v6}/accept_dad", "0"
        yield f"{v6}/dad_transmits", "0"
        yield f"{v6}/keep_addr_on_down", "1"
        yield f"{v6}/proxy_ndp", "1" if proxy else "0"
        if proxy:  # the kernel would wait up to 0.8 s before each answer
            yield f"ipv6/neigh/{name}/proxy_delay", "0"
    yield f"{v6}/disable_ipv6", "0" if ipv6 else "1"


def _link_state(plan: Changes, wanted: LinkConfig, link: Link) -> None:
    if link.mtu != wanted.mtu:
        plan.add(
            f"link {wanted.mac}: MTU is {link.mtu}, not {wanted.mtu}", rtnetlink.set_link(link.index, mtu=wanted.mtu)
        )
    if not link.up:
        plan.add(f"link {wanted.mac} is down", rtnetlink.set_link(link.index, up=True))


def _additions(plan: Changes, present: Sequence[tuple[LinkConfig, Link]], world: World) -> None:
    found = {(address.index, address.interface): address for address in world.addresses}
    for wanted, link in present:
        for interface in wanted.addresses:
            address = found.get((link.index, interface))
            if address is None or not address.permanent:
                plan.add(
                    f"address {interface} is missing on link {wanted.mac}",
                    rtnetlink.add_address(link.index, interface),
                )
                plan.announce.append((link, interface))
    for wanted, link in present:
        if wanted.ipv6:
            _settle_link_local(plan, link, world)


def _settle_link_local(plan: Changes, link: Link, world: World) -> None:
    """A link that was up before we came may still be asking around for its link-local address: claim it now.

    No deviation: on a link that we brought up it is tentative for an instant, and settles by itself.
    """
    for address in world.addresses:
        if address.index == link.index and _link_local(address) and address.tentative:
            plan.requests.append(rtnetlink.delete_address(link.index, address.interface))
            plan.requests.append(rtnetlink.add_address(link.index, address.interface))


def _proxies(plan: Changes, present: Sequence[tuple[LinkConfig, Link]], world: World, silent: set[int]) -> None:
    wanted = {Proxy(link.index, address) for config, link in present for address in config.proxied}
    found = set(world.proxies)
    for proxy in sorted(wanted - found, key=_order):
        plan.add(f"neighbour proxy for {proxy.address} is missing", rtnetlink.add_proxy(proxy))
    for proxy in sorted((proxy for proxy in found - wanted if proxy.index not in silent), key=_order):
        plan.add(f"neighbour proxy for {proxy.address} is not wanted", rtnetlink.delete_proxy(proxy))


def _neighbours(plan: Changes, present: Sequence[tuple[LinkConfig, Link]], world: World) -> None:
    for config, link in present:
        if not config.neighbours:
            continue
        wanted = [Neighbour(link.index, address, mac) for address, mac in config.neighbours]
        found = [neighbour for neighbour in world.neighbours if neighbour.index == link.index]
        for neighbour in wanted:
            if neighbour not in found:
                plan.add(f"neighbour {neighbour.address} is not known", rtnetlink.add_neighbour(neighbour))
        kept = {neighbour.address for neighbour in wanted}
        for neighbour in found:
            if neighbour.address not in kept:
                plan.add(f"neighbour {neighbour.address} is not wanted", rtnetlink.delete_neighbour(neighbour))


def _order(proxy: Proxy) -> tuple[int, IPv6Address]:
    return proxy.index, proxy.address


def _link_local(address: Address) -> bool:
    return address.interface.version == 6 and address.interface.ip.is_link_local
