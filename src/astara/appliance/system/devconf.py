"""Settings of links as the kernel's own listing of links shows them: a look at a router would open thirty files else.

IFLA_AF_SPEC carries, per family, the array behind /proc/sys/net/FAMILY/conf/LINK (include/uapi/linux/ip.h and ipv6.h
number its places; they are part of the kernel's ABI). Writing goes through the files: see sysctl.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Mapping

from astara.appliance.system import netlink
from astara.appliance.system.rtnetlink import Link

_INET_CONF, _INET6_CONF = 1, 2
#: Names below conf/LINK -> place. IPV4_DEVCONF_* count from one.
_IPV4 = {"accept_redirects": 3, "rp_filter": 7, "arp_announce": 17, "arp_ignore": 18, "promote_secondaries": 19}
_IPV6 = {
    "accept_ra": 3,
    "accept_redirects": 4,
    "autoconf": 5,
    "dad_transmits": 6,
    "proxy_ndp": 22,
    "disable_ipv6": 26,
    "accept_dad": 27,
    "keep_addr_on_down": 42,
}
_FAMILIES: Mapping[str, tuple[int, int, Mapping[str, int]]] = {
    "ipv4": (socket.AF_INET, _INET_CONF, _IPV4),
    "ipv6": (socket.AF_INET6, _INET6_CONF, _IPV6),
}


class LinkSettings:
    """What `links` showed; every other setting is read by `elsewhere`, which takes paths below /proc/sys/net."""

    def __init__(self, links: Iterable[Link], elsewhere: Callable[[str], str | None]) -> None:
        self._links = {link.name: link for link in links}
        self._elsewhere = elsewhere
        self._arrays: dict[tuple[str, str], bytes] = {}

    def read(self, path: str) -> str | None:
        """Return the value; None when there is no such setting, e.g. of a link without IPv6."""
        family, kind, name, key = (*path.split("/"), "", "", "", "")[:4]
        places = _FAMILIES[family][2] if kind == "conf" and family in _FAMILIES else {}
        if key not in places or name not in self._links:
            return self._elsewhere(path)
        array = self._array(family, name)
        start = 4 * places[key]
        return None if len(array) < start + 4 else str(struct.unpack_from("=i", array, start)[0])

    def _array(self, family: str, name: str) -> bytes:
        found = self._arrays.get((family, name))
        if found is None:
            number, which, _ = _FAMILIES[family]
            of_family = netlink.attributes(self._links[name].families).get(number, b"")
            found = self._arrays[family, name] = netlink.attributes(of_family).get(which, b"")
        return found
