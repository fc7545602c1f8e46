"""What differs between the wanted limits and the kernel's, as requests. Pure.

Egress is an HTB tree on the link. Ingress is the same tree on a device of ours (ifb) through which everything that
comes in is led first: this needs no policer, which not every kernel has, and it queues where a policer drops.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from astara.appliance.subsystems.traffic.config import LinkLimit, Rate, TrafficConfig
from astara.appliance.system import rtnetlink, tc
from astara.appliance.system.netlink import Request
from astara.appliance.system.rtnetlink import Link
from astara.appliance.system.tc import Discipline, Filter, Limit, Match

_SOURCE, _DESTINATION = 12, 16
_LINK_CLASS = 1
_FIRST_HOST = 0x10
_HOST_CLASSES = 0xFF00
_ALIAS = "astara:ingress:"
_QUEUE_PACKETS = 1000
_LEAST_BURST = 4096
#: Neutron's default burst, as a share of the rate (neutron_lib.services.qos.constants.DEFAULT_BURST_RATE).
_BURST_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class World:
    """The kernel's answer; classes and filters are asked for per tree."""

    links: Mapping[str, Link]
    devices: Mapping[str, Link]  # our ifb devices, by the MAC of the link they serve
    disciplines: Sequence[Discipline]
    classes: Callable[[int], Mapping[int, Limit]]
    filters: Callable[[int, int], Sequence[Filter]]


@dataclass(frozen=True, slots=True)
class Tree:
    """One HTB tree: `default` limits what matches no host."""

    index: int
    default: Limit | None
    hosts: Mapping[int, tuple[Match, Limit]]  # class minor -> what


@dataclass(slots=True)
class Changes:
    details: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def add(self, detail: str, *requests: Request) -> None:
        self.details.append(detail)
        self.requests.extend(requests)


def devices_of(links: Sequence[Link]) -> dict[str, Link]:
    """Return our ifb devices by the MAC address of the link they serve."""
    return {link.alias.removeprefix(_ALIAS): link for link in links if link.alias.startswith(_ALIAS)}


def device_changes(config: TrafficConfig, world: World) -> Changes:
    """Say which ifb devices must come first: the trees name them by index."""
    plan = Changes()
    for limit in config.links:
        if _shapes_ingress(limit) and limit.mac not in world.devices:
            name = "ai" + limit.mac.replace(":", "")
            plan.add(
                f"link {limit.mac}: the device for ingress is missing",
                *rtnetlink.new_ifb(name, _ALIAS + limit.mac, _QUEUE_PACKETS),
            )
    return plan


def changes(config: TrafficConfig, world: World) -> Changes:
    """Compare trees. Call after `device_changes` were carried out."""
    plan = Changes()
    wanted = {limit.mac: limit for limit in config.links}
    for mac, link in sorted(world.links.items()):
        limit = wanted.get(mac, LinkLimit(mac))
        egress = _tree(link.index, limit.egress, {host.address: host.egress for host in limit.hosts}, _SOURCE)
        if egress is None:
            _clear(plan, f"link {mac} egress", link.index, world)
        else:
            _compare(plan, f"link {mac} egress", egress, world)
        _ingress(plan, limit, link, world)
    for mac, device in sorted(world.devices.items()):
        if not _shapes_ingress(wanted.get(mac, LinkLimit(mac))) or mac not in world.links:
            plan.add(f"link {mac}: the device for ingress is not wanted", rtnetlink.delete_link(device.index))
    return plan


def _shapes_ingress(limit: LinkLimit) -> bool:
    return limit.ingress is not None or any(host.ingress is not None for host in limit.hosts)


def _ingress(plan: Changes, limit: LinkLimit, link: Link, world: World) -> None:
    there = any(d.index == link.index and d.handle == tc.INGRESS_HANDLE for d in world.disciplines)
    device = world.devices.get(limit.mac)
    if not _shapes_ingress(limit) or device is None:
        if there and device is not None:
            plan.add(
                f"link {limit.mac}: ingress is redirected",
                tc.delete_discipline(link.index, tc.INGRESS_HANDLE, tc.INGRESS_PARENT),
            )
        return
    hosts = {host.address: host.ingress for host in limit.hosts}
    tree = _tree(device.index, limit.ingress, hosts, _DESTINATION)
    if tree is not None:
        _compare(plan, f"link {limit.mac} ingress", tree, world)
    redirected = there and any(found.redirect == device.index for found in world.filters(link.index, tc.INGRESS_HANDLE))
    if not redirected:
        if there:
            plan.requests.append(tc.delete_discipline(link.index, tc.INGRESS_HANDLE, tc.INGRESS_PARENT))
        plan.add(
            f"link {limit.mac}: ingress is not redirected",
            tc.add_ingress(link.index),
            tc.add_redirect(link.index, device.index),
        )


def _tree(index: int, default: Rate | None, hosts: Mapping[IPv4Address, Rate | None], offset: int) -> Tree | None:
    """Return the wanted tree, None when nothing is limited.

    A host's class number comes from its address, so that one more host does not renumber the others.
    """
    numbered: dict[int, tuple[Match, Limit]] = {}
    for address, rate in sorted(hosts.items()):
        if rate is None:
            continue
        minor = zlib.crc32(address.packed) % _HOST_CLASSES
        while _FIRST_HOST + minor in numbered:
            minor = (minor + 1) % _HOST_CLASSES
        numbered[_FIRST_HOST + minor] = (Match(offset, address), _limit(rate))
    if default is None and not numbered:
        return None
    return Tree(index, _limit(default) if default is not None else None, numbered)


def _limit(rate: Rate) -> Limit:
    burst_kb = rate.burst_kb if rate.burst_kb is not None else rate.kbps * _BURST_SHARE
    return tc.limit(rate.kbps * 125, max(int(burst_kb * 125), _LEAST_BURST))


def _clear(plan: Changes, where: str, index: int, world: World) -> None:
    if _root(index, world) is not None:
        plan.add(f"{where}: limits are not wanted", tc.delete_discipline(index, tc.MAJOR << 16, tc.ROOT))


def _root(index: int, world: World) -> Discipline | None:
    ours = (found for found in world.disciplines if found.index == index and found.handle == tc.MAJOR << 16)
    return next(ours, None)


def _compare(plan: Changes, where: str, tree: Tree, world: World) -> None:
    default = _LINK_CLASS if tree.default is not None else 0
    root = _root(tree.index, world)
    if root is None or root.default != default:
        if root is not None:
            plan.requests.append(tc.delete_discipline(tree.index, tc.MAJOR << 16, tc.ROOT))
        plan.add(f"{where}: the queueing discipline is missing", tc.add_htb(tree.index, default))
        _fill(plan, where, tree, {}, ())
    else:
        _fill(plan, where, tree, world.classes(tree.index), world.filters(tree.index, tc.MAJOR << 16))


def _fill(plan: Changes, where: str, tree: Tree, classes: Mapping[int, Limit], filters: Sequence[Filter]) -> None:
    wanted = {minor: limit for minor, (_, limit) in tree.hosts.items()}
    if tree.default is not None:
        wanted[_LINK_CLASS] = tree.default
    found = {classid & 0xFFFF: limit for classid, limit in classes.items()}
    matches = {minor: match for minor, (match, _) in tree.hosts.items()}
    matched = {entry.priority: entry.match for entry in filters}
    for priority in sorted(p for p, match in matched.items() if matches.get(p) != match):
        plan.add(f"{where}: a filter is not wanted", tc.delete_classifier(tree.index, priority))
    for minor in sorted(set(found) - set(wanted)):
        plan.add(f"{where}: a class is not wanted", tc.delete_class(tree.index, _classid(minor)))
    for minor in sorted(m for m, limit in wanted.items() if found.get(m) != limit):
        limit = wanted[minor]
        plan.add(f"{where}: {limit.rate} B/s is not set", tc.set_class(tree.index, _classid(minor), limit))
    for minor in sorted(m for m, match in matches.items() if matched.get(m) != match):
        match = matches[minor]
        request = tc.add_classifier(tree.index, minor, match, _classid(minor))
        plan.add(f"{where}: {match.address} is not classified", request)


def _classid(minor: int) -> int:
    return tc.MAJOR << 16 | minor
