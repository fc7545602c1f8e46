"""Table netdev astara_gate. Pure: links are named later, when their MAC addresses have been looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.keepalived.render import PRIORITY
from astara.appliance.system.probes import RARP

TABLE = "netdev astara_gate"
#: The gate is open.
ACTIVE = "active"
#: The other half has been seen active on a tenant's link while this one was, too: this one stands back.
RIVAL = "rival"
#: It was opened just now: what the other half sent before it gave way may still be on its way.
_FRESH = "fresh"
#: This half's own path is dead, its advertisements say so.
_LAME = "lame"
_LINK_NAME = re.compile(r"[0-9A-Za-z._-]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
#: A key that is the same for every packet: the set has one member or none.
_KEY = "meta mark & 0x0"
#: What an advertisement opens the gate for. The other half waits for three and its skew before it opens its own.
_LEASE_ADVERTS = 3
_FRESH_ADVERTS = 5
#: One element at most lives in a set, but those that have ended count until the kernel looks, once a second: a set that
#: is full takes none, and the gate stays closed while its half advertises. A lease can end 25 times in a second.
_REMAINS = 64
#: keepalived announces markers once a second, together with an advertisement. One may be lost.
_ANNOUNCED_MS, _ANNOUNCEMENTS, _LATE_MS = 1000, 2, 500
#: In the announcements of a half whose path is dead all markers are this one of its network. keepalived has fewer.
_LAME_MARKER = 253
#: Before anything else of the kernel's that looks at a frame.
_FIRST = -450
_CHAINS = ("heart", "yielding", "inward", "outward", "witness")


@dataclass(frozen=True, slots=True)
class Rendered:
    config: GateConfig

    def text(self, names: Mapping[str, str]) -> str:
        """Return nft commands for one transaction; `names` maps MAC address -> current link name.

        Sets stay, chains are made anew: who is active stays active while links come and go. A link that is not
        there is left out. Raises KeyError when the heart is not there.
        """
        heart = _name(names[self.config.heart])
        guarded = {mac: _name(names[mac]) for mac in self.config.guarded if mac in names}
        return "\n".join(_commands(heart, guarded, self.config)) + "\n"


def _commands(heart: str, guarded: Mapping[str, str], config: GateConfig) -> Iterator[str]:
    yield f"add table {TABLE}"
    for name in (ACTIVE, RIVAL, _FRESH, _LAME):
        yield f"add set {TABLE} {name} {{ type mark; flags dynamic,timeout; timeout 1s; size {_REMAINS:d}; }}"
    for chain in _CHAINS:
        yield f"add chain {TABLE} {chain}"
        yield f"flush chain {TABLE} {chain}"
        yield f"delete chain {TABLE} {chain}"
    yield from _chain("heart", _hooked("egress", f'device "{heart}"'), _heart(config))
    yield from _chain("yielding", _hooked("ingress", f'device "{heart}"'), _yielding(config))
    if not guarded:
        return
    links = ", ".join(f'"{name}"' for name in sorted(guarded.values()))
    yield from _chain("witness", "", _witness(config))
    yield from _chain("inward", _hooked("ingress", f"devices = {{ {links} }}"), _inward(config, sorted(guarded)))
    yield from _chain("outward", _hooked("egress", f"devices = {{ {links} }}"), _outward(config))


def _chain(name: str, place: str, rules: Iterator[str]) -> Iterator[str]:
    yield f"add chain {TABLE} {name}{place}"
    for rule in rules:
        yield f"add rule {TABLE} {name} {rule}"


def _hooked(hook: str, where: str) -> str:
    return f" {{ type filter hook {hook} {where} priority {_FIRST}; policy accept; }}"


def _put(name: str, timeout_ms: int) -> str:
    return f"update @{name} {{ {_KEY} timeout {timeout_ms:d}ms }}"


def _take(name: str) -> str:
    return f"delete @{name} {{ {_KEY} }}"


def _heart(config: GateConfig) -> Iterator[str]:
    """What this half advertises. VRRPv3 (RFC 9568 5.2): the third octet is the priority, and 0 says goodbye."""
    advert, lease_ms = "ip protocol 112 @th,16,8", _LEASE_ADVERTS * config.advert_ms
    yield f"{advert} 0 {_take(ACTIVE)}"
    yield f"{advert} 1-{PRIORITY - 1} {_put(_LAME, lease_ms)}"
    yield f"{advert} >= {PRIORITY} {_take(_LAME)}"
    # While it stands back it opens nothing, and tells nobody that it is there: a half that heard it would stand by.
    yield f"{advert} != 0 {_KEY} @{RIVAL} drop"
    yield f"{advert} != 0 {_KEY} != @{ACTIVE} {_put(_FRESH, _FRESH_ADVERTS * config.advert_ms)}"
    yield f"{advert} != 0 {_put(ACTIVE, lease_ms)}"


def _yielding(config: GateConfig) -> Iterator[str]:
    """What the other half advertises. Switches bring what is for other pairs, too."""
    advert = f"ether daddr {_mac(config.heart)} ip protocol 112"
    yield f"{advert} {_take(RIVAL)}"  # heard again: from here on it is keepalived's
    if config.yields:
        # Both were active: the other one wins this (RFC 9568 6.4.3), and its announcements must be the last.
        yield f"{advert} @th,16,8 >= {PRIORITY} {_take(ACTIVE)}"
        yield f"{advert} @th,16,8 1-{PRIORITY - 1} {_KEY} @{_LAME} {_take(ACTIVE)}"


def _witness(config: GateConfig) -> Iterator[str]:
    """What the other half announces on a tenant's link: it is active. Who stands back follows RFC 9568 where it can.

    Who stands by remembers nothing of that: it would be late when the other one dies.
    """
    lame_rival = f"arp saddr ip {config.watched.network_address + _LAME_MARKER}"
    lease_ms = _ANNOUNCEMENTS * (_ANNOUNCED_MS + config.advert_ms) + _LATE_MS
    yield f"{_KEY} @{_FRESH} return"
    yield f"{lame_rival} {_KEY} != @{_LAME} return" if config.yields else f"{lame_rival} return"
    yield f"{_KEY} @{RIVAL} {_put(RIVAL, lease_ms)}"
    if not config.yields:
        yield f"{_KEY} != @{_LAME} return"
    yield f"{_KEY} @{ACTIVE} {_put(RIVAL, lease_ms)} {_take(ACTIVE)}"


def _inward(config: GateConfig, macs: list[str]) -> Iterator[str]:
    own = ", ".join(_mac(mac) for mac in macs)  # both halves have the same
    yield f"arp saddr ip {config.watched} ether saddr {{ {own} }} jump witness"
    # Whether next hops answer is asked by either half, in its own name (system/paths).
    yield f"ether daddr {_mac(config.heart)} arp operation reply accept"
    yield f"ether daddr {_mac(config.heart)} icmpv6 type nd-neighbor-advert accept"
    yield f"{_KEY} != @{ACTIVE} drop"


def _outward(config: GateConfig) -> Iterator[str]:
    # keepalived announces markers right before its first advertisement, and for as long as it hears nobody.
    markers = f"arp saddr ip {config.announced}"
    yield f"{markers} {_KEY} @{RIVAL} drop"
    lame = config.announced.network_address + _LAME_MARKER
    yield f"{markers} {_KEY} @{_LAME} arp saddr ip set {lame} accept"
    yield f"{markers} accept"
    # What a switch that has both halves waits for from each (system/paths). nft has no name for this protocol.
    yield f"ether saddr {_mac(config.heart)} ether type {RARP:#06x} accept"
    yield f"ether saddr {_mac(config.heart)} arp operation request accept"
    yield f"ether saddr {_mac(config.heart)} icmpv6 type nd-neighbor-solicit accept"
    yield f"{_KEY} != @{ACTIVE} drop"


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise ValueError("link: not a MAC address")
    return text


def _name(name: str) -> str:
    if not _LINK_NAME.fullmatch(name):
        raise ValueError("link: not a link name")
    return name
