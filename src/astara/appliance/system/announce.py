"""Telling the neighbours that an address lives here now.

Gratuitous ARP (RFC 5227 3) and unsolicited neighbour advertisements (RFC 4861 7.2.6).

Sent at once and twice more, because the first may fall on a switch that is still learning its new port. Only
addresses that are new are ever announced. All from one thread: closing a packet socket waits 16 ms for the kernel.
"""

from __future__ import annotations

import contextlib
import heapq
import ipaddress
import itertools
import socket
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from astara.appliance.system import netns, rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.appliance.system.rtnetlink import Interface, Link

_DELAYS_S = (0.0, 1.0, 3.0)
_ARP, _IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_Due = tuple[float, int, Path | None, tuple[tuple[int, str, Interface], ...]]


class Announcer:
    """One background thread, started with the first announcement, speaks for all instances of the process."""

    def __init__(self) -> None:
        self._due: list[_Due] = []
        self._serial = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def announce(self, place: Path | None, pairs: Sequence[tuple[Link, Interface]]) -> None:
        """Announce each address on its link inside the namespace, soon. Failures are silent: this is a courtesy."""
        targets = tuple((link.index, link.mac, interface) for link, interface in pairs)
        now = time.monotonic()
        with self._changed:
            for delay_s in _DELAYS_S:
                heapq.heappush(self._due, (now + delay_s, next(self._serial), place, targets))
            if self._thread is None:
                self._thread = threading.Thread(target=self._repeat, name="announcer", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _repeat(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                wait_s = self._due[0][0] - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                _, _, place, targets = heapq.heappop(self._due)
            _send(place, _still_here(place, targets))


def _still_here(
    place: Path | None, targets: tuple[tuple[int, str, Interface], ...]
) -> tuple[tuple[int, str, Interface], ...]:
    """An address may have moved away since: announcing it again would steal it back."""
    with contextlib.suppress(OSError), netns.entered(place), Netlink() as kernel:
        found = {(address.index, address.interface) for address in rtnetlink.addresses(kernel)}
        return tuple(target for target in targets if (target[0], target[2]) in found)
    return ()


def _send(place: Path | None, targets: Sequence[tuple[int, str, Interface]]) -> None:
    if not targets:
        return
    with contextlib.suppress(OSError), netns.entered(place):
        names = dict(socket.if_nameindex())
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as wire:
            for index, mac, interface in targets:
                if index in names:
                    for frame in frames(bytes.fromhex(mac.replace(":", "")), interface):
                        with contextlib.suppress(OSError):
                            wire.sendto(frame, (names[index], 0))


def frames(mac: bytes, interface: Interface) -> list[bytes]:
    """Return the Ethernet frames that announce `interface` at `mac`: ARP request and reply, or one NA."""
    if isinstance(interface, ipaddress.IPv4Interface):
        return [_arp(mac, interface.ip.packed, operation) for operation in (1, 2)]
    return [_advertisement(mac, interface.ip)]


def _arp(mac: bytes, address: bytes, operation: int) -> bytes:
    target = bytes(6) if operation == 1 else _BROADCAST
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + address + target + address
    return _BROADCAST + mac + struct.pack("!H", _ARP) + body


def _advertisement(mac: bytes, address: ipaddress.IPv6Address) -> bytes:
    flags = 0xA0000000  # from a router, override what was known; not solicited
    body = struct.pack("!BBHI", 136, 0, 0, flags) + address.packed + struct.pack("!BB", 2, 1) + mac
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + address.packed + _ALL_NODES.packed
    return b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack("!H", _IPV6) + header + body


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
