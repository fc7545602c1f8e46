"""Neutron's wish beside what the kernel has. Pure; every difference is one line of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from storm.sight import SeenLink, SeenNamespace, Sight
from storm.wish import WantedDhcp, WantedLink, WantedRouter, Wish

_HOST_END, _BRIDGE, _NAME_PART = "av", "abr", 11


def differences(wanted: Wish, seen: Sight, *, bridged: bool = True) -> tuple[str, ...]:
    """Return everything that is not as Neutron wishes; empty is the verdict hoped for.

    `bridged`: links are plugged into a Linux bridge per network, else into br-int.
    """
    return (
        *wanted.strays,
        *wanted.statuses,
        *_routers(wanted, seen),
        *_services(wanted, seen),
        *_unwanted_namespaces(wanted, seen),
        *_plugs(wanted, seen, bridged=bridged),
        *(f"{daemon} runs outside every instance" for daemon in seen.stray_daemons),
    )


def _routers(wanted: Wish, seen: Sight) -> Iterator[str]:
    for router in wanted.routers:
        if not router.links:
            continue  # nothing tells whose namespace an empty one is: see _unwanted_namespaces
        who = f"router {router.id} ({router.name})"
        namespace, problem = _home(router.links, seen)
        if namespace is None:
            yield f"{who}: {problem}"
            continue
        yield from (f"{who}: {words}" for words in _links(router.links, namespace))
        yield from (f"{who}: {words}" for words in _routing(router, namespace))
        yield from (f"{who}: {words}" for words in _translation(router, namespace))
        if router.up and router.advertises != ("radvd" in namespace.daemons):
            yield f"{who}: radvd {'does not run' if router.advertises else 'runs'}"


def _home(links: Iterable[WantedLink], seen: Sight) -> tuple[SeenNamespace | None, str]:
    macs = {link.mac for link in links}
    homes = [namespace for namespace in seen.namespaces if namespace.macs & macs]
    if len(homes) == 1:
        return homes[0], ""
    return None, "no namespace has any of its links" if not homes else f"its links are in {len(homes)} namespaces"


def _links(links: Iterable[WantedLink], namespace: SeenNamespace) -> Iterator[str]:
    seen = {link.mac: link for link in namespace.links}
    wanted = {link.mac: link for link in links}
    for mac, link in wanted.items():
        if mac in seen:
            yield from _link(link, seen[mac])
        else:
            yield f"no link for port {link.port_id}"
    yield from (f"link {seen[mac].name} belongs to no port" for mac in seen.keys() - wanted.keys())


def _link(wanted: WantedLink, seen: SeenLink) -> Iterator[str]:
    yield from (f"{seen.name} lacks {address}" for address in sorted(wanted.addresses - seen.addresses))
    yield from (f"{seen.name} has {address}" for address in sorted(seen.addresses - wanted.addresses))
    yield from (f"{seen.name}: {address} is not usable" for address in sorted(seen.unusable))
    if not seen.up:
        yield f"{seen.name} is down"
    if seen.mtu != wanted.mtu:
        yield f"{seen.name} has MTU {seen.mtu}, not {wanted.mtu}"


def _routing(router: WantedRouter, namespace: SeenNamespace) -> Iterator[str]:
    yield from (f"no route {to} via {hop}" for to, hop in sorted(router.routes - namespace.routes))
    yield from (f"a route {to} via {hop}" for to, hop in sorted(namespace.routes - router.routes))


def _translation(router: WantedRouter, namespace: SeenNamespace) -> Iterator[str]:
    if not router.up:
        if namespace.forwarding:
            yield "forwards although administratively down"
        return
    if any(link for link in router.links) and not namespace.forwarding and _has_inside(router):
        yield "its rules let nothing through"
    forwards = {(a, _number(protocol), p, i, q) for a, protocol, p, i, q in router.forwards}
    seen = {(a, _number(protocol), p, i, q) for a, protocol, p, i, q in namespace.forwards}
    yield from (f"floating IP {pair} is not translated" for pair in sorted(router.floating - namespace.floating))
    yield from (f"translates {pair}" for pair in sorted(namespace.floating - router.floating))
    yield from (f"port forwarding {rule} is missing" for rule in sorted(forwards - seen))
    yield from (f"forwards {rule}" for rule in sorted(seen - forwards))


def _has_inside(router: WantedRouter) -> bool:
    return bool(router.floating or router.forwards)


def _number(protocol: str) -> str:
    return {"6": "tcp", "17": "udp"}.get(protocol, protocol)


def _services(wanted: Wish, seen: Sight) -> Iterator[str]:
    for service in wanted.services:
        who = f"DHCP of network {service.network_id} ({service.name})"
        if service.link is None:
            yield f"{who}: has not exactly one port"
            continue
        namespace, problem = _home((service.link,), seen)
        if namespace is None:
            yield f"{who}: {problem}"
        else:
            yield from (f"{who}: {words}" for words in _served(service, service.link, namespace))


def _served(service: WantedDhcp, link: WantedLink, namespace: SeenNamespace) -> Iterator[str]:
    # The metadata address is no port's; where it is served it is there besides.
    bare = SeenNamespace(namespace.name, tuple(_without_metadata(one) for one in namespace.links))
    yield from _links((link,), bare)
    running = namespace.daemons.count("dnsmasq")
    if service.leases_v4 and running != 1:
        yield f"{running} dnsmasq run"


def _without_metadata(link: SeenLink) -> SeenLink:
    kept = frozenset(address for address in link.addresses if not address.startswith("169.254.169.254/"))
    return SeenLink(link.name, link.mac, link.mtu, link.up, kept, link.unusable)


def _unwanted_namespaces(wanted: Wish, seen: Sight) -> Iterator[str]:
    """Namespaces without any wanted link can only be those of routers that have no ports yet."""
    macs = {link.mac for link in wanted.links}
    unexplained = [namespace for namespace in seen.namespaces if not namespace.macs & macs]
    empty_routers = sum(not router.links for router in wanted.routers)
    with_links = [namespace for namespace in unexplained if namespace.links]
    yield from (f"namespace {namespace.name} has links of no port" for namespace in with_links)
    bare = len(unexplained) - len(with_links)
    if bare > empty_routers:  # one that never had a port may have no namespace yet
        names = ", ".join(n.name for n in unexplained if not n.links)
        yield f"{bare} namespaces without links for {empty_routers} routers without ports: {names}"


def _plugs(wanted: Wish, seen: Sight, *, bridged: bool) -> Iterator[str]:
    expected = {
        _HOST_END + link.port_id[:_NAME_PART]: _BRIDGE + link.network_id[:_NAME_PART] if bridged else "br-int"
        for link in wanted.links
    }
    for name in sorted(expected.keys() | seen.plugs.keys()):
        want, have = expected.get(name), seen.plugs.get(name)
        if want is None:
            yield f"{name} is plugged into {have or 'nothing'} and belongs to no port"
        elif have != want:
            yield f"{name} is plugged into {have or 'nothing'}, not {want}"
    known = {_BRIDGE + network_id[:_NAME_PART] for network_id in wanted.networks}
    yield from (f"bridge {name} is of no network" for name in sorted(seen.bridges - known))
