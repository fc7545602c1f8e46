"""Last advertisements for what radvd stops announcing while it goes on running.

On SIGHUP radvd forgets a prefix or a link without a word, and hosts would go on using it for hours. So we say it:
a prefix that goes is deprecated, and with a link's last prefix the router stops being a default router
(RFC 4861 6.2.5, 6.2.8).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Network
from pathlib import Path

from astara.appliance.system import netns

_ROUTER_ADVERTISEMENT = 134
_HOP_LIMIT = 255
_ALL_NODES = "ff02::1"
_PREFIX_INFORMATION = 3
_MANAGED, _OTHER = 0x80, 0x40
_ON_LINK, _AUTONOMOUS = 0x80, 0x40
#: RFC 4862 5.5.3 e: a host does not believe less than two hours.
_VALID_S = 7203


@dataclass(frozen=True, slots=True)
class Router:
    """What the advertisement says of the router itself: what radvd says too, or lifetime 0 for no router any more."""

    lifetime_s: int = 0
    managed: bool = False
    other: bool = False


def send(place_netns: Path | None, link: str, prefixes: Iterable[IPv6Network], router: Router) -> None:
    """Advertise `prefixes` as deprecated on `link`. Raises OSError."""
    flags = (_MANAGED if router.managed else 0) | (_OTHER if router.other else 0)
    message = struct.pack(">BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 0, flags, router.lifetime_s, 0, 0)
    message += b"".join(_deprecated(prefix) for prefix in prefixes)
    with netns.entered(place_netns):
        channel = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        with channel:
            channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
            channel.sendto(message, (_ALL_NODES, 0, 0, socket.if_nametoindex(link)))


def _deprecated(prefix: IPv6Network) -> bytes:
    flags = _ON_LINK | _AUTONOMOUS
    head = struct.pack(">BBBBIII", _PREFIX_INFORMATION, 4, prefix.prefixlen, flags, _VALID_S, 0, 0)
    return head + prefix.network_address.packed
