"""What dnsmasq has leased, and taking it back.

dnsmasq keeps a lease until it runs out, also when the port it was for is gone, and then refuses the address to the
port that has it now. So leases without a claim are released in the client's name, by the client's own messages
(RFC 2131 DHCPRELEASE, RFC 8415 Release), sent to dnsmasq inside its namespace and never onto the wire.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from astara.appliance.subsystems.dnsmasq.config import Address
from astara.appliance.subsystems.dnsmasq.render import Claim
from astara.appliance.system import netns

_V4_SERVER_PORT, _V6_SERVER_PORT = 67, 547
_ALL_SERVERS_AND_RELAYS = "ff02::1:2"
_MAGIC = b"\x63\x82\x53\x63"
_SO_BINDTODEVICE = 25


@dataclass(frozen=True, slots=True)
class Lease:
    """One line of dnsmasq's lease file. `identity` is the client id (v4, may be empty) or the client DUID (v6).

    `holder` is the MAC address (v4) or the identity association's number (v6).
    """

    holder: str
    address: Address
    identity: bytes


@dataclass(frozen=True, slots=True)
class LeaseFile:
    leases: tuple[Lease, ...] = ()
    server_duid: bytes = b""


def parse(content: str) -> LeaseFile:
    """Read a lease file; lines that are not whole (dnsmasq may be writing) are skipped."""
    leases: list[Lease] = []
    duid = b""
    for line in content.splitlines():
        words = line.split(" ")
        if len(words) == 2 and words[0] == "duid":
            duid = _octets(words[1])
        elif len(words) == 5:
            lease = _lease(words[1], words[2], words[4])
            leases += [lease] if lease else []
    return LeaseFile(tuple(leases), duid)


def unclaimed(leases: Iterable[Lease], claims: frozenset[Claim], before: frozenset[Claim]) -> list[Lease]:
    """Return the leases that nobody may hold any more.

    A DHCPv6 lease does not name a MAC address: there it counts whether the address has changed hands since `before`.
    """
    owners = {claim.address: claim.mac for claim in claims}
    earlier = {claim.address: claim.mac for claim in before}
    return [lease for lease in leases if not _may_keep(lease, claims, owners, earlier)]


def without(content: str, released: Sequence[Lease]) -> str:
    """Return a lease file's content less these leases."""
    gone = {str(lease.address) for lease in released}
    lines = [line for line in content.splitlines() if len(line.split(" ")) != 5 or line.split(" ")[2] not in gone]
    return "".join(f"{line}\n" for line in lines)


def release_v4(place_netns: Path | None, link: str, server: IPv4Address, lease: Lease) -> None:
    """Send DHCPRELEASE (RFC 2131 4.4.6) to our own dnsmasq. There is no answer to it."""
    octets = bytes.fromhex(lease.holder.replace(":", ""))
    fixed = struct.pack(">BBBBIHH", 1, 1, len(octets), 0, secrets.randbits(32), 0, 0)
    message = fixed + lease.address.packed + bytes(12) + octets.ljust(16, b"\0") + bytes(192) + _MAGIC
    message += _v4_option(53, b"\x07") + _v4_option(54, server.packed)
    message += (_v4_option(61, lease.identity) if lease.identity else b"") + b"\xff"
    with _channel(place_netns, socket.AF_INET, link) as channel:
        channel.sendto(message, (str(server), _V4_SERVER_PORT))


def release_v6(place_netns: Path | None, link: str, server_duid: bytes, lease: Lease, timeout_s: float) -> bool:
    """Send a DHCPv6 Release (RFC 8415 18.2.7) that stays on this machine; return whether it was confirmed."""
    transaction = secrets.token_bytes(3)
    address = _v6_option(5, lease.address.packed + bytes(8))
    association = _v6_option(3, struct.pack(">III", int(lease.holder), 0, 0) + address)
    message = b"\x08" + transaction + _v6_option(1, lease.identity) + _v6_option(2, server_duid)
    message += _v6_option(8, b"\0\0") + association
    with _channel(place_netns, socket.AF_INET6, link) as channel:
        channel.settimeout(timeout_s)
        # Hop limit 0: looped back to our own dnsmasq, and not sent.
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 0)
        with netns.entered(place_netns):
            index = socket.if_nametoindex(link)
        try:
            channel.sendto(message, (_ALL_SERVERS_AND_RELAYS, _V6_SERVER_PORT, 0, index))
            answer = channel.recv(2048)
        except TimeoutError:
            return False
    return answer[1:4] == transaction


def _may_keep(lease: Lease, claims: frozenset[Claim], owners: dict[Address, str], earlier: dict[Address, str]) -> bool:
    if lease.address.version == 4:
        return Claim(lease.holder, lease.address) in claims
    owner = owners.get(lease.address)
    return owner is not None and earlier.get(lease.address, owner) == owner


def _lease(holder: str, address: str, identity: str) -> Lease | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        number = holder.removeprefix("T")  # a temporary address' association
        return Lease(number, parsed, _octets(identity)) if number.isdigit() else None
    return Lease(holder, parsed, b"" if identity == "*" else _octets(identity))


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""


def _v4_option(code: int, value: bytes) -> bytes:
    return bytes([code, len(value)]) + value


def _v6_option(code: int, value: bytes) -> bytes:
    return struct.pack(">HH", code, len(value)) + value


def _channel(place_netns: Path | None, family: int, link: str) -> socket.socket:
    with netns.entered(place_netns):
        channel = socket.socket(family, socket.SOCK_DGRAM)
        try:
            # So that dnsmasq sees the message arrive on the link it serves.
            channel.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, link.encode() + b"\0")
        except OSError:
            channel.close()
            raise
    return channel
