"""A ruleset: structure as text that never changes with a tenant's wishes, and typed elements that do.

The text is written by us and constant; everything that comes from a document is a typed element, so nothing
a tenant can name ever becomes syntax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

TABLE = "inet astara"


@dataclass(frozen=True, slots=True)
class LinkOf:
    """The name of the link with this MAC address, looked up when the ruleset is applied."""

    mac: str


@dataclass(frozen=True, slots=True)
class Span:
    """An inclusive range of ports."""

    first: int
    last: int


#: int: a port, a protocol number or a mark, as the set's type says.
Atom = LinkOf | Span | int | IPv4Address | IPv6Address | IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Element:
    """`key` has one atom per field of the set's type; `value` is empty for a set, filled for a map."""

    key: tuple[Atom, ...]
    value: tuple[Atom, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """A part of the structure that not every kernel has, whose absence is explained by naming `field`.

    `structure` must load on its own; `remedy` says what to do when it does not.
    """

    field: str
    structure: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Ruleset:
    """`structure`: the body of table inet astara, in nft syntax: sets without elements, chains, rules.

    Named sets are of the types ifname, ipv4_addr, ipv6_addr, inet_proto, inet_service and mark, and have ranges
    (flags interval) of one address or in concatenations. The latter cost the kernel 320 KiB with the first element
    when one field is a link and one an IPv4 address, 512 KiB with IPv6 (nft_set_pipapo keeps a table per byte).

    `elements`: name of a set or map -> what is in it. Sets of the structure that are not named are empty.
    """

    structure: str
    elements: Mapping[str, frozenset[Element]] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
