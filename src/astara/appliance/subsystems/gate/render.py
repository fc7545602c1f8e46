"""Table netdev astara_gate. Pure: links are named later, when their MAC addresses have been looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from astara.appliance.subsystems.gate.config import GateConfig

TABLE = "netdev astara_gate"
ACTIVE = "active"
#: Where the markers are (subsystems/keepalived); nobody else has addresses there (RFC 3927 2.1).
MARKERS = "169.254.0.0/24"
#: RFC 903, as its EtherType: nft has no name for it.
RARP = 0x8035
_LINK_NAME = re.compile(r"[0-9A-Za-z._-]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
#: A key that is the same for every packet: the set has one member or none.
_KEY = "meta mark & 0x0"
#: What an advertisement opens the gate for. The other half waits for three and its skew before it opens its own.
_LEASE_ADVERTS = 3
#: Before anything else of the kernel's that looks at a frame.
_FIRST = -450


@dataclass(frozen=True, slots=True)
class Rendered:
    config: GateConfig

    def text(self, names: Mapping[str, str]) -> str:
        """Return nft commands for one transaction; `names` maps MAC address -> current link name.

        The set stays, chains are made anew: who is active stays active while links come and go. A link that is not
        there is left out. Raises KeyError when the heart is not there.
        """
        heart = _name(names[self.config.heart])
        guarded = sorted(_name(names[mac]) for mac in self.config.guarded if mac in names)
        return "\n".join(_commands(heart, guarded, self.config)) + "\n"


def _commands(heart: str, guarded: list[str], config: GateConfig) -> Iterator[str]:
    yield f"add table {TABLE}"
    yield f"add set {TABLE} {ACTIVE} {{ type mark; flags dynamic,timeout; timeout 1s; size 4; }}"
    for chain in ("heart", "yielding", "inward", "outward"):
        yield f"add chain {TABLE} {chain}"
        yield f"flush chain {TABLE} {chain}"
        yield f"delete chain {TABLE} {chain}"
    yield f'add chain {TABLE} heart {{ type filter hook egress device "{heart}" priority {_FIRST}; policy accept; }}'
    # VRRPv3 (RFC 9568 5.2): the third octet is the priority, and 0 says goodbye.
    yield f"add rule {TABLE} heart ip protocol 112 @th,16,8 0 delete @{ACTIVE} {{ {_KEY} }}"
    lease = f"{_KEY} timeout {_LEASE_ADVERTS * config.advert_ms:d}ms"
    yield f"add rule {TABLE} heart ip protocol 112 @th,16,8 != 0 update @{ACTIVE} {{ {lease} }}"
    if config.yields:
        own = _mac(config.heart)
        # Both were active: the other one wins this (RFC 9568 6.4.3), and its announcements must be the last.
        # What is for another pair comes here too while switches do not know where that is.
        place = f'type filter hook ingress device "{heart}" priority {_FIRST}; policy accept;'
        yield f"add chain {TABLE} yielding {{ {place} }}"
        yield f"add rule {TABLE} yielding ether daddr {own} ip protocol 112 @th,16,8 != 0 delete @{ACTIVE} {{ {_KEY} }}"
    if not guarded:
        return
    devices = ", ".join(f'"{name}"' for name in guarded)
    for chain, hook in (("inward", "ingress"), ("outward", "egress")):
        place = f"type filter hook {hook} devices = {{ {devices} }} priority {_FIRST}; policy accept;"
        yield f"add chain {TABLE} {chain} {{ {place} }}"
        if chain == "outward":  # keepalived announces markers right before its first advertisement
            yield f"add rule {TABLE} {chain} arp saddr ip {MARKERS} accept"
            # What a switch that has both halves waits for from each (system/presence).
            yield f"add rule {TABLE} {chain} ether saddr {_mac(config.heart)} ether type {RARP:#06x} accept"
        # Whether next hops answer is asked by either half, in its own name (system/paths).
        own = "ether saddr" if chain == "outward" else "ether daddr"
        operation = "request" if chain == "outward" else "reply"
        neighbour = "nd-neighbor-solicit" if chain == "outward" else "nd-neighbor-advert"
        yield f"add rule {TABLE} {chain} {own} {_mac(config.heart)} arp operation {operation} accept"
        yield f"add rule {TABLE} {chain} {own} {_mac(config.heart)} icmpv6 type {neighbour} accept"
        yield f"add rule {TABLE} {chain} {_KEY} != @{ACTIVE} drop"


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise ValueError("link: not a MAC address")
    return text


def _name(name: str) -> str:
    if not _LINK_NAME.fullmatch(name):
        raise ValueError("link: not a link name")
    return name
