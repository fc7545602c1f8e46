"""Asking a dnsmasq for one name, inside its namespace (RFC 1035)."""

from __future__ import annotations

import secrets
import socket
import struct
from pathlib import Path

from astara.appliance.subsystems.dnsmasq.config import Address
from astara.appliance.system import netns

_HEADER = struct.Struct(">HHHHHH")
_RECURSION_DESIRED = 0x0100
_RESPONSE = 0x8000
_RCODE = 0x000F
_A, _IN = 1, 1
_DNS_PORT = 53


def knows(place_netns: Path | None, server: Address, name: str, timeout_s: float) -> bool:
    """Whether `server` answers, and has an A record for `name`. Raises NetnsGone."""
    identifier = secrets.randbits(16)
    query = _HEADER.pack(identifier, _RECURSION_DESIRED, 1, 0, 0, 0) + _question(name)
    family = socket.AF_INET if server.version == 4 else socket.AF_INET6
    with netns.entered(place_netns):
        channel = socket.socket(family, socket.SOCK_DGRAM)
    with channel:
        channel.settimeout(timeout_s)
        try:
            channel.connect((str(server), _DNS_PORT))
            channel.send(query)
            answer = channel.recv(512)
        except OSError:  # nobody listens, or in time
            return False
    if len(answer) < _HEADER.size:
        return False
    found, flags, _, answers, _, _ = _HEADER.unpack_from(answer)
    return found == identifier and bool(flags & _RESPONSE) and not flags & _RCODE and answers > 0


def _question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return labels + b"\0" + struct.pack(">HH", _A, _IN)
