"""The typed wish -> dnsmasq's four files. Pure.

The main file changes rarely and costs a restart. Ports live in three files that dnsmasq reads again on SIGHUP:
`hosts` (who is served which address), `options`, and `names` (DNS).

A port with options of its own is tagged by `dhcp-mac` in the main file, so it costs a restart (its leases stay).
`set:` in the hosts file would not, but dnsmasq 2.86 to 2.90 at least crashes on the next SIGHUP once a client was
served by such a line: it frees a list into which it linked tags of its own stack (dhcp_netid_free).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from itertools import accumulate
from pathlib import Path

from astara.appliance.subsystems.dnsmasq.config import (
    LEASE_S,
    Address,
    DnsmasqConfig,
    Host,
    Mode,
    Subnet,
    is_domain,
    is_label,
)
from astara.appliance.subsystems.dnsmasq.quoting import LONGEST_LINE, option_line, option_name

MAIN, HOSTS, OPTIONS, NAMES, LEASES = "dnsmasq.conf", "hosts", "options", "names", "leases"
#: The hosts file by which every lease is: written last, read to see which address has changed hands.
SETTLED = "settled-hosts"

_LINK_NAME = re.compile(r"[0-9A-Za-z._-]{1,15}")
_STATIC_ROUTES = ("classless-static-route", "249")  # RFC 3442, and Windows' older number for the same
#: Of data in one option (RFC 2132 2); dnsmasq refuses to start with more.
_LONGEST_OPTION = 255
#: Of routes in one line, which dnsmasq cuts after 1024 (see quoting); the tag and the option's name come before.
_LONGEST_ROUTES = 900
_SHORTEST_V6_PREFIX = 64  # dnsmasq refuses a shorter one
#: Only a bound: every lease is a known port's.
_MOST_LEASES = 65536
#: The enterprise number for documentation (RFC 5612): we have none, and the MAC address makes it unique on the link.
_ENTERPRISE = 32473
#: Documentation address (RFC 5737) that the marker name resolves to.
_MARKER_ADDRESS = "192.0.2.1"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of a port that is not served. `what` names the kind of thing, never the tenant's words."""

    port_id: str
    what: str


@dataclass(frozen=True, slots=True)
class Claim:
    """An address that a MAC address may hold a lease of."""

    mac: str
    address: Address


@dataclass(frozen=True, slots=True)
class Rendered:
    """What will be written. `lines` are the main file without what depends on the machine."""

    mac: str
    lines: tuple[str, ...]
    hosts: str
    options: str
    names: str
    own_options: str
    claims: frozenset[Claim]
    addresses: tuple[Address, ...]
    left_out: tuple[LeftOut, ...]

    def main(self, link: str, user: str) -> str:
        """Return the main file for a link's current name and the account to run as."""
        if not _LINK_NAME.fullmatch(link):
            raise ValueError("link: not a link name")
        return _text([*self.lines, f"interface={link}", f"user={user}"])

    def dry_run(self, link: str, user: str) -> str:
        """Return one file for `dnsmasq --test`, which does not read the others by itself.

        Tenants' options are not in it: a running dnsmasq skips a line of theirs that it does not like.
        """
        return self.main(link, user) + _prefixed("dhcp-host=", self.hosts) + _prefixed("dhcp-option=", self.own_options)

    @property
    def marker(self) -> str:
        """A DNS name that only a dnsmasq which has read exactly these files knows."""
        return marker(self.hosts, self.options, self.names)

    @property
    def names_with_marker(self) -> str:
        return f"{_MARKER_ADDRESS} {self.marker}\n{self.names}"


def render(files: Path, config: DnsmasqConfig) -> Rendered | None:
    """Return what dnsmasq shall read, below the directory `files`; None when there is nothing to serve."""
    subnets = tuple(subnet for subnet in config.subnets if _servable(subnet))
    if not subnets:
        return None
    own_options = tuple(line for subnet in subnets for line in _subnet_options(subnet, subnets, config.domain))
    left_out: list[LeftOut] = [
        LeftOut(subnet.id, "subnet: prefix shorter than /64") for subnet in config.subnets if not _servable(subnet)
    ]
    port_options = [tuple(_port_options(host, left_out)) for host in config.hosts]
    tagged = [_tag_line(host) for host, lines in zip(config.hosts, port_options, strict=True) if lines]
    return Rendered(
        mac=config.mac,
        lines=(*_main(files, config, subnets), *tagged),
        hosts=_text(line for host in config.hosts for line in _host_lines(host, subnets, left_out)),
        options=_text([*own_options, *(line for lines in port_options for line in lines)]),
        names=_text(line for host in config.hosts for line in _name_lines(host, config.domain, left_out)),
        own_options=_text(own_options),
        claims=frozenset(Claim(host.mac, address) for host in config.hosts for address in _leased(host, subnets)),
        addresses=tuple(subnet.address for subnet in subnets),
        left_out=tuple(left_out),
    )


def marker(hosts: str, options: str, names: str) -> str:
    """Return the marker name for the content of the three files."""
    content = "\0".join((hosts, options, names)).encode()
    return f"{hashlib.sha256(content).hexdigest()[:32]}.astara.invalid"


def _servable(subnet: Subnet) -> bool:
    return subnet.mode in {Mode.DHCPV4, Mode.NONE} or subnet.network.prefixlen >= _SHORTEST_V6_PREFIX


def _main(files: Path, config: DnsmasqConfig, subnets: tuple[Subnet, ...]) -> Iterator[str]:
    yield from ("no-hosts", "no-resolv", "no-poll", "no-ping", "pid-file", "log-facility=-")
    # Only the tenant's link: never the node's loopback, resolver or addresses.
    yield from ("bind-dynamic", "except-interface=lo")
    yield from ("quiet-dhcp", "quiet-dhcp6", "cache-size=150", "domain-needed", "bogus-priv")
    yield f"domain={config.domain}"
    if config.upstream:
        yield from (f"server={resolver}" for resolver in config.upstream)
    else:
        yield f"local=/{config.domain}/"
    yield f"addn-hosts={files / NAMES}"
    ranges = [_range(subnet) for subnet in subnets if subnet.mode is not Mode.NONE]
    if ranges:
        yield from _dhcp(files, config)
        yield from ranges


def _dhcp(files: Path, config: DnsmasqConfig) -> Iterator[str]:
    # We are the only server, so a client that we do not remember is answered at once; but only a known port is,
    # and under the name that we gave it.
    yield from ("dhcp-authoritative", "dhcp-ignore=tag:!known", "dhcp-ignore-names")
    yield f"dhcp-lease-max={_MOST_LEASES}"
    yield f"dhcp-leasefile={files / LEASES}"
    yield f"dhcp-hostsfile={files / HOSTS}"
    yield f"dhcp-optsfile={files / OPTIONS}"
    # The same server identity wherever and after whatever it runs, so that renewals find it.
    yield f"dhcp-duid={_ENTERPRISE},{config.mac}"
    yield from ("dhcp-match=set:ipxe,175", "dhcp-userclass=set:ipxe6,iPXE")
    if config.mtu:
        yield f"dhcp-option-force=option:mtu,{config.mtu}"  # forced: some clients need it and do not ask


def _range(subnet: Subnet) -> str:
    extent = str(subnet.network.netmask) if isinstance(subnet.network, IPv4Network) else str(subnet.network.prefixlen)
    return f"dhcp-range=set:{_subnet_tag(subnet)},{subnet.network.network_address},static,{extent},{LEASE_S}s"


def _subnet_options(subnet: Subnet, subnets: tuple[Subnet, ...], domain: str) -> Iterator[str]:
    """One line per option; an option without a value is announced by nobody (instead of dnsmasq's default)."""
    if subnet.mode is Mode.NONE:
        return
    version = subnet.network.version
    servers = [f"[{server}]" if version == 6 else str(server) for server in subnet.dns_servers]
    yield _option(subnet, "dns-server", servers)
    if version == 6:
        yield _option(subnet, "domain-search", [domain])
        return
    yield _option(subnet, "router", [str(subnet.gateway)] if subnet.gateway else [])
    routes = list(_static_routes(subnet, subnets))
    for name in _STATIC_ROUTES if routes else ():
        yield _option(subnet, name, routes)


def _option(subnet: Subnet, name: str, values: list[str]) -> str:
    return ",".join([f"tag:{_subnet_tag(subnet)}", option_name(name, subnet.network.version), *values])


def _static_routes(subnet: Subnet, subnets: tuple[Subnet, ...]) -> Iterator[str]:
    """The network's other subnets are on link; a client that takes option 121 ignores option 3, so both say it."""
    on_link = IPv4Address(0)
    routes = [(network, on_link) for network in _neighbours(subnet, subnets)]
    routes += [(route.destination, route.nexthop) for route in subnet.routes]
    default = [(IPv4Network("0.0.0.0/0"), subnet.gateway)] if routes and subnet.gateway else []
    while not _fits((*routes, *default)):
        del routes[0]  # neighbours first: those are reached by the gateway too
    yield from (f"{destination},{nexthop}" for destination, nexthop in (*routes, *default))


def _neighbours(subnet: Subnet, subnets: tuple[Subnet, ...]) -> list[IPv4Network]:
    others = (other for other in subnets if other.mode is Mode.DHCPV4 and other.id != subnet.id)
    return [other.network for other in others if isinstance(other.network, IPv4Network)]


def _fits(routes: Sequence[tuple[IPv4Network, IPv4Address]]) -> bool:
    """RFC 3442: the prefix length, as many octets of the prefix as count, the router."""
    coded = sum(1 + (destination.prefixlen + 7) // 8 + 4 for destination, _ in routes)
    written = sum(len(f"{destination},{nexthop},") for destination, nexthop in routes)
    return coded <= _LONGEST_OPTION and written <= _LONGEST_ROUTES


def _port_options(host: Host, left_out: list[LeftOut]) -> Iterator[str]:
    for option in host.options:
        line = option_line(_port_tag(host), option)
        if line is None:
            left_out.append(LeftOut(host.port_id, "extra_dhcp_opts: not expressible"))
        else:
            yield line


def _tag_line(host: Host) -> str:
    return f"dhcp-mac=set:{_port_tag(host)},{host.mac}"


def _host_lines(host: Host, subnets: tuple[Subnet, ...], left_out: list[LeftOut]) -> Iterator[str]:
    """All IPv6 addresses belong on one line, as many as it carries; of IPv4 there is one per line.

    Each subnet finds its own.
    """
    leased = _leased(host, subnets)
    v4 = [str(address) for address in leased if isinstance(address, IPv4Address)]
    v6 = [f"[{address}]" for address in leased if isinstance(address, IPv6Address)]
    if not leased and not _informed(host, subnets):
        return
    name = [host.hostname] if is_label(host.hostname) else []
    room = LONGEST_LINE - len(",".join([host.mac, *v4[:1], *name]))
    carried = v6[: sum(length <= room for length in accumulate(len(address) + 1 for address in v6))]
    if len(carried) < len(v6):
        left_out.append(LeftOut(host.port_id, "fixed_ips: more IPv6 addresses than DHCP can hand out"))
    yield ",".join([host.mac, *v4[:1], *carried, *name])
    for address in v4[1:]:
        yield ",".join([host.mac, address, *name])


def _leased(host: Host, subnets: tuple[Subnet, ...]) -> list[Address]:
    """The addresses of a port that it gets by DHCP."""
    by_dhcp = [subnet.network for subnet in subnets if subnet.mode in {Mode.DHCPV4, Mode.STATEFUL}]
    return [address for address in host.addresses if any(address in network for network in by_dhcp)]


def _informed(host: Host, subnets: tuple[Subnet, ...]) -> bool:
    stateless = [subnet.network for subnet in subnets if subnet.mode is Mode.STATELESS]
    return any(address in network for address in host.addresses for network in stateless)


def _below(domain: str, name: str) -> str:
    """Return a dotted name below the network's domain; one that is there already (with a final dot or not) stays."""
    name = name.removesuffix(".")
    return name if name.endswith(f".{domain}") else f"{name}.{domain}"


def _name_lines(host: Host, domain: str, left_out: list[LeftOut]) -> Iterator[str]:
    """The first name of an address is what its PTR record says."""
    names: list[str] = []
    for name in (host.hostname, *host.aliases):
        if is_label(name):
            names += [f"{name}.{domain}", name]
        elif is_domain(qualified := _below(domain, name)):
            names.append(qualified)  # never the name alone: it may be somebody else's out there
        elif name:
            left_out.append(LeftOut(host.port_id, "name: not a host name"))
    if names:
        yield from (f"{address} {' '.join(dict.fromkeys(names))}" for address in host.addresses)


def _subnet_tag(subnet: Subnet) -> str:
    return f"subnet-{subnet.id}"


def _port_tag(host: Host) -> str:
    return f"port-{host.port_id}"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _prefixed(prefix: str, text: str) -> str:
    return _text(prefix + line for line in text.splitlines())
