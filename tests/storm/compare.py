"""Neutron's wish beside what the kernel has. Pure; every difference is one line of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from storm.sight import SeenLink, SeenNamespace, Sight
from storm.wish import WantedDhcp, WantedLink, WantedRouter, Wish

_HOST_END, _BRIDGE, _NAME_PART = "av", "abr", 11
_METADATA, _MARKER = "169.254.169.254/", "169.254.0."


def differences(wanted: Wish, seen: Sight, *, bridged: bool = True) -> tuple[str, ...]:
    """Return everything that is not as Neutron wishes; empty is the verdict hoped for.

    `bridged`: links are plugged into a Linux bridge per network, else into br-int.
    """
    return (*_world(wanted, seen), *_plugs(wanted, wanted.links, seen, bridged=bridged))


def differences_on(wanted: Wish, nodes: Mapping[str, Sight]) -> tuple[str, ...]:
    """As `differences`, where the world is several nodes of Linux bridges; by node what was seen there."""
    strays = [set(seen.stray_daemons) for seen in nodes.values()]
    world = Sight(
        namespaces=tuple(namespace for seen in nodes.values() for namespace in seen.namespaces),
        stray_daemons=tuple(sorted(set.intersection(*strays))) if strays else (),  # each node sees all processes
    )
    found = list(_world(wanted, world))
    for host, seen in nodes.items():
        here = {mac for namespace in seen.namespaces for mac in namespace.macs}
        links = [link for link in wanted.links if link.mac in here]  # one that is nowhere is missed by its router
        found += [f"{host}: {words}" for words in _plugs(wanted, links, seen, bridged=True)]
    return tuple(found)


def _world(wanted: Wish, seen: Sight) -> Iterator[str]:
    yield from wanted.strays
    yield from wanted.statuses
    yield from _routers(wanted, seen)
    yield from _services(wanted, seen)
    yield from _unwanted_namespaces(wanted, seen)
    yield from (f"{daemon} runs outside every instance" for daemon in seen.stray_daemons)


def _routers(wanted: Wish, seen: Sight) -> Iterator[str]:
    for router in wanted.routers:
        who = f"router {router.id} ({router.name})"
        if router.halves:
            yield from (f"{who}: {words}" for words in _pair(router, seen))
            continue
        if not router.links:
            continue  # nothing tells whose namespace an empty one is: see _unwanted_namespaces
        namespace, problem = _home(router.links, seen)
        if namespace is None:
            yield f"{who}: {problem}"
            continue
        yield from (f"{who}: {words}" for words in _in_one(router, router.links, namespace))


def _in_one(router: WantedRouter, links: Iterable[WantedLink], namespace: SeenNamespace) -> Iterator[str]:
    yield from _links(links, namespace)
    yield from _routing(router, namespace)
    yield from _translation(router, namespace)
    if router.up and router.advertises != ("radvd" in namespace.daemons):
        yield f"radvd {'does not run' if router.advertises else 'runs'}"


def _pair(router: WantedRouter, seen: Sight) -> Iterator[str]:
    """Both halves have everything; what marks the active one (169.254.0.N) is nobody's wish."""
    for host, half in router.halves.items():
        homes = [namespace for namespace in seen.namespaces if half.mac in namespace.macs]
        if len(homes) != 1 or homes[0].host != host:
            yield f"its half of {host} is in {[f'{one.name} on {one.host}' for one in homes]}"
            continue
        bare = replace(homes[0], links=tuple(_without(_MARKER, one) for one in homes[0].links))
        yield from (f"on {host}: {words}" for words in _in_one(router, router.links_on(host), bare))
    macs = {link.mac for link in router.links}
    homes = [namespace for namespace in seen.namespaces if namespace.macs & macs]
    if len(homes) > len(router.halves):
        yield f"its links are in {len(homes)} namespaces"


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
    bare = SeenNamespace(namespace.name, tuple(_without(_METADATA, one) for one in namespace.links))
    yield from _links((link,), bare)
    running = namespace.daemons.count("dnsmasq")
    if service.leases_v4 and running != 1:
        yield f"{running} dnsmasq run"


def _without(prefix: str, link: SeenLink) -> SeenLink:
    kept = frozenset(address for address in link.addresses if not address.startswith(prefix))
    return replace(link, addresses=kept)


def _unwanted_namespaces(wanted: Wish, seen: Sight) -> Iterator[str]:
    """Namespaces without any wanted link can only be those of routers that have no ports yet."""
    macs = {link.mac for link in wanted.links}
    unexplained = [namespace for namespace in seen.namespaces if not namespace.macs & macs]
    empty_routers = sum(not router.links and not router.halves for router in wanted.routers)
    with_links = [namespace for namespace in unexplained if namespace.links]
    yield from (f"namespace {namespace.name} has links of no port" for namespace in with_links)
    bare = len(unexplained) - len(with_links)
    if bare > empty_routers:  # one that never had a port may have no namespace yet
        names = ", ".join(n.name for n in unexplained if not n.links)
        yield f"{bare} namespaces without links for {empty_routers} routers without ports: {names}"


def _plugs(wanted: Wish, links: Iterable[WantedLink], seen: Sight, *, bridged: bool) -> Iterator[str]:
    expected = {
        _HOST_END + link.port_id[:_NAME_PART]: _BRIDGE + link.network_id[:_NAME_PART] if bridged else "br-int"
        for link in links
    }
    for name in sorted(expected.keys() | seen.plugs.keys()):
        want, have = expected.get(name), seen.plugs.get(name)
        if want is None:
            yield f"{name} is plugged into {have or 'nothing'} and belongs to no port"
        elif have != want:
            yield f"{name} is plugged into {have or 'nothing'}, not {want}"
    known = {_BRIDGE + network_id[:_NAME_PART] for network_id in wanted.networks}
    yield from (f"bridge {name} is of no network" for name in sorted(seen.bridges - known))
