"""Asking a dnsmasq for one name, inside its namespace (RFC 1035)."""

from __future__ import annotations

import enum
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


class Answer(enum.Enum):
    """What came back."""

    KNOWN = "known"
    UNKNOWN = "unknown"  # it answers, and has no such name; or nobody listens
    SILENT = "silent"  # it does not answer in time


def ask(place_netns: Path | None, server: Address, name: str, timeout_s: float) -> Answer:
    """Ask `server` for an A record of `name`. Raises NetnsGone."""
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
        except TimeoutError:
            return Answer.SILENT
        except OSError:
            return Answer.UNKNOWN
    return Answer.KNOWN if _says_yes(answer, identifier) else Answer.UNKNOWN


def _says_yes(answer: bytes, identifier: int) -> bool:
    if len(answer) < _HEADER.size:
        return False
    found, flags, _, answers, _, _ = _HEADER.unpack_from(answer)
    return found == identifier and bool(flags & _RESPONSE) and not flags & _RCODE and answers > 0


def _question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return labels + b"\0" + struct.pack(">HH", _A, _IN)
